"""4-bit weights: where the weights' bytes decide, and where they do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.results import Bound, OperatorAnalysis
from tests.unit.questions import (
    EXPECTED,
    IDEAL,
    LLAMA_2_7B,
    LLAMA_2_13B,
    UNFUSED,
    W8A8,
    Stated,
    ask,
    decode_step,
    device,
    effect,
    operator,
)

TECHNIQUE = "weight-only-int4"


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
            pytest.param(LLAMA_2_7B, {"weight_dtype": Dtype.INT4}, id="4 bits with the same scales already"),
            pytest.param(LLAMA_2_7B, {"weight_dtype": Dtype.MXFP4}, id="4.25 bits in blocks already"),
            pytest.param("Qwen/Qwen3-32B-FP8", {}, id="the checkpoint is FP8"),
            pytest.param("nvidia/Llama-3.1-70B-Instruct-FP8", {}, id="the checkpoint is FP8 by ModelOpt"),
        ],
    )
    def test_weights_that_are_small_already(self, model_id: str, stated: Stated) -> None:
        found = judged(model_id, "h100-sxm", Workload(1, 512, 128), **stated)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED
        assert found.effects == ()

    @pytest.mark.parametrize("batch", [512, 1024])
    def test_a_batch_whose_cache_and_arithmetic_outweigh_the_weights(self, batch: int) -> None:
        """At 512 sequences of 576 keys the cache is 155 GB, the weights 13."""
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(batch, 512, 128))
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BYTES_NOT_DOMINANT
        assert found.flips_when == "It gains over 3% at batch 128 and below."

    def test_a_batch_beyond_the_ridge_without_a_cache_to_speak_of(self) -> None:
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(2048, 10, 10), ideal=True)
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BOUND_NOT_ADDRESSED

    def test_a_small_model_on_a_fast_device_waits_for_launches(self) -> None:
        found = judged("HuggingFaceTB/SmolLM2-135M-Instruct", "h100-sxm", Workload(1, 512, 128))
        assert found.verdict is Verdict.HARMFUL
        assert found.reason_code is ReasonCode.OVERHEAD_EXCEEDS_GAIN

    def test_one_output_token_of_a_long_prompt(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 1), ideal=True)
        assert found.verdict is Verdict.NO_GAIN


GATE_PROJ_RIDGE = {"today": 214, "after": 57}
"""Tokens from which gate_proj of Llama-2-13B is compute-bound on the A6000: 16 bits, and 4 with scales."""


def gate_proj(batch: int) -> tuple[OperatorAnalysis, OperatorAnalysis]:
    """gate_proj of a decode step before and after, on the datasheet roofline."""
    question = ask(LLAMA_2_13B, "rtx-a6000", decode_step(100, batch))
    found = question.recommendation(TECHNIQUE)
    assert found.deployment is not None
    return (
        operator(question.analysis().decode, "gate_proj"),
        operator(replace(question, deployment=found.deployment).analysis().decode, "gate_proj"),
    )


class TestAcrossTheRidge:
    """The three cases of weight-only quantization: below the ridge, across it, and beyond it."""

    @pytest.mark.parametrize("batch", [1, 8, GATE_PROJ_RIDGE["after"] - 1])
    def test_decode_that_stays_memory_bound_gains_as_its_bytes_shrink(self, batch: int) -> None:
        today, after = gate_proj(batch)
        assert (today.bound, after.bound) == (Bound.MEMORY, Bound.MEMORY)
        gain = today.ideal_time_us / after.ideal_time_us
        assert gain == pytest.approx(today.bytes / after.bytes)
        assert 3.5 < gain < 16 / 4.25

    @pytest.mark.parametrize(("batch", "gained"), [(57, 3.59), (100, 2.07), (150, 1.398), (213, 1.0003)])
    def test_decode_that_crosses_the_ridge_gains_only_up_to_it(self, batch: int, gained: float) -> None:
        """At T tokens the bytes of today take (141.6 MB + T * 37,888 B) / 768 GB/s, and what is left is the
        arithmetic, T * 141.6 MFLOP / 154.8 TFLOP/s: at 100, 189.3 us become 91.4.
        """
        today, after = gate_proj(batch)
        assert (today.bound, after.bound) == (Bound.MEMORY, Bound.COMPUTE)
        gain = today.ideal_time_us / after.ideal_time_us
        assert gain == pytest.approx(gained, rel=1e-3)
        assert gain < today.bytes / after.bytes

    @pytest.mark.parametrize("batch", [GATE_PROJ_RIDGE["today"], 512])
    def test_decode_that_is_compute_bound_already_gains_nothing(self, batch: int) -> None:
        today, after = gate_proj(batch)
        assert (today.bound, after.bound) == (Bound.COMPUTE, Bound.COMPUTE)
        assert today.ideal_time_us == after.ideal_time_us

    @pytest.mark.parametrize(
        ("batch", "said"),
        [
            pytest.param(8, "stay memory-bound up to batch 57 (today 214)", id="below"),
            pytest.param(100, "turn compute-bound from batch 58 on, which caps the gain", id="across"),
            pytest.param(300, "are compute-bound from batch 215 on already", id="beyond"),
        ],
    )
    def test_the_sentence_says_which_case_it_is_and_where_the_ridge_is_after_the_change(
        self, batch: int, said: str
    ) -> None:
        roomy = device("rtx-a6000", usable_memory_bytes=1e12)
        question = ask(LLAMA_2_13B, roomy, decode_step(100, batch))
        assert f"the weight GEMMs of decode {said}." in question.recommendation(TECHNIQUE).reason

    @pytest.mark.parametrize(
        ("batch", "saved", "alone"), [(1, "72%", ""), (64, "58%", " (for a single request by 72%)")]
    )
    def test_the_sentence_says_how_much_of_the_bytes_is_saved_and_how_much_of_a_single_sequences(
        self, batch: int, saved: str, alone: str
    ) -> None:
        reason = ask(LLAMA_2_13B, "rtx-a6000", decode_step(100, batch)).recommendation(TECHNIQUE).reason
        assert f"4.25 instead of 16 bits each cut these bytes by {saved}{alone}: " in reason


class TestPays:
    def test_a_single_sequence(self) -> None:
        """14.2 GB a step become 4.8; kernels that unpack reach .716 instead of .808 of the bandwidth."""
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 512, 128))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.WEIGHT_BYTES_CUT
        assert (
            2
            < effect(found.effects, "tpot_ms").speedup
            < effect(found.effects, "tpot_ms").ideal_speedup
            < 3.5
        )

    def test_prefill_stays_as_it_is(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), ideal=True)
        assert effect(found.effects, "ttft_ms").speedup == 1
        assert "TTFT stays" in found.reason

    def test_the_same_sequence_gains_less_on_a_faster_device(self) -> None:
        gains = [
            effect(judged(LLAMA_2_7B, device_id, Workload(1, 512, 128)).effects, "tpot_ms").speedup
            for device_id in ("rtx-a6000", "h100-sxm", "b300-sxm")
        ]
        assert gains == sorted(gains, reverse=True)

    @pytest.mark.parametrize("device_id", ["t4", "v100-sxm2-32gb", "apple-m2-ultra", "epyc-9654", "tpu-v5e"])
    def test_no_low_bit_unit_is_needed(self, device_id: str) -> None:
        assert judged(LLAMA_2_7B, device_id, Workload(1, 512, 128)).verdict is Verdict.APPLY

    def test_lm_head_and_embedding_stay_wide(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 512, 128))
        assert found.deployment is not None
        assert found.deployment.lm_head_dtype is Dtype.FP16
        assert (found.deployment.weight_dtype, found.deployment.weight_group_size) == (Dtype.INT4, 128)

    def test_it_replaces_8_bit_compute_by_16_bit_compute(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 512, 128), **W8A8)
        assert found.deployment is not None
        assert found.deployment.activation_dtype is Dtype.FP16
        assert effect(found.effects, "tpot_ms").speedup > 1
        assert effect(found.effects, "ttft_ms").speedup < 1

    def test_the_attention_kernel_stays(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 512, 128), **UNFUSED)
        assert found.deployment is not None
        assert found.deployment.attention is UNFUSED["attention"]

    def test_published_accuracy_is_cited(self) -> None:
        assert judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 512, 128)).accuracy.evidence
