"""Multi-token prediction: the module of the model's own drafts, and nothing is trained."""

from __future__ import annotations

from typing import Any

import pytest

import ridgeline_catalog
from ridgeline_server.advisor.results import Effort, Goal, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.drafts import draft_of
from tests.unit.questions import EXPECTED, LLAMA_3_8B, Question, ask, effect, model

TECHNIQUE = "speculation-mtp"
EIGHT = Parallelism(tp=8)
DEEPSEEK = ask("deepseek-ai/DeepSeek-V3", "h200-sxm", Workload(1, 1024, 512), EXPECTED, parallel=EIGHT)
MIMO = ask("XiaomiMiMo/MiMo-7B-Base", "h100-sxm", Workload(1, 1024, 512), EXPECTED)
PUBLISHED = {
    document["id"]: document["published_parameters"]
    for _, document in ridgeline_catalog.model_documents()
    if document.get("published_parameters")
}
UNTOLD = {"XiaomiMiMo/MiMo-V2-Flash", "baidu/ERNIE-4.5-21B-A3B-PT"}
"""Checkpoints with a module of another kind than their layers, of which their configs tell nothing."""


def causes_of(model_id: str) -> set[str]:
    """Why a checkpoint has other elements than its model has weights; packed ones tell nothing of layers."""
    return set(PUBLISHED[model_id]["causes"])


def judged(question: Question, goal: Goal = Goal.LATENCY, **assumed: Any) -> Recommendation:
    return question.recommendation(TECHNIQUE, goal, **assumed)


def drafting(found: Recommendation) -> Speculation:
    assert found.deployment is not None
    assert found.deployment.speculation is not None
    return found.deployment.speculation


class TestDoesNotPay:
    def test_a_model_that_is_published_without(self) -> None:
        found = judged(ask(LLAMA_3_8B, "h100-sxm", Workload(1, 128, 256), EXPECTED))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "published without layers for multi-token prediction" in found.reason
        assert "speculation-heads" in found.flips_when

    def test_a_config_that_tells_of_layers_which_the_checkpoint_does_not_hold(self) -> None:
        """MiniMax-M2.5's config tells of three modules, and its checkpoint has the elements of none."""
        asked = ask("MiniMaxAI/MiniMax-M2.5", "h200-sxm", Workload(1, 128, 256), EXPECTED)
        assert judged(asked.served(parallel=Parallelism(tp=4))).verdict is Verdict.NOT_APPLICABLE

    def test_where_tokens_are_drafted_already(self) -> None:
        found = judged(MIMO.served(speculation=Speculation(Draft.NGRAM, 3, 0.5)))
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    def test_a_single_output_token(self) -> None:
        assert judged(MIMO.at(output_len=1)).reason_code is ReasonCode.NOTHING_TO_WORK_ON

    def test_a_module_that_is_never_right(self) -> None:
        found = judged(MIMO, mtp_acceptance_rate=0.0)
        assert found.verdict is Verdict.HARMFUL
        assert found.reason_code is ReasonCode.DRAFTING_EXCEEDS_GAIN

    def test_a_batch_beyond_the_ridge_gains_less(self) -> None:
        alone, many = (effect(judged(MIMO.at(batch=b)).effects, "tpot_ms").speedup for b in (1, 512))
        assert many < alone - 0.1


class TestPays:
    @pytest.mark.parametrize(("batch", "measured"), [(1, 1.8), (32, 1.5)])
    def test_published_gains(self, batch: int, measured: float) -> None:
        """SGLang's documentation tells 1.8x at batch 1 and 1.5x at 32 on eight H200."""
        gain = effect(judged(DEEPSEEK.at(batch=batch)).effects, "tpot_ms")
        assert gain.low < measured < gain.high
        assert gain.speedup > 1.15

    def test_the_published_rate_is_that_of_one_token_and_is_cited(self) -> None:
        found = judged(DEEPSEEK)
        assert drafting(found) == Speculation(Draft.HEADS, 1, 0.85)
        (knob,) = found.knobs
        assert (knob.name, knob.value) == ("mtp_acceptance_rate", 0.85)
        assert "arXiv:2412.19437" in knob.source
        assert knob.break_even is not None
        assert knob.break_even < 0.85

    def test_a_stated_rate_lets_more_tokens_be_drafted(self) -> None:
        found = judged(MIMO, mtp_acceptance_rate=0.9)
        assert drafting(found).tokens > 1
        assert found.verdict is Verdict.APPLY
        assert found.knobs[0].source == "stated in the request"

    def test_nothing_is_trained_so_that_plans_may_have_it(self) -> None:
        assert judged(MIMO).effort is Effort.FLAG
        assert any(TECHNIQUE in plan.techniques for plan in MIMO.advice().plans)

    def test_heads_are_not_trained_for_such_a_model(self) -> None:
        found = MIMO.recommendation("speculation-heads")
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert "speculation-mtp drafts by them" in found.reason

    def test_the_weights_of_the_module_count(self) -> None:
        found, today = judged(MIMO), MIMO.analysis()
        assert found.memory is not None
        module = draft_of(MIMO.model, MIMO.served(speculation=drafting(found)).deployment)
        assert module is not None
        assert found.memory.weights_bytes - today.memory.weights_bytes == pytest.approx(
            2 * module.layer_kinds[0].parameters
        )

    def test_a_launch_names_the_method_and_no_second_model(self) -> None:
        plan = next(plan for plan in MIMO.advice().plans if TECHNIQUE in plan.techniques)
        commands = {launch.engine: launch.command for launch in plan.launches}
        assert "--spec-method mtp" in commands["vllm"]
        assert "EAGLE" not in commands["vllm"]
        assert "--speculative-algorithm NEXTN" in commands["sglang"]
        assert "--spec-type draft-mtp" in commands["llama.cpp"]


class TestPublishedCheckpoints:
    @pytest.mark.parametrize("model_id", sorted(m for m in PUBLISHED if "packed" not in causes_of(m)))
    def test_a_model_has_layers_for_prediction_where_its_checkpoint_has_their_elements(
        self, model_id: str
    ) -> None:
        held = bool(model(model_id).prediction_layers)
        assert held is ("mtp" in causes_of(model_id) and model_id not in UNTOLD)

    @pytest.mark.parametrize(
        "model_id",
        sorted(
            m for m, told in PUBLISHED.items() if set(told.get("causes", ())) == {"mtp"} and m not in UNTOLD
        ),
    )
    def test_the_layer_that_is_costed_has_as_many_weights_as_the_published_module(
        self, model_id: str
    ) -> None:
        """Beside its layer a module has a projection of two hidden states into one, and some checkpoints hold
        copies of the embedding and lm_head in it; Nemotron's has a layer of attention of its own too.
        """
        asked = model(model_id)
        last = asked.layer_kinds[asked.layer_sequence[-1]].parameters
        copies = 2 * asked.vocab_size * asked.hidden_size
        published = PUBLISHED[model_id]["difference"] - 2 * asked.hidden_size**2
        assert min(abs(published - last), abs(published - last - copies)) < 0.025 * published
