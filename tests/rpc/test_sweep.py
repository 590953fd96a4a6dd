"""Sweeps: each row is what Analyze says, in order, whole or resumed, over the wire and in-process."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.json_format import ParseDict
from google.rpc.error_details_pb2 import BadRequest
from hypothesis import assume, given
from hypothesis import strategies as st

import ridgeline
from ridgeline import jsonform
from ridgeline.embedded import EmbeddedTransport
from ridgeline.errors import (
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    ResourceExhaustedError,
    UnavailableError,
)
from ridgeline.v1 import sweep_pb2, types_pb2
from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.convert.sweep_columns import COLUMNS
from ridgeline_server.rpc.dispatch import service_methods
from ridgeline_server.rpc.errors import StatusError
from ridgeline_server.rpc.questions import read_workload
from ridgeline_server.rpc.sweep_points import LOAD_FIELDS, Asked, within_bounds
from ridgeline_server.store.startup import open_catalog

MODEL, DEVICE = "llama-2-7b", "rtx-a6000"
POINTS: tuple[dict[str, Any], ...] = (
    {"model": MODEL, "hardware": DEVICE, "input_len": 2048},
    {"model": MODEL, "hardware": DEVICE, "input_len": 512, "batch": 64, "weights": "int4", "kv": "int8"},
    {"model": MODEL, "hardware": "h100-sxm", "input_len": 3900, "output_len": 400, "concurrency": 300},
    {"model": MODEL, "hardware": "h100-sxm", "input_len": 500, "output_len": 1, "request_rate": 2.5},
    {"model": "deepseek-v3", "hardware": "h200-sxm", "input_len": 1000, "tp": 8, "engine": "vllm@0.19.0"},
    {"model": MODEL, "hardware": DEVICE, "input_len": 100, "draft": "heads", "draft_tokens": 2},
)
"""Points of every kind of load, one that does not fit, and one over the model's context."""
METRICS = (
    "ttft_ms", "tpot_ms", "e2e_latency_ms", "output_tokens_per_s", "output_tokens_per_s_per_device",
    "total_tokens_per_s", "cost_usd_per_million_output_tokens", "input_cost_usd_per_million_tokens",
    "output_cost_usd_per_million_tokens", "joules_per_output_token",
)  # fmt: skip


def expected(client: ridgeline.Client, point: dict[str, Any], *, ideal: bool) -> dict[str, Any]:
    """The entries of a point's row, by way of Analyze."""
    options = {name: value for name, value in point.items() if name not in ("model", "hardware")}
    told = client.analyze(point["model"], point["hardware"], flips=False, ideal=ideal, **options)
    found: dict[str, Any] = {
        "model_id": told.model_id,
        "hardware_id": told.hardware_id,
        "input_len": told.workload.input_len,
        "output_len": told.workload.output_len,
        "weight_dtype": jsonform.enum_name(types_pb2.Dtype.DESCRIPTOR, told.deployment.weight_dtype),
        "tp": told.deployment.parallel.tp,
        "prefill_bound": jsonform.enum_name(types_pb2.Bound.DESCRIPTOR, told.stages[0].bound),
        "decode_bound": jsonform.enum_name(types_pb2.Bound.DESCRIPTOR, told.stages[1].bound),
        "prefill_time_share": told.metrics.prefill_time_share,
        "requests_in_flight": told.metrics.requests_in_flight,
        "requests_waiting": told.metrics.requests_waiting,
        "memory_bytes": told.memory.total_bytes,
        "usable_memory_bytes": told.memory.usable_bytes,
        "fits": told.memory.fits,
        "max_batch": told.memory.max_batch,
        "context_exceeded": any("extrapolations" in notice.message for notice in told.notices),
        "error_reason": None,
    }
    for name in METRICS:
        metric = getattr(told.metrics, name)
        has = told.metrics.HasField(name)  # type: ignore[arg-type]  # the names of fields
        parts = {"": "ideal" if ideal else "expected", "_low": "low", "_high": "high", "_ideal": "ideal"}
        for suffix, part in parts.items():
            there = has and (part == "ideal" or metric.HasField(part))
            found[name + suffix] = getattr(metric, part) if there else None
    return found


@pytest.mark.parametrize("ideal", [False, True])
def test_a_row_is_what_analyze_says(client: ridgeline.Client, ideal: bool) -> None:
    rows = client.sweep_points(POINTS, ideal=ideal, batch_rows=4).to_arrow().to_pylist()
    assert [row["point"] for row in rows] == list(range(len(POINTS)))
    for point, row in zip(POINTS, rows, strict=True):
        wanted = expected(client, point, ideal=ideal)
        for name, value in wanted.items():
            close = pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
            assert row[name] == close, name
    assert [row["fits"] for row in rows] == [True, True, False, True, True, True]
    assert any(row["context_exceeded"] for row in rows)


def test_an_engine_that_is_not_known_is_told(client: ridgeline.Client) -> None:
    engines = ("vllm@0.19.0", "vllm@99.0", "unheard-of", "")
    points = [{**POINTS[0], **({"engine": engine} if engine else {})} for engine in engines]
    rows = client.sweep_points(points, columns=["engine", "engine_match"]).to_arrow().to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("vllm@0.19.0", "EXACT"),
        ("vllm@99.0", "UNKNOWN_RELEASE"),
        ("unheard-of", "GENERIC"),
        (None, None),
    ]


def test_a_refused_row_says_what_was_asked_of_its_deployment(client: ridgeline.Client) -> None:
    stated = {"tp": 3, "pp": 2, "weights": "int4", "kv": "fp8", "engine": "vllm@0.19.0"}
    columns = ["tp", "pp", "ep", "weight_dtype", "kv_dtype", "engine", "devices", "error_reason"]
    (row,) = client.sweep_points([{**POINTS[0], **stated}], columns=columns).to_arrow().to_pylist()
    assert tuple(row.values()) == (3, 2, None, "INT4", "FP8", "vllm@0.19.0", None, "INVALID_FIELD")


def test_a_product_has_every_combination_loads_fastest(client: ridgeline.Client) -> None:
    swept = client.sweep(
        [MODEL, "llama-2-13b"],
        [DEVICE, "h100-sxm"],
        deployments=[{}, {"weights": "int4"}],
        batch=[1, 8],
        concurrency=[4],
        input_len=[100, 200],
        output_len=[16, 32],
        batch_rows=7,
        columns=[
            "point",
            "model_id",
            "hardware_id",
            "weight_dtype",
            "load",
            "requests",
            "input_len",
            "output_len",
        ],
    )
    rows = [tuple(row.values()) for batch in swept for row in batch.to_pylist()]
    combinations = product(
        ["meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-13b-hf"],
        [DEVICE, "h100-sxm"],
        ["FP16", "INT4"],
        [("STATIC_BATCH", 1), ("STATIC_BATCH", 8), ("CLOSED_LOOP", 4)],
        [100, 200],
        [16, 32],
    )
    wanted = [(n, m, h, w, *load, i, o) for n, (m, h, w, load, i, o) in enumerate(combinations)]
    assert rows == wanted
    assert (swept.rows_done, swept.rows_total, swept.rows_refused) == (96, 96, 0)


def test_what_is_wrong_with_a_point_is_in_its_row(client: ridgeline.Client) -> None:
    good: dict[str, Any] = {"model": MODEL, "hardware": DEVICE, "input_len": 100}
    bad: list[tuple[dict[str, Any], str, str]] = [
        ({"model": "no-such-model"}, "MODEL_NOT_FOUND", "no-such-model"),
        ({"hardware": ""}, "INVALID_FIELD", "hardware.id is empty"),
        ({"input_len": 0}, "INVALID_FIELD", "workload.input_len is 0"),
        ({"batch": -4}, "INVALID_FIELD", "workload.batch is -4"),
        ({"weights": "fp8", "activations": "fp8"}, "UNSUPPORTED_DTYPE", "fp8"),
        ({"tp": 7}, "INVALID_FIELD", "tp"),
        ({"request_rate": 1e6}, "INVALID_FIELD", "serves at most"),
    ]
    points = [good, *(good | change for change, _, _ in bad), good]
    swept = client.sweep_points(points)
    rows = swept.to_arrow().to_pylist()
    assert rows[0]["ttft_ms"] == rows[-1]["ttft_ms"] > 0
    for row, (_, reason, words) in zip(rows[1:-1], bad, strict=True):
        assert row["error_reason"] == reason
        assert words in row["error_message"]
        assert row["ttft_ms"] is None
        assert row["fits"] is None
    assert swept.rows_refused == len(bad)


def test_a_sweep_goes_on_behind_the_last_message(client: ridgeline.Client) -> None:
    axes: dict[str, Any] = {"batch": [1, 2, 4], "input_len": [100, 200, 300], "batch_rows": 2}
    whole = client.sweep([MODEL], [DEVICE], **axes).to_arrow()
    with client.sweep([MODEL], [DEVICE], **axes) as first:
        begun = [next(first), next(first)]
        token = first.resume_token
    rest = client.sweep([MODEL], [DEVICE], **axes, resume_token=token)
    assert pa.Table.from_batches([*begun, *rest], whole.schema) == whole
    assert rest.rows_done == 9


def forged(**changes: object) -> str:
    """A token of another kind."""
    parts = {"version": 1, "digest": "0" * 16, "revision": 1, "done": 2} | changes
    return base64.urlsafe_b64encode(json.dumps(list(parts.values())).encode()).decode()


@pytest.mark.parametrize("token", ["x", "é", forged(), forged(done=-1), forged(version=9), forged(done="a")])
def test_a_token_of_another_sweep_is_refused(client: ridgeline.Client, token: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        client.sweep([MODEL], [DEVICE], input_len=[100], resume_token=token).to_arrow()
    assert [violation.field for violation in caught.value.violations] == ["resume_token"]


def test_wrong_requests_are_refused_at_once(client: ridgeline.Client) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        client.sweep([], [DEVICE], input_len=[], columns=["ttft", "fits", "fits"], batch_rows=5000).to_arrow()
    fields = {violation.field: violation.description for violation in caught.value.violations}
    axes = {"product.models", "product.loads.input_len"}
    assert set(fields) == {*axes, "columns[0]", "columns[2]", "batch_rows"}
    assert "ttft_ms" in fields["columns[0]"]
    with pytest.raises(InvalidArgumentError):
        client.sweep_points([]).to_arrow()
    with pytest.raises(OutOfRangeError):
        client.sweep([MODEL], [DEVICE], input_len=[1], catalog_revision=2**30).to_arrow()


def test_a_sweep_has_no_more_points_than_allowed(seeded_database_url: str) -> None:
    store = open_catalog(seeded_database_url)
    method = service_methods(store, max_sweep_rows=99)["ridgeline.v1.AnalysisService/Sweep"]
    request = sweep_pb2.SweepRequest()
    request.product.models.add(id=MODEL)
    request.product.hardware.add(id=DEVICE)
    request.product.loads.batch.extend(range(1, 101))
    request.product.loads.input_len.append(10)
    request.product.loads.output_len.append(10)
    with pytest.raises(StatusError, match="points"):
        next(method.stream(request))
    del request.product.loads.batch[-1]
    assert next(method.stream(request)).rows_total == 99  # type: ignore[attr-defined]
    store.close()


def test_axes_too_long_to_lay_out_are_only_counted(client: ridgeline.Client) -> None:
    """Ten billion billion points are refused as fast as ten."""
    axis = list(range(1, 10_001))
    began = time.monotonic()
    with pytest.raises(InvalidArgumentError, match="points"):
        client.sweep([MODEL] * 1000, [DEVICE] * 1000, batch=axis, input_len=axis, output_len=axis).to_arrow()
    assert time.monotonic() - began < 60


def test_nothing_is_computed_ahead(seeded_database_url: str) -> None:
    store = open_catalog(seeded_database_url)
    method = service_methods(store)["ridgeline.v1.AnalysisService/Sweep"]
    request = sweep_pb2.SweepRequest(batch_rows=1)
    request.product.models.add(id=MODEL)
    request.product.hardware.add(id=DEVICE)
    request.product.loads.batch.extend(range(1, 10_001))
    request.product.loads.input_len.extend(range(1, 10_001))
    request.product.loads.output_len.append(10)
    stream = method.stream(request)
    assert next(stream).rows_done == 1  # type: ignore[attr-defined]
    stream.close()  # type: ignore[attr-defined]
    store.close()


def test_a_missing_model_is_no_error_of_the_stream(client: ridgeline.Client) -> None:
    table = client.sweep(["no-such-model"], [DEVICE], input_len=[10]).to_arrow()
    with pytest.raises(NotFoundError) as caught:
        client.analyze("no-such-model", DEVICE, input_len=10)
    assert table["error_message"].to_pylist() == [caught.value.message]


@pytest.mark.parametrize(
    ("model", "workload", "deployment"),
    [
        (MODEL, {"input_len": 10, "output_len": 5, "batch": 0}, {}),
        ("no-such-model", {"input_len": 10, "output_len": 5, "batch": 0}, {}),
        (MODEL, {"input_len": 0, "output_len": 5, "concurrency": 2}, {"parallel": {"tp": 3}}),
        (MODEL, {"input_len": 10, "output_len": 5, "decode_keys": 0}, {"parallel": {"tp": -1}}),
        (MODEL, {"input_len": 10, "output_len": 5, "request_rate": 1e5}, {}),
    ],
)
def test_a_refused_row_says_what_analyze_says(
    seeded_database_url: str, model: str, workload: dict[str, Any], deployment: dict[str, Any]
) -> None:
    """All that is wrong, of what is served and of the load."""
    store = open_catalog(seeded_database_url)
    methods = service_methods(store)
    asked = {"model": {"id": model}, "hardware": {"id": DEVICE}}
    asked |= {"workload": workload, "deployment": deployment}
    with pytest.raises(StatusError) as caught:
        methods["ridgeline.v1.AnalysisService/Analyze"].answer(ParseDict(asked, AnalyzeRequest()))
    request = ParseDict({"list": {"points": [asked]}}, sweep_pb2.SweepRequest())
    (response,) = methods["ridgeline.v1.AnalysisService/Sweep"].stream(request)
    schema = pa.ipc.read_schema(pa.py_buffer(response.arrow_schema))  # type: ignore[attr-defined]
    batch = pa.ipc.read_record_batch(pa.py_buffer(response.arrow_record_batch), schema)  # type: ignore[attr-defined]
    (row,) = batch.to_pylist()
    wrong = BadRequest()
    assert any(detail.Unpack(wrong) for detail in caught.value.status.details)
    told = [f"{each.field} {each.description}" for each in wrong.field_violations]
    assert row["error_message"] == "; ".join(told)
    store.close()


def test_a_token_of_anything_is_refused(client: ridgeline.Client) -> None:
    nested = base64.urlsafe_b64encode(b"[" * 200_000).decode()
    for token in ("x", "=", nested, base64.urlsafe_b64encode(b"[1]").decode()):
        with pytest.raises(InvalidArgumentError, match="resume_token"):
            client.sweep([MODEL], [DEVICE], input_len=[10], resume_token=token).to_arrow()


def test_the_documentation_has_every_column() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    rows = [f"| `{column.name}` | {column.type} | {column.tells} |" for column in COLUMNS]
    assert [line for line in text.splitlines() if line.startswith("| `")] == rows


class Breaking:
    """A transport whose streams break off as they are told to, over an embedded one that does not."""

    target = "breaking"

    def __init__(self, inner: Any, breaks: list[tuple[int, Exception | None]]) -> None:
        """Each break is after how many messages a stream ends, and by what; None: as if it were whole."""
        self._inner = inner
        self._breaks = breaks
        self.opened = 0
        self.ended = 0
        self.pauses: list[float] = []

    def call(self, method: str, request: Any, response_type: Any) -> Any:
        return self._inner.call(method, request, response_type)

    def stream(self, method: str, request: Any, response_type: Any) -> Iterator[Any]:
        self.opened += 1
        count, error = self._breaks.pop(0) if self._breaks else (-1, None)
        for number, response in enumerate(self._inner.stream(method, request, response_type)):
            if number == count:
                if error is not None:
                    raise error
                return
            yield response
        self.ended += 1

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def close(self) -> None:
        """Its owner closes the other one."""


@pytest.fixture
def breaking(seeded_database_url: str) -> Iterator[Callable[..., tuple[ridgeline.Client, Breaking]]]:
    with ExitStack() as opened:
        inner = EmbeddedTransport(seeded_database_url)
        opened.callback(inner.close)

        def made(*breaks: tuple[int, Exception | None]) -> tuple[ridgeline.Client, Breaking]:
            transport = Breaking(inner, list(breaks))
            return ridgeline.Client(transport), transport

        yield made


def test_the_end_of_a_stream_is_read(breaking: Any) -> None:
    """A server would count it as cancelled otherwise."""
    client, transport = breaking()
    assert client.sweep([MODEL], [DEVICE], input_len=[10]).to_arrow().num_rows == 1
    assert transport.ended == 1


AXES: dict[str, Any] = {"batch": [1, 2, 4, 8], "input_len": [100, 200], "batch_rows": 1}


@pytest.mark.parametrize(
    "error",
    [UnavailableError("gone"), ResourceExhaustedError("busy"), None],
    ids=["unavailable", "busy", "ended as if it were whole"],
)
def test_a_stream_that_breaks_off_goes_on(breaking: Any, error: Exception | None) -> None:
    whole = breaking()[0].sweep([MODEL], [DEVICE], **AXES).to_arrow()
    client, transport = breaking((3, error), (2, error))
    swept = client.sweep([MODEL], [DEVICE], **AXES)
    assert swept.to_arrow() == whole
    assert (transport.opened, len(transport.pauses)) == (3, 2)
    assert swept.rows_done == 8


def test_any_other_error_loses_no_row_and_makes_no_whole_file(breaking: Any, tmp_path: Path) -> None:
    client, _ = breaking((3, InternalError("a fault")), (0, InternalError("again")))
    swept = client.sweep([MODEL], [DEVICE], **AXES)
    with pytest.raises(InternalError):
        swept.to_arrow()
    file = tmp_path / "sweep.csv"
    with pytest.raises(InternalError):
        swept.write_csv(file)
    assert not list(tmp_path.iterdir())
    assert swept.to_arrow().num_rows == 5


def test_a_closed_sweep_is_closed(breaking: Any) -> None:
    client, transport = breaking()
    swept = client.sweep([MODEL], [DEVICE], **AXES)
    next(swept)
    swept.close()
    with pytest.raises(ValueError, match="closed"):
        next(swept)
    assert transport.opened == 1


def test_a_server_that_is_not_there_is_told_before_the_first_row(breaking: Any) -> None:
    client, transport = breaking((0, UnavailableError("nobody")))
    with pytest.raises(UnavailableError, match="nobody"):
        client.sweep([MODEL], [DEVICE], **AXES).to_arrow()
    assert transport.pauses == []


def test_a_file_keeps_its_mode_and_a_link_its_target(client: ridgeline.Client, tmp_path: Path) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    client.sweep([MODEL], [DEVICE], input_len=[10], columns=["point"]).write_csv(link)
    assert link.is_symlink()
    assert target.read_text() == '"point"\n0\n'
    assert target.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"target.csv", "link.csv"}


def test_wrong_axes_are_told_as_fields(client: ridgeline.Client) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        client.sweep(MODEL, [DEVICE], input_len=5, deployments={"tp": 2})  # type: ignore[arg-type]
    assert {violation.field for violation in caught.value.violations} == {
        "models",
        "input_len",
        "deployments",
    }


@given(
    st.integers(0, 2),
    st.one_of(st.floats(allow_nan=False), st.integers(-(2**31), 2**31 - 1).map(float), st.just(1e6)),
    st.integers(-(2**31), 2**31 - 1),
    st.sampled_from((0, 1, 100_000_000, 100_000_001)),
)
def test_loads_are_within_bounds_where_they_can_be_read(
    kind: int, number: float, input_len: int, output_len: int
) -> None:
    """What is looked at by the thousand agrees with what is looked at one by one."""
    whole = LOAD_FIELDS[kind] == "request_rate" or (number.is_integer() and abs(number) < 2**31)
    assume(whole)
    asked = Asked(
        cases=[],
        on=np.zeros(1, dtype=np.intp),
        kind=np.array([kind], dtype=np.int8),
        number=np.array([number]),
        input_len=np.array([float(input_len)]),
        output_len=np.array([float(output_len)]),
        workloads={},
        refusals={},
    )
    checks = Checks()
    read_workload(asked.workload(0), checks)
    assert within_bounds(asked)[0] == (not checks.violations)
