"""8-bit KV cache: where keys and values are a large part of what a decode step reads."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, IDEAL, KV4, KV8, LLAMA_2_7B, LLAMA_3_8B, Stated, ask, effect

TECHNIQUE = "kv-cache-int8"


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
            pytest.param(KV8, id="8 bits already"),
            pytest.param(KV4, id="4 bits are fewer"),
            pytest.param({"kv_dtype": Dtype.FP8}, id="fp8 is as small"),
        ],
    )
    def test_a_cache_that_is_small_already(self, stated: Stated) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), **stated)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    def test_a_model_that_caches_no_keys(self) -> None:
        """Mamba-2.8B: 64 layers keep 5,120 x (16 + 3) elements of state and convolution, 2 bytes each."""
        found = judged("state-spaces/mamba-2.8b-hf", "rtx-a6000", Workload(64, 2048, 128))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert pytest.approx(11.9, abs=0.05) == 64 * 5120 * (16 + 3) * 2 / 2**20
        assert "caches no keys and values" in found.reason
        assert "11.9 MiB" in found.reason

    @pytest.mark.parametrize("length", [1, 128, 500])
    def test_a_short_context(self, length: int) -> None:
        """128 keys of 512 KiB are 67 MB beside 13 GB of weights."""
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, length, 128))
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BYTES_NOT_DOMINANT

    def test_shared_heads_leave_little_to_shrink(self) -> None:
        """Llama-3-8B keeps a quarter of the bytes that Llama-2-7B keeps."""
        workload = Workload(1, 2048, 128)
        assert judged(LLAMA_2_7B, "rtx-a6000", workload).verdict is Verdict.CONSIDER
        assert judged(LLAMA_3_8B, "rtx-a6000", workload).verdict is Verdict.NO_GAIN

    def test_a_window_bounds_what_can_be_saved(self) -> None:
        """Mistral-7B-v0.1 never reads more than 4,096 keys, 0.5 GB."""
        found = judged("mistralai/Mistral-7B-v0.1", "h100-sxm", Workload(1, 30_000, 128))
        assert found.verdict is Verdict.NO_GAIN
        assert "an input of" not in found.flips_when

    def test_one_output_token_reads_no_cache(self) -> None:
        assert judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 1)).verdict is Verdict.NO_GAIN


class TestPays:
    @pytest.mark.parametrize(
        ("batch", "length"),
        [pytest.param(1, 100_000, id="one long context"), pytest.param(16, 2048, id="many sequences")],
    )
    def test_a_cache_that_is_a_large_part(self, batch: int, length: int) -> None:
        found = judged(LLAMA_2_7B, "mi300x", Workload(batch, length, 128))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.KV_BYTES_CUT

    def test_it_never_gains_more_than_what_its_bits_and_scales_leave(self) -> None:
        """At 8.25 bits an element the whole of a step could gain 16 / 8.25 = 1.94."""
        found = judged(LLAMA_2_7B, "mi300x", Workload(64, 100_000, 128), ideal=True)
        assert 1.9 < effect(found.effects, "tpot_ms").speedup < 16 / 8.25

    def test_the_room_that_it_makes_is_said_even_where_time_does_not_change(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 128, 128))
        assert "the largest batch that fits goes from 264 to 513" in found.reason

    def test_weights_and_arithmetic_stay(self) -> None:
        question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128))
        found = question.recommendation(TECHNIQUE)
        assert found.deployment is not None
        assert found.deployment.weight_dtype is question.deployment.weight_dtype
        assert found.deployment.gemm_dtype is question.deployment.gemm_dtype
