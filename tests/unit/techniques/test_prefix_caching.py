"""Prefix caching: prompts that begin alike are prefilled from where they differ."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.workload import Load, Workload
from tests.unit.questions import EXPECTED, LLAMA_2_7B, LLAMA_3_8B, W4, Question, ask, effect

TECHNIQUE = "prefix-caching"
CHAT = ask(LLAMA_2_7B, "a100-sxm-80gb", Workload(1, 1024, 128), EXPECTED)


def judged(question: Question, **assumed: Any) -> Recommendation:
    return question.recommendation(TECHNIQUE, **assumed)


class TestDoesNotPay:
    def test_a_rate_that_nobody_stated_is_no_gain_but_what_it_must_be_is_told(self) -> None:
        found = judged(CHAT)
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.FIGURE_NOT_STATED
        assert not found.effects
        (knob,) = found.knobs
        assert (knob.name, knob.value) == ("prefix_hit_rate", None)
        assert f"from a hit rate of {knob.break_even:.2f} on" in found.reason

    def test_a_prompt_so_short_that_its_prefill_reads_the_weights_anyway(self) -> None:
        found = judged(CHAT.at(input_len=16))
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BOUND_NOT_ADDRESSED
        assert found.knobs[0].break_even is None

    def test_prompts_that_share_nothing(self) -> None:
        assert judged(CHAT, prefix_hit_rate=0.0).verdict is Verdict.NO_GAIN

    def test_where_prefixes_are_cached_already(self) -> None:
        found = judged(CHAT.served(prefix_hit_rate=0.4), prefix_hit_rate=0.5)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED


class TestPays:
    def test_half_of_a_prompt_from_the_cache_nearly_halves_a_compute_bound_prefill(self) -> None:
        found = judged(CHAT, prefix_hit_rate=0.5)
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.PREFILL_CUT
        assert 1.7 < effect(found.effects, "ttft_ms").speedup < 2
        assert "leaves 512 tokens to compute of a prefill of 1,024 tokens" in found.reason
        assert found.knobs[0].source == "stated in the request"

    @pytest.mark.parametrize(("cached", "measured"), [(64, 1.2534), (256, 3.0675), (1024, 11.3112)])
    def test_published_gains_of_a_history_before_a_question_of_32_tokens(
        self, cached: int, measured: float
    ) -> None:
        """4-bit Llama-3-8B on an RTX 4090 under TinyChat, whose own costs no profile has: within 1.6x."""
        question = ask(LLAMA_3_8B, "rtx-4090", Workload(1, cached + 32, 1), EXPECTED, **W4)
        found = judged(question, prefix_hit_rate=cached / (cached + 32))
        assert measured / 1.6 < effect(found.effects, "ttft_ms").speedup < measured * 1.6

    def test_others_in_flight_gain_too(self) -> None:
        """Fewer prompt tokens hold up the running decodes."""
        loop = ask(LLAMA_3_8B, "h100-sxm", Workload(32, 4000, 256, load=Load.CLOSED_LOOP), EXPECTED)
        found = judged(loop, prefix_hit_rate=0.8)
        assert effect(found.effects, "tpot_ms").speedup > 1.2

    def test_the_break_even_gains_and_a_hundredth_less_does_not(self) -> None:
        rate = judged(CHAT).knobs[0].break_even
        assert rate is not None
        assert effect(judged(CHAT, prefix_hit_rate=rate).effects, "ttft_ms").speedup > 1.03
        assert effect(judged(CHAT, prefix_hit_rate=rate - 0.01).effects, "ttft_ms").speedup <= 1.03
