"""8-bit weights: half the bytes, unpacked by kernels that cost some of what is saved."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.advisor.technique import GAIN
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, IDEAL, LLAMA_2_7B, SGLANG, W4, W8, W8A8, Stated, ask, effect

TECHNIQUE = "weight-only-int8"


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
            pytest.param(LLAMA_2_7B, W8, id="8 bits already"),
            pytest.param(LLAMA_2_7B, W4, id="4 bits are fewer"),
            pytest.param(LLAMA_2_7B, W8A8, id="int8 compute has 8-bit weights"),
            pytest.param(LLAMA_2_7B, {"weight_dtype": Dtype.FP8}, id="fp8 is as small"),
            pytest.param("Qwen/Qwen3-32B-FP8", {}, id="the checkpoint is FP8"),
        ],
    )
    def test_weights_that_are_small_already(self, model_id: str, stated: Stated) -> None:
        found = judged(model_id, "h100-sxm", Workload(1, 512, 128), **stated)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    @pytest.mark.parametrize("batch", [256, 1024])
    def test_a_batch_whose_cache_outweighs_the_weights(self, batch: int) -> None:
        assert judged(LLAMA_2_7B, "h100-sxm", Workload(batch, 512, 128)).verdict is Verdict.NO_GAIN

    def test_a_long_cache_leaves_little_to_save_though_the_data_sheet_promises_a_gain(self) -> None:
        """Of 64 sequences of 2,112 keys the cache is 71 GB, the weights 13."""
        found = judged(LLAMA_2_7B, "b300-sxm", Workload(64, 2048, 128))
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BYTES_NOT_DOMINANT
        gained = effect(found.effects, "tpot_ms")
        assert gained.speedup < GAIN < gained.ideal_speedup

    def test_kernels_that_eat_what_the_bytes_would_give(self) -> None:
        """At batch 64 weights are two fifths of the bytes; the data sheet alone promises over 20%."""
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(64, 512, 128), **SGLANG)
        gained = effect(found.effects, "tpot_ms")
        assert gained.speedup < 1.1 < 1.2 < gained.ideal_speedup
        assert found.verdict is not Verdict.APPLY


class TestPays:
    def test_a_single_sequence(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 512, 128))
        assert found.verdict is Verdict.APPLY
        assert 1.3 < effect(found.effects, "tpot_ms").speedup < 2

    def test_ideally_all_but_lm_head_and_cache_halves(self) -> None:
        """12.95 of 13.8 GB are layer weights: 13.8 / (13.8 - 6.5) = 1.88."""
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 1000, 2), ideal=True)
        assert effect(found.effects, "tpot_ms").speedup == pytest.approx(1.88, abs=0.02)

    def test_what_prefill_loses_is_said(self) -> None:
        found = judged(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), **SGLANG)
        assert effect(found.effects, "ttft_ms").speedup < 0.97
        assert "TTFT goes from" in found.reason

    def test_it_gains_less_than_4_bits_but_on_a_wide_range_of_devices(self) -> None:
        for device_id in ("rtx-a6000", "t4", "epyc-9654", "apple-m2-ultra"):
            question = ask(LLAMA_2_7B, device_id, Workload(1, 512, 128), EXPECTED)
            eight, four = (question.recommendation(t) for t in (TECHNIQUE, "weight-only-int4"))
            assert eight.verdict is Verdict.APPLY
            assert 1 < effect(eight.effects, "tpot_ms").speedup < effect(four.effects, "tpot_ms").speedup
