"""Lookup in the text: costs nothing to draft, but nobody knows how often it is right."""

from __future__ import annotations

from typing import Any

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, LLAMA_2_7B, LLAMA_3_8B, Question, ask, effect

TECHNIQUE = "speculation-ngram"
SUMMARY = ask(LLAMA_2_7B, "a100-sxm-80gb", Workload(1, 2048, 128), EXPECTED)


def judged(question: Question, **assumed: Any) -> Recommendation:
    return question.recommendation(TECHNIQUE, **assumed)


class TestDoesNotPay:
    def test_a_rate_that_nobody_stated_is_no_gain_but_what_it_must_be_is_told(self) -> None:
        found = judged(SUMMARY)
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.FIGURE_NOT_STATED
        assert not found.effects
        (knob,) = found.knobs
        assert knob.name == "ngram_acceptance_rate"
        assert knob.value is None
        assert knob.break_even is not None
        assert f"from an acceptance rate of {knob.break_even:.2f} on" in found.reason

    def test_the_rate_that_is_needed_does_gain_and_a_hundredth_less_does_not(self) -> None:
        (knob,) = judged(SUMMARY.at(batch=64)).knobs
        assert knob.break_even is not None

        def gain(rate: float) -> float:
            question = SUMMARY.at(batch=64)
            drafting = question.served(speculation=Speculation(Draft.NGRAM, 3, rate))
            return question.analysis().metrics.tpot_ms.value / drafting.analysis().metrics.tpot_ms.value

        assert gain(knob.break_even) > 1.03 >= gain(knob.break_even - 0.01)

    def test_more_sequences_need_a_higher_rate(self) -> None:
        rates = [judged(SUMMARY.at(batch=batch)).knobs[0].break_even or 1.0 for batch in (1, 8, 64)]
        assert rates == sorted(rates)
        assert rates[0] < rates[-1]

    def test_lookups_that_are_never_right_at_high_load(self) -> None:
        question = ask(LLAMA_3_8B, "h100-sxm", Workload(512, 128, 128), EXPECTED)
        found = judged(question, ngram_acceptance_rate=0.0)
        assert found.verdict is Verdict.HARMFUL
        assert found.reason_code is ReasonCode.DRAFTING_EXCEEDS_GAIN

    def test_a_single_output_token(self) -> None:
        assert judged(SUMMARY.at(output_len=1)).reason_code is ReasonCode.NOTHING_TO_WORK_ON


class TestPays:
    def test_outputs_that_repeat_their_prompts(self) -> None:
        found = judged(SUMMARY, ngram_acceptance_rate=0.6)
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.MORE_TOKENS_PER_STEP
        assert "drafting takes" not in found.reason
        (knob,) = found.knobs
        assert knob.source == "stated in the request"

    def test_it_gains_at_most_the_tokens_of_a_step(self) -> None:
        found = judged(SUMMARY, ngram_acceptance_rate=0.6)
        assert found.deployment is not None
        assert found.deployment.speculation is not None
        assert effect(found.effects, "tpot_ms").speedup < found.deployment.speculation.expected_tokens
