"""The answer as a whole: today's deployment first, what is refused, what is assumed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ridgeline_server.advisor.advice import recommend
from ridgeline_server.advisor.results import Goal
from ridgeline_server.domain.efficiency import OF_ENGINES, ProfileSet
from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.results import NoticeCode
from tests.unit.questions import EXPECTED, IDEAL, LLAMA_2_7B, ask, device

DEMO = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), EXPECTED)


def test_a_baseline_that_does_not_fit_is_said_first() -> None:
    notices = (
        ask("meta-llama/Llama-3.1-70B-Instruct", "h100-sxm", Workload(1, 2048, 128)).advice().baseline.notices
    )
    assert notices[0].code is NoticeCode.DOES_NOT_FIT


def test_a_context_over_the_models_maximum_is_said_first() -> None:
    notices = ask(LLAMA_2_7B, "h100-sxm", Workload(1, 4096, 128)).advice().baseline.notices
    assert notices[0].code is NoticeCode.CONTEXT_EXCEEDED


def test_what_does_not_fit_is_said_before_what_is_exceeded() -> None:
    notices = ask(LLAMA_2_7B, "rtx-3060-12gb", Workload(1, 4096, 128)).advice().baseline.notices
    assert [n.code for n in notices] == [NoticeCode.DOES_NOT_FIT, NoticeCode.CONTEXT_EXCEEDED]


def test_cost_needs_a_price() -> None:
    with pytest.raises(InvalidFieldsError, match="has no price") as refusal:
        DEMO.advice(Goal.COST)
    assert [v.field for v in refusal.value.violations] == ["goal"]


def test_cost_ranks_like_throughput_on_one_device() -> None:
    priced = replace(DEMO, hardware=device("rtx-a6000", price_usd_per_hour=1.0))
    by_cost, by_rate = priced.advice(Goal.COST), priced.advice(Goal.THROUGHPUT)
    ranked = [
        [r.technique for r in advice.recommendations if not r.changes_devices]
        for advice in (by_cost, by_rate)
    ]
    assert ranked[0] == ranked[1]
    assert [p.techniques for p in by_cost.plans] == [p.techniques for p in by_rate.plans]


def test_an_answer_without_profiles_is_refused_on_the_expected_basis_alone() -> None:
    def asked(basis: object) -> None:
        recommend(
            DEMO.model,
            DEMO.hardware,
            DEMO.workload,
            DEMO.deployment,
            ProfileSet(()),
            basis,  # type: ignore[arg-type]
        )

    with pytest.raises(LookupError, match="no efficiency profile"):
        asked(EXPECTED)
    asked(IDEAL)


def test_the_same_question_has_the_same_answer() -> None:
    assert DEMO.advice() == DEMO.advice()


class TestAssumptions:
    def test_the_load_and_the_overhead_are_told(self) -> None:
        told = " ".join(DEMO.advice().assumptions)
        assert "Static batch of 1: all requests have 2,048 input and 128 output tokens" in told
        assert "1.3 GiB" in told

    def test_the_evidence_behind_predictions_is_counted(self) -> None:
        """Each kernel timing that a used profile was fitted on, once."""
        told = " ".join(DEMO.advice().assumptions)
        used = {
            u.profile.id: u.profile.evidence_count
            for u in DEMO.analysis().profiles
            if u.operator_class not in OF_ENGINES
        }
        assert f"fitted on {sum(used.values()):,} timings" in told
        assert "elementwise costs are assumptions without measurements" in told

    def test_the_ideal_roofline_is_told_as_such(self) -> None:
        told = " ".join(replace(DEMO, basis=IDEAL).advice().assumptions)
        assert "Ideal roofline" in told
        assert "timings" not in told

    def test_usable_memory_is_told_only_where_it_was_not_measured(self) -> None:
        assert any("was not measured" in a for a in DEMO.advice().assumptions)
        measured = ask(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128))
        assert not any("was not measured" in a for a in measured.advice().assumptions)
