"""The columns of a sweep's answer, as Arrow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ridgeline.v1 import common_pb2, types_pb2
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.workload import Load
from ridgeline_server.planning.sweep import LOADS, Answers, Case, basis_of
from ridgeline_server.roofline.memory.device import Memories
from ridgeline_server.roofline.metrics import prefill_shares
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.results import BOUND_OF
from ridgeline_server.roofline.serving import SimulatedLoads
from ridgeline_server.rpc.sweep_points import AskedCase, Read, Refusal, refusal_of

Array = NDArray[np.float64]

TEXT, REAL, WHOLE, TRUTH = pa.string(), pa.float64(), pa.int64(), pa.bool_()


class Rows:
    """The rows of a batch: points by their places in the sweep's order, as they were asked, and what came of
    them.
    """

    def __init__(self, places: range, read: Read, found: Answers) -> None:
        self.places = places
        self.asked = read.asked
        self._read = read
        self._found = found

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.places)

    @property
    def refused_count(self) -> int:
        """How many of them are refused."""
        return len(self._read.refusals) + len(self._found.refused)

    @cached_property
    def refusals(self) -> Mapping[int, Refusal]:
        """The refusals by row."""
        places = self._read.places
        costed = {int(places[point]): refusal_of(error) for point, error in self._found.refused.items()}
        return {**self._read.refusals, **costed}

    @cached_property
    def answered(self) -> NDArray[np.bool_]:
        """Which rows have an answer."""
        found = np.ones(self.count, dtype=np.bool_)
        found[list(self.refusals)] = False
        return found

    def by_case(
        self, of: Callable[[Case], Any], asked: Callable[[AskedCase], Any], kind: pa.DataType
    ) -> pa.Array[Any]:
        """An entry for the case of each row; of a row that is refused, as it was asked."""
        found = [None if case is None else of(case) for case in self._read.cases]
        stated = [asked(case) for case in self.asked.cases]
        on = self.asked.on
        return self._taken([*found, *stated], np.where(self.answered, on, on + len(found)), kind)

    def figures(self, of_points: Array) -> Array:
        """Figures of the points that could be read as figures of rows, NaN where a row has none."""
        found = np.full(self.count, np.nan)
        found[self._read.places] = of_points
        return found

    def costed(self, of: Callable[[SimulatedLoads], NDArray[Any]]) -> Array:
        """A figure of each row, NaN where it has none."""
        return self.figures(self._found.figures(of))

    def metric(self, name: str, end: str) -> Array:
        """A metric of each row, or an end of its interval; NaN where it has none."""
        return self.figures(self._found.metric(name, end))

    def bound(self, stage: Stage) -> pa.Array[Any]:
        """What holds most of a step."""
        codes = self.costed(lambda loads: loads.costed.bounds(stage))
        number = np.where(np.isnan(codes), len(BOUND_OF), codes).astype(np.intp)
        return self._taken([*(bound.name for bound in BOUND_OF), None], number, TEXT)

    @property
    def context_exceeded(self) -> Array:
        """1 where requests are longer than their model's context, 0 where they are not."""
        longest = [
            np.inf if case is None else case.model.max_context_len or np.inf for case in self._read.cases
        ]
        exceeded = self.asked.input_len + self.asked.output_len > np.array(longest)[self.asked.on]
        return np.where(self.answered, exceeded, np.nan)

    @staticmethod
    def _taken(entries: Sequence[Any], places: NDArray[np.intp], kind: pa.DataType) -> pa.Array[Any]:
        return pa.array(entries, kind).take(places)


class Column(NamedTuple):
    """A column: its type, what it tells, and its entries in some rows; NaN is null."""

    name: str
    type: pa.DataType
    tells: str
    of: Callable[[Rows], pa.Array[Any] | Array]


def _asked_name(selector: Any, kind: str) -> str:
    return str(selector.id) if selector.WhichOneof(kind) == "id" else ""


def _model_ids(rows: Rows) -> pa.Array[Any]:
    return rows.by_case(lambda case: case.model.id, lambda case: _asked_name(case.model, "model"), TEXT)


def _hardware_ids(rows: Rows) -> pa.Array[Any]:
    return rows.by_case(
        lambda case: case.scenario.hardware.id, lambda case: _asked_name(case.hardware, "hardware"), TEXT
    )


def _loads(rows: Rows) -> pa.Array[Any]:
    return pa.array([load.name for load in LOADS], TEXT).take(rows.asked.kind)


def _is_open(rows: Rows) -> NDArray[np.bool_]:
    is_open: NDArray[np.bool_] = rows.asked.kind == LOADS.index(Load.OPEN_LOOP)
    return is_open


def _engine(name: str, version: str) -> str | None:
    return (f"{name}@{version}" if version else name) or None


def _deployment(
    of: Callable[[Deployment], Any],
    kind: pa.DataType,
    asked: Callable[[common_pb2.Deployment], Any] = lambda _: None,
) -> Callable[[Rows], pa.Array[Any]]:
    """Something of the deployment; of a row that is refused what was `asked`, null where nothing was."""
    return lambda rows: rows.by_case(
        lambda case: of(case.scenario.deployment), lambda case: asked(case.deployment), kind
    )


def _dtype(field: str) -> Callable[[Rows], pa.Array[Any]]:
    def asked(deployment: common_pb2.Deployment) -> str | None:
        number = getattr(deployment, field)
        return types_pb2.Dtype.Name(number).removeprefix("DTYPE_") if number else None

    return _deployment(lambda deployment: getattr(deployment, field).name, TEXT, asked)


def _degree(field: str) -> Callable[[Rows], pa.Array[Any]]:
    def asked(deployment: common_pb2.Deployment) -> int | None:
        parallel = deployment.parallel
        return getattr(parallel, field) if parallel.HasField(field) else None  # type: ignore[arg-type]

    return _deployment(lambda deployment: getattr(deployment.parallel, field), WHOLE, asked)


def _engine_name(deployment: Deployment) -> str | None:
    engine = deployment.engine
    return None if engine is None else _engine(engine.asked_engine, engine.asked_version)


def _engine_match(deployment: Deployment) -> str | None:
    return None if deployment.engine is None else deployment.engine.level.name


def _memory(of: Callable[[Memories], NDArray[Any]]) -> Callable[[Rows], Array]:
    return lambda rows: rows.costed(lambda loads: of(loads.memories))


def _refusal(of: Callable[[Refusal], str]) -> Callable[[Rows], pa.Array[Any]]:
    def texts(rows: Rows) -> pa.Array[Any]:
        if not rows.refusals:
            return pa.nulls(rows.count, TEXT)
        found = [rows.refusals.get(place) for place in range(rows.count)]
        return pa.array([None if refusal is None else of(refusal) for refusal in found], TEXT)

    return texts


_METRICS = {
    "ttft_ms": "time to first token, milliseconds",
    "tpot_ms": "mean time between output tokens, milliseconds",
    "e2e_latency_ms": "from arrival to the last token, milliseconds",
    "output_tokens_per_s": "output tokens per second, all devices",
    "output_tokens_per_s_per_device": "output tokens per second and device",
    "total_tokens_per_s": "prompt and output tokens per second, all devices",
    "cost_usd_per_million_output_tokens": "US dollars per million output tokens; null without a price",
    "input_cost_usd_per_million_tokens": "US dollars per million prompt tokens, by the time that they take",
    "output_cost_usd_per_million_tokens": "US dollars per million output tokens, by the time that is left",
    "joules_per_output_token": "joules per output token; null without a power limit",
}


def _figures(name: str, tells: str) -> list[Column]:
    """A metric on the answer's basis, its interval, and its ideal."""

    def entries(end: str) -> Callable[[Rows], Array]:
        return lambda rows: rows.metric(name, end)

    return [
        Column(name, REAL, tells, entries("value")),
        Column(f"{name}_low", REAL, "its low end; null on the ideal basis", entries("low")),
        Column(f"{name}_high", REAL, "its high end; null on the ideal basis", entries("high")),
        Column(f"{name}_ideal", REAL, "on the datasheet roofline", entries("ideal")),
    ]


COLUMNS: tuple[Column, ...] = (
    Column(
        "point",
        WHOLE,
        "place in the order of the sweep, from 0 on",
        lambda rows: np.array(rows.places, dtype=np.float64),
    ),
    Column("model_id", TEXT, "the model", _model_ids),
    Column("hardware_id", TEXT, "the device", _hardware_ids),
    Column("load", TEXT, "STATIC_BATCH, CLOSED_LOOP or OPEN_LOOP", _loads),
    Column(
        "requests",
        WHOLE,
        "batch, or requests in flight; null of an open loop",
        lambda rows: np.where(_is_open(rows), np.nan, rows.asked.number),
    ),
    Column(
        "request_rate",
        REAL,
        "requests per second of an open loop, else null",
        lambda rows: np.where(_is_open(rows), rows.asked.number, np.nan),
    ),
    Column("input_len", WHOLE, "prompt tokens", lambda rows: rows.asked.input_len),
    Column("output_len", WHOLE, "generated tokens", lambda rows: rows.asked.output_len),
    Column("weight_dtype", TEXT, "storage of the weights", _dtype("weight_dtype")),
    Column("activation_dtype", TEXT, "GEMM operands", _dtype("activation_dtype")),
    Column("kv_dtype", TEXT, "storage of the KV cache", _dtype("kv_dtype")),
    Column("tp", WHOLE, "tensor parallel", _degree("tp")),
    Column("pp", WHOLE, "pipeline stages", _degree("pp")),
    Column("ep", WHOLE, "expert parallel", _degree("ep")),
    Column("dp", WHOLE, "replicas", _degree("dp")),
    Column("devices", WHOLE, "devices in all", _deployment(lambda d: d.parallel.devices, WHOLE)),
    Column(
        "engine",
        TEXT,
        "NAME or NAME@VERSION; null where none is stated",
        _deployment(_engine_name, TEXT, lambda d: _engine(d.engine, d.engine_version)),
    ),
    Column(
        "engine_match",
        TEXT,
        "how the engine's memory is known: EXACT, EARLIER_RELEASE, UNKNOWN_RELEASE or GENERIC",
        _deployment(_engine_match, TEXT),
    ),
    *(column for name, tells in _METRICS.items() for column in _figures(name, tells)),
    Column(
        "prefill_time_share",
        REAL,
        "share of the devices' time that prompts take",
        lambda rows: rows.costed(lambda loads: prefill_shares(loads, basis_of(loads))),
    ),
    Column("prefill_bound", TEXT, "what holds most of a prefill", lambda rows: rows.bound(Stage.PREFILL)),
    Column("decode_bound", TEXT, "what holds most of a decode step", lambda rows: rows.bound(Stage.DECODE)),
    Column(
        "requests_in_flight",
        REAL,
        "mean requests in flight",
        lambda rows: rows.costed(lambda loads: loads.flights.in_flight),
    ),
    Column(
        "requests_waiting",
        REAL,
        "those of them that wait for memory",
        lambda rows: rows.costed(lambda loads: loads.flights.requests_waiting),
    ),
    Column(
        "near_limit",
        TRUTH,
        "whether more wait, or are not served, at the slow end of what is known",
        lambda rows: rows.costed(lambda loads: loads.flights.near_limit),
    ),
    Column(
        "weights_bytes", REAL, "bytes of weights on the fullest device", _memory(lambda m: m.weights_bytes)
    ),
    Column(
        "kv_cache_bytes",
        REAL,
        "bytes of KV cache on it, all sequences at full length",
        _memory(lambda m: m.kv_cache_bytes),
    ),
    Column("memory_bytes", REAL, "bytes of all that is on it", _memory(lambda m: m.total_bytes)),
    Column("usable_memory_bytes", REAL, "bytes that it has for that", _memory(lambda m: m.usable_bytes)),
    Column("fits", TRUTH, "whether all of it fits", _memory(lambda m: m.fits)),
    Column("max_batch", WHOLE, "largest batch of these lengths that fits", _memory(lambda m: m.max_batch)),
    Column(
        "context_exceeded",
        TRUTH,
        "whether requests are longer than the model's context",
        lambda rows: rows.context_exceeded,
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


def record_batch(rows: Rows, columns: Sequence[Column], schema: pa.Schema) -> pa.RecordBatch:
    """Rows as a record batch."""
    return pa.RecordBatch.from_arrays([_array(column, rows) for column in columns], schema=schema)


_STORED = {REAL: np.float64, WHOLE: np.int64, TRUTH: np.bool_}


def _array(column: Column, rows: Rows) -> pa.Array[Any]:
    entries = column.of(rows)
    if isinstance(entries, pa.Array):
        return entries
    absent = np.isnan(entries)
    return pa.array(np.where(absent, 0.0, entries).astype(_STORED[column.type]), column.type, mask=absent)
