"""INT8 compute: where the device multiplies 8-bit integers faster, and prefill waits for arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import Workload
from ridgeline_server.store.engines import builtin_engines
from tests.unit.questions import DEVICES, EXPECTED, IDEAL, LLAMA_2_7B, W4, W8A8, Stated, ask, effect

TECHNIQUE = "int8-compute"


def judged(
    model_id: str, device_id: str, workload: Workload, ideal: bool = False, **stated: Any
) -> Recommendation:
    return ask(model_id, device_id, workload, IDEAL if ideal else EXPECTED, **stated).recommendation(
        TECHNIQUE
    )


class TestDoesNotPay:
    @pytest.mark.parametrize(
        "device_id", sorted(i for i, d in DEVICES.items() if Dtype.INT8 not in d.peak_flops_per_s)
    )
    def test_hardware_without_int8(self, device_id: str) -> None:
        found = judged(LLAMA_2_7B, device_id, Workload(1, 2048, 128))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NO_COMPUTE_UNIT
        if Dtype.INT8 in DEVICES[device_id].unsupported_dtypes:
            assert "has no int8 unit" in found.reason
            assert "on a device with an INT8 unit" in found.flips_when
        else:
            assert "no int8 rate of" in found.reason
            assert "--set peaks.int8=" in found.flips_when

    def test_both_lacks_occur(self) -> None:
        lacking = [d for d in DEVICES.values() if Dtype.INT8 not in d.peak_flops_per_s]
        assert {Dtype.INT8 in d.unsupported_dtypes for d in lacking} == {True, False}

    def test_a_deployment_that_has_it_already(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), **W8A8)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    @pytest.mark.parametrize("device_id", ["h100-sxm", "a100-sxm-80gb"])
    def test_an_fp8_checkpoint(self, device_id: str) -> None:
        found = judged("Qwen/Qwen3-32B-FP8", device_id, Workload(1, 2048, 128))
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    @pytest.mark.parametrize("engine", ["vllm", "sglang"])
    @pytest.mark.parametrize("device_id", ["b200-sxm", "b300-sxm", "rtx-5090"])
    def test_an_engine_without_the_kernels_on_blackwell(self, device_id: str, engine: str) -> None:
        stated: Stated = {"engine": builtin_engines().find(engine, "")}
        found = judged(LLAMA_2_7B, device_id, Workload(1, 2048, 128), **stated)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ENGINE_LACKS_IT
        assert "on Blackwell" in found.reason
        on_hopper = judged(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), **stated)
        assert on_hopper.reason_code is not ReasonCode.ENGINE_LACKS_IT

    @pytest.mark.parametrize("ideal", [True, False], ids=["ideal", "expected"])
    def test_a_device_whose_int8_is_nearly_absent(self, ideal: bool) -> None:
        """A B300 does 153.5 TOP/s in INT8 and 2,250 TFLOP/s in 16 bits."""
        found = judged(LLAMA_2_7B, "b300-sxm", Workload(1, 2048, 128), ideal)
        assert found.verdict is Verdict.HARMFUL
        assert effect(found.effects, "ttft_ms").speedup < 0.15
        assert "153.5 TOP/s in INT8 against 2,250 TFLOP/s" in found.reason

    @pytest.mark.parametrize("device_id", ["mi210", "tpu-v4", "rx-7900-xtx"])
    def test_a_device_whose_int8_rate_is_its_16_bit_rate(self, device_id: str) -> None:
        """What is left is half the bytes of weights, which decode reads."""
        found = judged(LLAMA_2_7B, device_id, Workload(1, 2048, 128))
        assert found.verdict is not Verdict.APPLY
        assert "speeds no arithmetic up" in found.reason
        assert effect(found.effects, "ttft_ms").speedup < 1.1 < effect(found.effects, "tpot_ms").speedup

    def test_a_prompt_whose_attention_outweighs_the_weight_gemms(self) -> None:
        """Attention stays 16-bit: over 100,000 tokens it is nine tenths of the arithmetic."""
        short, long = (
            judged(LLAMA_2_7B, "h100-sxm", Workload(1, n, 128), ideal=True) for n in (2048, 100_000)
        )
        assert effect(long.effects, "ttft_ms").speedup < 1.25 < 1.7 < effect(short.effects, "ttft_ms").speedup

    def test_a_small_model_on_a_fast_device_waits_for_launches(self) -> None:
        found = judged("openai-community/gpt2", "h100-sxm", Workload(1, 512, 128))
        assert found.verdict is Verdict.HARMFUL
        assert "launches and other fixed costs" in found.reason


class TestPays:
    def test_a_long_prompt(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.COMPUTE_SPED_UP
        assert "309.7 TOP/s in INT8 against 154.8 TFLOP/s" in found.reason

    def test_decode_gains_from_the_smaller_weights(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), ideal=True)
        weights = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128)).recommendation("weight-only-int8")
        assert effect(found.effects, "tpot_ms").speedup == pytest.approx(
            effect(weights.effects, "tpot_ms").speedup, rel=1e-3
        )

    def test_a_prompt_too_short_for_arithmetic_gains_from_the_smaller_weights(self) -> None:
        found = judged(LLAMA_2_7B, "t4", Workload(1, 20, 10))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.WEIGHT_BYTES_CUT

    def test_it_never_gains_more_than_the_rates_differ(self) -> None:
        """A model of 16-bit weights on a device of twice the rate."""
        for length in (512, 2048, 4000):
            found = judged(LLAMA_2_7B, "rtx-a6000", Workload(8, length, 10), ideal=True)
            assert 1 < effect(found.effects, "ttft_ms").speedup < 2.001

    def test_from_4_bit_weights_prefill_gains_what_decode_loses(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), **W4)
        assert effect(found.effects, "ttft_ms").speedup > 1.5
        assert effect(found.effects, "tpot_ms").speedup < 1
        assert found.verdict is Verdict.CONSIDER

    def test_both_operands_become_int8(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128))
        assert found.deployment is not None
        assert found.deployment.gemm_dtype is Dtype.INT8
        assert found.deployment.compute_dtype is Dtype.FP16
        assert found.deployment.lm_head_dtype is Dtype.FP16
