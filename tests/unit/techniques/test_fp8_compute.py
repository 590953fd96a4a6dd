"""FP8 compute: where the device multiplies 8-bit floats, and prefill waits for arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import (
    DEVICES,
    EXPECTED,
    IDEAL,
    LLAMA_2_7B,
    LLAMA_2_13B,
    LLAMA_3_1_8B,
    W4,
    W8A8,
    Stated,
    ask,
    effect,
)

TECHNIQUE = "fp8-compute"
W8A8_FP8: Stated = {"weight_dtype": Dtype.FP8, "activation_dtype": Dtype.FP8}


def judged(
    model_id: str, device_id: str, workload: Workload, ideal: bool = False, **stated: Any
) -> Recommendation:
    return ask(model_id, device_id, workload, IDEAL if ideal else EXPECTED, **stated).recommendation(
        TECHNIQUE
    )


class TestDoesNotPay:
    @pytest.mark.parametrize(
        "device_id", sorted(i for i, d in DEVICES.items() if Dtype.FP8 not in d.peak_flops_per_s)
    )
    def test_hardware_without_fp8(self, device_id: str) -> None:
        found = judged(LLAMA_2_7B, device_id, Workload(1, 2048, 128))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NO_COMPUTE_UNIT
        if Dtype.FP8 in DEVICES[device_id].unsupported_dtypes:
            assert "has no fp8 unit" in found.reason
            assert found.flips_when == "It applies on a device with an FP8 unit."
        else:
            assert "no fp8 rate of" in found.reason
            assert "--set peaks.fp8=" in found.flips_when

    def test_an_a100_is_told_what_it_computes_in_and_that_bytes_alone_are_saved(self) -> None:
        found = judged(LLAMA_2_7B, "a100-sxm-80gb", Workload(1, 2048, 128))
        assert "it computes in fp32, tf32, bf16, fp16, int8, int4" in found.reason
        assert "bytes alone, 8 instead of 16 bits each" in found.reason

    def test_smaller_weights_are_not_told_of_bytes_to_save(self) -> None:
        found = judged(LLAMA_2_7B, "a100-sxm-80gb", Workload(1, 2048, 128), **W4)
        assert found.reason_code is ReasonCode.NO_COMPUTE_UNIT
        assert "bytes alone" not in found.reason

    @pytest.mark.parametrize(
        ("model_id", "stated"),
        [
            pytest.param(LLAMA_2_7B, W8A8_FP8, id="stated"),
            pytest.param("Qwen/Qwen3-32B-FP8", {}, id="the checkpoint's own"),
            pytest.param("nvidia/Llama-3.1-70B-Instruct-FP8", {}, id="a checkpoint by ModelOpt"),
        ],
    )
    def test_a_deployment_that_has_it_already(self, model_id: str, stated: Stated) -> None:
        found = judged(model_id, "h100-sxm", Workload(1, 2048, 128), **stated)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED
        assert "multiplies FP8 weights by FP8 activations" in found.reason

    def test_int8_compute_does_as_much(self) -> None:
        """1,979 in either format: what is left is the difference between kernels."""
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), ideal=True, **W8A8)
        assert found.verdict is Verdict.NO_GAIN
        assert "no more than 1,979 TFLOP/s in FP8 against 1,979 TOP/s in int8" in found.reason
        assert found.flips_when == "It pays on a device whose FP8 rate is well above its int8 rate."

    def test_a_small_model_on_a_fast_device_waits_for_launches(self) -> None:
        found = judged("openai-community/gpt2", "h100-sxm", Workload(1, 512, 128))
        assert found.verdict is Verdict.HARMFUL
        assert found.reason_code is ReasonCode.OVERHEAD_EXCEEDS_GAIN
        assert "launches and other fixed costs" in found.reason

    def test_a_prompt_whose_attention_outweighs_the_weight_gemms(self) -> None:
        short, long = (
            judged(LLAMA_3_1_8B, "h100-sxm", Workload(1, n, 128), ideal=True) for n in (2048, 100_000)
        )
        assert effect(long.effects, "ttft_ms").speedup < 1.25 < 1.7 < effect(short.effects, "ttft_ms").speedup


class TestPays:
    def test_long_prompts(self) -> None:
        found = judged(LLAMA_2_13B, "h100-sxm", Workload(4, 2048, 128))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.COMPUTE_SPED_UP
        assert "1,979 TFLOP/s in FP8 against 989.4 TFLOP/s in fp16" in found.reason

    def test_kernels_leave_much_of_twice_the_rate(self) -> None:
        """Published kernels gain 1.1 to 1.7 times, never 2."""
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(16, 2048, 128))
        gained = effect(found.effects, "ttft_ms")
        assert 1.1 < gained.speedup < 1.7 < gained.ideal_speedup < 2

    @pytest.mark.parametrize(
        ("device_id", "model_id"),
        [
            ("h100-sxm", LLAMA_2_13B),
            ("l40s", LLAMA_2_7B),
            ("b200-sxm", LLAMA_2_7B),
            ("mi300x", LLAMA_2_7B),
            ("rtx-4090", LLAMA_2_7B),
        ],
    )
    def test_any_device_with_the_unit(self, device_id: str, model_id: str) -> None:
        found = judged(model_id, device_id, Workload(4, 2048, 128))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.COMPUTE_SPED_UP

    def test_a_gain_that_measured_ones_scatter_around_is_considered(self) -> None:
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128))
        gained = effect(found.effects, "ttft_ms")
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.COMPUTE_SPED_UP
        assert gained.low < 1.03 < 1.2 < gained.speedup

    def test_decode_gains_what_fp8_weights_give(self) -> None:
        question = ask(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128))
        gains = [
            effect(question.recommendation(t).effects, "tpot_ms").speedup
            for t in (TECHNIQUE, "weight-only-fp8")
        ]
        assert gains[0] == pytest.approx(gains[1], rel=1e-3)

    def test_from_4_bit_weights_prefill_gains_what_decode_loses(self) -> None:
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(4, 2048, 128), ideal=True, **W4)
        assert effect(found.effects, "ttft_ms").speedup > 1.5
        assert effect(found.effects, "tpot_ms").speedup < 1

    def test_both_operands_become_fp8_and_nothing_else(self) -> None:
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128))
        assert found.deployment is not None
        assert found.deployment.gemm_dtype is Dtype.FP8
        assert found.deployment.compute_dtype is Dtype.FP16
        assert found.deployment.lm_head_dtype is Dtype.FP16
        assert found.deployment.kv_dtype is Dtype.FP16
