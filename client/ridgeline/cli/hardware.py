"""`ridgeline hardware`: the catalog's devices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ridgeline.cli import options
from ridgeline.cli.catalog import exporting, fields, filters, history, importing, reading, writing
from ridgeline.cli.catalog.filters import AT_LEAST, GB, GIB, filtering
from ridgeline.cli.catalog.kinds import Kind
from ridgeline.cli.commands import HelpGroup, SectionCommand, SectionOption

if TYPE_CHECKING:
    from rich.console import Console

    from ridgeline.cli.catalog.sources import Entry
    from ridgeline.v1.catalog_service_pb2 import GetHardwareResponse, ListHardwareResponse
    from ridgeline.v1.hardware_pb2 import Hardware

DTYPES = ("fp32", "tf32", "bf16", "fp16", "fp8", "fp6", "fp4", "int8", "int4", "nvfp4", "mxfp4")
KINDS = ("gpu", "igpu", "tpu", "npu", "cpu", "apple")
ORDER = (
    "id", "memory_bytes", "bandwidth_bytes_per_s", "tdp_watts", "release_year", "price_usd_per_hour",
    "update_time",
)  # fmt: skip
FIELDS = {
    "display_name": "text",
    "aliases": "list",
    "vendor": "text",
    "kind": "text",
    "release_year": "whole",
    "memory_bytes": "number",
    "usable_memory_bytes": "number",
    "bandwidth_bytes_per_s": "number",
    "peaks.<dtype>": "number",
    "accumulate.<dtype>": "dtype",
    "unsupported_dtypes": "dtypes",
    "clock_hz": "number",
    "link.kind": "text",
    "link.bandwidth_bytes_per_s": "number",
    "link.domain_size": "whole",
    "tdp_watts": "number",
    "price_usd_per_hour": "number",
    "price_as_of": "text",
    "notes": "list",
}
FIGURES = (
    "memory_bytes", "usable_memory_bytes", "bandwidth_bytes_per_s", "peaks.", "unsupported_dtypes",
    "clock_hz", "link.bandwidth_bytes_per_s", "link.domain_size", "tdp_watts", "price_usd_per_hour",
)  # fmt: skip
"""What `sources` tells the origin of, or how that begins."""
COMPUTED = frozenset({"origin", "etag", "create_time", "update_time", "suspicions"})
REQUIRED = frozenset({"kind", "memory_bytes", "bandwidth_bytes_per_s"})
"""What a device cannot be without, beside a rate."""
CSV_COLUMNS = (
    "id", "display_name", "vendor", "kind", "release_year", "memory_bytes", "usable_memory_bytes",
    "bandwidth_bytes_per_s", *(f"peak_{dtype}_flops_per_s" for dtype in DTYPES), "unsupported_dtypes",
    "clock_hz", "link_kind", "link_bandwidth_bytes_per_s", "link_domain_size", "tdp_watts",
    "price_usd_per_hour", "price_as_of", "aliases", "origin", "etag",
)  # fmt: skip
SET_HELP = (
    "Set a field; repeatable. Fields: "
    + ", ".join(FIELDS)
    + ". Lists are separated by commas; rates are dense."
)
_source = click.option(
    "--source",
    cls=SectionOption,
    section="Change",
    default="",
    metavar="TEXT",
    help="Where the figures were read; it is kept with each of them.",
)


@click.group(cls=HelpGroup)
def hardware() -> None:
    r"""Look after the catalog's devices.

    \b
    Examples:
      ridgeline hardware list --dtype fp8 --order-by 'memory_bytes desc'
      ridgeline hardware get a6000
      ridgeline hardware create my-card --set kind=gpu \
          --set memory_bytes=25769803776 --set bandwidth_bytes_per_s=900e9 \
          --set peaks.fp16=120e12
      ridgeline hardware update rtx-a6000 --set price_usd_per_hour=0.8
      ridgeline hardware history rtx-a6000
      ridgeline hardware export --to my-devices
      ridgeline hardware import --replace --dry-run my-devices
    """


@hardware.command("list", cls=SectionCommand)
@filtering("--vendor", metavar="NAME", help="Who makes it, such as NVIDIA; case does not matter.")
@filtering("--kind", type=click.Choice(KINDS), help="What it is.")
@filtering(
    "--dtype",
    "dtypes",
    multiple=True,
    type=click.Choice(DTYPES, case_sensitive=False),
    help="It has a known rate for this number format; repeatable, all must hold.",
)
@filtering("--min-memory-gib", type=AT_LEAST, metavar="GIB", help="Nominal memory at least.")
@filtering("--min-bandwidth-gb-s", type=AT_LEAST, metavar="GB/S", help="Memory bandwidth at least.")
@filters.origin
@filters.listing(ORDER)
@options.output
@options.connection
def list_hardware(**given: Any) -> None:
    r"""List devices: memory, bandwidth, dense peak rates.

    \b
    Examples:
      ridgeline hardware list
      ridgeline hardware list --dtype fp8 --dtype int8 --min-memory-gib 80
      ridgeline hardware list --order-by 'bandwidth_bytes_per_s desc' --limit 10
      ridgeline hardware list --origin user -o csv
    """
    query = {name: given[name] for name in ("vendor", "kind", "dtypes", "origin", "order_by")}
    if given["min_memory_gib"] is not None:
        query["min_memory_bytes"] = given["min_memory_gib"] * GIB
    if given["min_bandwidth_gb_s"] is not None:
        query["min_bandwidth_bytes_per_s"] = given["min_bandwidth_gb_s"] * GB
    reading.show_list(KIND, given, query)


@hardware.command("get", cls=SectionCommand)
@click.argument("name")
@reading.revision("Answer")
@options.output
@options.connection
def get_hardware(**given: Any) -> None:
    r"""Show one device with the source of each figure. NAME is an id or an alias.

    \b
    Examples:
      ridgeline hardware get h100
      ridgeline hardware get "NVIDIA A100-SXM4-80GB"
      ridgeline hardware get h100-sxm --revision 3 -o json
    """
    reading.show_entry(replace(KIND, show_entry=partial(_show_entry, asked=given["name"])), given)


@hardware.command("create", cls=SectionCommand)
@click.argument("id", metavar="ID")
@writing.sets(help=SET_HELP)
@_source
@writing.dry_run()
@writing.receipt
@options.connection
def create_hardware(**given: Any) -> None:
    r"""Add a device. It needs kind, memory_bytes, bandwidth_bytes_per_s and a peak rate.

    A number format without a rate is unknown; say in unsupported_dtypes which the device has no unit for.

    \b
    Examples:
      ridgeline hardware create my-card --set kind=gpu \
          --set memory_bytes=25769803776 --set bandwidth_bytes_per_s=900e9 \
          --set peaks.fp16=120e12 --set accumulate.fp16=fp32 \
          --set unsupported_dtypes=fp8,fp4 \
          --source "data sheet of 2026-10"
    """

    def build() -> Hardware:
        from ridgeline.v1.hardware_pb2 import Hardware

        entry = Hardware(id=given["id"])
        touched = fields.change(entry, given["changes"], (), FIELDS)
        cite(entry, touched, given["source"])
        return entry

    writing.create(KIND, given, build)


@hardware.command("update", cls=SectionCommand)
@click.argument("name")
@writing.sets(help=SET_HELP)
@writing.unsets
@_source
@writing.etag
@writing.dry_run()
@writing.receipt
@options.connection
def update_hardware(**given: Any) -> None:
    r"""Change fields of a device. From then on it is yours: newer releases leave it alone.

    A figure that changes loses the source of the old one; --source gives the new one's. A price without
    price_as_of gets today's date. When someone else changes the device meanwhile, nothing is written and what
    changed is told.

    \b
    Examples:
      ridgeline hardware update rtx-a6000 --set price_usd_per_hour=0.8 \
          --source "our contract"
      ridgeline hardware update my-card --set peaks.int8=240e12 --unset tdp_watts
    """
    if not given["changes"] and not given["cleared"]:
        raise click.UsageError("Nothing to change: give --set FIELD=VALUE or --unset FIELD.")

    def edit(entry: Hardware) -> Sequence[str]:
        touched = fields.change(entry, given["changes"], given["cleared"], FIELDS, REQUIRED)
        if "price_usd_per_hour" in touched and "price_as_of" not in touched:
            entry.price_as_of = ""
            touched.append("price_as_of")
        return fields.top_level([*touched, *cite(entry, touched, given["source"])])

    writing.update(KIND, given, edit)


@hardware.command("delete", cls=SectionCommand)
@click.argument("name")
@writing.etag
@writing.receipt
@options.connection
def delete_hardware(**given: Any) -> None:
    """Remove a device. `ridgeline hardware restore NAME --revision N` brings it back as it was then."""
    writing.delete(KIND, given)


@hardware.command("restore", cls=SectionCommand)
@click.argument("name")
@writing.restored
@writing.dry_run()
@writing.receipt
@options.connection
def restore_hardware(**given: Any) -> None:
    r"""Write a device again as it was at a revision.

    It does not matter whether it was changed or removed since. The entry is yours from then on.
    `ridgeline hardware history NAME` tells the revisions.

    \b
    Example:
      ridgeline hardware restore rtx-a6000 --revision 3
    """
    writing.restore(KIND, given)


@hardware.command("history", cls=SectionCommand)
@click.argument("name", required=False, metavar="[NAME]")
@history.options
@options.output
@options.connection
def history_of_hardware(**given: Any) -> None:
    r"""Tell who changed which device when, and what.

    Of one device, named by id or alias, the values are told too. Times are UTC.

    \b
    Examples:
      ridgeline hardware history h100-sxm
      ridgeline hardware history --limit 20
      ridgeline hardware history --since 12 --by ann -o csv
    """
    history.show(KIND, given)


@hardware.command("import", cls=SectionCommand)
@importing.options
@options.connection
@click.pass_context
def import_hardware(ctx: click.Context, /, **given: Any) -> None:
    r"""Add devices from files, folders or stdin (`-`).

    Of a folder, all JSON files are read. A file holds one device, in the catalog's own format as `ridgeline
    hardware export --to` writes it or as `ridgeline hardware get -o json` prints it, or an export. Each
    device is written whole or not at all; a refused one does not stop the others, and what is alike already
    is left alone, so that an import may be repeated.

    \b
    Examples:
      ridgeline hardware import my-card.json
      ridgeline hardware import --replace --dry-run devices/
      ridgeline hardware export a100 |
          ridgeline hardware import - --server HOST:PORT
    """
    importing.run(KIND, given, ctx)


@hardware.command("export", cls=SectionCommand)
@exporting.options
@options.connection
def export_hardware(**given: Any) -> None:
    r"""Write devices out, those named or all, for import.

    \b
    Examples:
      ridgeline hardware export rtx-a6000 > card.json
      ridgeline hardware export --to devices
    """
    exporting.run(KIND, given)


def cite(entry: Hardware, touched: Sequence[str], source: str) -> list[str]:
    """Drops the sources of figures that changed, and notes `source` for their new values.

    Returns the field of the sources if they changed.
    """
    from datetime import date

    figures = [path for path in touched if path.startswith(FIGURES)]
    kept = [told for told in entry.sources if told.field not in figures]
    changed = bool(source and figures) or len(kept) < len(entry.sources)
    del entry.sources[:]
    entry.sources.extend(kept)
    if source:
        for path in figures:
            entry.sources.add(field=path, source=source, read_on=date.today().isoformat())
    return ["sources"] if changed else []


def rows(devices: Iterable[Hardware]) -> Iterator[dict[str, object]]:
    """One row for each device, a column for each dtype's peak."""
    from ridgeline import jsonform
    from ridgeline.plots import words

    for device in devices:
        peaks = {f"peak_{words.dtype(peak.dtype)}_flops_per_s": peak.flops_per_s for peak in device.peaks}
        link = {f"link_{name}": value for name, value in jsonform.to_dict(device.link).items()}
        yield {
            **jsonform.to_dict(device),
            **peaks,
            **(link if device.HasField("link") else {}),
            "unsupported_dtypes": ";".join(map(words.dtype, device.unsupported_dtypes)),
            "aliases": ";".join(device.aliases),
        }


def read(content: Mapping[str, Any], _path: Path | None) -> Entry:
    """The device that a file holds. Raises InvalidArgumentError."""
    from ridgeline.cli.catalog.sources import Entry
    from ridgeline.files import read_device

    return Entry(read_device(content))


def text(device: Hardware) -> str:
    """A device's file in the catalog's own format."""
    from ridgeline.files import device_document, device_text

    return device_text(device_document(device))


def _show_list(response: ListHardwareResponse, console: Console) -> None:
    from ridgeline.cli.catalog import hardware_screen

    hardware_screen.show_list(response, console)


def _show_entry(response: GetHardwareResponse, console: Console, asked: str = "") -> None:
    from ridgeline.cli import aliases
    from ridgeline.cli.catalog import hardware_screen

    taken = aliases.sentence(asked, response.hardware) if asked else ""
    hardware_screen.show_entry(response, taken, console)


KIND = Kind(
    field="hardware",
    plural="hardware",
    noun="device",
    group="vendor",
    csv_columns=CSV_COLUMNS,
    rows=rows,
    show_list=_show_list,
    show_entry=_show_entry,
    folder_files=lambda folder: sorted(folder.glob("*.json")),
    read=read,
    text=text,
    stated=partial(exporting.without, computed=COMPUTED),
)
