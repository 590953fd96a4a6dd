"""Defaults of transformers' config classes, for configs inside of another one.

transformers leaves out of a nested config what equals its class's defaults, so that an absent key has a
meaning there. At the top level it writes the sizes of a model whatever they are: a config without them was
cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_LLAMA_7B = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
}
_GEMMA2_2B = {
    "hidden_size": 2304,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "intermediate_size": 9216,
    "vocab_size": 256000,
    "max_position_embeddings": 8192,
}

CLASS_DEFAULTS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "llama": _LLAMA_7B,
        "granite": _LLAMA_7B,
        "mistral": {
            **_LLAMA_7B,
            "num_key_value_heads": 8,
            "intermediate_size": 14336,
            "max_position_embeddings": 131072,
        },
        "qwen2": {
            **_LLAMA_7B,
            "num_key_value_heads": 32,
            "intermediate_size": 22016,
            "vocab_size": 151936,
            "max_position_embeddings": 32768,
        },
        "gemma": {
            "hidden_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "head_dim": 256,
            "intermediate_size": 24576,
            "vocab_size": 256000,
            "max_position_embeddings": 8192,
        },
        "gemma2": _GEMMA2_2B,
        "gemma3_text": {**_GEMMA2_2B, "vocab_size": 262208, "max_position_embeddings": 131072},
        "gemma3n_text": {
            "hidden_size": 2048,
            "num_hidden_layers": 35,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 256,
            "intermediate_size": 16384,
            "vocab_size": 262400,
            "max_position_embeddings": 32768,
            "hidden_size_per_layer_input": 256,
            "vocab_size_per_layer_input": 262144,
            "altup_num_inputs": 4,
            "laurel_rank": 64,
            "num_kv_shared_layers": 15,
            "sliding_window": 512,
        },
        "gemma4_text": {
            **_GEMMA2_2B,
            "num_hidden_layers": 30,
            "vocab_size": 262144,
            "max_position_embeddings": 131072,
            "hidden_size_per_layer_input": 256,
            "vocab_size_per_layer_input": 262144,
            "sliding_window": 512,
        },
        "phi3": {
            **_LLAMA_7B,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "vocab_size": 32064,
            "max_position_embeddings": 4096,
        },
        "llama4_text": {
            "hidden_size": 5120,
            "num_hidden_layers": 48,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 8192,
            "intermediate_size_mlp": 16384,
            "vocab_size": 202048,
            "max_position_embeddings": 131072,
            "num_local_experts": 16,
            "num_experts_per_tok": 1,
            "attention_chunk_size": 8192,
        },
    }
)
"""By model_type, as in transformers 5.24."""
