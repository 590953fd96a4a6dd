"""Predictions of measured rows: in the metric of the row, with an interval, or the reason why not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ridgeline_server.calibration.predictions import Prediction, predict, simulated
from ridgeline_server.domain.efficiency import Estimate, ProfileLevel
from ridgeline_server.domain.engine import EngineProfile, EngineSet
from ridgeline_server.domain.measurement import MeasuredMetric, Measurement, Phase
from ridgeline_server.roofline.metrics import metric_values
from ridgeline_server.store.engines import builtin_engines
from tests.unit.calibration.rows import NAMES, question, row
from tests.unit.questions import PROFILES

STATIC = {"phase": Phase.STATIC_BATCH, "concurrency": None, "batch": 4, "isl": 512, "osl": 128}


def predicted(*rows: Measurement, **options: Any) -> list[Prediction]:
    return list(predict(rows, NAMES, builtin_engines(), PROFILES, **options))


def value_of(metric: MeasuredMetric, **stated: Any) -> float:
    (found,) = predicted(row(metric=metric, **stated))
    assert found.predicted is not None, found.unanswered_reason
    return found.predicted


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (MeasuredMetric.TPOT_MS, "tpot_ms"),
        (MeasuredMetric.TTFT_MS, "ttft_ms"),
        (MeasuredMetric.E2E_LATENCY_MS, "e2e_latency_ms"),
        (MeasuredMetric.OUTPUT_TOK_S_TOTAL, "output_tokens_per_s"),
    ],
)
def test_a_row_is_answered_by_the_estimator_in_its_own_metric(metric: MeasuredMetric, name: str) -> None:
    (simulation,) = simulated([question(metric=metric)], PROFILES)
    assert value_of(metric) == metric_values(simulation, ideal=False)[name][0]


def test_rates_of_all_tokens_and_of_each_device_follow_from_those_of_output() -> None:
    output = value_of(MeasuredMetric.OUTPUT_TOK_S_TOTAL, **STATIC, tp=2)
    assert value_of(MeasuredMetric.TOTAL_TOK_S, **STATIC, tp=2) == pytest.approx(output * (512 + 128) / 128)
    assert value_of(MeasuredMetric.OUTPUT_TOK_S_PER_GPU, **STATIC, tp=2) == pytest.approx(output / 2)


def test_a_decode_alone_is_as_fast_as_its_steps() -> None:
    stated: dict[str, Any] = {**STATIC, "phase": Phase.DECODE}
    step_ms = value_of(MeasuredMetric.DECODE_STEP_MS, **stated)
    assert value_of(MeasuredMetric.OUTPUT_TOK_S_TOTAL, **stated) == pytest.approx(4 * 1e3 / step_ms)


def test_a_prefill_alone_counts_the_tokens_of_its_prompts() -> None:
    stated: dict[str, Any] = {**STATIC, "phase": Phase.PREFILL, "osl": 0}
    first_ms = value_of(MeasuredMetric.PREFILL_MS, **stated)
    assert value_of(MeasuredMetric.TOTAL_TOK_S, **stated) == pytest.approx(4 * 512 * 1e3 / first_ms)


def test_a_run_that_is_as_full_as_it_goes_keeps_in_flight_what_fits() -> None:
    full: dict[str, Any] = {"phase": Phase.OFFLINE_MAX, "metric": MeasuredMetric.OUTPUT_TOK_S_TOTAL}
    unlimited = value_of(concurrency=None, **full)
    assert unlimited > value_of(concurrency=16, **full)
    assert value_of(concurrency=16, **full) == value_of(MeasuredMetric.OUTPUT_TOK_S_TOTAL, concurrency=16)


def test_an_answer_has_an_interval_an_ideal_and_its_level() -> None:
    (found,) = predicted(row())
    assert found.predicted is not None
    assert found.low is not None
    assert found.high is not None
    assert found.ideal is not None
    assert found.low < found.predicted < found.high
    assert found.ideal < found.predicted
    assert found.level is ProfileLevel.ENGINE
    assert found.ratio == found.predicted / 10.0
    assert found.holds == (found.low <= 10.0 <= found.high)


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        pytest.param({"model_id": "nobody/nothing"}, "model_id", id="no question"),
        pytest.param({"phase": Phase.MEMORY}, "have no tpot_ms that is predicted", id="no such figure"),
        pytest.param({"osl": 1}, "has no tpot_ms over 0", id="no second token"),
        pytest.param(
            {"phase": Phase.OFFLINE_MAX, "concurrency": None, "isl": None},
            "isl: is not stated, and rows of offline_max need it",
            id="no length",
        ),
    ],
)
def test_a_row_without_an_answer_says_why(stated: dict[str, Any], why: str) -> None:
    (found,) = predicted(row(**stated))
    assert why in found.unanswered_reason
    assert (found.predicted, found.ratio, found.holds, found.level) == (None, None, None, None)


PARTS = {
    MeasuredMetric.WEIGHTS_GIB: "weights_bytes",
    MeasuredMetric.ACTIVATIONS_GIB: "activations_bytes",
    MeasuredMetric.NON_TORCH_GIB: "non_torch_bytes",
    MeasuredMetric.CUDA_GRAPH_GIB: "cuda_graph_bytes",
    MeasuredMetric.KV_POOL_GIB: "kv_pool_bytes",
}
STARTED: dict[str, Any] = {"phase": Phase.MEMORY, "concurrency": None, "isl": None, "osl": None}


@pytest.mark.parametrize("metric", PARTS)
def test_a_part_of_memory_is_that_of_the_analysis_whatever_the_load(metric: MeasuredMetric) -> None:
    (simulation,) = simulated([question(**STARTED)], PROFILES)
    figure = getattr(simulation.memory, PARTS[metric])
    expected = getattr(figure, "value", figure) / 2**30
    assert value_of(metric, **STARTED) == expected
    assert value_of(metric, **{**STARTED, "isl": 4096, "concurrency": 64}) == expected


def test_a_part_has_a_range_however_wide_and_the_pool_says_what_it_assumes() -> None:
    graphs, pool = predicted(
        row(metric=MeasuredMetric.CUDA_GRAPH_GIB, **STARTED),
        row(metric=MeasuredMetric.KV_POOL_GIB, **STARTED),
    )
    assert (graphs.low, graphs.level) == (0.01, ProfileLevel.GENERIC)
    assert graphs.ideal == graphs.predicted
    assert pool.low is not None
    assert pool.high is not None
    assert 0 < pool.low < pool.high
    assert pool.assumptions == (
        "the share of the device that may be used is not stated: the engine's default",
    )


def test_a_part_is_never_taken_for_a_whole_load_nor_a_load_for_a_part() -> None:
    (whole,) = predicted(row(metric=MeasuredMetric.MEMORY_GIB, **STARTED))
    assert whole.unanswered_reason == "isl: is not stated, and rows of memory need it"
    (served,) = predicted(row(metric=MeasuredMetric.NON_TORCH_GIB))
    assert served.unanswered_reason.startswith("phase: is closed_loop, and non_torch_gib is a part of memory")


def test_without_an_engine_the_load_settles_activations_and_what_is_left() -> None:
    nobodys = {**STARTED, "engine": ""}
    (alone,) = predicted(row(metric=MeasuredMetric.ACTIVATIONS_GIB, **nobodys))
    assert alone.unanswered_reason == "isl: is not stated, and rows of memory need it"
    assert value_of(MeasuredMetric.NON_TORCH_GIB, **nobodys) > 0


def test_a_part_of_which_none_is_predicted_is_no_answer() -> None:
    """An engine that captures no graphs; nothing is divided by what is not there."""
    match = builtin_engines().find("vllm", "0.12.0")
    bare = replace(match.release, cuda_graph_bytes=Estimate(0.0, 0.0, 0.0))
    engines = EngineSet(EngineProfile(name, name, (bare,)) for name in ("vllm", "generic"))
    graphs = row(metric=MeasuredMetric.CUDA_GRAPH_GIB, **STARTED)
    (found,) = predict([graphs], NAMES, engines, PROFILES)
    assert found.predicted is None
    assert found.unanswered_reason == "metric: no cuda_graph_gib is predicted of this engine on this device"


def test_an_interval_that_says_too_little_is_no_answer() -> None:
    found, other = predicted(row(), row(concurrency=64), widest=1.01)
    assert "wider than 1.01 times" in found.unanswered_reason
    assert found.unanswered_reason == other.unanswered_reason
    assert (found.predicted, found.ideal, found.ratio, found.holds) == (None, None, None, None)
    assert found.low is not None
    assert found.high is not None
    assert found.high > 1.01 * found.low
    assert (found.low, found.high) != (other.low, other.high)


def test_answers_keep_the_order_of_their_rows_and_know_nothing_of_each_other() -> None:
    rows = [
        row(id="a", value=1.0),
        row(id="b", model_id="nobody/nothing"),
        row(id="c", model_id="Qwen/Qwen3-32B"),
        row(id="d", concurrency=64),
    ]
    together = predicted(*rows)
    assert [found.measurement.id for found in together] == ["a", "b", "c", "d"]
    assert together == [found for each in rows for found in predicted(each)]
