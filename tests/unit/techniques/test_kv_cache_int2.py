"""2-bit KV cache: fewer bytes than any other, and no engine that was looked up has it."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, IDEAL, KV4, LLAMA_2_7B, LLAMA_3_1_8B, Stated, ask, effect

TECHNIQUE = "kv-cache-int2"


def judged(
    model_id: str, device_id: str, workload: Workload, ideal: bool = False, **stated: Any
) -> Recommendation:
    return ask(model_id, device_id, workload, IDEAL if ideal else EXPECTED, **stated).recommendation(
        TECHNIQUE
    )


class TestDoesNotPay:
    def test_a_cache_that_is_2_bit_already(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), kv_dtype=Dtype.INT2)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED
        assert found.reason == (
            "today's KV cache is int2, 3 bits per element with scales, as many as this format has but for "
            "scales."
        )

    def test_wider_formats_than_2_bits_are_refused_with_the_bits_of_both(self) -> None:
        question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), kv_dtype=Dtype.INT2)
        assert question.recommendation("kv-cache-int8").reason == (
            "today's KV cache is int2, 3 bits per element with scales, no more than the 8.25 of this format."
        )

    def test_a_short_context(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 128, 128))
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BYTES_NOT_DOMINANT

    def test_a_model_without_a_cache(self) -> None:
        found = judged("tiiuae/falcon-mamba-7b", "a100-sxm-80gb", Workload(16, 1024, 128))
        assert found.verdict is Verdict.NOT_APPLICABLE

    def test_no_engine_that_was_looked_up_has_it(self) -> None:
        switches = judged(LLAMA_3_1_8B, "h100-sxm", Workload(64, 2048, 128)).switches
        assert len(switches) == 4
        assert all(switch.missing for switch in switches)

    def test_its_published_losses_keep_it_out_of_plans_within_the_usual_budget(self) -> None:
        found = judged(LLAMA_3_1_8B, "h100-sxm", Workload(64, 2048, 128)).accuracy
        assert found.typical_relative_loss is not None
        assert found.typical_relative_loss > 0.01


class TestPays:
    @pytest.mark.parametrize("stated", [{}, KV4, {"kv_dtype": Dtype.FP8}], ids=["16 bits", "int4", "fp8"])
    def test_long_contexts_from_any_wider_format(self, stated: Stated) -> None:
        found = judged(LLAMA_3_1_8B, "h100-sxm", Workload(3, 130_000, 128), **stated)
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.KV_BYTES_CUT
        assert "3 instead of" in found.reason

    def test_it_gains_more_than_4_bits_and_less_than_its_scales_leave(self) -> None:
        question = ask(LLAMA_2_7B, "mi300x", Workload(64, 100_000, 128))
        two, four = (question.recommendation(t) for t in (TECHNIQUE, "kv-cache-int4"))
        gains = [effect(found.effects, "tpot_ms").speedup for found in (four, two)]
        assert gains[0] < gains[1] < 16 / 3

    def test_over_five_times_as_many_requests_fit(self) -> None:
        question = ask(LLAMA_3_1_8B, "h100-sxm", Workload(64, 2048, 128), EXPECTED)
        after = question.recommendation(TECHNIQUE).memory
        assert after is not None
        assert after.max_batch > 5 * question.analysis().memory.max_batch

    def test_a_cache_that_did_not_fit_fits(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(256, 512, 128))
        assert found.reason_code is ReasonCode.MAKES_IT_FIT
        assert found.verdict is Verdict.CONSIDER

    def test_published_accuracy_is_cited(self) -> None:
        found = judged(LLAMA_2_7B, "rtx-a6000", Workload(1, 512, 128))
        assert {piece.bits for piece in found.accuracy.evidence} == {2}
