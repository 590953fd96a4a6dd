"""Counts the parameters of plain dense decoders from their config, as a formula in its keys.

Another route than the product's, which sums the tensors of a table of layers: this one is for families whose
layers are all alike, from the modelling code of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEADS_BY_DEFAULT = frozenset({"llama", "phi3"})
"""Families in which a config without num_key_value_heads has one for each head."""

KNOWN = frozenset({"llama", "mistral", "qwen2", "qwen3", "phi3", "gemma"})

OTHER_SPELLINGS = frozenset(
    {"n_embd", "d_model", "n_embed", "embedding_dim", "n_layer", "n_layers", "num_layers", "n_head",
     "n_heads", "ffn_dim", "n_inner", "inner_size", "multi_query_group_num", "num_kv_heads", "n_head_kv",
     "kv_channels", "attention_head_dim", "tie_embedding", "layer_types", "text_config", "llm_config",
     "language_config", "thinker_config", "language_model_config", "llm_cfg"}
)  # fmt: skip
"""Keys that may say the same in another way, or make layers differ."""


def recounted(config: Mapping[str, Any]) -> int | None:
    """The parameters of a config; None where this formula does not hold."""
    family = config.get("model_type")
    if family not in KNOWN or any(config.get(key) is not None for key in OTHER_SPELLINGS):
        return None
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    if any(type(config.get(name)) is not int for name in names):
        return None
    vocab, hidden, layers, heads, width = (config[name] for name in names)
    key_value_heads, head_dim = config.get("num_key_value_heads"), config.get("head_dim")
    if key_value_heads is None and family in HEADS_BY_DEFAULT:
        key_value_heads = heads
    if head_dim is None and family not in ("qwen3", "gemma") and heads:
        head_dim = hidden // heads
    tied = config.get("tie_word_embeddings")
    tied = family == "gemma" if tied is None else tied
    flags = [config.get(name) or False for name in ("attention_bias", "mlp_bias")]
    if type(key_value_heads) is not int or type(head_dim) is not int or not isinstance(tied, bool):
        return None
    if any(not isinstance(flag, bool) for flag in flags):
        return None
    attention_bias, mlp_bias = flags
    queries, keys = heads * head_dim, key_value_heads * head_dim
    attention = hidden * (2 * queries + 2 * keys)
    if family == "qwen2":
        attention += queries + 2 * keys
    elif attention_bias and family != "mistral":
        attention += queries + 2 * keys + hidden
    if family == "qwen3":
        attention += 2 * head_dim
    mlp = 3 * hidden * width + (2 * width + hidden if mlp_bias and family == "llama" else 0)
    embeddings = vocab * hidden * (1 if tied else 2)
    return int(layers * (attention + mlp + 2 * hidden) + embeddings + hidden)
