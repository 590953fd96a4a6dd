"""W4A8 compute: the bytes of 4-bit weights and the arithmetic of 8 bits, where kernels multiply them so."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import Workload
from ridgeline_server.store.engines import builtin_engines
from tests.unit.questions import (
    DEVICES,
    EXPECTED,
    IDEAL,
    LLAMA_2_7B,
    LLAMA_3_1_8B,
    SGLANG,
    Stated,
    ask,
    effect,
)

TECHNIQUE = "w4a8-compute"
VLLM: Stated = {"engine": builtin_engines().find("vllm", "")}
W4A8: Stated = {"weight_dtype": Dtype.INT4, "activation_dtype": Dtype.FP8}


def judged(
    device_id: str, workload: Workload, ideal: bool = False, model_id: str = LLAMA_3_1_8B, **stated: Any
) -> Recommendation:
    return ask(model_id, device_id, workload, IDEAL if ideal else EXPECTED, **stated).recommendation(
        TECHNIQUE
    )


def gain(found: Recommendation, metric: str) -> float:
    return effect(found.effects, metric).speedup


class TestDoesNotPay:
    @pytest.mark.parametrize(
        "device_id",
        sorted(i for i, d in DEVICES.items() if not {Dtype.FP8, Dtype.INT8} & d.peak_flops_per_s.keys()),
    )
    def test_a_device_without_an_8_bit_unit(self, device_id: str) -> None:
        found = judged(device_id, Workload(1, 512, 128), model_id=LLAMA_2_7B)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NO_COMPUTE_UNIT
        assert "weight-only-int4 has the same bytes" in found.reason

    def test_a_deployment_that_has_it_already(self) -> None:
        found = judged("h100-sxm", Workload(1, 2048, 128), **W4A8)
        assert found.reason_code is ReasonCode.ALREADY_APPLIED
        assert "INT4 weights by FP8 activations" in found.reason

    @pytest.mark.parametrize("model_id", ["Qwen/Qwen3-32B-FP8", "openai/gpt-oss-20b"])
    def test_a_checkpoint_that_is_quantised_otherwise(self, model_id: str) -> None:
        found = judged("h200-sxm", Workload(1, 2048, 128), model_id=model_id)
        assert found.reason_code is ReasonCode.ALREADY_APPLIED
        assert "would stack two errors" in found.reason

    def test_sparse_weights(self) -> None:
        found = judged("h100-sxm", Workload(1, 2048, 128), sparse_weights=True)
        assert found.reason_code is ReasonCode.INCOMPATIBLE_FORMATS

    @pytest.mark.parametrize("device_id", ["a100-sxm-80gb", "l40s", "b200-sxm", "rtx-5090", "mi300x"])
    def test_an_engine_whose_kernels_are_for_another_generation(self, device_id: str) -> None:
        found = judged(device_id, Workload(1, 2048, 128), **VLLM)
        assert found.reason_code is ReasonCode.ENGINE_LACKS_IT
        assert "on Hopper alone" in found.reason
        assert judged(device_id, Workload(1, 2048, 128)).reason_code is not ReasonCode.ENGINE_LACKS_IT

    @pytest.mark.parametrize("device_id", ["a100-sxm-80gb", "h100-sxm", "l40s"])
    def test_it_decodes_a_single_request_no_faster_than_4_bit_weights_alone(self, device_id: str) -> None:
        """The same bytes of weights, and widening them takes as long."""
        question = ask(LLAMA_3_1_8B, device_id, Workload(1, 512, 128), EXPECTED)
        both, weights = (question.recommendation(t) for t in (TECHNIQUE, "weight-only-int4"))
        assert gain(both, "tpot_ms") <= gain(weights, "tpot_ms")


class TestPays:
    @pytest.mark.parametrize(
        ("device_id", "inputs"),
        [
            ("a100-sxm-80gb", Dtype.INT8),
            ("t4", Dtype.INT8),
            ("l40s", Dtype.FP8),
            ("h100-sxm", Dtype.FP8),
            ("mi300x", Dtype.FP8),
        ],
    )
    def test_inputs_are_fp8_where_the_device_has_the_unit_and_int8_elsewhere(
        self, device_id: str, inputs: Dtype
    ) -> None:
        deployment = judged(device_id, Workload(1, 2048, 128), model_id=LLAMA_2_7B).deployment
        assert deployment is not None
        assert (deployment.weight_dtype, deployment.weight_group_size) == (Dtype.INT4, 128)
        assert deployment.activation_dtype is deployment.gemm_dtype is inputs

    def test_a_long_prompt(self) -> None:
        found = judged("a100-sxm-80gb", Workload(1, 2048, 128))
        assert found.reason_code is ReasonCode.COMPUTE_SPED_UP
        assert "624 TOP/s in INT8 against 312 TFLOP/s in bf16" in found.reason

    def test_it_has_the_arithmetic_of_8_bits_and_the_bytes_of_4(self) -> None:
        """On the data sheet: TTFT of W8A8, TPOT of W4A16."""
        question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128))
        both, compute, weights = (
            question.recommendation(t) for t in (TECHNIQUE, "int8-compute", "weight-only-int4")
        )
        assert gain(both, "ttft_ms") == pytest.approx(gain(compute, "ttft_ms"), rel=0.01)
        assert gain(both, "tpot_ms") == pytest.approx(gain(weights, "tpot_ms"), rel=0.01)

    @pytest.mark.parametrize("device_id", ["a100-sxm-80gb", "h100-sxm", "l40s", "b200-sxm"])
    @pytest.mark.parametrize("batch", [1, 16, 256])
    def test_prefill_is_no_faster_than_with_8_bit_weights_by_more_than_their_bytes(
        self, device_id: str, batch: int
    ) -> None:
        """A kernel that widens weights multiplies no faster than one that need not."""
        question = ask(LLAMA_3_1_8B, device_id, Workload(batch, 2048, 128), EXPECTED)
        eight = "int8-compute" if device_id == "a100-sxm-80gb" else "fp8-compute"
        both, compute = (question.recommendation(t) for t in (TECHNIQUE, eight))
        assert gain(both, "ttft_ms") < 1.01 * gain(compute, "ttft_ms")

    def test_decode_at_a_large_batch_gains_what_16_bit_arithmetic_holds_up(self) -> None:
        question = ask(LLAMA_3_1_8B, "a100-sxm-80gb", Workload(64, 512, 128), EXPECTED)
        both, weights = (question.recommendation(t) for t in (TECHNIQUE, "weight-only-int4"))
        assert gain(both, "tpot_ms") > 1.1 * gain(weights, "tpot_ms")

    @pytest.mark.parametrize(("batch", "measured"), [(1, 1.38), (64, 1.15)])
    def test_published_throughput_is_met(self, batch: int, measured: float) -> None:
        """Llama-3.1-8B on an H200 by TensorRT-LLM 0.15, 2,048 input and 128 output tokens (Model Optimizer's
        examples/benchmark.md). Its batch of 8, which gained nothing, is not met.
        """
        found = effect(judged("h200-sxm", Workload(batch, 2048, 128)).effects, "output_tokens_per_s")
        assert found.low < measured < found.high
        assert found.speedup == pytest.approx(measured, rel=0.1)

    def test_an_engine_that_has_the_kernels_is_told_how(self) -> None:
        found = judged("h100-sxm", Workload(1, 2048, 128), **VLLM)
        told = {switch.engine: switch for switch in found.switches}
        assert any("W4AFP8" in step for step in told["vllm"].steps)
        assert any("W4A8_AWQ_BETA_CFG" in step for step in told["tensorrt-llm"].steps)
        assert told["sglang"].missing

    def test_an_engine_without_them_keeps_it_out_of_plans(self) -> None:
        advice = ask(LLAMA_3_1_8B, "h100-sxm", Workload(1, 2048, 128), EXPECTED, **SGLANG).advice()
        left_out = {each.technique: each.reason_code for each in advice.left_out}
        assert left_out[TECHNIQUE] is ReasonCode.ENGINE_LACKS_IT

    def test_published_accuracy_is_cited(self) -> None:
        found = judged("h100-sxm", Workload(1, 512, 128)).accuracy
        assert {piece.benchmark for piece in found.evidence} == {"MMLU", "WikiText-2 perplexity"}
