"""An effect is the difference between two analyses, nothing else."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline_server.advisor.changes import SPREAD, SPREAD_OF_ASSUMED, SPREAD_OF_EFFECT, change_interval
from ridgeline_server.advisor.results import Effect, Goal
from ridgeline_server.domain.workload import Slo, Workload
from ridgeline_server.roofline.results import Analysis
from tests.unit.questions import (
    EXPECTED,
    IDEAL,
    LLAMA_2_7B,
    W4,
    Question,
    ask,
    device,
    effect,
    questions,
)

TIMES = ("ttft_ms", "tpot_ms", "e2e_latency_ms")


def is_change(effects: tuple[Effect, ...], before: Analysis, after: Analysis) -> None:
    """Checks every effect against the analyses of both sides."""
    for name in TIMES:
        found = effect(effects, name)
        old, new = getattr(before.metrics, name), getattr(after.metrics, name)
        assert (found.before, found.after) == (old.value, new.value)
        if old.value:
            assert found.speedup == pytest.approx(old.value / new.value)
            assert found.ideal_speedup == pytest.approx(old.ideal / new.ideal)
    rate = effect(effects, "output_tokens_per_s")
    old, new = before.metrics.output_tokens_per_s, after.metrics.output_tokens_per_s
    assert (rate.before, rate.after) == (old.value, new.value)
    assert rate.speedup == pytest.approx(new.value / old.value)
    memory = effect(effects, "total_memory_bytes")
    assert (memory.before, memory.after) == (before.memory.total_bytes, after.memory.total_bytes)
    assert memory.speedup == pytest.approx(memory.before / memory.after)


@given(questions())
def test_every_techniques_effects_are_the_difference_of_two_separate_analyses(question: Question) -> None:
    advice = question.advice()
    before = question.analysis()
    assert advice.baseline == before
    for found in advice.recommendations:
        if found.effects:
            assert found.workload is not None
            assert found.deployment is not None
            after = replace(question, workload=found.workload, deployment=found.deployment).analysis()
            assert found.memory == after.memory
            is_change(found.effects, before, after)


@given(questions())
def test_every_interval_holds_its_speedup(question: Question) -> None:
    for found in question.advice().recommendations:
        for each in found.effects:
            assert each.low <= each.speedup <= each.high


@given(questions())
def test_the_ideal_roofline_has_no_interval(question: Question) -> None:
    for found in replace(question, basis=IDEAL).advice().recommendations:
        for each in found.effects:
            assert each.low == each.speedup == each.high == each.ideal_speedup


@pytest.mark.parametrize(
    ("technique", "spread"),
    [("weight-only-int4", SPREAD), ("increase-batch", SPREAD), ("speculation-heads", SPREAD_OF_ASSUMED)],
)
def test_an_interval_is_that_of_the_change_and_wider_where_something_is_assumed(
    technique: str, spread: float
) -> None:
    """What is off on both sides cancels; what is left was fitted to published pairs."""
    question = ask(LLAMA_2_7B, "h100-sxm", Workload(8, 512, 128), EXPECTED)
    found = question.recommendation(technique)
    each = effect(found.effects, found.metric)
    assert each.high / each.speedup == pytest.approx(each.speedup / each.low)
    assert log(each.high / each.speedup) >= spread
    assert log(each.high / each.speedup) <= spread + SPREAD_OF_EFFECT * abs(log(each.speedup))


def test_what_stays_has_no_interval() -> None:
    question = ask(LLAMA_2_7B, "h100-sxm", Workload(8, 512, 128), EXPECTED)
    found = effect(question.recommendation("increase-batch").effects, "total_memory_bytes")
    assert found.low == found.speedup == found.high
    assert change_interval(1.0, question.deployment, question.deployment) == (1.0, 1.0, 1.0)


def test_rounding_gives_what_stays_no_interval() -> None:
    """Input costs what its prefill takes, which drafts leave as it is."""
    priced = device("a100-sxm-80gb", price_usd_per_hour=0.8)
    found = ask(LLAMA_2_7B, priced, Workload(1, 128, 128), EXPECTED).recommendation("speculation-heads")
    cost = effect(found.effects, "input_cost_usd_per_million_tokens")
    assert cost.speedup == pytest.approx(1, rel=1e-9)
    assert cost.low == cost.speedup == cost.high


def test_a_change_is_known_better_than_either_time() -> None:
    question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), EXPECTED)
    found = effect(question.recommendation("weight-only-int4").effects, "tpot_ms")
    before, after = (q.analysis().metrics.tpot_ms for q in (question, question.served(**W4)))
    assert found.high - found.low < (before.high or 0) / (after.low or 1) - (before.low or 0) / (
        after.high or 1
    )


def test_cost_falls_as_throughput_rises() -> None:
    priced = device("rtx-a6000", price_usd_per_hour=0.8)
    found = ask(LLAMA_2_7B, priced, Workload(4, 2048, 128)).recommendation("weight-only-int4", Goal.COST)
    cost = effect(found.effects, "cost_usd_per_million_output_tokens")
    rate = effect(found.effects, "output_tokens_per_s")
    assert cost.before == pytest.approx(0.8 / (rate.before * 3600) * 1e6)
    assert cost.speedup == pytest.approx(rate.speedup)


def test_a_device_without_a_price_has_no_cost() -> None:
    found = ask(LLAMA_2_7B, "rtx-a6000", Workload(4, 2048, 128)).recommendation("weight-only-int4")
    assert "cost_usd_per_million_output_tokens" not in {e.metric for e in found.effects}


@given(questions(), st.sampled_from((Slo(ttft_ms=1.0), Slo(tpot_ms=1.0), Slo(1e9, 1e9))))
def test_limits_change_no_figure(question: Question, slo: Slo) -> None:
    before = {r.technique: r.effects for r in question.advice().recommendations}
    for found in question.at(slo=slo).advice().recommendations:
        if found.technique not in ("increase-batch", "smaller-batch"):
            assert found.effects == before[found.technique]
