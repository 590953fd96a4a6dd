"""A smaller batch: the largest load that fits and at which the SLO holds."""

from __future__ import annotations

import pytest

from ridgeline_server.advisor.results import Goal, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Load, Slo, Workload
from tests.unit.questions import EXPECTED, LLAMA_3_1_8B, Question, ask, effect

TECHNIQUE = "smaller-batch"
LIMITS = Slo(ttft_ms=500, tpot_ms=20)
BUSY = ask(LLAMA_3_1_8B, "h100-sxm", Workload(128, 2000, 256, load=Load.CLOSED_LOOP, slo=LIMITS), EXPECTED)


def judged(question: Question, goal: Goal = Goal.LATENCY) -> Recommendation:
    return question.recommendation(TECHNIQUE, goal)


def batch_of(found: Recommendation) -> int:
    assert found.workload is not None
    return found.workload.batch


def keeps(question: Question) -> bool:
    found, slo = question.analysis(), question.workload.slo
    return (
        found.memory.fits
        and (slo.ttft_ms is None or found.metrics.ttft_ms.value <= slo.ttft_ms)
        and (slo.tpot_ms is None or found.metrics.tpot_ms.value <= slo.tpot_ms)
    )


class TestDoesNotPay:
    @pytest.mark.parametrize(
        ("slo", "said"),
        [
            pytest.param(Slo(), "no SLO is stated", id="no SLO"),
            pytest.param(Slo(ttft_ms=60_000), "served and keeps the SLO", id="an SLO that holds"),
        ],
    )
    def test_where_no_limit_is_missed(self, slo: Slo, said: str) -> None:
        found = judged(BUSY.at(slo=slo))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert said in found.reason

    def test_a_limit_that_a_single_request_misses(self) -> None:
        found = judged(BUSY.at(slo=Slo(tpot_ms=1)))
        single = BUSY.at(batch=1).analysis().metrics.tpot_ms.value
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.SLO_LIMIT
        assert f"a single request has TPOT {single:.2f} ms" in found.reason

    @pytest.mark.parametrize("batch", [128, 600])
    def test_throughput_is_not_what_it_is_for(self, batch: int) -> None:
        """Even where a part of the requests waits for memory today: fewer of them are no way to serve all."""
        assert judged(BUSY.at(batch=batch), Goal.THROUGHPUT).verdict is Verdict.CONSIDER


class TestPays:
    @pytest.mark.parametrize(
        "question",
        [
            pytest.param(BUSY, id="both limits"),
            pytest.param(BUSY.at(load=Load.STATIC_BATCH, slo=Slo(tpot_ms=12)), id="a static batch"),
            pytest.param(BUSY.at(batch=7, slo=Slo(ttft_ms=125)), id="few requests"),
            pytest.param(
                BUSY.at(batch=600, slo=Slo(30_000, 60)).served(parallel=Parallelism(tp=2)), id="two devices"
            ),
        ],
    )
    def test_the_largest_load_that_keeps_the_limits(self, question: Question) -> None:
        assert not keeps(question)
        found = judged(question)
        assert found.verdict in (Verdict.APPLY, Verdict.CONSIDER)
        assert found.reason_code is ReasonCode.SLO_LIMIT
        batch = batch_of(found)
        assert keeps(question.at(batch=batch))
        step = max((2 * batch - batch // 2) // 64, 1)
        assert not keeps(question.at(batch=batch + step + 1))

    def test_both_sides_of_the_trade_are_told(self) -> None:
        found = judged(BUSY)
        assert (
            "the SLO (TTFT of at most 500 ms and TPOT of at most 20.0 ms) is missed at concurrency 128"
            in (found.reason)
        )
        assert effect(found.effects, "output_tokens_per_s").speedup < 0.9
        for label in ("TTFT", "TPOT", "latency", "throughput"):
            assert f"{label} goes from" in found.reason

    def test_a_limit_that_is_missed_by_little_is_worth_a_load_that_is_smaller_by_little(self) -> None:
        tpot_ms = BUSY.analysis().metrics.tpot_ms.value
        found = judged(BUSY.at(slo=Slo(tpot_ms=0.99 * tpot_ms)))
        assert found.verdict is Verdict.CONSIDER
        assert 120 < batch_of(found) < 128

    def test_a_batch_that_does_not_fit_has_one_that_does(self) -> None:
        asked = ask(LLAMA_3_1_8B, "l4", Workload(256, 2000, 256), EXPECTED)
        found = judged(asked)
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.MAKES_IT_FIT
        assert batch_of(found) == asked.analysis().memory.max_batch
        best = asked.advice(Goal.THROUGHPUT, allow_load_change=True).plans[0]
        assert TECHNIQUE in best.techniques
        assert best.memory.fits

    def test_a_model_of_which_not_one_request_fits_needs_something_else(self) -> None:
        found = judged(ask(LLAMA_3_1_8B, "rtx-3060-12gb", Workload(8, 2000, 256), EXPECTED))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.MEMORY_LIMIT

    def test_plans_take_it_only_where_the_load_is_free(self) -> None:
        plans = [plan.techniques for plan in BUSY.advice().plans]
        assert not any(TECHNIQUE in plan for plan in plans)
        freed = BUSY.advice(allow_load_change=True)
        assert all(plan.meets_slo for plan in freed.plans)
        assert any(TECHNIQUE in plan.techniques for plan in freed.plans)
