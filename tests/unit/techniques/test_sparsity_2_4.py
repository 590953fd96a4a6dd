"""2:4 sparsity: half of the weights and twice the rate, on units that skip zeros, for whoever trains."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import Effort, Goal, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, IDEAL, LLAMA_2_7B, LLAMA_3_1_8B, W4, W8A8, Stated, ask, effect

TECHNIQUE = "sparsity-2-4"
SPARSE: Stated = {"sparse_weights": True}


def judged(
    model_id: str, device_id: str, workload: Workload, ideal: bool = False, **stated: Any
) -> Recommendation:
    return ask(model_id, device_id, workload, IDEAL if ideal else EXPECTED, **stated).recommendation(
        TECHNIQUE
    )


class TestDoesNotPay:
    @pytest.mark.parametrize(
        "device_id",
        [
            pytest.param("t4", id="before Ampere"),
            pytest.param("v100-sxm2-32gb", id="long before Ampere"),
            pytest.param("mi300x", id="AMD"),
            pytest.param("tpu-v5e", id="TPU"),
            pytest.param("epyc-9654", id="CPU"),
        ],
    )
    def test_hardware_without_units_that_skip_zeros(self, device_id: str) -> None:
        found = judged(LLAMA_2_7B, device_id, Workload(1, 2048, 128))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NO_COMPUTE_UNIT
        assert "skips two zeros of four" in found.reason
        assert "from Ampere on" in found.flips_when

    def test_weights_that_are_sparse_already(self) -> None:
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), **SPARSE)
        assert found.reason_code is ReasonCode.ALREADY_APPLIED
        assert "9 bits each" in found.reason

    @pytest.mark.parametrize(
        ("model_id", "stated", "dtype"),
        [
            pytest.param(LLAMA_2_7B, W4, "int4", id="4-bit integers"),
            pytest.param(LLAMA_2_7B, {"weight_dtype": Dtype.NVFP4}, "nvfp4", id="4-bit blocks"),
            pytest.param("openai/gpt-oss-120b", {}, "mxfp4", id="a checkpoint's experts"),
        ],
    )
    def test_formats_that_no_sparse_kernel_takes(self, model_id: str, stated: Stated, dtype: str) -> None:
        found = judged(model_id, "h100-sxm", Workload(1, 2048, 128), **stated)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.INCOMPATIBLE_FORMATS
        assert f"weights are {dtype}" in found.reason

    def test_4_bit_weights_are_refused_for_sparse_ones_in_turn(self) -> None:
        question = ask(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), EXPECTED, **SPARSE)
        found = question.recommendation("weight-only-int4")
        assert found.reason_code is ReasonCode.INCOMPATIBLE_FORMATS
        assert found.flips_when == "It applies to dense weights."

    def test_a_cache_that_outweighs_the_weights(self) -> None:
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(60, 100_000, 128), ideal=True)
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BYTES_NOT_DOMINANT


class TestPays:
    def test_it_is_only_considered_because_the_model_must_be_trained(self) -> None:
        found = judged(LLAMA_3_1_8B, "h100-sxm", Workload(1, 512, 128))
        assert found.effort is Effort.RETRAIN
        assert found.verdict is Verdict.CONSIDER
        assert effect(found.effects, "tpot_ms").low > 1.03

    @pytest.mark.parametrize("goal", [Goal.LATENCY, Goal.THROUGHPUT, Goal.MEMORY])
    def test_no_plan_takes_training(self, goal: Goal) -> None:
        plans = ask(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), EXPECTED).advice(goal).plans
        assert plans
        assert not any(TECHNIQUE in plan.techniques for plan in plans)

    def test_both_stages_gain_up_to_the_bits_and_the_rate(self) -> None:
        """16 bits become 8 and 1 of positions, a factor of 1.78; the rate doubles."""
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), ideal=True)
        assert 1.5 < effect(found.effects, "tpot_ms").speedup < 16 / 9
        assert 1.6 < effect(found.effects, "ttft_ms").speedup < 2

    def test_the_ridge_moves_up_where_that_of_quantised_weights_moves_down(self) -> None:
        """Twice the rate on 9/16 of the bytes: by the weights alone the ridge is at 1.125 times the batch."""
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 512, 128), ideal=True)
        assert "stay memory-bound up to batch 268 (today 218)" in found.reason

    def test_8_bit_weights_can_be_sparse_too(self) -> None:
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(1, 512, 128), **W8A8)
        assert found.deployment is not None
        assert found.deployment.weight_bits == 5
        assert found.deployment.gemm_dtype is Dtype.INT8
