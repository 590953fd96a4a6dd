"""The columns of a sweep's answer, as Arrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.planning.sweep import Answer
from ridgeline_server.roofline.memory import Memory
from ridgeline_server.roofline.results import Metric
from ridgeline_server.rpc.sweep_points import Asked, Refusal

TEXT, REAL, WHOLE, TRUTH = pa.string(), pa.float64(), pa.int64(), pa.bool_()

LOADS = {"batch": "STATIC_BATCH", "concurrency": "CLOSED_LOOP", "request_rate": "OPEN_LOOP"}


class Row(NamedTuple):
    """A point, its place in the order, and what came of it."""

    point: int
    asked: Asked
    found: Answer | Refusal


class Column(NamedTuple):
    """A column: its type, what it tells, and its entry in a row; None is null."""

    name: str
    type: pa.DataType
    tells: str
    of: Callable[[Row], Any]


def _asked_name(selector: Any, kind: str) -> str:
    return str(selector.id) if selector.WhichOneof(kind) == "id" else ""


def _model_id(row: Row) -> str:
    if isinstance(row.found, Answer):
        return row.found.point.model.id
    return _asked_name(row.asked.model, "model")


def _hardware_id(row: Row) -> str:
    if isinstance(row.found, Answer):
        return row.found.point.candidate.scenario.hardware.id
    return _asked_name(row.asked.hardware, "hardware")


def _load(row: Row) -> str:
    return LOADS[row.asked.workload.WhichOneof("load") or "batch"]


def _requests(row: Row) -> int | None:
    workload = row.asked.workload
    match workload.WhichOneof("load"):
        case "request_rate":
            return None
        case "concurrency":
            return workload.concurrency
        case "batch":
            return workload.batch
    return 1 if row.asked.refusal is None else None


def _request_rate(row: Row) -> float | None:
    workload = row.asked.workload
    return workload.request_rate if workload.HasField("request_rate") else None


def _deployment(of: Callable[[Deployment], Any]) -> Callable[[Row], Any]:
    def entry(row: Row) -> Any:
        if isinstance(row.found, Refusal):
            return None
        return of(row.found.point.candidate.scenario.deployment)

    return entry


def _engine(deployment: Deployment) -> str | None:
    stated = deployment.engine
    if stated is None:
        return None
    return f"{stated.asked_engine}@{stated.asked_version}" if stated.asked_version else stated.asked_engine


def _answer(of: Callable[[Answer], Any]) -> Callable[[Row], Any]:
    def entry(row: Row) -> Any:
        return of(row.found) if isinstance(row.found, Answer) else None

    return entry


def _memory(of: Callable[[Memory], Any]) -> Callable[[Row], Any]:
    return _answer(lambda answer: of(answer.simulation.memory))


def _refusal(of: Callable[[Refusal], str]) -> Callable[[Row], Any]:
    def entry(row: Row) -> Any:
        return of(row.found) if isinstance(row.found, Refusal) else None

    return entry


_METRICS = {
    "ttft_ms": "time to first token, milliseconds",
    "tpot_ms": "mean time between output tokens, milliseconds",
    "e2e_latency_ms": "from arrival to the last token, milliseconds",
    "output_tokens_per_s": "output tokens per second, all devices",
    "output_tokens_per_s_per_device": "output tokens per second and device",
    "total_tokens_per_s": "prompt and output tokens per second, all devices",
    "cost_usd_per_million_output_tokens": "US dollars per million output tokens; null without a price",
    "joules_per_output_token": "joules per output token; null without a power limit",
}


def _figures(name: str, tells: str) -> list[Column]:
    """A metric on the answer's basis, its interval, and its ideal."""

    def entry(part: Callable[[Metric], float | None]) -> Callable[[Row], Any]:
        def of(answer: Answer) -> float | None:
            metric: Metric | None = getattr(answer.metrics, name)
            return None if metric is None else part(metric)

        return _answer(of)

    return [
        Column(name, REAL, tells, entry(lambda metric: metric.value)),
        Column(f"{name}_low", REAL, "its low end; null on the ideal basis", entry(lambda m: m.low)),
        Column(f"{name}_high", REAL, "its high end; null on the ideal basis", entry(lambda m: m.high)),
        Column(f"{name}_ideal", REAL, "on the datasheet roofline", entry(lambda m: m.ideal)),
    ]


COLUMNS: tuple[Column, ...] = (
    Column("point", WHOLE, "place in the order of the sweep, from 0 on", lambda row: row.point),
    Column("model_id", TEXT, "the model", _model_id),
    Column("hardware_id", TEXT, "the device", _hardware_id),
    Column("load", TEXT, "STATIC_BATCH, CLOSED_LOOP or OPEN_LOOP", _load),
    Column("requests", WHOLE, "batch, or requests in flight; null of an open loop", _requests),
    Column("request_rate", REAL, "requests per second of an open loop, else null", _request_rate),
    Column("input_len", WHOLE, "prompt tokens", lambda row: row.asked.workload.input_len),
    Column("output_len", WHOLE, "generated tokens", lambda row: row.asked.workload.output_len),
    Column("weight_dtype", TEXT, "storage of the weights", _deployment(lambda d: d.weight_dtype.name)),
    Column("activation_dtype", TEXT, "GEMM operands", _deployment(lambda d: d.activation_dtype.name)),
    Column("kv_dtype", TEXT, "storage of the KV cache", _deployment(lambda d: d.kv_dtype.name)),
    Column("tp", WHOLE, "tensor parallel", _deployment(lambda d: d.parallel.tp)),
    Column("pp", WHOLE, "pipeline stages", _deployment(lambda d: d.parallel.pp)),
    Column("ep", WHOLE, "expert parallel", _deployment(lambda d: d.parallel.ep)),
    Column("dp", WHOLE, "replicas", _deployment(lambda d: d.parallel.dp)),
    Column("devices", WHOLE, "devices in all", _deployment(lambda d: d.parallel.devices)),
    Column("engine", TEXT, "NAME or NAME@VERSION; null where none is stated", _deployment(_engine)),
    *(column for name, tells in _METRICS.items() for column in _figures(name, tells)),
    Column("prefill_bound", TEXT, "what holds most of a prefill", _answer(lambda a: a.prefill_bound.name)),
    Column(
        "decode_bound",
        TEXT,
        "what holds most of a decode step",
        _answer(lambda a: a.decode_bound.name),
    ),
    Column(
        "requests_in_flight",
        REAL,
        "requests at any time",
        _answer(lambda a: a.metrics.requests_in_flight),
    ),
    Column(
        "requests_waiting",
        REAL,
        "those that wait for memory",
        _answer(lambda a: a.metrics.requests_waiting),
    ),
    Column("weights_bytes", REAL, "on the fullest device", _memory(lambda m: m.weights_bytes)),
    Column("kv_cache_bytes", REAL, "on the fullest device", _memory(lambda m: m.kv_cache_bytes)),
    Column("memory_bytes", REAL, "all together", _memory(lambda m: m.total_bytes)),
    Column("usable_memory_bytes", REAL, "what there is of it", _memory(lambda m: m.usable_bytes)),
    Column("fits", TRUTH, "whether it fits", _memory(lambda m: m.fits)),
    Column("max_batch", WHOLE, "largest batch of these lengths that fits", _memory(lambda m: m.max_batch)),
    Column(
        "context_exceeded",
        TRUTH,
        "whether requests are longer than the model's context",
        _answer(lambda a: a.context_exceeded),
    ),
    Column("error_reason", TEXT, "ErrorReason of a refused point, else null", _refusal(lambda r: r.reason)),
    Column("error_message", TEXT, "why, in a sentence", _refusal(lambda r: r.message)),
)
BY_NAME = {column.name: column for column in COLUMNS}


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of some columns; what each tells is its metadata."""
    return pa.schema(
        [pa.field(column.name, column.type, metadata={"description": column.tells}) for column in columns]
    )


def record_batch(rows: Sequence[Row], columns: Sequence[Column], schema: pa.Schema) -> pa.RecordBatch:
    """Rows as a record batch."""
    arrays = [pa.array([column.of(row) for row in rows], column.type) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
