"""Configs of hybrids for the tests: shapes of published models, and small ones that transformers counted."""

from __future__ import annotations

from typing import Any

from ridgeline_server.domain.mixers import LinearAttention, Recurrence, ShortConvolution, State, StateSpace
from ridgeline_server.domain.model import LayerKind, Model
from tests.unit.domain.model_configs import read_json

COUNTED: list[dict[str, Any]] = read_json("transformers_hybrid_parameters.json.gz")
"""Configs with the parameters that transformers allocates for them, the routing biases that it keeps as
buffers, and the elements of state that its cache holds for one sequence; null where it was not run.
"""

MAMBA_2_8B: dict[str, Any] = {
    "model_type": "mamba",
    "hidden_size": 2560,
    "num_hidden_layers": 64,
    "intermediate_size": 5120,
    "state_size": 16,
    "conv_kernel": 4,
    "time_step_rank": 160,
    "vocab_size": 50280,
}
CODESTRAL_MAMBA: dict[str, Any] = {
    "model_type": "mamba2",
    "hidden_size": 4096,
    "num_hidden_layers": 64,
    "expand": 2,
    "num_heads": 128,
    "head_dim": 64,
    "n_groups": 8,
    "state_size": 128,
    "conv_kernel": 4,
    "vocab_size": 32768,
    "tie_word_embeddings": False,
}
QWEN3_NEXT: dict[str, Any] = {
    "model_type": "qwen3_next",
    "hidden_size": 2048,
    "num_hidden_layers": 48,
    "full_attention_interval": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
}
KIMI_LINEAR: dict[str, Any] = {
    "model_type": "kimi_linear",
    "hidden_size": 2304,
    "num_hidden_layers": 27,
    "intermediate_size": 9216,
    "first_k_dense_replace": 1,
    "num_attention_heads": 32,
    "q_lora_rank": None,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "linear_attn_config": {
        "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
        "kda_layers": [n for n in range(1, 27) if n % 4],
        "num_heads": 32,
        "head_dim": 128,
        "short_conv_kernel_size": 4,
    },
    "num_experts": 256,
    "num_experts_per_token": 8,
    "num_shared_experts": 1,
    "moe_intermediate_size": 1024,
    "vocab_size": 163840,
    "tie_word_embeddings": False,
}
MINIMAX_TEXT_01: dict[str, Any] = {
    "model_type": "minimax_text_01",
    "hidden_size": 6144,
    "num_hidden_layers": 80,
    "attn_type_list": [0, 0, 0, 0, 0, 0, 0, 1] * 10,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rotary_dim": 64,
    "intermediate_size": 9216,
    "num_local_experts": 32,
    "num_experts_per_tok": 2,
    "vocab_size": 200064,
    "tie_word_embeddings": False,
}
XLSTM_7B: dict[str, Any] = {
    "model_type": "xlstm",
    "embedding_dim": 4096,
    "num_blocks": 32,
    "num_heads": 8,
    "qk_dim_factor": 0.5,
    "v_dim_factor": 1.0,
    "ffn_proj_factor": 2.667,
    "ffn_round_up_to_multiple_of": 64,
    "vocab_size": 50304,
}
LFM2_1_2B: dict[str, Any] = {
    "model_type": "lfm2",
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "full_attn_idxs": [2, 5, 8, 10, 12, 14],
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "block_ff_dim": 12288,
    "block_auto_adjust_ff_dim": True,
    "block_multiple_of": 256,
    "conv_L_cache": 3,
    "vocab_size": 65536,
}
RECURRENTGEMMA_2B: dict[str, Any] = {
    "model_type": "recurrent_gemma",
    "hidden_size": 2560,
    "num_hidden_layers": 26,
    "block_types": ["recurrent", "recurrent", "attention"],
    "lru_width": 2560,
    "conv1d_width": 4,
    "attention_window_size": 2048,
    "num_attention_heads": 10,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "intermediate_size": 15360,
    "vocab_size": 256000,
}
FALCON_H1_7B: dict[str, Any] = {
    "model_type": "falcon_h1",
    "hidden_size": 3072,
    "num_hidden_layers": 44,
    "intermediate_size": 12288,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "mamba_d_ssm": 3072,
    "mamba_n_heads": 24,
    "mamba_d_head": 128,
    "mamba_n_groups": 1,
    "mamba_d_state": 256,
    "mamba_d_conv": 4,
    "vocab_size": 130049,
}
ZAMBA2: dict[str, Any] = {
    "model_type": "zamba2",
    "hidden_size": 64,
    "num_hidden_layers": 6,
    "layers_block_type": ["mamba", "hybrid"] * 3,
    "num_mem_blocks": 2,
    "adapter_rank": 5,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "n_mamba_heads": 8,
    "mamba_ngroups": 2,
    "mamba_d_state": 16,
    "mamba_expand": 2,
    "mamba_d_conv": 4,
    "vocab_size": 101,
}
"""Three hybrid layers on two shared blocks, in small."""
NEMOTRON_H: dict[str, Any] = {
    "model_type": "nemotron_h",
    "hidden_size": 64,
    "hybrid_override_pattern": "M-M*ME",
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "n_groups": 2,
    "ssm_state_size": 16,
    "conv_kernel": 4,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "moe_shared_expert_intermediate_size": 48,
    "moe_latent_size": 32,
    "vocab_size": 101,
}
"""A mixer or what follows one in each layer, in small."""


def only_kind(model: Model, name: str) -> LayerKind:
    """The one kind of layers that has a name."""
    (kind,) = [kind for kind in model.layer_kinds if kind.name == name]
    return kind


def states_of(kind: LayerKind) -> list[State]:
    """The recurrent states of the mixers of one layer."""
    recurrent = StateSpace | LinearAttention | ShortConvolution | Recurrence
    return [state for mixer in kind.mixers if isinstance(mixer, recurrent) for state in mixer.states]


def state_elements(model: Model) -> int:
    """Elements of recurrent state of one sequence in all layers."""
    return sum(kind.count * state.elements for kind in model.layer_kinds for state in states_of(kind))


def without(config: dict[str, Any], key: str) -> dict[str, Any]:
    """A config that lacks a key; a dot looks into an object."""
    outer, dot, inner = key.partition(".")
    if dot:
        return {**config, outer: without(config[outer], inner)}
    return {name: value for name, value in config.items() if name != key}
