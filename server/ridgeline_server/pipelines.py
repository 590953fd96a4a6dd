"""Sweeps as a pure function, for engines that map record batches over a cluster: Ray Data, Spark, Dask.

    from ridgeline_server.pipelines import evaluate

    answers = evaluate(questions)            # pyarrow.RecordBatch in, pyarrow.RecordBatch out

A row of the input is a point. Its columns are `model`, `hardware` and `input_len`, and, where they are not
null or absent, the load (`batch`, `concurrency` or `request_rate`; a static batch of 1 otherwise),
`output_len` (128), the formats `weight_dtype`, `activation_dtype` and `kv_dtype`, the degrees `tp`, `pp`,
`ep` and `dp`, and `engine` (NAME or NAME@VERSION), all in the words of the contract. The output has the rows
in the same order, and the columns of `AnalysisService.Sweep` (docs/sweeps.md) with the same figures. A row
that cannot be answered has `error_reason` and `error_message`.

Names are looked up in the catalog that ships, or in the database that `database_url` names. A process opens a
catalog once, and keeps it.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from ridgeline.v1 import common_pb2
from ridgeline_server.domain.deployment import CostBasis
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.convert.enums import DTYPE
from ridgeline_server.rpc.convert.sweep_columns import record_batch, schema_of
from ridgeline_server.rpc.sweep_points import (
    LOAD_FIELDS,
    Asked,
    AskedCase,
    PointReader,
    Refusal,
    asked_loads,
)
from ridgeline_server.rpc.sweeps import BATCH_ROWS, answered, read_columns
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.startup import open_catalog, open_embedded_catalog

INVALID = "INVALID_FIELD"
PANDAS_INDEX = "__index_level_"
"""Begins the names of columns that pandas makes of an index."""
NEEDED = ("model", "hardware", "input_len")
DTYPES = ("weight_dtype", "activation_dtype", "kv_dtype")
DEGREES = ("tp", "pp", "ep", "dp")
OF_CASES = ("model", "hardware", *DTYPES, *DEGREES, "engine")
OF_LOADS = ("input_len", *LOAD_FIELDS, "output_len")
COLUMNS = (*NEEDED, *LOAD_FIELDS, "output_len", *DTYPES, *DEGREES, "engine")
"""Columns of the input."""

DEFAULT_OUTPUT_LEN = 128
MOST_SHOWN = 60
"""Characters of an entry that a message shows."""


def evaluate(
    questions: pa.RecordBatch | pa.Table,
    *,
    columns: Sequence[str] = (),
    ideal: bool = False,
    database_url: str | None = None,
) -> pa.RecordBatch:
    """The answers to a record batch of points, one row each, in their order.

    `columns` chooses columns of the output, all when empty; `point` counts within this batch. Raises
    InvalidFieldsError, a ValueError, for columns that there are not, that lack, or that hold something else
    than they should.
    """
    checks = Checks()
    chosen = read_columns([columns] if isinstance(columns, str) else columns, checks)
    _check_names(questions.schema.names, checks)
    checks.raise_if_any()
    schema, points = schema_of(chosen), _Rows(questions)
    basis = CostBasis.IDEAL if ideal else CostBasis.EXPECTED
    reader = PointReader(_catalog(database_url).snapshot(), basis)
    starts = range(0, points.count, BATCH_ROWS)
    parts = [
        record_batch(
            answered(points, range(start, min(start + BATCH_ROWS, points.count)), reader), chosen, schema
        )
        for start in starts
    ]
    whole = pa.Table.from_batches(parts, schema).combine_chunks().to_batches()
    return whole[0] if whole else pa.RecordBatch.from_pylist([], schema=schema)


def _catalog(database_url: str | None) -> CatalogCache:
    return _shipped().cache if database_url is None else _of_database(database_url)


@lru_cache(maxsize=4)
def _of_database(url: str) -> CatalogCache:
    return CatalogCache(open_catalog(url))


class _Shipped(NamedTuple):
    """The catalog that ships, in a database of this process's own that vanishes with it."""

    folder: tempfile.TemporaryDirectory[str]
    cache: CatalogCache


@cache
def _shipped() -> _Shipped:
    folder = tempfile.TemporaryDirectory(prefix="ridgeline-")
    atexit.register(folder.cleanup)
    store = open_embedded_catalog(f"sqlite:///{Path(folder.name) / 'catalog.sqlite3'}")
    return _Shipped(folder, CatalogCache(store))


def _check_names(names: Sequence[str], checks: Checks) -> None:
    for name in names:
        if name.startswith(PANDAS_INDEX):
            continue
        if name not in COLUMNS:
            checks.add(name, f"is no column of points; give {', '.join(COLUMNS)}")
        elif names.count(name) > 1:
            checks.add(name, "is there twice; give each column once")
    for name in NEEDED:
        if name not in names:
            checks.add(name, "is missing; every point has one")


class _Rows:
    """Rows of a table as points. What is null states nothing: a point without a model is refused like one
    that came over the wire.
    """

    def __init__(self, table: pa.RecordBatch | pa.Table) -> None:
        self._table = table
        self.count = table.num_rows

    def some(self, places: range) -> Asked:
        """Some points that follow one another, by their places from 0 on."""
        numbers: dict[tuple[Any, ...], int] = {}
        cases: list[AskedCase] = []
        unstated: list[list[str]] = []
        on, workloads, refusals = [], [], {}
        for place, row in enumerate(self._table.slice(places.start, len(places)).to_pylist()):
            key = tuple((type(value), str(value)) for value in map(row.get, OF_CASES))
            if key not in numbers:
                numbers[key] = len(cases)
                case, wrong = _case_of(row)
                cases.append(case)
                unstated.append(wrong)
            on.append(numbers[key])
            workload, wrong = _load_of(row)
            workloads.append(workload)
            if wrong := [*unstated[numbers[key]], *wrong]:
                refusals[place] = Refusal(INVALID, "; ".join(wrong))
        return asked_loads(cases, on, workloads, refusals)


def _case_of(row: Mapping[str, Any]) -> tuple[AskedCase, list[str]]:
    """What a row says of what is served, and what is wrong with that."""
    case = AskedCase(common_pb2.ModelSelector(), common_pb2.HardwareSelector(), common_pb2.Deployment())
    return case, _stated(row, OF_CASES, lambda name, value: _set_case(case, name, value))


def _load_of(row: Mapping[str, Any]) -> tuple[common_pb2.Workload, list[str]]:
    """What a row says of its load, and what is wrong with that."""
    load = common_pb2.Workload(output_len=DEFAULT_OUTPUT_LEN)
    wrong = _stated(row, OF_LOADS, lambda name, value: setattr(load, name, value))
    if len(given := [name for name in LOAD_FIELDS if _whole(row.get(name)) is not None]) > 1:
        wrong.append(f"{' and '.join(given)} are given together; give one of them")
    return load, wrong


def _stated(row: Mapping[str, Any], names: Sequence[str], put: Callable[[str, Any], None]) -> list[str]:
    """Puts the entries of a row into their fields; what is wrong with those that do not go in."""
    wrong = []
    for name in names:
        value = _whole(row.get(name))
        if value is None:
            continue
        try:
            if isinstance(value, bool):
                wrong.append(f"{name} is {_shown(value)}; give a number or a text")
            else:
                put(name, value)
        except KeyError:
            wrong.append(f"{name} is {_shown(value)}; give one of {DTYPE.choices}")
        except (AttributeError, TypeError, ValueError):
            kind = "a text" if name in (*NEEDED[:2], "engine") else "a number of the field's range"
            wrong.append(f"{name} is {_shown(value)}; give {kind}")
    return wrong


def _shown(value: Any) -> str:
    """An entry as a message shows it: not too long."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _whole(value: Any) -> Any:
    """A whole number that pandas or Polars keep as a floating-point one, because its column has nulls; None
    where it is such a null itself, a NaN.
    """
    if not isinstance(value, float):
        return value
    return None if isnan(value) else int(value) if value.is_integer() else value


def _set_case(case: AskedCase, name: str, value: Any) -> None:
    """Put an entry into its field. Raises KeyError for a format that there is not."""
    if name in ("model", "hardware"):
        getattr(case, name).id = value
    elif name in DTYPES:
        number = DTYPE.wire.values_by_name[f"DTYPE_{str(value).upper()}"].number
        if number == 0:
            raise KeyError(value)
        setattr(case.deployment, name, number)
    elif name in DEGREES:
        setattr(case.deployment.parallel, name, value)
    else:
        case.deployment.engine, _, case.deployment.engine_version = value.partition("@")
