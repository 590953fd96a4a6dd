"""FP8 weights: the bytes of INT8 ones, on any device, without faster arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.results import NoticeCode
from tests.unit.questions import EXPECTED, IDEAL, LLAMA_2_7B, W4, W8, W8A8, Stated, ask, effect

TECHNIQUE = "weight-only-fp8"


def judged(
    model_id: str, device_id: str, workload: Workload, ideal: bool = False, **stated: Any
) -> Recommendation:
    return ask(model_id, device_id, workload, IDEAL if ideal else EXPECTED, **stated).recommendation(
        TECHNIQUE
    )


class TestDoesNotPay:
    @pytest.mark.parametrize(
        ("model_id", "stated"),
        [
            pytest.param(LLAMA_2_7B, {"weight_dtype": Dtype.FP8}, id="FP8 already"),
            pytest.param(LLAMA_2_7B, W8, id="int8 is as small"),
            pytest.param(LLAMA_2_7B, W8A8, id="int8 compute has 8-bit weights"),
            pytest.param(LLAMA_2_7B, W4, id="4 bits are fewer"),
            pytest.param("Qwen/Qwen3-32B-FP8", {}, id="the checkpoint is FP8"),
        ],
    )
    def test_weights_that_are_small_already(self, model_id: str, stated: Stated) -> None:
        found = judged(model_id, "h100-sxm", Workload(1, 512, 128), **stated)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    def test_a_batch_beyond_the_ridge_without_a_cache_to_speak_of(self) -> None:
        found = judged(LLAMA_2_7B, "a100-sxm-80gb", Workload(512, 10, 10), ideal=True)
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BOUND_NOT_ADDRESSED
        assert "compute-bound from batch 163 on already" in found.reason

    def test_prefill_is_computed_in_16_bits_as_before(self) -> None:
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), ideal=True)
        assert effect(found.effects, "ttft_ms").speedup == 1
        assert found.deployment is not None
        assert found.deployment.gemm_dtype is Dtype.FP16


class TestPays:
    @pytest.mark.parametrize("device_id", ["a100-sxm-80gb", "rtx-a6000", "t4", "h100-sxm"])
    def test_no_fp8_unit_is_needed(self, device_id: str) -> None:
        found = judged(LLAMA_2_7B, device_id, Workload(1, 512, 128))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.WEIGHT_BYTES_CUT

    def test_without_a_unit_the_analysis_says_that_kernels_must_widen(self) -> None:
        question = ask(LLAMA_2_7B, "a100-sxm-80gb", Workload(1, 512, 128), weight_dtype=Dtype.FP8)
        assert NoticeCode.STORAGE_ONLY_DTYPE in {notice.code for notice in question.analysis().notices}

    def test_it_moves_as_many_bytes_as_int8_weights(self) -> None:
        question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 512, 128))
        gains = {
            effect(question.recommendation(t).effects, "tpot_ms").speedup
            for t in (TECHNIQUE, "weight-only-int8")
        }
        assert len(gains) == 1

    def test_a_device_with_the_unit_gains_more_in_prefill_by_computing_in_it(self) -> None:
        question = ask(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), EXPECTED)
        stored, computed = (
            effect(question.recommendation(t).effects, "ttft_ms").speedup for t in (TECHNIQUE, "fp8-compute")
        )
        assert computed > 1.1 > stored
