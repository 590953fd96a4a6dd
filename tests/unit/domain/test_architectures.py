"""What the model of each architecture holds: shapes, caches, and which layer is of which kind."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.domain.mixers import (
    Attention,
    CompressedAttention,
    Indexer,
    LatentAttention,
    Linear,
    Mixer,
)
from ridgeline_server.domain.mlps import Experts, Mlp
from ridgeline_server.domain.model import LayerKind, Model
from ridgeline_server.domain.tensors import ModuleClass
from tests.unit.domain.model_configs import attention, read, small


def kinds(model: Model) -> list[tuple[str, int]]:
    return [(kind.name, kind.count) for kind in model.layer_kinds]


def shapes(kind: LayerKind) -> dict[str, tuple[int, ...]]:
    return {tensor.operator: tensor.shape for tensor in kind.tensors if len(tensor.shape) == 2}


def mixer(kind: LayerKind) -> Mixer:
    (found,) = kind.mixers
    return found


def sequence(model: Model) -> list[str]:
    return [model.layer_kinds[kind].name for kind in model.layer_sequence]


# Mixtures of experts

MOE: dict[str, Any] = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


def test_experts_lie_side_by_side_and_a_token_uses_the_chosen_ones() -> None:
    model = read_config(small(model_type="qwen3_moe", head_dim=8, **MOE))
    (kind,) = model.layer_kinds
    assert kind.mlps == (Experts(6, 2, 24, gated=True, activation="silu"),)
    experts = {t.operator: t for t in kind.tensors if t.module is ModuleClass.EXPERTS}
    assert {name: (t.shape, t.copies, t.active_copies) for name, t in experts.items()} == {
        "moe_experts_gate": ((24, 64), 6, 2),
        "moe_experts_up": ((24, 64), 6, 2),
        "moe_experts_down": ((64, 24), 6, 2),
    }
    assert shapes(kind)["moe_router"] == (6, 64)
    # Four of six experts rest, three matrices each, in three layers.
    assert model.parameter_count - model.active_parameter_count == 3 * 4 * 3 * 24 * 64
    assert model.active_parameter_count - model.active_parameter_count_without_embedding == 101 * 64


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"decoder_sparse_step": 1}, ["experts"] * 6),
        ({"decoder_sparse_step": 2}, ["mlp", "experts"] * 3),
        ({"mlp_only_layers": [0, 5]}, ["mlp", *["experts"] * 4, "mlp"]),
        ({"decoder_sparse_step": 3, "mlp_only_layers": [2]}, [*["mlp"] * 5, "experts"]),
        ({"mlp_layer_types": ["dense", "sparse"] * 3}, ["mlp", "experts"] * 3),
    ],
)
def test_which_layers_have_experts_is_what_the_keys_say(changes: dict[str, Any], expected: list[str]) -> None:
    model = read_config(small(model_type="qwen3_moe", head_dim=8, num_hidden_layers=6, **MOE, **changes))
    found = sequence(model) if len(model.layer_kinds) > 1 else ["experts"] * 6
    assert found == expected


def test_deepseek_s_first_layers_are_dense_and_its_shared_experts_are_one_mlp() -> None:
    model = read("deepseek-ai/DeepSeek-V2-Lite")
    assert kinds(model) == [("mlp", 1), ("experts", 26)]
    assert model.layer_sequence == (0, *[1] * 26)
    dense, sparse = model.layer_kinds
    assert dense.mlps == (Mlp(10944, gated=True, activation="silu"),)
    # Two shared experts of 1,408.
    assert sparse.mlps == (
        Experts(64, 6, 1408, gated=True, activation="silu", shared_intermediate_size=2816),
    )


def test_a_llama_4_has_experts_in_each_second_layer_and_full_attention_without_positions_in_each_fourth() -> (
    None
):
    model = read("meta-llama/Llama-4-Maverick-17B-128E-Instruct")
    assert sequence(model)[:4] == [
        "chunk-8192, mlp",
        "chunk-8192, experts",
        "chunk-8192, mlp",
        "full, experts",
    ]
    chunked, full = mixer(model.layer_kinds[0]), mixer(model.layer_kinds[2])
    assert isinstance(chunked, Attention)
    assert isinstance(full, Attention)
    assert (chunked.chunk, chunked.rotary_dim, full.chunk, full.rotary_dim) == (8192, 128, None, 0)


def test_gpt_oss_has_sinks_and_biases_on_its_experts() -> None:
    model = read("openai/gpt-oss-20b")
    assert kinds(model) == [("window-128", 12), ("full", 12)]
    assert all(isinstance(m := mixer(kind), Attention) and m.sinks for kind in model.layer_kinds)
    biases = [t for t in model.layer_kinds[0].tensors if t.operator.startswith("moe") and len(t.shape) == 1]
    assert [(t.operator, t.shape, t.copies, t.active_copies) for t in biases] == [
        ("moe_router", (32,), 1, None),
        ("moe_experts_gate", (2880,), 32, 4),
        ("moe_experts_up", (2880,), 32, 4),
        ("moe_experts_down", (2880,), 32, 4),
    ]


def test_arctic_has_a_dense_mlp_of_the_hidden_width_beside_its_experts() -> None:
    arctic = small(
        model_type="arctic",
        num_local_experts=4,
        num_experts_per_tok=2,
        moe_layer_frequency=2,
        num_hidden_layers=4,
        parallel_attn_mlp_res=True,
        use_residual=True,
    )
    model = read_config(arctic)
    assert kinds(model) == [("mlp", 2), ("mlp + experts", 2)]
    dense, sparse = model.layer_kinds
    assert sparse.mlps[0] == Mlp(64, gated=True, activation="silu")
    # Beside attention (10,240) and three norms a residual MLP of 3 x 64 x 64, a router and four experts.
    assert sparse.parameters == 10_240 + 3 * 64 + 3 * 64 * 64 + 4 * 64 + 4 * 3 * 160 * 64
    assert dense.parameters == 10_240 + 2 * 64 + 3 * 160 * 64


def test_longcat_has_two_layers_for_each_that_its_config_counts() -> None:
    longcat = small(
        model_type="longcat_flash",
        num_layers=3,
        num_hidden_layers=...,
        intermediate_size=...,
        q_lora_rank=24,
        kv_lora_rank=16,
        qk_nope_head_dim=12,
        qk_rope_head_dim=8,
        v_head_dim=10,
        ffn_hidden_size=160,
        expert_ffn_hidden_size=24,
        n_routed_experts=6,
        moe_topk=2,
        zero_expert_num=3,
    )
    model = read_config(longcat)
    assert sequence(model) == ["mlp + experts", "mlp"] * 3
    experts = model.layer_kinds[0].mlps[1]
    assert isinstance(experts, Experts)
    # The router chooses among experts that do nothing too; they have no weights.
    assert (experts.expert_count, experts.zero_expert_count) == (6, 3)
    assert shapes(model.layer_kinds[0])["moe_router"] == (9, 64)


@pytest.mark.parametrize(
    ("model_type", "more", "extra"),
    [
        # Shared experts of the routed ones' width; the router has a bias where the config says so.
        ("bailing_moe", {"num_shared_experts": 2}, 0),
        ("bailing_moe_v2", {"num_shared_experts": 2, "moe_router_enable_expert_bias": True}, 6),
        ("deepseek", {"n_shared_experts": 2, "moe_layer_freq": 1}, 0),
    ],
)
def test_ling_and_the_first_deepseek_have_dense_attention_and_shared_experts(
    model_type: str, more: dict[str, Any], extra: int
) -> None:
    model = read_config(small(model_type=model_type, first_k_dense_replace=1, **MOE, **more))
    assert kinds(model) == [("mlp", 1), ("experts", 2)]
    experts = 6 * 3 * 24 * 64 + 6 * 64 + 3 * 48 * 64 + extra
    assert model.layer_kinds[1].parameters == 10_240 + 2 * 64 + experts


def test_more_chosen_experts_than_there_are_is_refused() -> None:
    with pytest.raises(InvalidFieldsError) as raised:
        read_config(small(model_type="mixtral", num_local_experts=2, num_experts_per_tok=4))
    (violation,) = raised.value.violations
    assert violation.field == "num_experts_per_tok"
    assert violation.description == "is 4; there are only 2 experts to choose from"


# Latent, sparse and compressed attention


def test_deepseek_v3_caches_one_latent_and_one_rotated_key_a_layer() -> None:
    model = read("deepseek-ai/DeepSeek-V3")
    latent = mixer(model.layer_kinds[0])
    assert latent == LatentAttention(128, 1536, 512, 128, 64, 128)
    assert model.kv_elements_per_token == 61 * (512 + 64)
    assert shapes(model.layer_kinds[0]) | {} == {
        "q_a_proj": (1536, 7168),
        "q_b_proj": (128 * 192, 1536),
        "kv_a_proj": (576, 7168),
        "kv_b_proj": (128 * 256, 512),
        "o_proj": (7168, 128 * 128),
        "gate_proj": (18432, 7168),
        "up_proj": (18432, 7168),
        "down_proj": (7168, 18432),
    }


def test_an_indexer_caches_a_key_beside_the_latent() -> None:
    model = read("deepseek-ai/DeepSeek-V3.2")
    latent = mixer(model.layer_kinds[0])
    assert isinstance(latent, LatentAttention)
    assert latent.indexer == Indexer(64, 128, 2048)
    assert model.kv_elements_per_token == 61 * (512 + 64 + 128)


def test_glm_5_2_shares_indexers_among_layers() -> None:
    model = read("zai-org/GLM-5.2")
    assert kinds(model) == [("latent, mlp", 3), ("shared-indexer, experts", 57), ("latent, experts", 18)]
    assert model.kv_elements_per_token == 78 * (512 + 64) + 21 * 128


def test_queries_without_a_latent_are_projected_at_once() -> None:
    model = read("deepseek-ai/DeepSeek-V2-Lite")
    assert shapes(model.layer_kinds[0])["q_proj"] == (16 * 192, 2048)


def test_minimax_m3_picks_blocks_of_keys_in_all_but_three_layers() -> None:
    model = read("MiniMaxAI/MiniMax-M3")
    assert [kind.count for kind in model.layer_kinds] == [3, 57]
    dense, sparse = (mixer(kind) for kind in model.layer_kinds)
    assert isinstance(dense, Attention)
    assert isinstance(sparse, Attention)
    assert (dense.indexer, sparse.indexer) == (None, Indexer(4, 128, 16 * 128))
    assert model.kv_elements_per_token == 60 * 2 * 4 * 128 + 57 * 128


def test_deepseek_v4_keeps_a_window_and_compressed_keys_and_mixes_four_streams() -> None:
    model = read("deepseek-ai/DeepSeek-V4-Flash")
    found = [mixer(kind) for kind in model.layer_kinds]
    assert all(isinstance(m, CompressedAttention) for m in found)
    assert {m.compress_ratio for m in found if isinstance(m, CompressedAttention)} == {0, 4, 128}
    assert model.residual_streams == 4
    # 43 layers: 2 with the window alone, 21 with an entry of 512 and an indexer's key of 128 for four tokens,
    # 20 with an entry for 128.
    assert model.kv_elements_per_token == 43 * 512 + 21 * (512 + 128) / 4 + 20 * 512 / 128


# Attention that differs by layer


def test_mimo_v2_has_other_heads_in_layers_with_a_window() -> None:
    model = read("XiaomiMiMo/MiMo-V2-Flash")
    window = next(attention(kind) for kind in model.layer_kinds if kind.name.startswith("window"))
    full = next(attention(kind) for kind in model.layer_kinds if kind.name.startswith("full"))
    assert (window.kv_head_count, window.window, window.sinks) == (8, 128, True)
    assert (full.kv_head_count, full.window, full.sinks) == (4, None, False)
    assert (full.head_dim, full.value_head_dim, full.rotary_dim) == (192, 128, 64)
    assert model.kv_elements_per_token == 39 * 8 * (192 + 128) + 9 * 4 * (192 + 128)


def test_gemma_4_s_full_layers_have_wide_heads_whose_keys_are_values() -> None:
    model = read("google/gemma-4-26B-A4B")
    assert kinds(model) == [("window-1024", 25), ("full", 5)]
    window, full = (attention(kind) for kind in model.layer_kinds)
    assert (window.head_dim, window.kv_head_count, window.keys_are_values) == (256, 8, False)
    assert (full.head_dim, full.kv_head_count, full.keys_are_values, full.rotary_dim) == (512, 2, True, 128)
    assert "v_proj" not in shapes(model.layer_kinds[1])
    assert [type(mlp) for mlp in model.layer_kinds[0].mlps] == [Mlp, Experts]


def test_layers_that_read_the_cache_of_others_add_nothing_to_it() -> None:
    gemma = small(
        model_type="gemma3n_text",
        head_dim=16,
        num_hidden_layers=10,
        hidden_activation="gelu_pytorch_tanh",
        sliding_window=8,
        hidden_size_per_layer_input=12,
        vocab_size_per_layer_input=77,
        altup_num_inputs=3,
        laurel_rank=8,
        num_kv_shared_layers=4,
    )
    model = read_config(gemma)
    assert model.kv_elements_per_token == 6 * 2 * 2 * 16
    assert model.residual_streams == 3
    shared = [attention(kind) for kind in model.layer_kinds if attention(kind).shares_kv]
    assert sum(kind.count for kind in model.layer_kinds if attention(kind).shares_kv) == 4
    assert all(kind.kv_elements_per_token == 0 for kind in shared)


def test_decilm_has_a_number_of_key_value_heads_for_each_layer() -> None:
    deci = small(
        model_type="deci", num_key_value_heads=..., num_key_value_heads_per_layer=[4, 4, 1], hidden_act="silu"
    )
    model = read_config(deci)
    assert [(attention(kind).kv_head_count, kind.count) for kind in model.layer_kinds] == [(4, 2), (1, 1)]
    assert model.kv_elements_per_token == 2 * 8 * (4 + 4 + 1)
    # q and o are 64 x 64, k and v 8 wide for each head.
    per_layer = [2 * 64 * 64 + 2 * heads * 8 * 64 + 3 * 160 * 64 + 2 * 64 for heads in (4, 4, 1)]
    assert model.parameter_count == sum(per_layer) + 2 * 101 * 64 + 64


def nas(*blocks: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return small(
        model_type="nemotron-nas",
        num_hidden_layers=len(blocks),
        num_key_value_heads=...,
        intermediate_size=...,
        block_configs=[{"attention": attention, "ffn": ffn} for attention, ffn in blocks],
    )


GQA = {"n_heads_in_group": 4, "no_op": False, "replace_with_linear": False}
FFN = {"ffn_mult": 5.25, "no_op": False, "replace_with_linear": False}
NO_OP = {"no_op": True}
LINEAR = {"replace_with_linear": True, "no_op": False}


def test_nemotron_nas_leaves_out_attention_or_mlps_or_makes_them_one_matrix() -> None:
    model = read_config(nas((GQA, FFN), (NO_OP, FFN), (LINEAR, {**FFN, "ffn_mult": 2.0}), (GQA, NO_OP)))
    usual, without_attention, linear, without_mlp = model.layer_kinds
    # 2 x 5.25 x 64 / 3 = 224 is rounded up to 256, as is 85.
    assert usual.mlps == without_attention.mlps == (Mlp(256, gated=True, activation="silu"),)
    assert (attention(usual).kv_head_count, linear.mixers) == (2, (Linear(64),))
    assert (without_attention.mixers, without_mlp.mlps) == ((), ())
    assert without_attention.norms == ("mlp_norm",)
    assert without_mlp.norms == ("attn_norm",)
    assert without_mlp.parameters == 2 * 64 * 64 + 2 * 16 * 64 + 64
    assert linear.parameters == 64 * 64 + 3 * 256 * 64 + 2 * 64
    assert model.kv_elements_per_token == 2 * 2 * 16


@pytest.mark.parametrize(
    "wrong",
    [
        nas(({**GQA, "n_heads_in_group": 3}, FFN)),
        nas(({"no_op": False}, FFN)),
        nas((GQA, {**FFN, "ffn_mult": "wide"})),
        nas(({**GQA, "window_length": 8192}, FFN)),
        {**nas((GQA, FFN)), "num_hidden_layers": 2},
        {**nas((GQA, FFN)), "block_configs": "all"},
    ],
    ids=["group", "no group", "ffn_mult", "window", "too few", "no list"],
)
def test_a_wrong_block_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidFieldsError) as raised:
        read_config(wrong)
    assert {violation.field for violation in raised.value.violations} == {"block_configs"}


def test_layers_that_attend_to_an_image_add_nothing_to_the_cache_of_text() -> None:
    model = read_config(
        {
            "text_config": small(model_type="mllama_text_model", cross_attention_layers=[1]),
            "vision_config": {"a": 1},
        }
    )
    assert kinds(model) == [("full", 2), ("cross", 1)]
    assert model.kv_elements_per_token == 2 * 2 * 16
    assert model.tensors[0].shape == (101 + 8, 64)
