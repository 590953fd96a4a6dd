"""16-bit weights again: where unpacking narrow ones costs more than their bytes save."""

from __future__ import annotations

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.store.engines import builtin_engines
from tests.unit.deployments import GPT_OSS
from tests.unit.questions import (
    EXPECTED,
    LLAMA_3_1_8B,
    LLAMA_3_8B,
    W4,
    W8,
    W8A8,
    Question,
    ask,
    effect,
)

TECHNIQUE = "widen-weights"
LLAMA_CPP = {"engine": builtin_engines().find("llama.cpp", "")}
PROMPT = ask(LLAMA_3_8B, "a100-pcie-80gb", Workload(1, 1024, 1), EXPECTED, **W4, **LLAMA_CPP)


def judged(question: Question) -> Recommendation:
    return question.recommendation(TECHNIQUE)


def chat(batch: int, **stated: object) -> Question:
    load = Workload(batch, 1024, 256, load=Load.CLOSED_LOOP)
    return ask(LLAMA_3_1_8B, "h100-sxm", load, EXPECTED, **stated)


class TestDoesNotPay:
    @pytest.mark.parametrize(
        ("question", "said"),
        [
            pytest.param(chat(8), "no narrower than 16 bits", id="16 bits"),
            pytest.param(chat(8, **W8A8), "multiplied as they are stored", id="low-bit compute"),
            pytest.param(
                chat(8, weight_dtype=Dtype.FP8, activation_dtype=Dtype.FP8), "nothing is widened", id="FP8"
            ),
            pytest.param(
                chat(8, weight_dtype=Dtype.INT4, activation_dtype=Dtype.FP8),
                "multiplied at the rate of fp8, which bf16 ones would not be",
                id="W4A8",
            ),
        ],
    )
    def test_where_nothing_is_widened(self, question: Question, said: str) -> None:
        found = judged(question)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert said in found.reason

    def test_wide_weights_that_have_no_room(self) -> None:
        question = ask(
            "meta-llama/Llama-3.1-70B-Instruct", "h100-sxm", Workload(1, 1024, 128), EXPECTED, **W4
        )
        assert question.analysis().memory.fits
        found = judged(question)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.MEMORY_LIMIT
        assert "with bf16 weights it would need 133.3 GiB of 79.2 GiB (today 39.6 GiB)" in found.reason

    @pytest.mark.parametrize("stated", [W4, W8])
    def test_steps_that_wait_for_weight_bytes(self, stated: dict[str, Dtype]) -> None:
        found = judged(chat(1, **stated))
        assert found.verdict is Verdict.HARMFUL
        assert found.reason_code is ReasonCode.WEIGHT_BYTES_GROW


class TestPays:
    @pytest.mark.parametrize(
        ("device_id", "measured"),
        [
            pytest.param("a100-pcie-80gb", 0.773, id="c0197"),
            pytest.param("rtx-a6000", 0.8393, id="c0190"),
            pytest.param("apple-m1-max", 0.8488, id="c0201"),
        ],
    )
    def test_prompts_whose_products_unpack_weights(self, device_id: str, measured: float) -> None:
        """Published pairs of llama.cpp: prompts of 1,024 tokens are slower by so much with 4-bit weights."""
        asked = ask(LLAMA_3_8B, device_id, PROMPT.workload, EXPECTED, **W4, **LLAMA_CPP)
        found = judged(asked)
        assert found.verdict in (Verdict.APPLY, Verdict.CONSIDER)
        assert found.reason_code is ReasonCode.OVERHEAD_EXCEEDS_GAIN
        assert effect(found.effects, "ttft_ms").speedup == pytest.approx(1 / measured, rel=0.15)

    def test_it_is_applied_where_even_the_low_end_gains(self) -> None:
        found = judged(PROMPT)
        assert found.verdict is Verdict.APPLY
        assert found.deployment is not None
        assert found.deployment.weight_dtype is found.deployment.compute_dtype
        assert found.deployment.weight_group_size == 0
        assert "with 16 instead of 4.25 bits each nothing is unpacked" in found.reason
        assert "TPOT" not in found.reason

    def test_experts_in_four_bits_that_many_tokens_share(self) -> None:
        load = Workload(256, 1024, 100, load=Load.CLOSED_LOOP)
        question = ask(GPT_OSS, "h100-sxm", load, EXPECTED)
        found = judged(question)
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.OVERHEAD_EXCEEDS_GAIN
        assert "At concurrency 128 and below today's weights are faster by over 3%" in found.flips_when
        assert effect(judged(question.at(batch=128)).effects, "e2e_latency_ms").speedup < 1 / 1.03
        assert effect(judged(question.at(batch=256)).effects, "e2e_latency_ms").speedup > 1 / 1.03

    def test_engines_are_told_to_serve_the_16_bit_checkpoint(self) -> None:
        switches = {switch.engine: switch for switch in judged(PROMPT).switches}
        assert "Leave out --quantization." in switches["vllm"].steps
        assert any("Serve the 16-bit checkpoint" in step for step in switches["vllm"].steps)
        assert any("not quantised" in step for step in switches["llama.cpp"].steps)
