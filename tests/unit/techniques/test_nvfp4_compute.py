"""4-bit float compute: where the device multiplies FP4 blocks, and prefill waits for arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import DEVICES, EXPECTED, IDEAL, LLAMA_2_7B, Stated, ask, effect

TECHNIQUE = "nvfp4-compute"
W4A4: Stated = {"weight_dtype": Dtype.NVFP4, "activation_dtype": Dtype.NVFP4}


def judged(
    model_id: str, device_id: str, workload: Workload, ideal: bool = False, **stated: Any
) -> Recommendation:
    return ask(model_id, device_id, workload, IDEAL if ideal else EXPECTED, **stated).recommendation(
        TECHNIQUE
    )


class TestDoesNotPay:
    @pytest.mark.parametrize("device_id", ["a100-sxm-80gb", "h100-sxm", "l40s", "mi300x", "tpu-v5e"])
    def test_hardware_without_fp4(self, device_id: str) -> None:
        found = judged(LLAMA_2_7B, device_id, Workload(1, 2048, 128))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NO_COMPUTE_UNIT
        known = Dtype.FP4 in DEVICES[device_id].unsupported_dtypes
        assert ("FP4 unit." in found.flips_when) is known
        assert ("--set peaks.fp4=" in found.flips_when) is not known

    def test_a_hopper_is_told_what_it_computes_in(self) -> None:
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128))
        assert "has no nvfp4 unit: it computes in fp32, tf32, bf16, fp16, fp8, int8" in found.reason
        assert "bytes alone, 4.5 instead of 16 bits each" in found.reason

    def test_a_deployment_that_has_it_already(self) -> None:
        found = judged(LLAMA_2_7B, "b200-sxm", Workload(1, 2048, 128), **W4A4)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    def test_an_fp8_checkpoint(self) -> None:
        found = judged("Qwen/Qwen3-32B-FP8", "b200-sxm", Workload(1, 2048, 128))
        assert found.reason_code is ReasonCode.ALREADY_APPLIED
        assert "Start from the bf16 checkpoint" in found.flips_when

    def test_sparse_weights(self) -> None:
        found = judged(LLAMA_2_7B, "b200-sxm", Workload(1, 2048, 128), sparse_weights=True)
        assert found.reason_code is ReasonCode.INCOMPATIBLE_FORMATS
        assert "not nvfp4" in found.reason

    def test_a_small_model_on_a_fast_device_waits_for_launches(self) -> None:
        found = judged("openai-community/gpt2", "b200-sxm", Workload(1, 512, 128))
        assert found.verdict is Verdict.HARMFUL


class TestPays:
    def test_a_long_prompt(self) -> None:
        found = judged(LLAMA_2_7B, "b200-sxm", Workload(16, 2048, 128))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.COMPUTE_SPED_UP
        assert "9,000 TFLOP/s in NVFP4 against 2,250 TFLOP/s in fp16" in found.reason

    def test_it_gains_more_than_fp8_in_both_stages(self) -> None:
        question = ask(LLAMA_2_7B, "b200-sxm", Workload(16, 2048, 128), EXPECTED)
        four, eight = (question.recommendation(t).effects for t in (TECHNIQUE, "fp8-compute"))
        for metric in ("ttft_ms", "tpot_ms"):
            assert effect(four, metric).speedup > effect(eight, metric).speedup > 1

    def test_it_never_gains_more_than_the_rates_differ(self) -> None:
        found = judged(LLAMA_2_7B, "b200-sxm", Workload(8, 2048, 10), ideal=True)
        assert 2 < effect(found.effects, "ttft_ms").speedup < 4

    @pytest.mark.parametrize(
        ("device_id", "dtype"),
        [("b200-sxm", Dtype.NVFP4), ("rtx-5090", Dtype.NVFP4), ("mi355x", Dtype.MXFP4)],
    )
    def test_the_blocks_are_those_that_the_vendors_unit_takes(self, device_id: str, dtype: Dtype) -> None:
        found = judged(LLAMA_2_7B, device_id, Workload(1, 2048, 128))
        assert found.deployment is not None
        assert found.deployment.gemm_dtype is dtype
        assert found.verdict is Verdict.APPLY

    def test_lm_head_and_cache_stay_wide(self) -> None:
        found = judged(LLAMA_2_7B, "b200-sxm", Workload(1, 2048, 128))
        assert found.deployment is not None
        assert found.deployment.lm_head_dtype is Dtype.FP16
        assert found.deployment.kv_dtype is Dtype.FP16
        assert found.deployment.weight_bits == 4.5
