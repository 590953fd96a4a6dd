"""`ridgeline calibrate --vllm-log`: the memory parts of a start of vLLM beside what is predicted of them, and
what they change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from ridgeline.cli import output, parts, printable, session, styles
from ridgeline.cli.catalog import screens
from ridgeline.plots import units

if TYPE_CHECKING:
    from ridgeline.client import Client
    from ridgeline.files.vllm_log import VllmMemory
    from ridgeline.v1.analysis_service_pb2 import Memory
    from ridgeline.v1.measurement_pb2 import Measurement
    from ridgeline.v1.measurement_service_pb2 import CalibratedRow, CalibrateResponse, MeasurementPrediction

TAKEN = ("model", "hardware", "engine", "tp", "pp", "weights", "activations", "kv")
"""Options that a log takes beside itself."""
GIB = float(2**30)
USUAL_LEN = 8192
"""Tokens of the requests that are analysed where the log names none; no part depends on them."""
SOURCE = "vLLM start-up log"

DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "fp8": "fp8"}
LABELS = {
    "weights": "weights",
    "activations": "activation peak",
    "non_torch": "outside of torch",
    "cuda_graphs": "CUDA graphs",
    "kv_pool": "KV pool",
}
METRICS = {
    "weights": "WEIGHTS_GIB",
    "activations": "ACTIVATIONS_GIB",
    "non_torch": "NON_TORCH_GIB",
    "cuda_graphs": "CUDA_GRAPH_GIB",
    "kv_pool": "KV_POOL_GIB",
}
"""The metric of a part's measurement."""
OVERHEADS = ("activations", "non_torch", "cuda_graphs")
"""The parts that calibrating corrects."""


@dataclass(frozen=True)
class Part:
    """A figure of the log beside its prediction, in GiB, tokens or requests; `low` and `high` where the
    prediction has a range. `now` is predicted with the log's own parts, with its range.
    """

    part: str
    unit: str
    measured: float
    predicted: float
    low: float | None = None
    high: float | None = None
    now: float | None = None
    now_low: float | None = None
    now_high: float | None = None

    @property
    def error(self) -> float | None:
        """Predicted over measured less 1; None where nothing was measured."""
        return self.predicted / self.measured - 1 if self.measured else None

    @property
    def now_error(self) -> float | None:
        """The same of what is predicted now."""
        return self.now / self.measured - 1 if self.now is not None and self.measured else None


def run(given: Mapping[str, Any]) -> None:
    """Shows the parts before and with what the log says of them. They are stored as measurements and
    calibrated by, unless it is a dry run.
    """
    from ridgeline.errors import RidgelineError
    from ridgeline.files.vllm_log import read_vllm_log
    from ridgeline.v1.efficiency_profile_pb2 import OPERATOR_CLASS_ENGINE_MEMORY

    missing = [f"--{name}" for name in ("model", "hardware") if given[name] is None]
    if missing:
        raise click.UsageError(f"--vllm-log needs {' and '.join(missing)} too: the log does not tell.")
    try:
        log = read_vllm_log(given["vllm_log"])
    except RidgelineError as error:
        raise session.failure(error) from error
    with session.client(given["server"], given["timeout"]) as client:
        deployment = _deployment(log, given)
        session.device_id(client, given["hardware"])
        length = log.request_len or int(log.settings.get("max_len", USUAL_LEN))
        answer = client.analyze(
            given["model"],
            given["hardware"],
            batch=1,
            input_len=max(length - 1, 1),
            output_len=1,
            flips=False,
            **deployment,
        )
        found = list(_compared(log, answer.memory, length))
        rows = dict(_rows(log, deployment, answer.model_id, answer.hardware_id))
        response = _calibrated(client, list(rows.values()), save=not given["dry_run"])
    told_of = dict(zip(rows, response.rows, strict=True))
    found = list(_with_now(found, answer.memory, told_of))
    if given["output"] == "csv":
        output.write_csv((*Part.__dataclass_fields__, "error", "now_error"), map(_cells, found))
    elif given["output"] == "json":
        told: dict[str, object] = {
            "model_id": answer.model_id,
            "hardware_id": answer.hardware_id,
            "deployment": deployment,
            "parts": [_cells(part) for part in found],
            "stored_count": response.stored_count,
            "catalog_revision": response.catalog_revision,
            "profile_ids": [made.profile.id for made in response.profiles],
        }
        click.echo(printable.json_text(json.dumps(told, indent=2, ensure_ascii=False)))
    else:
        heading = (
            f"{answer.model_id} on {answer.hardware_id}, {deployment['engine']}: {answer.memory.engine_note}"
        )
        _show(heading, found, response)
        corrects = any(
            made.profile.operator_class == OPERATOR_CLASS_ENGINE_MEMORY
            and made.profile.engine == deployment["engine"].partition("@")[0].lower()
            for made in response.profiles
        )
        told_last = _written(response, corrects=corrects, dry_run=given["dry_run"])
        parts.paragraph(output.console(), told_last, styles.QUIET, left=0)


def _calibrated(client: Client, rows: list[Measurement], *, save: bool) -> CalibrateResponse:
    from ridgeline.errors import RidgelineError
    from ridgeline.v1.measurement_service_pb2 import CalibrateResponse

    if not rows:
        return CalibrateResponse()
    try:
        return client.calibrate(rows, save=save)
    except RidgelineError as error:
        raise session.failure(error) from error


def _deployment(log: VllmMemory, given: Mapping[str, Any]) -> dict[str, Any]:
    """How the log says that the model is served; options win."""
    settings = log.settings
    served = DTYPES.get(settings.get("dtype", ""))
    quantized = settings.get("quantization", "")
    stated: dict[str, Any] = {"engine": f"vllm@{log.version}" if log.version else "vllm"}
    if quantized == "fp8":
        stated["weights"] = "fp8"
    elif not quantized and served:
        stated["weights"] = served
        if served == "fp32":
            stated["activations"] = served
    if settings.get("kv_dtype", "").startswith("fp8"):
        stated["kv"] = "fp8"
    stated |= {name: int(settings[name]) for name in ("tp", "pp") if name in settings}
    if log.utilization is not None:
        stated["memory_utilization"] = log.utilization
    return stated | {
        name: given[name] for name in TAKEN if name not in ("model", "hardware") and given[name] is not None
    }


def _compared(log: VllmMemory, memory: Memory, length: int) -> Iterator[Part]:
    predicted = {
        "weights": memory.weights_bytes,
        "activations": memory.activations_bytes,
        "non_torch": memory.non_torch_bytes,
        "cuda_graphs": memory.cuda_graph_bytes,
    }
    for name, measured in log.parts.items():
        if name in predicted:
            yield Part(LABELS[name], "GiB", measured, predicted[name] / GIB)
        elif memory.HasField("kv_pool_bytes"):
            pool = memory.kv_pool_bytes
            yield Part(LABELS[name], "GiB", measured, pool.value / GIB, pool.low / GIB, pool.high / GIB)
    held = memory.max_concurrency
    if log.kv_tokens is not None:
        tokens = [end * length for end in (held.value, held.low, held.high)]
        yield Part("KV pool", "tokens", log.kv_tokens, *tokens)
    if log.max_concurrency is not None:
        name = f"requests of {length:,} tokens"
        yield Part(name, "requests", log.max_concurrency, held.value, held.low, held.high)


def _with_now(found: Sequence[Part], memory: Memory, told_of: Mapping[str, CalibratedRow]) -> Iterator[Part]:
    """Figures with what is predicted with the log's parts. What these take more or less is left less or more
    for the pool, as far as the engine counts them into its share of the device.
    """
    names = {LABELS[name]: name for name in told_of}
    changes = {
        name: (row.before, row.now)
        for name, row in told_of.items()
        if name in OVERHEADS and row.now.HasField("predicted") and row.before.HasField("predicted")
    }
    if memory.overhead_bytes <= memory.non_torch_bytes:
        changes.pop("cuda_graphs", None)
    pool = memory.kv_pool_bytes
    ends = (pool.value / GIB, pool.low / GIB, pool.high / GIB)
    left = _left_now(ends, list(changes.values()))
    for part in found:
        name = names.get(part.part)
        if name in OVERHEADS and told_of[name].now.HasField("predicted"):
            now = told_of[name].now
            yield replace(part, now=now.predicted, now_low=now.low, now_high=now.high)
        elif name == "weights" or ends[0] <= 0:
            yield part
        else:
            # What a pool holds is in proportion to it.
            each = part.predicted / ends[0]
            value, low, high = (each * (end if part.unit == "GiB" else max(end, 0.0)) for end in left)
            yield replace(part, now=value, now_low=low, now_high=high)


def _left_now(
    pool: tuple[float, float, float], changes: Sequence[tuple[MeasurementPrediction, MeasurementPrediction]]
) -> tuple[float, float, float]:
    """A pool's value and ends where parts are predicted anew. Parts are off independently of each other, so
    that what they may be off adds up in squares.
    """
    value = pool[0] + sum(before.predicted - now.predicted for before, now in changes)

    def off(today: float, end: str) -> float:
        more = sum(
            (getattr(now, end) - now.predicted) ** 2 - (getattr(before, end) - before.predicted) ** 2
            for before, now in changes
        )
        return sqrt(max(today**2 + more, 0.0))

    return value, value - off(pool[0] - pool[1], "high"), value + off(pool[2] - pool[0], "low")


def _rows(
    log: VllmMemory, deployment: Mapping[str, Any], model_id: str, hardware_id: str
) -> Iterator[tuple[str, Measurement]]:
    """A row for each part that takes memory, by the part's name."""
    from ridgeline.v1 import measurement_pb2 as pb

    engine, _, version = deployment["engine"].partition("@")
    for name, value in log.parts.items():
        if value <= 0:
            continue
        row = pb.Measurement(
            source=SOURCE,
            engine=engine.lower(),
            engine_version=version,
            model_id=model_id,
            hardware_id=hardware_id,
            weight_dtype=deployment.get("weights", ""),
            act_dtype=deployment.get("activations", ""),
            kv_dtype=deployment.get("kv", ""),
            phase=pb.MEASUREMENT_PHASE_MEMORY,
            metric=pb.MeasurementMetric.Value(f"MEASUREMENT_METRIC_{METRICS[name]}"),
            value=value,
        )
        if name == "kv_pool" and log.utilization is not None:
            row.notes = f"at a memory utilization of {log.utilization:g}"
        for degree in ("tp", "pp"):
            if degree in deployment:
                setattr(row, degree, deployment[degree])
        yield name, row


def _cells(part: Part) -> dict[str, object]:
    """A part as JSON and CSV have it; what is not told is left out."""
    told = asdict(part) | {"error": part.error, "now_error": part.now_error}
    return {name: value for name, value in told.items() if value is not None}


def _show(heading: str, found: Sequence[Part], response: CalibrateResponse) -> None:
    from ridgeline.cli import calibrate_screen

    console = output.console()
    parts.paragraph(console, printable.line(heading), styles.HEADING, left=0)
    table = screens.table(console)
    table.add_column("On the fullest GPU", overflow="fold")
    for name in ("measured", "before", "off", "now", "off", "low - high"):
        table.add_column(name, justify="right", no_wrap=True)
    for part in found:
        unit = "" if part.unit == "requests" else f", {part.unit}"
        now, ends = part.now, (part.now_low, part.now_high)
        if now is None:
            now, ends = part.predicted, (part.low, part.high)
        low, high = ends
        span = "" if low is None or high is None else f"{units.digits(low)} - {units.digits(high)}"
        table.add_row(
            f"{part.part}{unit}",
            units.digits(part.measured),
            units.digits(part.predicted),
            _off(part.error),
            Text(units.digits(now), styles.HEADING),
            _off(part.error if part.now is None else part.now_error),
            span,
        )
    console.print(table)
    calibrate_screen.show_unused(response, console)


def _off(error: float | None) -> str:
    return "-" if error is None else f"{error:+.1%}"


def _written(response: CalibrateResponse, *, corrects: bool, dry_run: bool) -> str:
    """What was stored, and which answers rest on it."""
    if not response.rows:
        return "Nothing is stored: the log tells no part that takes memory."
    rows = screens.counted(response.stored_count, "new measurement")
    if dry_run:
        told = f"Dry run, nothing was written; it would be {rows}."
    else:
        told = f"Stored {rows}; catalog revision {response.catalog_revision}."
    if not corrects:
        return f"{told} The log tells no part that predictions could be corrected by."
    rest = "would rest" if dry_run else "rest"
    return (
        f"{told} Answers about this engine on this device, of any model, {rest} on `now` from this release "
        "on; those about other devices and engines stay as they are."
    )
