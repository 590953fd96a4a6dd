"""An effect is the difference between two analyses, nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline_server.advisor.results import Effect, Goal
from ridgeline_server.domain.efficiency import EfficiencyProfile, Estimate, OperatorClass, ProfileSet
from ridgeline_server.domain.workload import Slo, Workload
from ridgeline_server.roofline.analysis import analyze
from ridgeline_server.roofline.results import Analysis
from tests.unit.questions import (
    EXPECTED,
    IDEAL,
    LLAMA_2_7B,
    PROFILES,
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


@given(questions())
def test_an_interval_lies_within_what_the_ends_of_both_levels_allow(question: Question) -> None:
    """Both sides share their errors, so a change is known better than the quotient of two unknowns."""
    expected = replace(question, basis=EXPECTED)
    before = expected.analysis().metrics.e2e_latency_ms
    for found in expected.advice().recommendations:
        if found.effects and found.workload and found.deployment:
            after = replace(expected, workload=found.workload, deployment=found.deployment).analysis()
            end = after.metrics.e2e_latency_ms
            assert None not in (before.low, before.high, end.low, end.high)
            each = effect(found.effects, "e2e_latency_ms")
            assert each.low * (1 + 1e-9) >= (before.low or 0) / (end.high or 1)
            assert each.high <= (before.high or 0) / (end.low or 1) * (1 + 1e-9)


def test_a_change_is_known_better_than_either_time() -> None:
    question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), EXPECTED)
    found = effect(question.recommendation("weight-only-int4").effects, "tpot_ms")
    before, after = (q.analysis().metrics.tpot_ms for q in (question, question.served(**W4)))
    assert found.high - found.low < (before.high or 0) / (after.low or 1) - (before.low or 0) / (
        after.high or 1
    )


def with_ends(**ends: str) -> ProfileSet:
    """The catalog's profiles with some constants of kernels at one end of their ranges."""

    def at_ends(profile: EfficiencyProfile) -> EfficiencyProfile:
        if profile.operator_class not in KERNELS:
            return profile
        changes: dict[str, Any] = {}
        for name, which in ends.items():
            estimate: Estimate = getattr(profile, name)
            changes[name] = replace(estimate, value=getattr(estimate, which))
        return replace(profile, **changes)

    return ProfileSet(map(at_ends, PROFILES.profiles))


KERNELS = {
    OperatorClass.GEMM,
    OperatorClass.PREFILL_ATTENTION,
    OperatorClass.DECODE_ATTENTION,
    OperatorClass.ELEMENTWISE,
}
CONSTANTS = ("launch_time_us", "compute_efficiency", "memory_efficiency")
ENDS: list[dict[str, str]] = [{}, *({name: end} for name in CONSTANTS for end in ("low", "high"))]
"""Best values, and each constant of kernels alone at either end. Ranges of whole times are those of both
sides, and change a static batch alike.
"""


@pytest.mark.parametrize(
    "technique", ["weight-only-int4", "weight-only-int8", "int8-compute", "increase-batch"]
)
@pytest.mark.parametrize("metric", TIMES)
def test_an_interval_spans_what_each_constants_range_makes_of_the_change(technique: str, metric: str) -> None:
    question = ask(LLAMA_2_7B, "h100-sxm", Workload(8, 512, 128), EXPECTED)
    found = question.recommendation(technique)
    assert found.workload is not None
    assert found.deployment is not None
    changed = replace(question, workload=found.workload, deployment=found.deployment)

    def time_ms(side: Question, profiles: ProfileSet) -> float:
        answer = analyze(side.model, side.hardware, side.workload, side.deployment, profiles, EXPECTED)
        value: float = getattr(answer.metrics, metric).value
        return value

    speedups = [
        time_ms(question, profiles) / time_ms(changed, profiles)
        for profiles in (with_ends(**e) for e in ENDS)
    ]
    each = effect(found.effects, metric)
    assert (each.speedup, each.low, each.high) == pytest.approx((speedups[0], min(speedups), max(speedups)))


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
        if found.technique != "increase-batch":
            assert found.effects == before[found.technique]
