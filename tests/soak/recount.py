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


NUMBERS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "num_key_value_heads",
)  # fmt: skip


def is_plain(config: Mapping[str, Any]) -> bool:
    """Whether the formula is meant for a config: a known family in its usual spelling."""
    known = config.get("model_type") in KNOWN
    return known and all(config.get(key) is None for key in OTHER_SPELLINGS)


def odd_numbers(config: Mapping[str, Any]) -> list[str]:
    """The keys of a plain config that say something else than a whole number."""
    return [key for key in NUMBERS if config.get(key) is not None and _whole(config[key]) is None]


def recounted(config: Mapping[str, Any]) -> int | None:
    """The parameters of a plain config; None where the formula does not hold."""
    family, numbers = config.get("model_type"), {name: _whole(config.get(name)) for name in NUMBERS}
    key_value_heads = numbers.pop("num_key_value_heads")
    needed = [number for number in numbers.values() if number is not None]
    if not is_plain(config) or len(needed) < len(numbers):
        return None
    vocab, hidden, layers, heads, width = needed
    if config.get("num_key_value_heads") is None and family in HEADS_BY_DEFAULT:
        key_value_heads = heads
    head_dim = _whole(config.get("head_dim"))
    if config.get("head_dim") is None and family not in ("qwen3", "gemma") and heads:
        head_dim = hidden // heads
    tied = config.get("tie_word_embeddings")
    tied = family == "gemma" if tied is None else tied
    attention_bias, mlp_bias = (config.get(name) or False for name in ("attention_bias", "mlp_bias"))
    flags = (tied, attention_bias, mlp_bias)
    if key_value_heads is None or head_dim is None or not all(isinstance(flag, bool) for flag in flags):
        return None
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
    return layers * (attention + mlp + 2 * hidden) + embeddings + hidden


def _whole(value: Any) -> int | None:
    """A whole number, also one that is written with a point; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None
