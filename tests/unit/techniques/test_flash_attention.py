"""Fused attention: scores that stay on the chip, where today's kernels write them to memory."""

from __future__ import annotations

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.deployment import AttentionKernel
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, LLAMA_2_7B, UNFUSED, Question, ask, effect

TECHNIQUE = "flash-attention"
CHAT = ask(LLAMA_2_7B, "a100-sxm-80gb", Workload(1, 1024, 128), EXPECTED, **UNFUSED)


def judged(question: Question) -> Recommendation:
    return question.recommendation(TECHNIQUE)


class TestDoesNotPay:
    def test_where_the_kernel_is_fused_already(self) -> None:
        found = judged(CHAT.served())
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    def test_a_model_without_scores(self) -> None:
        found = judged(ask("state-spaces/mamba-2.8b-hf", "rtx-a6000", Workload(1, 2048, 128), **UNFUSED))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON


class TestPays:
    def test_the_first_token_comes_sooner(self) -> None:
        found = judged(CHAT.at(input_len=2048))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.SCORES_KEPT_ON_CHIP
        assert found.deployment is not None
        assert found.deployment.attention is AttentionKernel.FUSED

    def test_a_gain_of_a_prompt_half_as_long_may_be_none(self) -> None:
        found = judged(CHAT)
        gained = effect(found.effects, "ttft_ms")
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.SCORES_KEPT_ON_CHIP
        assert gained.low < 1 < 1.1 < gained.speedup

    def test_a_published_gain(self) -> None:
        """llama.cpp reads prompts of 512 tokens 1.22 times as fast on an RTX 4090; its model is in 4 bits."""
        question = ask("Qwen/Qwen2.5-3B-Instruct", "rtx-4090", Workload(1, 512, 1), EXPECTED, **UNFUSED)
        assert 1.03 < effect(judged(question).effects, "ttft_ms").speedup < 1.4

    def test_longer_prompts_gain_more(self) -> None:
        gains = [effect(judged(CHAT.at(input_len=n)).effects, "ttft_ms").speedup for n in (512, 2048, 8192)]
        assert gains == sorted(gains)
        assert gains[-1] > 1.5

    def test_scores_that_do_not_fit(self) -> None:
        """32 heads of 8,192 x 100,000 scores are 49 GiB in 16 bits."""
        question = CHAT.at(input_len=100_000)
        assert not question.analysis().memory.fits
        found = judged(question)
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.MAKES_IT_FIT
