"""4-bit KV cache: where keys and values are a large part of what a decode step reads."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, IDEAL, KV4, KV8, LLAMA_2_7B, LLAMA_3_8B, Stated, ask, effect

TECHNIQUE = "kv-cache-int4"


def judged(
    model_id: str, device_id: str, workload: Workload, ideal: bool = False, **stated: Any
) -> Recommendation:
    return ask(model_id, device_id, workload, IDEAL if ideal else EXPECTED, **stated).recommendation(
        TECHNIQUE
    )


class TestDoesNotPay:
    def test_a_cache_that_is_4_bit_already(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), **KV4)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    @pytest.mark.parametrize("model_id", [LLAMA_2_7B, LLAMA_3_8B, "tiiuae/falcon-7b"])
    def test_a_short_context(self, model_id: str) -> None:
        found = judged(model_id, "rtx-a6000", Workload(1, 128, 128))
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BYTES_NOT_DOMINANT

    def test_one_shared_head_leaves_hardly_anything_to_shrink(self) -> None:
        """falcon-7b keeps 8 KiB per token: 16 MB at its longest context, beside 13 GB of weights."""
        found = judged("tiiuae/falcon-7b", "rtx-a6000", Workload(1, 1900, 128))
        assert found.verdict is Verdict.NO_GAIN

    def test_where_launches_hold_the_time(self) -> None:
        found = judged("openai-community/gpt2", "h100-sxm", Workload(1, 800, 100))
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BOUND_NOT_ADDRESSED


class TestPays:
    @pytest.mark.parametrize("stated", [{}, KV8, {"kv_dtype": Dtype.FP8}], ids=["16 bits", "int8", "fp8"])
    def test_long_contexts_from_any_wider_format(self, stated: Stated) -> None:
        found = judged("meta-llama/Llama-3.1-8B", "h100-sxm", Workload(3, 130_000, 128), **stated)
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.KV_BYTES_CUT

    def test_a_long_context_gains_more_from_it_than_from_4_bit_weights(self) -> None:
        question = ask("meta-llama/Llama-3.1-8B", "h100-sxm", Workload(1, 130_000, 128), EXPECTED)
        cache, weights = (question.recommendation(t) for t in (TECHNIQUE, "weight-only-int4"))
        assert effect(cache.effects, "tpot_ms").speedup > effect(weights.effects, "tpot_ms").speedup

    def test_it_gains_more_than_8_bits(self) -> None:
        question = ask(LLAMA_2_7B, "rtx-a6000", Workload(8, 2048, 128), EXPECTED)
        four, eight = (question.recommendation(t) for t in (TECHNIQUE, "kv-cache-int8"))
        assert effect(four.effects, "tpot_ms").speedup > effect(eight.effects, "tpot_ms").speedup

    def test_it_never_gains_more_than_what_its_bits_and_scales_leave(self) -> None:
        found = judged(LLAMA_2_7B, "mi300x", Workload(64, 100_000, 128), ideal=True)
        assert 3.5 < effect(found.effects, "tpot_ms").speedup < 16 / 4.25

    def test_a_cache_that_did_not_fit_fits(self) -> None:
        """256 sequences of 640 tokens take 80 GiB in 16 bits, 21 in 4."""
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(256, 512, 128))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.MAKES_IT_FIT

    def test_published_accuracy_is_cited(self) -> None:
        assert judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 512, 128)).accuracy.evidence
