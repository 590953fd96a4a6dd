"""Speculation, offloading, sparsity, skipped layers and formats by module, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ridgeline_server.domain.deployment import Offload
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.model import WeightFormat
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.tensors import ModuleClass
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.results import Bound
from tests.unit.deployments import GPT_OSS, MIXTRAL, SMALL_DRAFT
from tests.unit.questions import LLAMA_3_8B, Question, ask, model, operator

LAYER_WEIGHTS = 2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14_336 * 4096
"""Of Llama-3-8B."""
TABLE_WEIGHTS = 128_256 * 4096
H100_BANDWIDTH = 3.35e12
HOST = 25e9


def decoding(model_id: str = LLAMA_3_8B, batch: int = 4, **stated: Any) -> Question:
    """A decode step of 1,000 keys on an H100."""
    return ask(model_id, "h100-sxm", Workload(batch, 1000, 100, 1000), **stated)


def drafting(draft: Draft, tokens: int = 3, rate: float = 1.0, which: str | None = None) -> Speculation:
    return Speculation(draft, tokens, rate, model(which) if which else None)


def tpot_ms(question: Question) -> float:
    return question.analysis().metrics.tpot_ms.ideal


class TestSpeculation:
    @pytest.mark.parametrize(
        ("tokens", "rate", "given"),
        [
            pytest.param(3, 0.0, 1, id="none is kept: the token of the verification"),
            pytest.param(3, 1.0, 4, id="all are kept, and the token after them"),
            pytest.param(3, 0.8, 1 + 0.8 + 0.64 + 0.512, id="each when those before it were"),
            pytest.param(1, 0.5, 1.5, id="one in two"),
        ],
    )
    def test_a_step_gives(self, tokens: int, rate: float, given: float) -> None:
        assert drafting(Draft.NGRAM, tokens, rate).expected_tokens == pytest.approx(given)
        question = decoding(speculation=drafting(Draft.NGRAM, tokens, rate))
        never = decoding(speculation=drafting(Draft.NGRAM, tokens, 0.0))
        assert tpot_ms(question) == pytest.approx(tpot_ms(never) / given)

    def test_verification_computes_all_drafted_positions_and_their_logits(self) -> None:
        plain, verifying = (
            decoding(speculation=s).analysis().decode for s in (None, drafting(Draft.NGRAM, 3))
        )
        assert verifying.query_len == 4
        for name in ("q_proj", "gate_proj", "lm_head"):
            assert operator(verifying, name).flops == 4 * operator(plain, name).flops
            weights = operator(plain, name).bytes_by_class.weights
            assert operator(verifying, name).bytes_by_class.weights == weights

    def test_a_lookup_costs_nothing_but_the_verification(self) -> None:
        """A step that reads 15 GB of weights takes as long for four tokens of each of four sequences."""
        drafted = tpot_ms(decoding(speculation=drafting(Draft.NGRAM, 3)))
        assert drafted == pytest.approx(tpot_ms(decoding()) / 4, rel=0.01)
        memory = decoding(speculation=drafting(Draft.NGRAM)).analysis().memory
        assert memory.weights_bytes == decoding().analysis().memory.weights_bytes

    def test_heads_cost_a_layer_and_an_lm_head_for_each_token(self) -> None:
        looked_up, headed = (decoding(speculation=drafting(d)) for d in (Draft.NGRAM, Draft.HEADS))
        layer_ms = 2 * (LAYER_WEIGHTS + TABLE_WEIGHTS) / H100_BANDWIDTH * 1e3
        assert 4 * (tpot_ms(headed) - tpot_ms(looked_up)) == pytest.approx(3 * layer_ms, rel=0.02)
        before, after = looked_up.analysis().memory, headed.analysis().memory
        assert after.weights_bytes - before.weights_bytes == pytest.approx(2 * LAYER_WEIGHTS, rel=1e-3)
        assert after.kv_cache_bytes == pytest.approx(before.kv_cache_bytes * 33 / 32)

    @pytest.mark.parametrize(
        ("model_id", "draft_id"), [(LLAMA_3_8B, SMALL_DRAFT), ("openai/gpt-oss-120b", GPT_OSS)]
    )
    def test_a_model_costs_a_step_of_its_own_for_each_token(self, model_id: str, draft_id: str) -> None:
        looked_up, drafted = (
            decoding(model_id, speculation=s)
            for s in (drafting(Draft.NGRAM), drafting(Draft.MODEL, which=draft_id))
        )
        alone = decoding(draft_id)
        assert 4 * (tpot_ms(drafted) - tpot_ms(looked_up)) == pytest.approx(3 * tpot_ms(alone))
        before, after, own = (q.analysis().memory for q in (looked_up, drafted, alone))
        assert after.weights_bytes == pytest.approx(before.weights_bytes + own.weights_bytes)
        assert after.kv_cache_bytes == pytest.approx(before.kv_cache_bytes + own.kv_cache_bytes)

    def test_rejected_drafts_cost_more_than_none(self) -> None:
        for draft in (Draft.HEADS, Draft.NGRAM):
            assert tpot_ms(decoding(speculation=drafting(draft, 7, 0.0))) > tpot_ms(decoding())


class TestOffload:
    def test_offloaded_weights_are_read_over_the_hosts_link(self) -> None:
        kept, half = decoding().analysis(), decoding(offload=Offload(weight_share=0.5)).analysis()
        weights = 14_336 * 4096 * 2
        before, after = operator(kept.decode, "gate_proj"), operator(half.decode, "gate_proj")
        longer = weights / 2 / HOST - weights / 2 / H100_BANDWIDTH
        assert after.bytes == before.bytes
        assert after.ideal_time_us - before.ideal_time_us == pytest.approx(longer * 1e6)
        saved = kept.memory.weights_bytes - half.memory.weights_bytes
        assert saved == 32 * LAYER_WEIGHTS * 2 / 2

    def test_tables_stay_on_the_device(self) -> None:
        kept, away = decoding().analysis(), decoding(offload=Offload(weight_share=1.0)).analysis()
        assert operator(away.decode, "lm_head") == operator(kept.decode, "lm_head")._replace(
            time_share=operator(away.decode, "lm_head").time_share
        )
        assert away.memory.weights_bytes == pytest.approx(2 * 2 * TABLE_WEIGHTS, rel=1e-3)

    def test_an_offloaded_cache_is_read_over_the_hosts_link(self) -> None:
        kept, away = decoding().analysis(), decoding(offload=Offload(kv_share=1.0)).analysis()
        read = 4 * 1000 * 2 * 8 * 128 * 2
        before, after = operator(kept.decode, "attention"), operator(away.decode, "attention")
        longer = read / HOST - read / H100_BANDWIDTH
        assert after.ideal_time_us - before.ideal_time_us == pytest.approx(longer * 1e6)
        assert away.memory.kv_cache_bytes == 0
        assert operator(away.decode, "gate_proj").ideal_time_us == pytest.approx(
            operator(kept.decode, "gate_proj").ideal_time_us
        )

    def test_recurrent_states_are_no_cache(self) -> None:
        mamba = "tiiuae/falcon-mamba-7b"
        kept, away = (decoding(mamba, offload=Offload(kv_share=share)) for share in (0.0, 1.0))
        assert tpot_ms(away) == tpot_ms(kept)
        assert away.analysis().memory == kept.analysis().memory

    def test_routers_stay_where_they_are_counted(self) -> None:
        """Mixtral's routers of 8 x 4,096 weights are read, and held, on the device."""
        kept, away = (decoding(MIXTRAL, offload=Offload(weight_share=share)) for share in (0.0, 1.0))
        routers = [operator(q.analysis().decode, "moe_router") for q in (kept, away)]
        assert routers[0].ideal_time_us == routers[1].ideal_time_us
        left = away.analysis().memory.weights_bytes
        assert left > 2 * (2 * 32_000 * 4096 + 32 * 8 * 4096)

    def test_what_is_not_offloaded_costs_what_it_did(self) -> None:
        slow = Offload(host_bandwidth_bytes_per_s=1e6)
        assert decoding(offload=slow).analysis().metrics == decoding().analysis().metrics


class TestSparseWeights:
    @pytest.mark.parametrize(
        ("dtype", "bits"), [(Dtype.BF16, 9), (Dtype.FP16, 9), (Dtype.FP8, 5), (Dtype.INT8, 5)]
    )
    def test_half_of_the_elements_and_a_bit_of_position_are_stored(self, dtype: Dtype, bits: int) -> None:
        found = decoding(weight_dtype=dtype, sparse_weights=True).analysis()
        assert operator(found.decode, "q_proj").bytes_by_class.weights == 4096 * 4096 * bits / 8
        tables = 2 * TABLE_WEIGHTS * 2
        assert found.memory.weights_bytes == pytest.approx(32 * LAYER_WEIGHTS * bits / 8 + tables, rel=1e-3)

    def test_a_unit_computes_twice_as_fast(self) -> None:
        dense, sparse = (
            ask(LLAMA_3_8B, "h100-sxm", Workload(8, 2048, 10), sparse_weights=s).analysis().prefill
            for s in (False, True)
        )
        for name, times in (("gate_proj", 2), ("attention", 1)):
            before, after = operator(dense, name), operator(sparse, name)
            assert before.bound is after.bound is Bound.COMPUTE
            assert after.flops == before.flops
            assert before.ideal_time_us == pytest.approx(times * after.ideal_time_us)
        assert operator(sparse, "lm_head").ideal_time_us == operator(dense, "lm_head").ideal_time_us


class TestSkippedLayers:
    def test_tokens_run_fewer_layers_and_devices_hold_them_all(self) -> None:
        parallel = Parallelism(tp=2)
        whole, fewer = (
            decoding(skipped_layer_share=share, parallel=parallel).analysis() for share in (0.0, 0.25)
        )
        for before, after in zip(whole.decode.operators, fewer.decode.operators, strict=True):
            assert after.occurrences == before.occurrences * (0.75 if before.layer_kind else 1)
            assert after.ideal_time_us == before.ideal_time_us
        assert fewer.memory == whole.memory


EXPERTS_ALONE = (WeightFormat(ModuleClass.EXPERTS, Dtype.MXFP4),)


class TestFormatsByModule:
    def test_gpt_oss_stores_its_experts_alone_in_four_bits(self) -> None:
        """24 layers of 32 experts of 3 x 2,880 x 2,880 weights at 4.25 bits; the rest is 16-bit."""
        found = decoding(GPT_OSS).analysis()
        kind = found.decode.operators[5].layer_kind
        q = operator(found.decode, "q_proj", kind)
        assert q.bytes_by_class.weights == 4096 * 2880 * 2
        assert q.compute_dtype is Dtype.BF16
        experts = 24 * 32 * 3 * 2880 * 2880
        others = model(GPT_OSS).parameter_count - experts
        assert found.memory.weights_bytes == pytest.approx(experts * 4.25 / 8 + others * 2, rel=2e-3)

    def test_experts_alone_can_be_stored_narrower(self) -> None:
        wide, narrow = decoding(MIXTRAL).analysis(), decoding(MIXTRAL, formats=EXPERTS_ALONE).analysis()
        before, after = (operator(f.decode, "moe_experts").bytes_by_class.weights for f in (wide, narrow))
        assert after == pytest.approx(before * 4.25 / 16)
        assert operator(narrow.decode, "q_proj").bytes == operator(wide.decode, "q_proj").bytes
        saved = wide.memory.weights_bytes - narrow.memory.weights_bytes
        assert saved == pytest.approx(32 * 8 * 3 * 14_336 * 4096 * (16 - 4.25) / 8)

    def test_a_statement_wins_over_the_checkpoint(self) -> None:
        wide = decoding(GPT_OSS, formats=(WeightFormat(ModuleClass.EXPERTS, Dtype.BF16),)).analysis()
        assert wide.memory.weights_bytes == pytest.approx(model(GPT_OSS).parameter_count * 2, rel=2e-3)

    @pytest.mark.parametrize(
        ("device_id", "dtype", "ratio"),
        [
            pytest.param("b200-sxm", Dtype.NVFP4, 4, id="four times as fast on FP4 units"),
            pytest.param("h100-sxm", Dtype.BF16, 1, id="as fast as bf16 without"),
        ],
    )
    def test_a_checkpoint_in_nvfp4(self, device_id: str, dtype: Dtype, ratio: float) -> None:
        """It asks for NVFP4 activations, which only FP4 units multiply; its bits are 4.5 on both."""
        question = ask("nvidia/Qwen3-235B-A22B-NVFP4", device_id, Workload(64, 4096, 10))
        found = operator(question.analysis().prefill, "q_proj")
        hardware = question.hardware
        assert found.compute_dtype is dtype
        assert found.bytes_by_class.weights == 64 * 128 * 4096 * 4.5 / 8
        peak = found.flops / (found.ideal_time_us / 1e6)
        assert peak == pytest.approx(hardware.peak_flops_per_s[Dtype.BF16] * ratio, rel=0.2)


def test_a_draft_is_offloaded_and_kept_like_the_model() -> None:
    """Half of the draft's layers lie with the host, and half of its keys are kept."""
    draft = drafting(Draft.MODEL, which=SMALL_DRAFT)
    stated: dict[str, Any] = {"offload": Offload(weight_share=0.5), "kv_keep_ratio": 0.5}
    found = decoding(speculation=draft, **stated).analysis().memory
    parts = [decoding(which, **stated).analysis().memory for which in (LLAMA_3_8B, SMALL_DRAFT)]
    assert found.weights_bytes == pytest.approx(sum(p.weights_bytes for p in parts))
    assert found.kv_cache_bytes == pytest.approx(sum(p.kv_cache_bytes for p in parts))


def test_a_speculating_deployment_is_no_other_model() -> None:
    """Prompts are prefilled as without."""
    question = decoding(speculation=drafting(Draft.HEADS))
    plain = replace(question, deployment=replace(question.deployment, speculation=None))
    assert question.analysis().prefill == plain.analysis().prefill
