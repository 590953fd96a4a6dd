"""A larger batch: up to the memory, the SLO or the knee, whichever comes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline_server.advisor.results import Goal, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.workload import Slo, Workload
from tests.unit.questions import (
    EXPECTED,
    GIB,
    KV4,
    LLAMA_2_7B,
    W4,
    Question,
    Stated,
    ask,
    device,
    effect,
    questions,
)

TECHNIQUE = "increase-batch"


def judged(question: Question, goal: Goal = Goal.THROUGHPUT) -> Recommendation:
    return question.recommendation(TECHNIQUE, goal)


def batch_of(found: Recommendation) -> int:
    assert found.workload is not None
    return found.workload.batch


def rate(question: Question, batch: int) -> float:
    return question.at(batch=batch).analysis().metrics.output_tokens_per_s.value


def limit_of(found: Recommendation) -> str:
    """Which limit the sentence names."""
    named = {"what memory holds": "memory", "keeps the SLO": "slo", "the knee": "knee", "looked at": "ladder"}
    (limit,) = [limit for words, limit in named.items() if words in found.reason]
    return limit


class TestDoesNotPay:
    def test_memory_that_is_full(self) -> None:
        question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), EXPECTED)
        largest = question.analysis().memory.max_batch
        found = judged(question.at(batch=largest))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.MEMORY_LIMIT
        assert f"is {largest} " in found.reason

    def test_a_load_that_does_not_even_fit(self) -> None:
        found = judged(ask(LLAMA_2_7B, "rtx-a6000", Workload(200, 2048, 128), EXPECTED))
        assert found.reason_code is ReasonCode.MEMORY_LIMIT

    def test_a_batch_past_the_knee(self) -> None:
        question = ask(LLAMA_2_7B, "h100-sxm", Workload(1000, 1, 20), EXPECTED)
        found = judged(question)
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.KNEE_REACHED
        assert rate(question, 2000) < 1.1 * rate(question, 1000)
        assert f"from batch 1,000 to 2,000 it grows from {rate(question, 1000):,.0f} tokens/s" in found.reason

    def test_a_batch_past_the_knee_is_told_so_where_memory_would_not_hold_its_double(self) -> None:
        """Small weights are shared soon: from batch 31 on doubling adds a tenth no more, and 40 fit."""
        question = ask(LLAMA_2_7B, "rtx-a6000", Workload(31, 2048, 128), **W4)
        assert 31 < question.analysis().memory.max_batch < 62
        assert rate(question, 62) < 1.1 * rate(question, 31)
        found = judged(question)
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.KNEE_REACHED

    def test_an_slo_that_is_just_kept(self) -> None:
        """One prompt takes 272 ms, two 537."""
        found = judged(ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128, slo=Slo(ttft_ms=300.0)), EXPECTED))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.SLO_LIMIT
        assert "batch 1 is the largest that keeps the SLO" in found.reason

    def test_an_slo_that_is_broken_already_holds_at_a_smaller_batch(self) -> None:
        question = ask(LLAMA_2_7B, "rtx-a6000", Workload(8, 2048, 128, slo=Slo(ttft_ms=1000.0)), EXPECTED)
        found = judged(question)
        assert found.reason_code is ReasonCode.SLO_LIMIT
        assert "broken at batch 8 already" in found.reason
        assert found.flips_when == "It holds at batch 3."
        assert question.at(batch=3).analysis().metrics.ttft_ms.value <= 1000
        assert question.at(batch=4).analysis().metrics.ttft_ms.value > 1000

    def test_an_slo_that_no_batch_keeps(self) -> None:
        found = judged(ask(LLAMA_2_7B, "rtx-a6000", Workload(8, 2048, 128, slo=Slo(ttft_ms=1.0)), EXPECTED))
        assert found.flips_when == "No smaller batch keeps it either."

    def test_there_is_no_batch_0(self) -> None:
        for slo in (Slo(ttft_ms=1.0), Slo(tpot_ms=0.001)):
            found = judged(ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128, slo=slo), EXPECTED))
            assert "batch 0" not in found.reason + found.flips_when


class TestPays:
    def test_up_to_the_memory(self) -> None:
        """With half of its memory an A6000 holds 9 sequences, long before the knee at 27."""
        half = device("rtx-a6000", usable_memory_bytes=24 * GIB)
        question = ask(LLAMA_2_7B, half, Workload(1, 2048, 128), EXPECTED)
        found = judged(question)
        assert found.verdict is Verdict.APPLY
        assert batch_of(found) == question.analysis().memory.max_batch == 9
        assert limit_of(found) == "memory"

    def test_up_to_the_slo(self) -> None:
        question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128, slo=Slo(tpot_ms=40.0)), EXPECTED)
        found = judged(question)
        batch = batch_of(found)
        assert limit_of(found) == "slo"
        assert question.at(batch=batch).analysis().metrics.tpot_ms.value <= 40
        assert question.at(batch=batch + 1).analysis().metrics.tpot_ms.value > 40

    def test_up_to_the_knee(self) -> None:
        """Within an eighth of a doubling, in which batches are looked at."""
        roomy = device("rtx-a6000", usable_memory_bytes=1e15)
        question = ask(LLAMA_2_7B, roomy, Workload(1, 16, 200), EXPECTED)
        found = judged(question)
        knee = batch_of(found)
        assert limit_of(found) == "knee"
        assert rate(question, 2 * knee) < 1.1 * rate(question, knee)
        earlier = int(knee / 1.2)
        assert rate(question, 2 * earlier) >= 1.1 * rate(question, earlier)

    @pytest.mark.parametrize(
        ("tpot_ms", "memory_gib", "first"),
        [
            pytest.param(None, 24, "memory", id="no SLO, little memory"),
            pytest.param(1e6, 24, "memory", id="a loose SLO"),
            pytest.param(40.0, 48, "slo", id="a tight SLO"),
            pytest.param(40.0, 1e6, "slo", id="a tight SLO and much memory"),
            pytest.param(1e6, 1e6, "knee", id="a loose SLO and much memory"),
            pytest.param(40.0, 18, "memory", id="a tight SLO, but less memory still"),
        ],
    )
    def test_the_limit_that_comes_first_is_named(
        self, tpot_ms: float | None, memory_gib: float, first: str
    ) -> None:
        roomy = device("rtx-a6000", usable_memory_bytes=memory_gib * GIB)
        workload = Workload(1, 2048, 128, slo=Slo(tpot_ms=tpot_ms))
        assert limit_of(judged(ask(LLAMA_2_7B, roomy, workload, EXPECTED))) == first

    @pytest.mark.parametrize("stated", [W4, KV4], ids=["weights", "cache"])
    def test_fewer_bits_make_room_for_more_as_the_refusal_says(self, stated: Stated) -> None:
        full = ask(LLAMA_2_7B, "rtx-a6000", Workload(31, 2048, 128))
        assert judged(full).flips_when == "Fewer bits for weights or KV cache make room for more."
        assert full.served(**stated).analysis().memory.max_batch > 31

    def test_sequences_share_the_weights_whose_ridge_is_named(self) -> None:
        found = judged(ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128)))
        ridge = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128)).analysis().decode.ridge_batch
        assert found.reason_code is ReasonCode.WEIGHTS_SHARED_BY_BATCH
        assert f"the ridge batch of its weight GEMMs is {ridge}" in found.reason

    def test_latency_that_is_paid_is_said(self) -> None:
        found = judged(ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128)), Goal.LATENCY)
        assert found.verdict is Verdict.CONSIDER
        assert effect(found.effects, "e2e_latency_ms").speedup < 1
        assert "TTFT goes from" in found.reason

    @given(questions(), st.sampled_from((None, 10.0, 100.0)))
    def test_the_proposed_batch_fits_and_keeps_the_limits(
        self, question: Question, tpot_ms: float | None
    ) -> None:
        found = judged(question.at(slo=Slo(tpot_ms=tpot_ms)))
        if found.workload is not None:
            after = question.at(batch=batch_of(found)).analysis()
            assert found.workload.batch >= question.workload.batch
            assert after.memory.fits
            assert tpot_ms is None or after.metrics.tpot_ms.value <= tpot_ms

    @given(questions())
    def test_no_smaller_batch_is_past_the_knee(self, question: Question) -> None:
        found = judged(question)
        if found.workload is not None:
            batch = question.workload.batch
            while batch < found.workload.batch:
                assert rate(question, 2 * batch) >= 1.1 * rate(question, batch)
                batch *= 2
