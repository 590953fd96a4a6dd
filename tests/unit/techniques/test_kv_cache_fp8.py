"""FP8 KV cache: half of the bytes without scales, where keys and values are a large part."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, IDEAL, KV4, KV8, LLAMA_2_7B, LLAMA_3_1_8B, Stated, ask, effect

TECHNIQUE = "kv-cache-fp8"


def judged(
    model_id: str, device_id: str, workload: Workload, ideal: bool = False, **stated: Any
) -> Recommendation:
    return ask(model_id, device_id, workload, IDEAL if ideal else EXPECTED, **stated).recommendation(
        TECHNIQUE
    )


class TestDoesNotPay:
    @pytest.mark.parametrize(
        "stated",
        [
            pytest.param({"kv_dtype": Dtype.FP8}, id="FP8 already"),
            pytest.param(KV8, id="int8 is as small"),
            pytest.param(KV4, id="4 bits are fewer"),
        ],
    )
    def test_a_cache_that_is_small_already(self, stated: Stated) -> None:
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), **stated)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    def test_a_model_that_caches_no_keys(self) -> None:
        found = judged("state-spaces/mamba-2.8b-hf", "h100-sxm", Workload(64, 2048, 128))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert "caches no keys and values" in found.reason

    def test_one_sequence_of_a_model_with_few_heads(self) -> None:
        """2,112 keys of 128 KiB are 0.28 GB beside 15 GB of weights; the sentence says from where it pays."""
        found = judged(LLAMA_3_1_8B, "h100-sxm", Workload(1, 2048, 128))
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BYTES_NOT_DOMINANT
        assert found.flips_when == "It gains over 3% from an input of 16,384 tokens or batch 8 on."


class TestPays:
    @pytest.mark.parametrize(
        ("batch", "length"),
        [pytest.param(1, 100_000, id="one long context"), pytest.param(16, 2048, id="many sequences")],
    )
    def test_a_cache_that_is_a_large_part(self, batch: int, length: int) -> None:
        found = judged(LLAMA_2_7B, "mi300x", Workload(batch, length, 128))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.KV_BYTES_CUT

    @pytest.mark.parametrize("device_id", ["a100-sxm-80gb", "h100-sxm"])
    def test_no_fp8_unit_is_needed(self, device_id: str) -> None:
        assert judged(LLAMA_2_7B, device_id, Workload(32, 2048, 128)).verdict is Verdict.APPLY

    def test_scales_of_int8_cost_what_fp8_does_not_need(self) -> None:
        """8.25 bits against 8: on the data sheet alone FP8 gains more, and lets more requests fit."""
        question = ask(LLAMA_2_7B, "rtx-a6000", Workload(16, 2048, 128))
        fp8, int8 = (question.recommendation(t) for t in (TECHNIQUE, "kv-cache-int8"))
        assert effect(fp8.effects, "tpot_ms").speedup > effect(int8.effects, "tpot_ms").speedup
        assert fp8.memory is not None
        assert int8.memory is not None
        assert fp8.memory.max_batch > int8.memory.max_batch

    def test_it_never_gains_more_than_half_of_the_bits_leave(self) -> None:
        found = judged(LLAMA_2_7B, "mi300x", Workload(64, 100_000, 128), ideal=True)
        assert 1.95 < effect(found.effects, "tpot_ms").speedup < 2

    def test_twice_as_many_sequences_fit(self) -> None:
        question = ask(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), EXPECTED)
        found = question.recommendation(TECHNIQUE)
        assert found.memory is not None
        assert found.memory.max_batch == pytest.approx(2 * question.analysis().memory.max_batch, abs=2)
