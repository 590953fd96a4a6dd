"""The columns of a sweep's answer, as Arrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from ridgeline.v1 import common_pb2
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.planning.sweep import Answer
from ridgeline_server.roofline.memory import Memory
from ridgeline_server.roofline.results import Metric, Metrics
from ridgeline_server.rpc.sweep_points import Asked, Refusal

TEXT, REAL, WHOLE, TRUTH = pa.string(), pa.float64(), pa.int64(), pa.bool_()

LOADS = {
    "": "STATIC_BATCH",
    "batch": "STATIC_BATCH",
    "concurrency": "CLOSED_LOOP",
    "request_rate": "OPEN_LOOP",
}


class Row(NamedTuple):
    """A point, its place in the order, and what came of it."""

    point: int
    asked: Asked
    found: Answer | Refusal


T = TypeVar("T")


def _each(found: Sequence[T | None], of: Callable[[T], Any]) -> list[Any]:
    return [None if each is None else of(each) for each in found]


class Rows:
    """The rows of a batch, and what several columns are read from: entries of one kind, row by row, None
    where a row has none. Each is found once.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    @property
    def places(self) -> list[int]:
        """Where each stands in the order of the sweep."""
        return [row.point for row in self._rows]

    @cached_property
    def asked(self) -> list[Asked]:
        """The points as they were stated."""
        return [row.asked for row in self._rows]

    @cached_property
    def loads(self) -> list[tuple[common_pb2.Workload, str]]:
        """The loads as they were stated, and the kind of each."""
        return [(asked.workload, asked.workload.WhichOneof("load") or "") for asked in self.asked]

    @cached_property
    def answers(self) -> list[Answer | None]:
        """The answers."""
        return [row.found if isinstance(row.found, Answer) else None for row in self._rows]

    @cached_property
    def refusals(self) -> list[Refusal | None]:
        """The refusals."""
        return [row.found if isinstance(row.found, Refusal) else None for row in self._rows]

    @cached_property
    def deployments(self) -> list[Deployment | None]:
        """The deployments with defaults filled in."""
        return _each(self.answers, lambda answer: answer.point.candidate.scenario.deployment)

    @cached_property
    def metrics(self) -> list[Metrics | None]:
        """The figures of a request."""
        return _each(self.answers, attrgetter("metrics"))

    @cached_property
    def memories(self) -> list[Memory | None]:
        """What lies in a device's memory."""
        return _each(self.answers, lambda answer: answer.simulation.memory)


class Column(NamedTuple):
    """A column: its type, what it tells, and its entries in some rows; None is null."""

    name: str
    type: pa.DataType
    tells: str
    of: Callable[[Rows], list[Any]]


def _asked_name(selector: Any, kind: str) -> str:
    return str(selector.id) if selector.WhichOneof(kind) == "id" else ""


def _model_ids(rows: Rows) -> list[str]:
    return [
        _asked_name(asked.model, "model") if answer is None else answer.point.model.id
        for asked, answer in zip(rows.asked, rows.answers, strict=True)
    ]


def _hardware_ids(rows: Rows) -> list[str]:
    return [
        _asked_name(asked.hardware, "hardware")
        if answer is None
        else answer.point.candidate.scenario.hardware.id
        for asked, answer in zip(rows.asked, rows.answers, strict=True)
    ]


def _requests(rows: Rows) -> list[int | None]:
    return [
        _requests_of(load, kind, stated=asked.refusal is None)
        for (load, kind), asked in zip(rows.loads, rows.asked, strict=True)
    ]


def _requests_of(workload: common_pb2.Workload, kind: str, *, stated: bool) -> int | None:
    match kind:
        case "request_rate":
            return None
        case "concurrency":
            return workload.concurrency
        case "batch":
            return workload.batch
    return 1 if stated else None


def _request_rates(rows: Rows) -> list[float | None]:
    return [load.request_rate if kind == "request_rate" else None for load, kind in rows.loads]


def _engine(deployment: Deployment) -> str | None:
    stated = deployment.engine
    if stated is None:
        return None
    return f"{stated.asked_engine}@{stated.asked_version}" if stated.asked_version else stated.asked_engine


def _deployment(of: Callable[[Deployment], Any]) -> Callable[[Rows], list[Any]]:
    return lambda rows: _each(rows.deployments, of)


def _answer(of: Callable[[Answer], Any]) -> Callable[[Rows], list[Any]]:
    return lambda rows: _each(rows.answers, of)


def _memory(of: Callable[[Memory], Any]) -> Callable[[Rows], list[Any]]:
    return lambda rows: _each(rows.memories, of)


def _refusal(of: Callable[[Refusal], str]) -> Callable[[Rows], list[Any]]:
    return lambda rows: _each(rows.refusals, of)


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
    metric_of = attrgetter(name)

    def entries(part: Callable[[Metric], float | None]) -> Callable[[Rows], list[Any]]:
        return lambda rows: _each(_each(rows.metrics, metric_of), part)

    return [
        Column(name, REAL, tells, entries(attrgetter("value"))),
        Column(f"{name}_low", REAL, "its low end; null on the ideal basis", entries(attrgetter("low"))),
        Column(f"{name}_high", REAL, "its high end; null on the ideal basis", entries(attrgetter("high"))),
        Column(f"{name}_ideal", REAL, "on the datasheet roofline", entries(attrgetter("ideal"))),
    ]


COLUMNS: tuple[Column, ...] = (
    Column("point", WHOLE, "place in the order of the sweep, from 0 on", lambda rows: rows.places),
    Column("model_id", TEXT, "the model", _model_ids),
    Column("hardware_id", TEXT, "the device", _hardware_ids),
    Column(
        "load",
        TEXT,
        "STATIC_BATCH, CLOSED_LOOP or OPEN_LOOP",
        lambda rows: [LOADS[kind] for _, kind in rows.loads],
    ),
    Column(
        "requests",
        WHOLE,
        "batch, or requests in flight; null of an open loop",
        _requests,
    ),
    Column("request_rate", REAL, "requests per second of an open loop, else null", _request_rates),
    Column(
        "input_len",
        WHOLE,
        "prompt tokens",
        lambda rows: [load.input_len for load, _ in rows.loads],
    ),
    Column(
        "output_len",
        WHOLE,
        "generated tokens",
        lambda rows: [load.output_len for load, _ in rows.loads],
    ),
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
        lambda rows: _each(rows.metrics, attrgetter("requests_in_flight")),
    ),
    Column(
        "requests_waiting",
        REAL,
        "those that wait for memory",
        lambda rows: _each(rows.metrics, attrgetter("requests_waiting")),
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
    read = Rows(rows)
    arrays = [pa.array(column.of(read), column.type) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
