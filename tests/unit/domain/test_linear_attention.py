"""Gated delta net, KDA, lightning attention, mLSTM: the weights of one layer, its state, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.domain.mixers import Attention, LinearAttention
from ridgeline_server.domain.model import LayerKind
from ridgeline_server.domain.tensors import ModuleClass
from tests.unit.domain.hybrid_configs import (
    KIMI_LINEAR,
    MINIMAX_TEXT_01,
    QWEN3_NEXT,
    XLSTM_7B,
    only_kind,
    states_of,
    without,
)

KIMI_K3: dict[str, Any] = {
    **KIMI_LINEAR,
    "hidden_size": 7168,
    "num_hidden_layers": 93,
    "intermediate_size": 33792,
    "num_attention_heads": 96,
    "q_lora_rank": 1536,
    "mla_use_output_gate": True,
    "linear_attn_config": {
        "full_attn_layers": [*range(4, 93, 4), 93],
        "kda_layers": [n for n in range(1, 93) if n % 4],
        "num_heads": 96,
        "head_dim": 128,
        "short_conv_kernel_size": 4,
        "use_full_rank_gate": True,
        "gate_lower_bound": -5.0,
    },
    "num_experts": 896,
    "num_experts_per_token": 16,
    "num_shared_experts": 2,
    "moe_intermediate_size": 3072,
    "routed_expert_hidden_size": 3584,
    "latent_moe_use_norm": True,
    "attn_res_block_size": 12,
}
"""The shapes of moonshotai/Kimi-K3's text_config."""


def mixer_parameters(kind: LayerKind) -> int:
    """Weights of the mixer, its norms included, without those of the residual stream and what follows."""
    follows = (ModuleClass.MLP, ModuleClass.EXPERTS, ModuleClass.SHARED_EXPERT, ModuleClass.ROUTER)
    outside = {*kind.norms, "block_residual", "moe_latent_norm"}
    return sum(t.parameters for t in kind.tensors if t.operator not in outside and t.module not in follows)


def states(kind: LayerKind) -> dict[str, int]:
    return {state.name: state.elements for state in states_of(kind)}


def test_a_gated_delta_net_layer_of_qwen3_next() -> None:
    kind = only_kind(read_config(QWEN3_NEXT), "linear-attention")
    # 16 key heads of 128 and 32 value heads of 128: q and k are 2048 wide, v and its gate z 4096.
    convolved = 2 * 2048 + 4096
    assert mixer_parameters(kind) == (
        (convolved + 4096) * 2048 + 2 * 32 * 2048 + convolved * 4 + 2 * 32 + 128 + 2048 * 4096
    )
    assert states(kind) == {"convolution": 3 * convolved, "linear_attention": 32 * 128 * 128}
    assert kind.count == 36


def test_attention_of_qwen3_next_has_a_gate_as_wide_as_its_queries() -> None:
    kind = only_kind(read_config(QWEN3_NEXT), "full")
    assert mixer_parameters(kind) == (2 * 4096 + 2 * 512) * 2048 + 2 * 256 + 2048 * 4096
    (attention,) = kind.mixers
    assert isinstance(attention, Attention)
    assert (attention.output_gate, attention.rotary_dim) == (4096, 64)


def test_the_state_of_qwen3_next_does_not_grow_with_the_context() -> None:
    # vLLM's gated_delta_net_state_shape: (3, 8192) and (32, 128, 128) in each of 36 layers, here in bf16.
    model = read_config(QWEN3_NEXT)
    assert model.state_bytes_per_sequence == 36 * 2 * (3 * 8192 + 32 * 128 * 128)
    assert model.kv_elements_per_token == 12 * 2 * 2 * 256


def test_a_kimi_delta_layer_of_kimi_linear() -> None:
    kind = only_kind(read_config(KIMI_LINEAR), "linear-attention, experts")
    # 32 heads of 128. Decay and gate go through a rank of 128, beta is one number per head.
    inner = 32 * 128
    assert mixer_parameters(kind) == (
        3 * inner * 2304
        + 3 * inner * 4
        + 2 * (128 * 2304 + inner * 128)
        + 32 * 2304
        + (32 + inner)
        + 128
        + 2304 * inner
    )
    assert states(kind) == {"convolution": 3 * 3 * inner, "linear_attention": 32 * 128 * 128}
    assert [state.dtype for state in states_of(kind)] == [None, Dtype.FP32]


def test_layers_of_kimi_linear_are_numbered_from_one() -> None:
    model = read_config(KIMI_LINEAR)
    full = [n + 1 for n, kind in enumerate(model.layer_sequence) if "latent" in model.layer_kinds[kind].name]
    assert full == [4, 8, 12, 16, 20, 24, 27]


def test_a_layer_of_kimi_k3() -> None:
    model = read_config(KIMI_K3)
    linear, latent = only_kind(model, "linear-attention, experts"), only_kind(model, "latent, experts")
    inner = 96 * 128
    # The output gate is of full rank, the decay goes through 128.
    assert mixer_parameters(linear) == (
        3 * inner * 7168
        + 3 * inner * 4
        + (128 * 7168 + inner * 128)
        + 96 * 7168
        + (96 + inner)
        + inner * 7168
        + 128
        + 7168 * inner
    )
    # Latent attention with a gate for each element of its output.
    assert mixer_parameters(latent) == (
        (1536 * 7168 + 1536 + 96 * 192 * 1536) + ((512 + 64) * 7168 + 512 + 96 * 256 * 512) + 2 * 7168 * inner
    )
    # Two gains and two scores that mix the blocks of the residual stream, and two norms.
    stream = (tensor for tensor in linear.tensors if tensor.operator in (*linear.norms, "block_residual"))
    assert sum(tensor.parameters for tensor in stream) == 6 * 7168
    assert (linear.count, latent.count, only_kind(model, "linear-attention, mlp").count) == (68, 24, 1)


def test_a_lightning_layer_of_minimax_text_01() -> None:
    kind = only_kind(read_config(MINIMAX_TEXT_01), "linear-attention")
    # 64 heads of 128 on a hidden size of 6144: q, k, v and the gate are 8192 wide, and so is the norm.
    assert mixer_parameters(kind) == 4 * 8192 * 6144 + 8192 + 6144 * 8192
    assert states(kind) == {"linear_attention": 64 * 128 * 128}
    assert kind.count == 70


def test_minimax_is_the_same_in_the_spelling_of_transformers() -> None:
    respelt = without(MINIMAX_TEXT_01, "attn_type_list") | {
        "model_type": "minimax",
        "layer_types": (["linear_attention"] * 7 + ["full_attention"]) * 10,
    }
    assert read_config(respelt).layer_kinds == read_config(MINIMAX_TEXT_01).layer_kinds


def test_a_layer_of_xlstm_7b() -> None:
    (kind,) = read_config(XLSTM_7B).layer_kinds
    # q and k 2048 wide, v and the gate 4096; input and forget gates of eight heads; 2.667 x 4096 rounds up.
    assert kind.parameters == (
        2 * 4096
        + (2 * 2048 + 2 * 4096) * 4096
        + (2 * 8 * 4096 + 2 * 8)
        + 4096
        + 4096 * 4096
        + 3 * 10944 * 4096
    )
    # A matrix of 256 x 512, a normaliser of 256 and a stabiliser for each head, in fp32.
    assert states(kind) == {"linear_attention": 8 * (256 * 512 + 256 + 1)}
    assert [state.dtype for state in states_of(kind)] == [Dtype.FP32]


def test_olmo_hybrid_normalises_before_linear_and_after_full_attention() -> None:
    model = read_config(
        {
            "model_type": "olmo_hybrid",
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "vocab_size": 101,
        }
    )
    linear = only_kind(model, "linear-attention")
    assert linear.norms == ("attn_norm", "mlp_norm")
    assert only_kind(model, "full").norms == ("attn_post_norm", "mlp_post_norm")
    # Keys take three quarters of the hidden size, values twice as much.
    (mixer,) = linear.mixers
    assert isinstance(mixer, LinearAttention)
    assert (mixer.key_head_dim, mixer.value_head_dim) == (12, 24)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (QWEN3_NEXT, "linear_num_value_heads"),
        (QWEN3_NEXT, "linear_key_head_dim"),
        (QWEN3_NEXT, "shared_expert_intermediate_size"),
        (KIMI_LINEAR, "linear_attn_config.short_conv_kernel_size"),
        (KIMI_LINEAR, "linear_attn_config"),
        (MINIMAX_TEXT_01, "attn_type_list"),
        (XLSTM_7B, "num_heads"),
    ],
)
def test_what_is_left_out_is_asked_for(config: dict[str, Any], key: str) -> None:
    with pytest.raises(UnsupportedConfigError, match=key.rpartition(".")[2]):
        read_config(without(config, key))


@pytest.mark.parametrize(
    ("config", "changes", "key"),
    [
        (QWEN3_NEXT, {"linear_num_value_heads": 33}, "linear_num_value_heads"),
        (KIMI_LINEAR, {"num_hidden_layers": 28}, "linear_attn_config.full_attn_layers"),
        (MINIMAX_TEXT_01, {"attn_type_list": [0, 1]}, "attn_type_list"),
        (XLSTM_7B, {"num_heads": 7}, "qk_dim_factor"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(
    config: dict[str, Any], changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(InvalidFieldsError) as error:
        read_config({**config, **changes})
    assert key in [violation.field for violation in error.value.violations]


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (QWEN3_NEXT, {"attn_output_gate": False}),
        (QWEN3_NEXT, {"layer_types": ["linear_attention"] * 47 + ["sparse"]}),
        (KIMI_LINEAR, {"tie_word_embeddings": True}),
        (KIMI_LINEAR, {"linear_attn_config": {**KIMI_LINEAR["linear_attn_config"], "num_kv_heads": 8}}),
        (MINIMAX_TEXT_01, {"shared_intermediate_size": 4736}),
        (XLSTM_7B, {"use_bias": True}),
        (XLSTM_7B, {"slstm_at": [1]}),
    ],
)
def test_what_would_change_the_layers_unseen_is_refused_by_its_key(
    config: dict[str, Any], changes: dict[str, Any]
) -> None:
    (key,) = changes
    with pytest.raises(UnsupportedConfigError) as error:
        read_config({**config, **changes})
    assert any(found.split(".")[0] == key for found in error.value.keys)


def test_ling_3_is_read_with_its_decay_of_full_rank_and_a_gate_per_head() -> None:
    ling = {
        **without(KIMI_LINEAR, "linear_attn_config"),
        "model_type": "bailing_hybrid",
        "num_hidden_layers": 6,
        "layer_group_size": 3,
        "head_dim": 128,
        "short_conv_kernel_size": 4,
        "no_kda_lora": True,
        "gated_attention_proj_granularity_type": "head_wise",
    }
    model = read_config(ling)
    inner = 32 * 128
    linear = only_kind(model, "linear-attention, experts")
    assert mixer_parameters(linear) == (
        5 * inner * 2304 + 3 * inner * 4 + 32 * 2304 + (32 + inner) + 128 + 2304 * inner
    )
    assert only_kind(model, "latent, experts").mixers[0].output_gate == 32  # type: ignore[union-attr]
    with pytest.raises(UnsupportedConfigError, match="no_kda_lora"):
        read_config({**ling, "no_kda_lora": False})
    with pytest.raises(InvalidFieldsError) as error:
        read_config({**ling, "layer_group_size": 4})
    assert [violation.field for violation in error.value.violations] == ["layer_group_size"]
    # Ring 2.5 has the same model_type, and lightning attention instead of KDA.
    with pytest.raises(UnsupportedConfigError, match="short_conv_kernel_size"):
        read_config(without(ling, "short_conv_kernel_size"))


def test_ring_linear_has_lightning_and_grouped_query_attention() -> None:
    # inclusionAI/Ring-mini-linear-2.0 is published as 16.4 billion weights, 1.6 billion of them active.
    model = read_config(
        {
            "model_type": "bailing_moe_linear",
            "hidden_size": 2048,
            "num_hidden_layers": 20,
            "layer_group_size": 5,
            "group_norm_size": 4,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "use_qk_norm": True,
            "use_qkv_bias": False,
            "use_bias": False,
            "intermediate_size": 5120,
            "first_k_dense_replace": 1,
            "num_experts": 256,
            "num_experts_per_tok": 8,
            "num_shared_experts": 1,
            "moe_intermediate_size": 512,
            "moe_router_enable_expert_bias": True,
            "vocab_size": 157184,
            "tie_word_embeddings": False,
        }
    )
    assert round(model.parameter_count / 1e9, 1) == 16.4
    assert round(model.active_parameter_count / 1e9, 1) == 1.6
    linear = only_kind(model, "linear-attention, experts")
    assert mixer_parameters(linear) == 5 * 2048 * 2048 + 2048 + 2 * 128
    assert (linear.count, only_kind(model, "full, experts").count) == (15, 4)
