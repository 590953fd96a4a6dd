"""Layer skipping: fewer layers for a token, of a model that was trained for it."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import Effort, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import ANY_ACCURACY, EXPECTED, LLAMA_3_1_8B, Question, ask, effect

TECHNIQUE = "layer-skip"
CHAT = ask(LLAMA_3_1_8B, "h100-sxm", Workload(1, 512, 128), EXPECTED)


def judged(question: Question, **assumed: Any) -> Recommendation:
    return question.recommendation(TECHNIQUE, **assumed)


class TestDoesNotPay:
    def test_where_tokens_skip_layers_already(self) -> None:
        found = judged(CHAT.served(skipped_layer_share=0.1))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    def test_a_share_that_is_next_to_nothing(self) -> None:
        found = judged(CHAT, skipped_layer_share=0.01)
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BOUND_NOT_ADDRESSED
        assert found.knobs[0].break_even is not None
        assert found.knobs[0].break_even > 0.01

    def test_no_plan_waits_for_a_training(self) -> None:
        found = judged(CHAT, skipped_layer_share=0.5)
        assert found.effort is Effort.RETRAIN
        advice = CHAT.advice(freedom=ANY_ACCURACY, skipped_layer_share=0.5)
        assert not any(TECHNIQUE in plan.techniques for plan in advice.plans)


class TestPays:
    def test_it_is_at_most_considered(self) -> None:
        found = judged(CHAT, skipped_layer_share=0.5)
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.LAYERS_SKIPPED
        assert effect(found.effects, "tpot_ms").low > 1.03

    def test_the_published_share_is_echoed_with_its_source(self) -> None:
        found = judged(CHAT)
        (knob,) = found.knobs
        assert (knob.name, knob.value) == ("skipped_layer_share", 0.25)
        assert "arXiv:2503.23798" in knob.source
        assert found.deployment is not None
        assert found.deployment.skipped_layer_share == 0.25

    def test_it_gains_no_more_than_its_layers_hold(self) -> None:
        """Steps of an 8B model are nearly all layers: half of them is nearly half of the time."""
        gain = effect(judged(CHAT, skipped_layer_share=0.5).effects, "tpot_ms").speedup
        assert 1.6 < gain < 2

    def test_it_pays_from_the_break_even_on(self) -> None:
        least = judged(CHAT).knobs[0].break_even
        assert least is not None
        assert effect(judged(CHAT, skipped_layer_share=least).effects, "tpot_ms").speedup > 1.03
        assert effect(judged(CHAT, skipped_layer_share=least - 0.01).effects, "tpot_ms").speedup <= 1.03

    @pytest.mark.parametrize("metric", ["ttft_ms", "tpot_ms"])
    def test_both_stages_get_faster(self, metric: str) -> None:
        assert effect(judged(CHAT).effects, metric).speedup > 1.1
