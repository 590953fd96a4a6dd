"""Ranges of times, from rows that a fit has not seen."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from ridgeline_server.calibration.ranges import WIDEST, LeftOut, covered_by_others, family, time_profiles
from ridgeline_server.domain.efficiency import FurtherConstant, OperatorClass
from ridgeline_server.domain.measurement import MeasuredMetric, Phase
from tests.unit.calibration.rows import question


def left_out(group: str, factors: Iterable[float], **stated: object) -> list[LeftOut]:
    """Rows whose measured time is so many times the predicted one."""
    asked = question(value=10.0, **stated)
    return [LeftOut(asked, group, 10.0 / factor) for factor in factors]


SPREAD = np.exp(np.linspace(-0.2, 0.2, 101))


@pytest.mark.parametrize(
    ("model_id", "name"),
    [
        ("meta-llama/Meta-Llama-3.1-70B", "llama"),
        ("meta-llama/Llama-2-7b-hf", "llama"),
        ("Qwen/Qwen3-235B-A22B-FP8", "qwen"),
        ("deepseek-ai/DeepSeek-R1", "deepseek"),
        ("openai/gpt-oss-120b", "gpt"),
        ("mistralai/Mixtral-8x7B-v0.1", "mixtral"),
    ],
)
def test_families_of_models(model_id: str, name: str) -> None:
    assert family(question(model_id=model_id)) == name


def test_a_rate_that_is_too_high_is_a_time_that_is_too_short() -> None:
    stated = {"phase": Phase.STATIC_BATCH, "concurrency": None, "batch": 4}
    (rate,) = left_out("x", [2.0], **stated, metric=MeasuredMetric.TOTAL_TOK_S)
    (time,) = left_out("x", [2.0])
    assert rate.log_time_factor == pytest.approx(-np.log(2))
    assert time.log_time_factor == pytest.approx(np.log(2))


def test_a_range_holds_the_middle_five_sixths() -> None:
    (found,) = [
        p
        for p in time_profiles(left_out("h100-sxm", SPREAD), [], [])
        if p.operator_class is OperatorClass.DECODE_TIME
    ]
    factor = found.constant(FurtherConstant.TIME_FACTOR)
    assert factor.value == 1
    inside = (factor.low <= SPREAD) & (factor.high >= SPREAD)
    assert inside.mean() == pytest.approx(0.83, abs=0.02)
    assert (found.engine, found.hardware_id) == ("vllm", "")


def test_ranges_are_of_an_engine_on_a_device_of_an_engine_and_of_any() -> None:
    rows = left_out("x", SPREAD)
    found = time_profiles(rows, rows, rows)
    assert {(p.engine, p.hardware_id) for p in found} == {("", ""), ("vllm", ""), ("vllm", "h100-sxm")}


def test_few_rows_make_no_range() -> None:
    assert not time_profiles(left_out("x", SPREAD[:10]), [], [])


def test_models_with_experts_have_ranges_of_their_own() -> None:
    rows = left_out("x", SPREAD, model_id="openai/gpt-oss-120b", weight_dtype="mxfp4", act_dtype="")
    (found,) = time_profiles(rows, [], [])
    assert found.operator_class is OperatorClass.EXPERT_DECODE_TIME


def test_a_group_is_judged_by_the_range_of_the_others() -> None:
    """A third that is off by another half lies outside of what the other two say."""
    rows = [*left_out("a", SPREAD), *left_out("b", SPREAD), *left_out("c", SPREAD * 1.5)]
    share, width = covered_by_others([*rows[:202]])
    assert share == pytest.approx(0.83, abs=0.02)
    assert width == pytest.approx(np.exp(0.4 * 0.83), rel=0.02)
    assert covered_by_others(rows)[0] < share


def test_a_range_that_would_say_nothing_is_cut_and_says_what_it_holds() -> None:
    found = time_profiles(left_out("x", np.exp(np.linspace(-2, 2, 101))), [], [])
    factor = found[0].constant(FurtherConstant.TIME_FACTOR)
    assert factor.high / factor.low == pytest.approx(WIDEST)
    assert "it holds 27%" in found[0].source
