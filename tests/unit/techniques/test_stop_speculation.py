"""No speculation: where verifying and drafting cost more than the tokens that are kept save."""

from __future__ import annotations

import re

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.workload import Load, Workload
from tests.unit.deployments import MIXTRAL, SMALL_DRAFT
from tests.unit.questions import EXPECTED, LLAMA_3_1_8B, Question, ask, effect, model

TECHNIQUE = "stop-speculation"
CHAT = Workload(256, 1024, 256, load=Load.CLOSED_LOOP)


def drafting(batch: int, tokens: int = 5, rate: float = 0.65, output_len: int = 256) -> Question:
    speculation = Speculation(Draft.MODEL, tokens, rate, model(SMALL_DRAFT))
    load = Workload(batch, 1024, output_len, load=Load.CLOSED_LOOP)
    return ask(LLAMA_3_1_8B, "h100-sxm", load, EXPECTED, speculation=speculation)


def judged(question: Question) -> Recommendation:
    return question.recommendation(TECHNIQUE)


class TestDoesNotPay:
    def test_where_nothing_is_drafted(self) -> None:
        found = judged(ask(LLAMA_3_1_8B, "h100-sxm", CHAT, EXPECTED))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON

    def test_a_single_output_token(self) -> None:
        found = judged(drafting(8, output_len=1))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON

    def test_drafts_that_are_often_right_where_steps_wait_for_bytes(self) -> None:
        found = judged(drafting(1, tokens=3, rate=0.9))
        assert found.verdict is Verdict.HARMFUL
        assert found.reason_code is ReasonCode.MORE_TOKENS_PER_STEP

    def test_the_load_from_which_on_it_would_pay_is_told(self) -> None:
        question = drafting(1, tokens=3, rate=0.7)
        found = judged(question)
        told = re.search(
            r"Without drafts it is faster by over 3% from concurrency (\d+) on", found.flips_when
        )
        assert told is not None
        batch = int(told[1])
        gains = [
            effect(judged(drafting(b, 3, 0.7)).effects, found.metric).speedup for b in (batch // 2, batch)
        ]
        assert gains[0] <= 1.03 < gains[1]


class TestPays:
    def test_many_sequences_whose_verified_tokens_are_arithmetic(self) -> None:
        found = judged(drafting(256))
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.DRAFTING_EXCEEDS_GAIN
        assert found.deployment is not None
        assert found.deployment.speculation is None
        assert "verifying 6 tokens makes a decode step" in found.reason
        assert effect(found.effects, "tpot_ms").speedup > 1.3

    def test_drafts_that_are_never_right(self) -> None:
        found = judged(drafting(16, rate=0.0))
        assert found.verdict is Verdict.APPLY
        assert "a step gives 1.00 tokens" in found.reason

    def test_a_mixture_of_experts_reads_further_experts_for_drafts(self) -> None:
        """Four more tokens hit nearly all of Mixtral's experts instead of two."""
        speculation = Speculation(Draft.NGRAM, 4, 0.3)
        asked = ask(
            MIXTRAL,
            "h100-sxm",
            Workload(1, 1024, 256, load=Load.CLOSED_LOOP),
            EXPECTED,
            speculation=speculation,
            parallel=Parallelism(tp=2),
        )
        dense = ask(
            "meta-llama/Llama-2-13b-hf",
            "h100-sxm",
            asked.workload,
            EXPECTED,
            speculation=speculation,
            parallel=Parallelism(tp=2),
        )
        mixture, plain = (effect(judged(each).effects, "tpot_ms").speedup for each in (asked, dense))
        assert mixture > 1.2
        assert plain < 0.9

    @pytest.mark.parametrize("batch", [16, 256])
    def test_the_rate_that_is_needed_makes_drafting_pay(self, batch: int) -> None:
        found = judged(drafting(batch))
        (knob,) = found.knobs
        assert knob.name == "draft_model_acceptance_rate"
        assert knob.break_even is not None
        assert f"5 drafted tokens gain over 3% from an acceptance rate of {knob.break_even:.2f} on" in (
            found.flips_when
        )
        needed = judged(drafting(batch, rate=knob.break_even))
        below = judged(drafting(batch, rate=knob.break_even - 0.01))
        assert (
            effect(needed.effects, "tpot_ms").speedup < 1 / 1.03 <= effect(below.effects, "tpot_ms").speedup
        )

    def test_fewer_drafted_tokens_are_told_where_they_beat_none(self) -> None:
        found = judged(drafting(64))
        assert "With 1 drafted token it is 14.7 ms, less than without any." in found.flips_when
        one = drafting(64, tokens=1).analysis().metrics.tpot_ms.value
        assert one == pytest.approx(14.7, abs=0.05)
        assert one < effect(found.effects, "tpot_ms").after
        assert "less than without any" not in judged(drafting(256)).flips_when
