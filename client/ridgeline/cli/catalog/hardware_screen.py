"""Shows devices at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ridgeline.cli import parts, printable, styles
from ridgeline.cli.catalog import screens
from ridgeline.plots import units, words
from ridgeline.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.table import Table

    from ridgeline.v1.catalog_service_pb2 import GetHardwareResponse, ListHardwareResponse
    from ridgeline.v1.hardware_pb2 import FigureSource, Hardware, PeakRate

NO_UNIT = "-"
COMPUTED_IN = tuple(
    types_pb2.Dtype.Value(f"DTYPE_{name}")
    for name in ("FP32", "TF32", "BF16", "FP16", "FP8", "FP6", "FP4", "INT8", "INT4")
)
"""Number formats that devices have units for; the others store what is computed as one of these."""


COLUMNS = ("GiB", "GB/s", "16-bit", "fp8", "int8", "fp4", "W", "USD/h", "")
LEAST_NEEDED = ("W", "fp4", "", "USD/h", "int8", "fp8", "16-bit", "GB/s")
"""Columns that a narrow terminal does without, first to last: figures are never cut."""


def show_list(response: ListHardwareResponse, console: Console) -> None:
    """A line for each device."""
    if response.hardware:
        console.print(_table(response.hardware, console))
    counted = screens.counted(len(response.hardware), "device")
    parts.paragraph(
        console,
        f"{counted} at catalog revision {response.catalog_revision}. Rates are dense TFLOP/s; {NO_UNIT} is "
        "no unit, blank unknown. `ridgeline hardware get NAME` tells the sources.",
        styles.QUIET,
        left=0,
    )


def _table(devices: Iterable[Hardware], console: Console) -> Table:
    """The devices with as many columns as there is room for."""
    rows = [(device.id, _cells(device)) for device in devices]
    endless = console.options.update(max_width=10_000)
    kept = list(COLUMNS)
    for least_needed in LEAST_NEEDED:
        table = _table_of(rows, kept, console)
        if console.measure(table, options=endless).maximum <= console.width:
            return table
        kept.remove(least_needed)
    return _table_of(rows, kept, console)


def _table_of(rows: Iterable[tuple[str, dict[str, str]]], columns: Sequence[str], console: Console) -> Table:
    table = screens.table(console)
    table.add_column("Device", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for device_id, cells in rows:
        table.add_row(device_id, *(cells[name] for name in columns))
    return table


def _cells(device: Hardware) -> dict[str, str]:
    """What each column tells of a device."""
    rates = _rates(device)
    return {
        "GiB": units.digits(device.memory_bytes / units.GIB),
        "GB/s": f"{device.bandwidth_bytes_per_s / 1e9:,.0f}",
        "16-bit": rates.get("bf16", rates.get("fp16", "")),
        **{name: rates.get(name, "") for name in ("fp8", "int8", "fp4")},
        "W": units.digits(device.tdp_watts) if device.tdp_watts else "",
        "USD/h": units.digits(device.price_usd_per_hour) if device.HasField("price_usd_per_hour") else "",
        "": screens.origin(device.origin),
    }


def _rates(device: Hardware) -> dict[str, str]:
    known = {words.dtype(peak.dtype): units.digits(peak.flops_per_s / 1e12) for peak in device.peaks}
    return {words.dtype(dtype): NO_UNIT for dtype in device.unsupported_dtypes} | known


def show_entry(response: GetHardwareResponse, taken: str, console: Console) -> None:
    """One device with the source of each figure; `taken` tells what its name was taken as."""
    device = response.hardware
    console.print(Text(printable.line(device.display_name or device.id), styles.HEADING))
    if taken:
        parts.paragraph(console, taken, left=0)
    about = [device.vendor, device.kind, str(device.release_year) if device.HasField("release_year") else ""]
    rows: list[tuple[str, str | Text]] = [
        ("id", device.id),
        ("aliases", ", ".join(device.aliases) or "none"),
        ("about", ", ".join(filter(None, about))),
        ("origin", screens.bookkeeping(device, response.catalog_revision)),
    ]
    sources = {source.field: source for source in device.sources}
    numbers: dict[str, int] = {}
    for field, name, said in _figures(device):
        rows.append((name, _cited(said, sources.get(field), numbers)))
    screens.facts(rows, console)
    screens.remarks(device.suspicions, device.notes, console)
    for document, number in numbers.items():
        parts.paragraph(console, document, styles.QUIET, left=5, mark=Text(f"[{number}]", styles.QUIET))


def _figures(device: Hardware) -> Iterator[tuple[str, str, str]]:
    """Each figure's field, its name for people and what is known of it."""
    yield "memory_bytes", "memory", units.gib(device.memory_bytes)
    usable = device.HasField("usable_memory_bytes")
    yield "usable_memory_bytes", "usable", units.gib(device.usable_memory_bytes) if usable else "not measured"
    yield "bandwidth_bytes_per_s", "bandwidth", units.si(device.bandwidth_bytes_per_s, "B/s")
    for peak in device.peaks:
        dtype = words.dtype(peak.dtype)
        yield f"peaks.{dtype}", dtype, f"{units.si(peak.flops_per_s, 'FLOP/s')}{_accumulate(peak)}"
    if device.unsupported_dtypes:
        yield "unsupported_dtypes", "no unit", ", ".join(map(words.dtype, device.unsupported_dtypes))
    told = {*(peak.dtype for peak in device.peaks), *device.unsupported_dtypes}
    unknown = [words.dtype(dtype) for dtype in COMPUTED_IN if dtype not in told]
    if unknown:
        yield "", "unknown", ", ".join(unknown)
    if device.HasField("clock_hz"):
        yield "clock_hz", "clock", units.si(device.clock_hz, "Hz")
    if device.HasField("link"):
        link = device.link
        yield (
            "link.bandwidth_bytes_per_s",
            "link",
            f"{link.kind} {units.si(link.bandwidth_bytes_per_s, 'B/s')} per direction".lstrip(),
        )
        if link.HasField("domain_size"):
            yield "link.domain_size", "domain", f"{link.domain_size} devices"
    if device.HasField("tdp_watts"):
        yield "tdp_watts", "power", f"{units.digits(device.tdp_watts)} W"
    if device.HasField("price_usd_per_hour"):
        day = f" on {device.price_as_of}" if device.price_as_of else ""
        yield "price_usd_per_hour", "price", f"{units.digits(device.price_usd_per_hour)} USD/h{day}"


def _accumulate(peak: PeakRate) -> str:
    """What sums are kept in at a rate: integers are summed as integers."""
    if not peak.accumulate:
        return ""
    integers = peak.dtype in (types_pb2.DTYPE_INT8, types_pb2.DTYPE_INT4)
    return f", summed in {'int32' if integers else words.dtype(peak.accumulate)}"


def _cited(said: str, source: FigureSource | None, numbers: dict[str, int]) -> Text:
    """A figure with the number of the document that it was read in, which `numbers` collects."""
    text = Text(said)
    if source is not None:
        confidence = words.name(types_pb2.Confidence.DESCRIPTOR, source.confidence)
        trusted = f"{confidence} confidence" if source.confidence else ""
        told = "; ".join(filter(None, [trusted, source.note]))
        if source.source:
            read = f" (read {source.read_on})" if source.read_on else ""
            number = numbers.setdefault(f"{source.source}{read}", len(numbers) + 1)
            told = f"[{number}] {told}".rstrip()
        text.append(f"  {told}" if told else "", styles.QUIET)
    return text
