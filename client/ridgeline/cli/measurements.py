"""`ridgeline measurements`: what was measured, by you and by others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from ridgeline.cli import measurement_import, options, output, session
from ridgeline.cli.catalog import writing
from ridgeline.cli.commands import HelpGroup, SectionCommand, SectionOption

if TYPE_CHECKING:
    from ridgeline.measurement_requests import MeasurementChoice

F = TypeVar("F", bound=Callable[..., Any])

PHASES = ("prefill", "decode", "static_batch", "closed_loop", "open_loop", "offline_max", "memory")
MEMORY_PARTS = ("activations_gib", "non_torch_gib", "cuda_graph_gib", "weights_gib", "kv_pool_gib")
"""Metrics of the phase memory alone."""
METRICS = (
    "output_tok_s_total", "output_tok_s_per_gpu", "total_tok_s", "ttft_ms", "tpot_ms", "itl_ms",
    "e2e_latency_ms", "prefill_ms", "decode_step_ms", "memory_gib",
    *MEMORY_PARTS,
)  # fmt: skip
CHOICE = ("hardware_id", "model_id", "engine", "phase", "metric", "source_group")

_filtering = partial(click.option, cls=SectionOption, section="Filter (all that is given must hold)")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _choice(function: F) -> F:
    """Which measurements are meant."""
    return options.together(
        _filtering("--hardware", "hardware_id", metavar="ID", help="The device, by the id that the row has."),
        _filtering("--model", "model_id", metavar="ID", help="The model, by the id that the row has."),
        _filtering("--engine", metavar="NAME", help="What served, such as vllm."),
        _filtering(
            "--phase",
            type=click.Choice(PHASES),
            metavar="PHASE",
            help=f"What was run: {_listed(PHASES)}.",
        ),
        _filtering(
            "--metric",
            type=click.Choice(METRICS),
            metavar="METRIC",
            help=f"What was measured: {_listed(METRICS)}.",
        ),
        _filtering("--source-group", metavar="NAME", help="The collection that the source belongs to."),
    )(function)


def _chosen(given: Mapping[str, Any]) -> MeasurementChoice:
    return cast("MeasurementChoice", {name: given[name] for name in CHOICE if given[name] is not None})


@click.group(cls=HelpGroup)
def measurements() -> None:
    r"""Look after measurements: what you and others measured.

    A measurement is one figure of one model on given hardware under a given load, as a row of a CSV table.
    Measurements are evidence: they change no answer, and are no part of the catalog's revisions.

    \b
    Examples:
      ridgeline measurements import measured.csv.gz
      ridgeline measurements list --hardware h100-sxm --metric tpot_ms
      ridgeline measurements list --source-group ours -o csv > ours.csv
      ridgeline measurements delete --source-group ours
    """


@measurements.command("import", cls=SectionCommand)
@measurement_import.options
@options.connection
@click.pass_context
def import_measurements(ctx: click.Context, /, **given: Any) -> None:
    r"""Add measurements from CSV files or from stdin (`-`).

    A file may be compressed by gzip. Its first line names the columns; unknown ones are refused by name. A
    row needs engine, phase, metric and value, and model_id and hardware_id (ids of the catalog) or at least
    model_published and hardware_published. Columns that you do not have may be left out:

    \b
      id             names the row; without it, a hash of the content does
      source, source_group          where it was read, and in which collection
      engine, engine_version        vllm, sglang, tensorrt-llm, llama.cpp...
      model_id, model_published     id of the catalog, the source's wording
      hardware_id, hardware_published                  the same of the device
      n_devices, tp, pp, ep, attention_dp, moe_tp      devices, parallelism
      weight_dtype, weight_format   int4 and awq-g128, fp8, bf16...
      act_dtype, kv_dtype           activations, KV cache
      phase          prefill, decode, static_batch, closed_loop, open_loop,
                     offline_max, memory
      isl, osl, past_tokens         prompt, output and cached tokens
      batch | concurrency | request_rate      the load, one of them
      metric, value  output_tok_s_total, output_tok_s_per_gpu, total_tok_s,
                     ttft_ms, tpot_ms, itl_ms, e2e_latency_ms, prefill_ms,
                     decode_step_ms, memory_gib; of the phase memory also
                     activations_gib, non_torch_gib, cuda_graph_gib,
                     weights_gib, kv_pool_gib
      confidence     low, medium, high
      tier           A fully specified, B all but the batch, C loosely
      ambiguous, notes              what is left open, remarks

    A refused row does not stop the others; what is wrong with it is told by line and column. What is stored
    alike already is left alone, so that an import may be repeated.

    \b
    Examples:
      ridgeline measurements import measured.csv.gz
      ridgeline measurements import --dry-run ours.csv
      ridgeline measurements list -o csv --engine vllm |
          ridgeline measurements import - --server HOST:PORT
    """
    measurement_import.run(given, ctx)


@measurements.command("list", cls=SectionCommand)
@_choice
@click.option(
    "--limit",
    cls=SectionOption,
    section="List",
    type=click.IntRange(1, options.LARGEST),
    metavar="N",
    help="The first N [default: all].",
)
@options.output
@options.connection
def list_measurements(**given: Any) -> None:
    r"""List measurements, by id. With -o csv they can be imported again.

    \b
    Examples:
      ridgeline measurements list --limit 20
      ridgeline measurements list --model Qwen/Qwen3-32B --phase closed_loop
      ridgeline measurements list --hardware h100-sxm -o csv > h100.csv
    """
    with session.client(given["server"], given["timeout"]) as client:
        response = client.list_measurements(**_chosen(given), limit=given["limit"])
    if given["output"] == "json":
        output.write_json(response)
    elif given["output"] == "csv":
        from ridgeline.files import MEASUREMENT_COLUMNS, measurement_cells

        output.write_csv(MEASUREMENT_COLUMNS, map(measurement_cells, response.measurements))
    else:
        from ridgeline.cli import measurement_screen

        measurement_screen.show_list(response, output.console())


@measurements.command("get", cls=SectionCommand)
@click.argument("id", metavar="ID")
@options.output
@options.connection
def get_measurement(**given: Any) -> None:
    r"""Show one measurement with all that is known of it.

    \b
    Examples:
      ridgeline measurements get m00001
      ridgeline measurements get m00001 -o json
    """
    with session.client(given["server"], given["timeout"]) as client:
        response = client.get_measurement(given["id"])
    if given["output"] == "json":
        output.write_json(response)
    elif given["output"] == "csv":
        from ridgeline.files import MEASUREMENT_COLUMNS, measurement_cells

        output.write_csv(MEASUREMENT_COLUMNS, [measurement_cells(response.measurement)])
    else:
        from ridgeline.cli import measurement_screen

        measurement_screen.show_one(response, output.console())


@measurements.command("delete", cls=SectionCommand)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@_choice
@writing.dry_run("Removal")
@writing.receipt
@options.connection
def delete_measurements(**given: Any) -> None:
    r"""Remove measurements, those that are named or all that match.

    They cannot be brought back: `ridgeline measurements list -o csv` keeps them first. When one of the ids is
    of no measurement, none is removed. What was calibrated by them stays until `ridgeline calibrate --reset`.

    \b
    Examples:
      ridgeline measurements delete m00001 m00002
      ridgeline measurements delete --source-group ours --dry-run
    """
    from ridgeline.cli import calibrate_reset

    chosen = _chosen(given)
    if not given["ids"] and not chosen:
        raise click.UsageError("Say which: give ids, or options that choose measurements, such as --engine.")
    if given["ids"] and chosen:
        raise click.UsageError("Give ids, or options that choose measurements, not both.")
    with session.client(given["server"], given["timeout"]) as client:
        devices = calibrate_reset.calibrated_devices(client, given["ids"], chosen)
        response = client.delete_measurements(given["ids"], validate_only=given["dry_run"], **chosen)
    if given["output"] == "json":
        output.write_json(response)
        return
    count = response.deleted_count
    done = "Would delete" if given["dry_run"] else "Deleted"
    click.echo(f"{done} {count:,} measurement{'' if count == 1 else 's'}.")
    if devices and not given["dry_run"]:
        click.echo(
            f"What was calibrated of {', '.join(devices)} stays: `ridgeline calibrate --reset --hardware "
            f"{devices[0]}` removes it, and `ridgeline calibrate --hardware {devices[0]}` makes it anew "
            "of the rows that are left."
        )
