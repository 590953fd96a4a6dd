"""Attention data parallelism: sequences divided between devices instead of the matrices of attention."""

from __future__ import annotations

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, LLAMA_3_8B, Question, ask, effect

TECHNIQUE = "attention-data-parallel"
CHAT = ask(
    "deepseek-ai/DeepSeek-V3", "h200-sxm", Workload(64, 1024, 256), EXPECTED, parallel=Parallelism(tp=8)
)


def judged(question: Question) -> Recommendation:
    return question.recommendation(TECHNIQUE)


class TestDoesNotApply:
    def test_a_model_without_experts_has_replicas_for_that(self) -> None:
        found = judged(ask(LLAMA_3_8B, "h100-sxm", Workload(8, 512, 128), parallel=Parallelism(tp=2)))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert "replicas do the same" in found.reason

    def test_devices_that_divide_sequences_already(self) -> None:
        found = judged(CHAT.served(parallel=Parallelism(attention_dp=8, ep=8)))
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    def test_one_device(self) -> None:
        found = judged(ask("mistralai/Mixtral-8x7B-v0.1", "b300-sxm", Workload(8, 512, 128), EXPECTED))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert "one device serves each stage" in found.reason


class TestDoesNotPay:
    def test_a_single_sequence_keeps_one_device_at_work(self) -> None:
        found = judged(CHAT.at(batch=1))
        assert found.verdict is Verdict.HARMFUL
        assert found.reason_code is ReasonCode.COMMUNICATION_EXCEEDS_GAIN
        assert effect(found.effects, "output_tokens_per_s").speedup < 0.8


class TestPays:
    def test_a_latent_cache_lies_on_one_device_instead_of_on_all(self) -> None:
        """Tensor parallelism copies the latent cache of a sequence to all eight devices."""
        question = CHAT.at(batch=256, input_len=8192)
        found = judged(question)
        assert found.verdict in (Verdict.APPLY, Verdict.CONSIDER)
        assert found.reason_code in (ReasonCode.DEVICES_SHARE_WORK, ReasonCode.MAKES_IT_FIT)
        assert found.memory is not None
        today = question.analysis().memory
        assert found.memory.kv_cache_bytes * 8 == today.kv_cache_bytes
        assert found.deployment is not None
        assert found.deployment.parallel == Parallelism(attention_dp=8, ep=8)
        assert effect(found.effects, "output_tokens_per_s").speedup > 1.2
