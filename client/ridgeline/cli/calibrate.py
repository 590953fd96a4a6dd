"""`ridgeline calibrate`: corrects predictions by what was measured, a single figure or a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ridgeline.cli import calibrate_table, options, output, session, this_machine
from ridgeline.cli.catalog import writing
from ridgeline.cli.commands import SectionCommand, SectionOption
from ridgeline.cli.measurements import MEMORY_PARTS, METRICS, PHASES

if TYPE_CHECKING:
    from ridgeline.errors import RidgelineError
    from ridgeline.measurement_requests import MeasurementChoice
    from ridgeline.v1.measurement_pb2 import Measurement

_rows = partial(click.option, cls=SectionOption, section="Rows")
_measured = partial(click.option, cls=SectionOption, section="One measured figure")

LOADS = {"batch": "static_batch", "concurrency": "closed_loop", "request_rate": "open_loop"}
"""The phase that is meant by a load, where --phase does not say."""
FIELDS = {
    "model_id": "model",
    "hardware_id": "hardware",
    "isl": "input_len",
    "osl": "output_len",
    "weight_dtype": "weights",
    "act_dtype": "activations",
    "kv_dtype": "kv",
    "value": "measured",
    **{
        name: name
        for name in (
            "phase", "batch", "concurrency", "request_rate", "past_tokens", "weight_format", "tp", "pp",
            "ep", "attention_dp", "n_devices", "metric", "notes",
        )
    },
}  # fmt: skip
"""Columns of a row, and the options that state them."""
ONE_ROW = tuple(option for option in FIELDS.values() if option != "hardware")
SOURCE = "ridgeline calibrate"


def _one_figure(function: Any) -> Any:
    """The options that state one measured figure."""
    return options.together(
        _measured("--model", metavar="ID", help="The model, by its id or alias in the catalog."),
        _measured("--metric", type=click.Choice(METRICS), metavar="METRIC", help="What: tpot_ms, ttft_ms..."),
        _measured("--measured", type=float, metavar="VALUE", help="The figure, in the metric's unit."),
        _measured("--concurrency", type=int, metavar="N", help="Closed loop of N requests in flight."),
        _measured("--batch", type=int, metavar="N", help="Static batch of N requests."),
        _measured("--request-rate", type=float, metavar="R", help="Open loop of R requests per second."),
        _measured("--input-len", type=int, metavar="N", help="Prompt length, tokens."),
        _measured("--output-len", type=int, metavar="N", help="Generated tokens per request."),
        _measured("--past-tokens", type=int, metavar="N", help="Tokens in the cache before the step."),
        _measured(
            "--phase",
            type=click.Choice(PHASES),
            metavar="PHASE",
            help="What was run [default: closed_loop, static_batch or open_loop, by the load; memory for its "
            "parts].",
        ),
        _measured("--weights", metavar="DTYPE", help="Format of the weights: bf16, fp8, int4..."),
        _measured("--weight-format", metavar="NAME", help="How they are stored: awq-g128, gguf-q4_k_m..."),
        _measured("--activations", metavar="DTYPE", help="Format of the inputs of the weight GEMMs."),
        _measured("--kv", metavar="DTYPE", help="Format of the KV cache."),
        _measured("--tp", type=int, metavar="N", help="Tensor parallelism."),
        _measured("--pp", type=int, metavar="N", help="Pipeline parallelism."),
        _measured("--ep", type=int, metavar="N", help="Expert parallelism."),
        _measured("--attention-dp", type=int, metavar="N", help="Data parallelism of attention."),
        _measured("--n-devices", type=int, metavar="N", help="Devices [default: one replica]."),
        _measured("--notes", metavar="TEXT", help="Anything else; kept with the row."),
    )(function)


@click.command(cls=SectionCommand)
@click.argument("path", metavar="[MEASURED.csv|-]", required=False)
@_rows(
    "--hardware",
    metavar="ID",
    help="The device: of the one figure; of a table, its rows of this device alone; else of stored rows.",
)
@_rows(
    "--engine",
    metavar="NAME[@VERSION]",
    help="What served, in the same way; a version counts for the one figure alone.",
)
@_one_figure
@this_machine.machine_options
@click.option(
    "--vllm-log",
    cls=SectionOption,
    section="A start-up log of vLLM (with --model, --hardware)",
    metavar="FILE|-",
    help="Correct an engine's memory on a device by the parts that vLLM logged, and store these as "
    "measurements. --engine, --tp, --pp, --weights, --activations and --kv win over what the log says.",
)
@click.option(
    "--reset",
    cls=SectionOption,
    section="Taking it back",
    is_flag=True,
    help="Remove what calibrating has written: of --hardware, of --engine, or all. Measurements stay.",
)
@writing.dry_run("Rows")
@options.output
@options.connection
def calibrate(**given: Any) -> None:
    r"""Correct predictions by what you measured.

    About half of what a prediction is off by is the same for all loads of a setting: a model in its formats
    on a device with an engine. One measured figure tells some of it, more tell more. Ways to give figures:

    \b
      one figure   what `ridgeline analyze` is asked, with --metric, --measured
      a table      MEASURED.csv, as `ridgeline measurements import` takes it, up
                   to 1,000 rows; with --hardware or --engine some of its rows
      stored rows  --hardware or --engine alone: what was imported before

    With --this-machine nothing is given: what the machine attains is measured, in up to a minute, and saved
    as a device with efficiency profiles, for any question about it. The measurement runs where this command
    does, also with --server; it needs the service's packages here.

    The rows are stored as measurements. All stored rows of the same devices count together, however they
    came, and make efficiency profiles for each setting, for its engine on the device, and for the device:
    the more of what is asked was measured, the nearer. A setting's prediction moves about half of the way to
    one row, and nearer to several: the same run on another day differs by 8% (time per token) or 15% (time to
    first token). Other models on the device and engine move a little, other devices not at all. The format
    of the KV cache, the engine's release and the parallelism are no part of a setting: rows of all of them
    count together. Rows of single prefills do not move the time to first token of a closed loop. Earlier
    answers stay readable with --catalog-revision.

    Where there are six rows of prefills or decode steps by themselves, or more, the constants of the engine's
    kernels and steps on the device are fitted too, and kept if they predict rows that were left out better.

    With --reset all that was written is removed, or what was of a device and an engine: predictions are those
    before any calibration. Measurements stay and count again in the next; remove wrong ones by `ridgeline
    measurements delete`.

    With --vllm-log the parts of memory of a start of vLLM are compared and stored: its activation peak,
    memory outside of torch and CUDA graphs. They correct what the engine takes of this device, whatever the
    model, from this release on, and so the KV pool and how many requests fit; rows of phase memory with the
    same metrics do so too.

    \b
    Examples:
      ridgeline calibrate --model meta-llama/Llama-3.1-8B --hardware h100-sxm \
          --engine vllm@0.19.0 --concurrency 64 --input-len 1024 \
          --output-len 1024 --weights fp8 --kv fp8 --tp 2 \
          --metric tpot_ms --measured 12.4
      ridgeline calibrate --dry-run ours.csv
      ridgeline calibrate ours.csv --hardware h100-sxm
      ridgeline calibrate --hardware h100-sxm --engine vllm -o json
      ridgeline calibrate --this-machine --threads 1
      ridgeline calibrate --reset --hardware h100-sxm --dry-run
      docker logs vllm 2>&1 | ridgeline calibrate --vllm-log - \
          --model Qwen/Qwen3-14B --hardware h100-sxm
    """
    from ridgeline.errors import RidgelineError

    if given["reset"]:
        from ridgeline.cli import calibrate_reset

        others = ("path", "vllm_log", *ONE_ROW, "this_machine", *this_machine.OPTIONS)
        foreign = [name for name in others if given[name]]
        if foreign:
            told = (
                "a table"
                if foreign[0] == "path"
                else "--id"
                if foreign[0] == "hardware_id"
                else _option(foreign[0])
            )
            raise click.UsageError(f"--reset goes with --hardware and --engine, and not with {told}.")
        calibrate_reset.run(given)
        return
    if given["this_machine"]:
        rows = ("path", "hardware", "engine", "vllm_log", *ONE_ROW)
        if any(given[name] is not None for name in rows):
            raise click.UsageError("--this-machine measures the machine and takes no rows; give them apart.")
        this_machine.run(given)
        return
    if any(given[name] for name in this_machine.OPTIONS):
        raise click.UsageError("--threads, --thorough, --gpu and --id go with --this-machine.")
    one = [name for name in ONE_ROW if given[name] is not None]
    if given["vllm_log"] is not None:
        from ridgeline.cli import calibrate_log

        foreign = [_option(name) for name in one if name not in calibrate_log.TAKEN]
        if foreign or given["path"]:
            raise click.UsageError(f"--vllm-log does not go with {(foreign or ['a table'])[0]}.")
        calibrate_log.run(given)
        return
    if one and given["path"]:
        raise click.UsageError(f"Give a table or one figure, not both: {_option(one[0])} is of one figure.")
    with session.client(given["server"], given["timeout"]) as client:
        places: list[str] = []
        try:
            if one:
                row = _row(given)
                session.device_id(client, given["hardware"])
                response = client.calibrate([row], save=not given["dry_run"])
            elif given["path"]:
                response = calibrate_table.calibrate(
                    client, given, session.device_id(client, given["hardware"]), places
                )
            else:
                choice = _choice(given)
                session.device_id(client, given["hardware"])
                response = client.calibrate((), save=not given["dry_run"], **choice)
        except RidgelineError as error:
            raise session.failure(_placed(error, given, places)) from error
    if given["output"] == "json":
        output.write_json(response)
    elif given["output"] == "csv":
        output.write_csv(CSV_COLUMNS, map(cells, response.rows))
    else:
        from ridgeline.cli import calibrate_screen

        calibrate_screen.show(response, output.console(), dry_run=given["dry_run"])


CSV_COLUMNS = ("id", "metric", "measured", "before", "now", "low", "high", "unanswered_reason")


def cells(row: Any) -> dict[str, object]:
    """A given row of the CSV: predicted before, and now with its interval."""
    from ridgeline import jsonform
    from ridgeline.cli import calibrate_notices

    before, now = jsonform.to_dict(row.before), jsonform.to_dict(row.now)
    return {
        "id": before["id"],
        "metric": str(before["metric"]).lower(),
        "measured": before["measured"],
        "before": before.get("predicted", ""),
        "now": now.get("predicted", ""),
        "low": now.get("low", ""),
        "high": now.get("high", ""),
        "unanswered_reason": calibrate_notices.reason(row),
    }


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _row(given: Mapping[str, Any]) -> Measurement:
    """The one figure as a row. Raises click.UsageError with all that is missing, and InvalidArgumentError for
    what no field can hold.
    """
    from ridgeline import jsonform
    from ridgeline.v1.measurement_pb2 import Measurement

    loads = [name for name in LOADS if given[name] is not None]
    if len(loads) > 1:
        raise click.UsageError(f"Give {' or '.join(map(_option, loads))}: a load is one of them.")
    meant = "memory" if given["metric"] in MEMORY_PARTS else LOADS[loads[0]] if loads else None
    phase = given["phase"] or meant
    needed = ["model", "hardware", "engine", "metric", "measured"]
    missing = [_option(name) for name in needed if given[name] is None]
    if phase is None:
        missing.append("a load (--concurrency, --batch or --request-rate)")
    if missing:
        raise click.UsageError(f"One figure needs {', '.join(missing)} too.")
    engine, _, version = given["engine"].partition("@")
    stated = {field: given[option] for field, option in FIELDS.items() if given[option] is not None}
    stated |= {field: text.lower() for field, text in stated.items() if field.endswith("_dtype")}
    stated |= {"engine": engine.lower(), "engine_version": version, "phase": phase, "source": SOURCE}
    return jsonform.from_dict(Measurement, stated, "measurements[0]")


def _choice(given: Mapping[str, Any]) -> MeasurementChoice:
    """Which stored rows are meant. Raises click.UsageError when nothing says."""
    chosen: MeasurementChoice = {}
    if given["hardware"]:
        chosen["hardware_id"] = given["hardware"]
    if given["engine"]:
        chosen["engine"] = given["engine"].partition("@")[0]
    if not chosen:
        raise click.UsageError(
            "Give a table, one figure (--model, --metric, --measured and its load), or --hardware or "
            "--engine for stored rows."
        )
    return chosen


def _placed(error: RidgelineError, given: Mapping[str, Any], places: Sequence[str]) -> RidgelineError:
    """The error with fields as the command line has them: a table's lines, the options of one figure, or
    those that choose stored rows.
    """
    from ridgeline.errors import FieldViolation

    told = []
    for violation in error.violations:
        row, _, field = violation.field.partition(".")
        if row.startswith("measurements["):
            place = int(row.removeprefix("measurements[").removesuffix("]"))
            if places:
                row = ", ".join(filter(None, (places[place], field)))
            else:
                row = _option(FIELDS.get(field, field)) if field else ""
            violation = FieldViolation(row, violation.description)
        elif violation.field == "filter":
            chosen = [f"--{name} {given[name]}" for name in ("hardware", "engine") if given[name]]
            violation = FieldViolation(" ".join(chosen), violation.description)
        told.append(violation)
    error.violations = tuple(told)
    return error
