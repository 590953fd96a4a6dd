"""What each tensor-parallel device has: shares that add up to the whole, and what every device repeats."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor
from ridgeline_server.roofline.operators.rows import Work
from ridgeline_server.roofline.operators.sharding import Split, kv_head_share, split_of, stored_share
from tests.unit.questions import MODEL_IDS, model
from tests.unit.roofline.architectures.step import Step, decode, prefill

FALCON = "tiiuae/falcon-7b"
JAMBA = "ai21labs/AI21-Jamba-1.5-Mini"
LLAMA_3_8B = "meta-llama/Meta-Llama-3-8B"
MIXTRAL = "mistralai/Mixtral-8x7B-v0.1"
QWEN3 = "Qwen/Qwen3-30B-A3B"
V3 = "deepseek-ai/DeepSeek-V3"

REPEATED = {
    *("q_a_proj", "kv_a_proj", "moe_router", "shared_expert_gate", "attn_router"),
    *("indexer_q_proj", "indexer_k_proj", "indexer_weights_proj"),
    *("indexer_compressor_kv_proj", "indexer_compressor_gate_proj"),
    *("compressor_kv_proj", "compressor_gate_proj", "moe_latent_in_proj", "moe_latent_out_proj"),
    *("linear_decay_a_proj", "linear_gate_a_proj"),
    *("attn_hyper_connection", "mlp_hyper_connection", "head_hyper_connection"),
}
"""Projections to what all heads or experts share: engines replicate them (vLLM's ReplicatedLinear)."""


def matrix(operator: str, rows: int, columns: int, copies: int = 1) -> WeightTensor:
    module = ModuleClass.EXPERTS if copies > 1 else ModuleClass.ATTENTION
    return WeightTensor(operator, (rows, columns), TensorKind.MATRIX, module, copies=copies)


def products(step: Step) -> dict[str, float]:
    """FLOPs of the products with weights, all layers together."""
    names = {o.row.name for o in step.operators if o.row.work is Work.GEMM}
    return {name: step.total(lambda o: o.flops, name) for name in names}


@pytest.mark.parametrize("model_id", MODEL_IDS)
def test_two_devices_together_do_the_products_of_one_and_repeat_what_is_shared(model_id: str) -> None:
    asked = model(model_id)
    whole = products(prefill(asked, 100))
    part = products(prefill(asked, 100, parallel=Parallelism(tp=2)))
    multi_query = asked.attention is not None and asked.attention.kv_head_count == 1
    for name, flops in whole.items():
        repeats = name in REPEATED or (multi_query and name in ("k_proj", "v_proj"))
        if name == "lm_head":  # An odd vocabulary is rounded up to whole rows.
            assert flops <= 2 * part[name] <= flops * (1 + 2 / asked.vocab_size)
        elif name == "shared_expert":  # Its gate of one element, where it has one, is on both.
            assert flops <= 2 * part[name] < 1.001 * flops
        else:
            assert part[name] * (1 if repeats else 2) == pytest.approx(flops, rel=1e-12), name


@pytest.mark.parametrize("ways", [2, 4, 8])
def test_attention_is_divided_by_heads(ways: int) -> None:
    """Llama-3-8B: 32 query heads, 8 key-value heads of 128."""
    whole, part = (decode(LLAMA_3_8B, 500, batch=3, parallel=Parallelism(tp=n)) for n in (1, ways))
    one, share = whole.operator("attention"), part.operator("attention")
    assert (ways * share.flops, ways * share.kv_read) == (one.flops, one.kv_read)
    assert ways * part.operator("k_proj").kv_written == whole.operator("k_proj").kv_written
    assert ways * part.operator("mlp_act").flops == whole.operator("mlp_act").flops


def test_beyond_their_number_key_value_heads_are_copied() -> None:
    """16 devices have 2 query heads each, and one of 8 key-value heads, which two devices share."""
    part = decode(LLAMA_3_8B, 500, parallel=Parallelism(tp=16))
    assert part.operator("attention").kv_read == 500 * (2 * 128)
    assert part.operator("attention").flops == 500 * 2 * (4 * 128 + 5)
    assert part.operator("k_proj").weights == 4096 * 128
    assert part.operator("v_proj").kv_written == 128
    assert part.operator("q_proj").weights == 4096 * 4096 / 16


def test_one_key_value_head_is_on_every_device() -> None:
    """falcon-7b has one for 71 query heads."""
    whole, part = decode(FALCON, 500), decode(FALCON, 500, parallel=Parallelism(tp=71))
    assert part.operator("attention").kv_read == whole.operator("attention").kv_read == 500 * 2 * 64
    assert part.operator("attention").flops == pytest.approx(500 * (4 * 64 + 5))


@pytest.mark.parametrize(("kv_heads", "tp", "held"), [(8, 1, 8), (8, 4, 2), (8, 8, 1), (8, 16, 1), (1, 8, 1)])
def test_key_value_heads_of_a_device(kv_heads: int, tp: int, held: int) -> None:
    assert kv_heads * kv_head_share(kv_heads, Parallelism(tp=tp)) == held


@pytest.mark.parametrize("model_id", [LLAMA_3_8B, V3, JAMBA])
def test_norms_and_sums_of_the_hidden_state_are_on_every_device(model_id: str) -> None:
    whole, part = prefill(model_id, 50), prefill(model_id, 50, parallel=Parallelism(tp=8))
    for name in ("attn_norm", "attn_add", "mlp_norm", "mlp_add", "final_norm"):
        assert part.total(lambda o: o.flops, name) == whole.total(lambda o: o.flops, name) > 0


class TestCollectives:
    """Llama-3-8B on four devices, 10 tokens: hidden 4096, 32 layers, vocabulary 128,256."""

    step = prefill(LLAMA_3_8B, 10, parallel=Parallelism(tp=4))

    def test_hidden_states_are_summed_after_embedding_attention_and_mlp(self) -> None:
        """arXiv:1909.08053, section 3."""
        sums = list(self.step.named("all_reduce"))
        assert sum(o.occurrences for o in sums) == 1 + 2 * 32
        assert {o.message for o in sums} == {10 * 4096}
        assert {o.row.ranks for o in sums} == {4}

    def test_logits_of_the_last_token_are_gathered(self) -> None:
        assert self.step.operator("all_gather").message == 128_256

    def test_one_device_exchanges_nothing(self) -> None:
        assert not any(o.row.collective for o in prefill(LLAMA_3_8B, 10).operators)

    def test_pipeline_stages_hand_on_the_hidden_state(self) -> None:
        step = prefill(LLAMA_3_8B, 10, parallel=Parallelism(pp=4))
        sent = step.operator("point_to_point")
        assert (sent.occurrences, sent.message) == (3, 10 * 4096)

    def test_devices_with_sequences_of_their_own_do_not_sum_up_attention(self) -> None:
        step = decode(QWEN3, 10, parallel=Parallelism(ep=8, attention_dp=8))
        assert not list(step.named("all_reduce"))
        assert step.total(lambda _: 1, "all_to_all") == 2 * 48


class TestExperts:
    def test_expert_parallel_devices_hold_whole_experts(self) -> None:
        """8 experts on 4 devices are two each; on 3 the fullest device has three."""
        tensor = matrix("moe_experts_up", 14_336, 4096, copies=8)
        assert split_of(tensor) is Split.EXPERTS
        assert 8 * stored_share(tensor, 1, Parallelism(tp=4, ep=4)) == 2
        assert 8 * stored_share(tensor, 1, Parallelism(tp=3, ep=3)) == 3

    def test_tensor_parallel_devices_hold_a_part_of_each(self) -> None:
        tensor = matrix("moe_experts_up", 14_336, 4096, copies=8)
        assert 8 * stored_share(tensor, 1, Parallelism(tp=4)) == 8 / 4

    def test_both_divide(self) -> None:
        """Eight devices, two ways by expert: four experts each, of which a device has a quarter."""
        tensor = matrix("moe_experts_up", 14_336, 4096, copies=8)
        assert 8 * stored_share(tensor, 1, Parallelism(tp=8, ep=2)) == 4 / 4

    @pytest.mark.parametrize("ep", [1, 2, 8])
    def test_however_they_are_divided_devices_read_all_of_them_together(self, ep: int) -> None:
        step = prefill(MIXTRAL, 4096, parallel=Parallelism(tp=8, ep=ep))
        assert 8 * step.operator("moe_experts").weights == pytest.approx(8 * 3 * 4096 * 14_336)

    def test_the_busiest_of_whole_experts_is_busier_than_the_mean(self) -> None:
        apart = decode(MIXTRAL, 10, batch=32, parallel=Parallelism(tp=8, ep=8)).operator("moe_experts")
        divided = decode(MIXTRAL, 10, batch=32, parallel=Parallelism(tp=8)).operator("moe_experts")
        assert divided.flops < apart.flops < 4 * divided.flops


@pytest.mark.parametrize(
    ("operator", "split"),
    [
        pytest.param("q_proj", Split.COLUMN, id="a device computes the queries of its heads"),
        pytest.param("o_proj", Split.ROW, id="and takes their outputs"),
        pytest.param("k_proj", Split.KV_HEADS, id="keys of its key-value heads"),
        pytest.param("kv_a_proj", Split.NONE, id="all heads need the latent"),
        pytest.param("kv_b_proj", Split.COLUMN, id="and widen it to their keys and values"),
        pytest.param("moe_router", Split.NONE, id="every device routes its tokens"),
        pytest.param("indexer_k_proj", Split.NONE, id="index keys belong to all heads"),
        pytest.param("lm_head", Split.VOCABULARY, id="logits of a part of the vocabulary"),
    ],
)
def test_how_matrices_are_divided(operator: str, split: Split) -> None:
    assert split_of(matrix(operator, 64, 64)) is split


def test_a_vocabulary_is_divided_into_whole_rows() -> None:
    """GPT-2's 50,257 rows on 4 devices: the fullest has 12,565."""
    assert stored_share(matrix("lm_head", 50_257, 768), 1, Parallelism(tp=4)) == 12_565 / 50_257


def test_the_bias_of_a_summed_output_is_whole_and_that_of_divided_outputs_is_divided() -> None:
    def bias(operator: str) -> float:
        tensor = WeightTensor(operator, (64,), TensorKind.VECTOR, ModuleClass.ATTENTION)
        return stored_share(tensor, 8, Parallelism(tp=4))

    assert (bias("o_proj"), bias("q_proj"), bias("k_proj")) == (1, 1 / 4, 1 / 4)
