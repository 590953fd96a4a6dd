"""Changes that are known to hurt are judged so, each by what makes it hurt, on devices of several kinds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.errors import UnsupportedDtypeError
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.workload import Load, Workload
from tests.unit.deployments import MIXTRAL
from tests.unit.questions import (
    EXPECTED,
    LLAMA_2_7B,
    LLAMA_2_13B,
    LLAMA_3_1_8B,
    W8A8,
    Question,
    ask,
    effect,
)

LLAMA_70B = "meta-llama/Llama-3.1-70B-Instruct"
USELESS = (Verdict.NO_GAIN, Verdict.HARMFUL)


def served(model_id: str, device_id: str, batch: int, **stated: object) -> Question:
    return ask(model_id, device_id, Workload(batch, 512, 256, load=Load.CLOSED_LOOP), EXPECTED, **stated)


def drafting(question: Question, tokens: int, rate: float) -> Question:
    speculation = Speculation(Draft.NGRAM, tokens, rate)
    return replace(question, deployment=replace(question.deployment, speculation=speculation))


def step_ms(question: Question) -> float:
    return question.analysis().decode.time_ms


def gain_of_drafting(question: Question, tokens: int, rate: float) -> float:
    before, after = question.analysis().metrics, drafting(question, tokens, rate).analysis().metrics
    return before.tpot_ms.value / after.tpot_ms.value


class TestDrafts:
    @pytest.mark.parametrize("device_id", ["h100-sxm", "a100-sxm-80gb", "mi300x"])
    @pytest.mark.parametrize("tokens", [3, 7])
    def test_verifying_on_experts_takes_two_to_three_times_as_long(self, device_id: str, tokens: int) -> None:
        """Drafted tokens meet further experts (arXiv:2506.20675, abstract: 2-3x, at one request); a dense
        model's step hardly changes.
        """
        single = served(MIXTRAL, device_id, 1, parallel=Parallelism(tp=2))
        dense = served(LLAMA_2_13B, device_id, 1, parallel=Parallelism(tp=2))
        assert 1.7 < step_ms(drafting(single, tokens, 0.5)) / step_ms(single) < 3.3
        assert step_ms(drafting(dense, tokens, 0.5)) / step_ms(dense) < 1.1

    @pytest.mark.parametrize("device_id", ["h100-sxm", "a100-sxm-80gb", "mi300x"])
    def test_drafts_that_are_seldom_right_slow_experts_down(self, device_id: str) -> None:
        """The same abstract tells of slowdowns up to 1.5x."""
        single = served(MIXTRAL, device_id, 1, parallel=Parallelism(tp=2))
        assert 1 / 1.9 < gain_of_drafting(single, 4, 0.25) < 1 / 1.2

    def test_of_experts_the_gain_rises_with_the_batch_before_it_falls(self) -> None:
        """Once every expert is read anyway a draft reads no more of them, until arithmetic is short
        (cohere.com/blog/mixture-of-experts-models-get-more-from-speculative-decoding); a dense model's gain
        only falls.
        """
        gains = [
            gain_of_drafting(served(MIXTRAL, "h100-sxm", batch, parallel=Parallelism(tp=2)), 7, 0.6)
            for batch in (1, 16, 256)
        ]
        assert gains[0] < gains[1] > gains[2]
        dense = [
            gain_of_drafting(served(LLAMA_70B, "h100-sxm", batch, parallel=Parallelism(tp=4)), 7, 0.6)
            for batch in (1, 16, 256)
        ]
        assert dense[0] > dense[1] > dense[2]

    @pytest.mark.parametrize("device_id", ["h100-sxm", "a100-sxm-80gb", "mi300x"])
    def test_drafts_at_a_high_load(self, device_id: str) -> None:
        question = served(LLAMA_70B, device_id, 256, parallel=Parallelism(tp=8))
        assert gain_of_drafting(question, 5, 0.5) < 0.87
        judged = drafting(question, 5, 0.5).recommendation("stop-speculation")
        assert judged.verdict in (Verdict.APPLY, Verdict.CONSIDER)
        assert judged.reason_code is ReasonCode.DRAFTING_EXCEEDS_GAIN


class TestDevices:
    @pytest.mark.parametrize("device_id", ["l40s", "rtx-4090", "a100-pcie-80gb", "rtx-a6000", "h100-pcie"])
    def test_eight_devices_that_exchange_over_pcie(self, device_id: str) -> None:
        load = Workload(32, 512, 128)
        question = ask(LLAMA_2_13B, device_id, load, EXPECTED, parallel=Parallelism(tp=4))
        assert question.recommendation("tensor-parallel").verdict is Verdict.HARMFUL

    @pytest.mark.parametrize("batch", [1, 64])
    def test_two_hosts_that_divide_each_matrix(self, batch: int) -> None:
        question = served(LLAMA_70B, "h100-sxm", batch, parallel=Parallelism(tp=8))
        found = question.recommendation("tensor-parallel")
        assert found.verdict is Verdict.HARMFUL
        assert "over the network between hosts" in found.reason

    @pytest.mark.parametrize("device_id", ["h100-sxm", "a100-pcie-80gb", "l40s", "t4"])
    def test_stages_for_one_request(self, device_id: str) -> None:
        found = ask(LLAMA_2_7B, device_id, Workload(1, 512, 128), EXPECTED).recommendation(
            "pipeline-parallel"
        )
        assert found.verdict in USELESS


class TestFormats:
    @pytest.mark.parametrize("device_id", ["a100-sxm-80gb", "mi300x"])
    def test_four_bit_weights_where_arithmetic_holds_the_time(self, device_id: str) -> None:
        """A user's AWQ weights were a little faster up to batch 32 and lost at 256 (casper-hansen/AutoAWQ
        issue 106).
        """

        def judged(batch: int) -> Recommendation:
            question = ask(LLAMA_2_13B, device_id, Workload(batch, 64, 64), EXPECTED)
            return question.recommendation("weight-only-int4")

        gains = [effect(judged(batch).effects, "tpot_ms").speedup for batch in (1, 32, 512)]
        assert gains[0] > gains[1] > gains[2]
        assert judged(512).verdict in USELESS

    @pytest.mark.parametrize("device_id", ["a100-sxm-80gb", "rtx-3090", "v100-sxm2-32gb"])
    def test_fp8_is_not_computed_without_a_unit(self, device_id: str) -> None:
        question = ask(LLAMA_2_7B, device_id, Workload(8, 512, 128), EXPECTED)
        found = question.recommendation("fp8-compute")
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NO_COMPUTE_UNIT
        with pytest.raises(UnsupportedDtypeError, match="has no fp8 unit"):
            question.served(weight_dtype=Dtype.FP8, activation_dtype=Dtype.FP8)

    def test_integers_on_units_that_hardly_have_any(self) -> None:
        question = ask(LLAMA_3_1_8B, "b300-sxm", Workload(32, 1024, 128), EXPECTED)
        assert question.recommendation("int8-compute").verdict is Verdict.HARMFUL
        low = question.served(**W8A8).analysis().metrics.ttft_ms.value
        assert low > 3 * question.analysis().metrics.ttft_ms.value

    @pytest.mark.parametrize("technique", ["kv-cache-int8", "kv-cache-int4", "kv-cache-fp8"])
    @pytest.mark.parametrize("device_id", ["h100-sxm", "a100-sxm-80gb", "rtx-4090", "mi300x"])
    def test_a_short_cache_in_fewer_bits(self, technique: str, device_id: str) -> None:
        found = ask(LLAMA_3_1_8B, device_id, Workload(1, 256, 128), EXPECTED).recommendation(technique)
        assert found.verdict in USELESS


class TestPrompts:
    @pytest.mark.parametrize("device_id", ["h100-sxm", "l40s", "mi300x"])
    def test_chunks_that_are_too_small(self, device_id: str) -> None:
        load = Workload(16, 4096, 256, load=Load.CLOSED_LOOP)
        question = ask(LLAMA_3_1_8B, device_id, load, EXPECTED)
        small = question.served(chunk_tokens=32)
        whole, cut = (each.analysis().metrics for each in (question, small))
        assert cut.ttft_ms.value > 2 * whole.ttft_ms.value
        assert cut.output_tokens_per_s.value < 0.87 * whole.output_tokens_per_s.value
        assert small.recommendation("larger-chunk").verdict is Verdict.APPLY

    def test_a_prefix_cache_that_nothing_hits(self) -> None:
        question = served(LLAMA_3_1_8B, "h100-sxm", 8)
        found = question.recommendation("prefix-caching", prefix_hit_rate=0.0)
        assert found.verdict is Verdict.NO_GAIN
