"""`ridgeline calibrate --vllm-log`: the memory parts of a start of vLLM beside what is predicted of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from ridgeline.cli import output, parts, printable, session, styles
from ridgeline.cli.catalog import screens
from ridgeline.plots import units

if TYPE_CHECKING:
    from ridgeline.client import Client
    from ridgeline.files.vllm_log import VllmMemory
    from ridgeline.v1.analysis_service_pb2 import Memory
    from ridgeline.v1.measurement_pb2 import Measurement

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


@dataclass(frozen=True)
class Part:
    """A figure of the log beside its prediction, in GiB, tokens or requests; `low` and `high` where the
    prediction has a range.
    """

    part: str
    unit: str
    measured: float
    predicted: float
    low: float | None = None
    high: float | None = None

    @property
    def error(self) -> float | None:
        """Predicted over measured less 1; None where nothing was measured."""
        return self.predicted / self.measured - 1 if self.measured else None


def run(given: Mapping[str, Any]) -> None:
    """Shows the parts, and stores those of memory as measurements unless it is a dry run."""
    from ridgeline.errors import RidgelineError
    from ridgeline.files.vllm_log import read_vllm_log

    missing = [f"--{name}" for name in ("model", "hardware") if given[name] is None]
    if missing:
        raise click.UsageError(f"--vllm-log needs {' and '.join(missing)} too: the log does not tell.")
    try:
        log = read_vllm_log(given["vllm_log"])
    except RidgelineError as error:
        raise session.failure(error) from error
    with session.client(given["server"], given["timeout"]) as client:
        deployment = _deployment(log, given)
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
        stored = 0
        if not given["dry_run"]:
            stored = _store(client, log, deployment, answer.model_id, answer.hardware_id)
    if given["output"] == "csv":
        output.write_csv((*Part.__dataclass_fields__, "error"), map(_cells, found))
    elif given["output"] == "json":
        told: dict[str, object] = {
            "model_id": answer.model_id,
            "hardware_id": answer.hardware_id,
            "deployment": deployment,
            "parts": [_cells(part) for part in found],
            "stored_count": stored,
        }
        click.echo(printable.json_text(json.dumps(told, indent=2, ensure_ascii=False)))
    else:
        heading = (
            f"{answer.model_id} on {answer.hardware_id}, {deployment['engine']}: {answer.memory.engine_note}"
        )
        _show(heading, found, stored, given)


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


def _store(
    client: Client, log: VllmMemory, deployment: Mapping[str, Any], model_id: str, hardware_id: str
) -> int:
    """Store the parts as measurements; how many are new."""
    from ridgeline.v1 import catalog_service_pb2 as catalog

    rows = list(_rows(log, deployment, model_id, hardware_id))
    outcomes = client.import_measurements(rows).outcomes if rows else []
    return sum(outcome.action == catalog.IMPORT_ACTION_CREATED for outcome in outcomes)


def _rows(
    log: VllmMemory, deployment: Mapping[str, Any], model_id: str, hardware_id: str
) -> Iterator[Measurement]:
    """A row for each part that takes memory. Rows state no lengths, so that a part is never compared with
    what a whole load takes.
    """
    from ridgeline.v1 import measurement_pb2 as pb

    engine, _, version = deployment["engine"].partition("@")
    for name, value in log.parts.items():
        if value <= 0:
            continue
        row = pb.Measurement(
            source=SOURCE,
            engine=engine,
            engine_version=version,
            model_id=model_id,
            hardware_id=hardware_id,
            weight_dtype=deployment.get("weights", ""),
            act_dtype=deployment.get("activations", ""),
            kv_dtype=deployment.get("kv", ""),
            phase=pb.MEASUREMENT_PHASE_MEMORY,
            metric=pb.MEASUREMENT_METRIC_MEMORY_GIB,
            value=value,
            notes=f"part: {LABELS[name]}",
        )
        for degree in ("tp", "pp"):
            if degree in deployment:
                setattr(row, degree, deployment[degree])
        yield row


def _cells(part: Part) -> dict[str, object]:
    """A part as JSON and CSV have it; what is not told is left out."""
    told = asdict(part) | {"error": part.error}
    return {name: value for name, value in told.items() if value is not None}


def _show(heading: str, found: list[Part], stored: int, given: Mapping[str, Any]) -> None:
    console = output.console()
    parts.paragraph(console, printable.line(heading), styles.HEADING, left=0)
    table = screens.table(console)
    table.add_column("On the fullest GPU", overflow="fold")
    for name in ("measured", "predicted", "low - high", "error"):
        table.add_column(name, justify="right", no_wrap=True)
    for part in found:
        ends = ""
        if part.low is not None and part.high is not None:
            ends = f"{units.digits(part.low)} - {units.digits(part.high)}"
        unit = "" if part.unit == "requests" else f", {part.unit}"
        off = "-" if part.error is None else f"{part.error:+.1%}"
        cells = (units.digits(part.measured), units.digits(part.predicted), ends, off)
        table.add_row(f"{part.part}{unit}", *cells)
    console.print(table)
    if given["dry_run"]:
        told = "Dry run: nothing was stored."
    else:
        told = f"Stored {screens.counted(stored, 'new measurement')} of memory parts."
    parts.paragraph(
        console,
        f"{told} An engine's memory constants come with the release and are not refitted: predictions "
        "stay as they are.",
        styles.QUIET,
        left=0,
    )
