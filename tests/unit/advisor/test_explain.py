"""An explanation is the recommendation's own judgement, with the step that it was judged on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline_server.advisor.explain import explain
from ridgeline_server.advisor.registry import all_techniques
from ridgeline_server.advisor.results import ExplainedTechnique, Goal
from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.results import Bound
from tests.unit.questions import (
    EXPECTED,
    LLAMA_2_7B,
    LLAMA_2_13B,
    PROFILES,
    Question,
    ask,
    decode_step,
    effect,
    operator,
    questions,
)

TECHNIQUES = {technique.id: technique for technique in all_techniques()}


def explained(question: Question, technique_id: str, goal: Goal = Goal.LATENCY) -> ExplainedTechnique:
    return explain(
        TECHNIQUES[technique_id],
        question.model,
        question.hardware,
        question.workload,
        question.deployment,
        PROFILES,
        question.basis,
        goal,
    )


@given(questions(), st.sampled_from(sorted(TECHNIQUES)), st.sampled_from((Goal.LATENCY, Goal.MEMORY)))
def test_its_judgement_and_baseline_are_those_of_the_advice(
    question: Question, technique_id: str, goal: Goal
) -> None:
    found = explained(question, technique_id, goal)
    assert found.recommendation == question.recommendation(technique_id, goal)
    assert found.baseline == question.analysis()
    assert (found.after is not None) == bool(found.recommendation.effects)


@given(questions(), st.sampled_from(sorted(TECHNIQUES)))
def test_the_step_after_is_that_of_the_changed_deployment_today(
    question: Question, technique_id: str
) -> None:
    """With two output tokens the mean decode step is the one that an analysis of those keys shows."""
    asked = question.at(output_len=2, decode_keys=question.workload.input_len + 1)
    found = explained(asked, technique_id)
    if found.after is None:
        return
    judged = found.recommendation
    assert judged.deployment is not None
    assert judged.workload is not None
    changed = replace(asked, deployment=judged.deployment, workload=judged.workload).analysis()
    assert found.after == (changed.prefill if judged.stage is Stage.PREFILL else changed.decode)


@given(questions(), st.sampled_from(sorted(TECHNIQUES)))
def test_operators_and_the_steps_overhead_add_up_to_the_step(question: Question, technique_id: str) -> None:
    found = explained(question, technique_id)
    for side in (found.before, found.after):
        if side is not None:
            total_us = sum(o.occurrences * o.ideal_time_us for o in side.operators)
            assert total_us == pytest.approx(side.ideal_time_ms * 1e3)


def test_the_ratio_of_mean_decode_steps_is_the_gain_on_tpot() -> None:
    found = explained(ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128)), "weight-only-int4")
    assert found.after is not None
    gain = found.before.ideal_time_ms / found.after.ideal_time_ms
    assert gain == pytest.approx(effect(found.recommendation.effects, "tpot_ms").speedup)


def test_operators_that_cross_the_ridge_are_seen_to_cross_it() -> None:
    found = explained(ask(LLAMA_2_13B, "rtx-a6000", decode_step(100, 100)), "weight-only-int4")
    assert found.after is not None
    before, after = (operator(side, "gate_proj") for side in (found.before, found.after))
    assert (before.bound, after.bound) == (Bound.MEMORY, Bound.COMPUTE)
    assert after.arithmetic_intensity > before.arithmetic_intensity
    assert operator(found.before, "attention") == operator(found.after, "attention")._replace(
        time_share=operator(found.before, "attention").time_share
    )


def test_a_request_of_one_token_is_told_of_its_prefill() -> None:
    found = explained(ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 1), EXPECTED), "kv-cache-fp8")
    assert found.before.stage is Stage.PREFILL


def test_the_goal_cost_needs_a_price() -> None:
    with pytest.raises(InvalidFieldsError, match="has no price"):
        explained(ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128)), "kv-cache-fp8", Goal.COST)
