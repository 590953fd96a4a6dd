"""The sizes that all parts of a model share, from its config: spellings, bounds and rules."""

from __future__ import annotations

from collections.abc import Mapping

from ridgeline_server.domain.config.fields import ConfigFields, shown
from ridgeline_server.domain.parts.facts import Family, Position

HIDDEN_SIZE = ("hidden_size", "n_embd", "d_model", "n_embed", "embedding_dim", "model_dim")
TIED = (
    "tie_word_embeddings",
    "tie_embedding",
    "weight_tying",
    "use_embedding_sharing",
    "share_input_output_layers",
)
CONTEXT = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
    "n_ctx",
    "model_max_length",
    "max_context_length",
)
EXTRA_LAYERS = ("num_nextn_predict_layers", "num_mtp_modules", "mtp_num_hidden_layers")
"""Keys that tell of layers for multi-token prediction, which a checkpoint holds besides."""
MAX_HIDDEN_SIZE = 1 << 20
MAX_LAYERS = 1024
MAX_HEADS = 1 << 14
MAX_HEAD_DIM = 1 << 14
MAX_MLP_WIDTH = 1 << 24
MAX_EXPERTS = 1 << 14
MAX_VOCAB = 1 << 24
MAX_CONTEXT = 100_000_000
"""Bounds far above any model: a figure beyond them is a slip."""


def read_context(family: Family, fields: ConfigFields, assumptions: list[str]) -> int | None:
    """The longest context, rope scaling included.

    transformers' max_position_embeddings is the extended length with rope types llama3 and longrope, and the
    one before scaling with linear and dynamic; with yarn the extended length is factor times
    original_max_position_embeddings (vLLM takes the same).
    """
    found = fields.first_integer(CONTEXT, 1, MAX_CONTEXT)
    if found is None:
        if family.position is Position.LEARNED:
            fields.lack(CONTEXT)
        else:
            assumptions.append(f"{CONTEXT[0]} is absent: no limit of the context is known")
        return None
    key, length = found
    if family.position is not Position.ROTARY:
        return length
    scaling_key = next((k for k in ("rope_scaling", "rope_parameters") if fields.value(k) is not None), None)
    if scaling_key is None:
        return length
    scaling = fields.value(scaling_key)
    if not isinstance(scaling, Mapping):
        fields.refuse(scaling_key, f"is {shown(scaling)}; give an object with rope_type")
        return None
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "yarn":
        original = f"{scaling_key}.original_max_position_embeddings"
        base = fields.first_integer((original, key), 1, MAX_CONTEXT)
    elif kind in ("linear", "dynamic") and family.scaled_context:
        base = found
    else:
        return length
    factor_key = f"{scaling_key}.factor"
    factor = fields.number((factor_key,), 1, 1e6)
    if base is None or factor is None:
        if fields.value(factor_key) is None:
            fields.refuse(factor_key, f"is absent; {kind} scaling needs it")
        return None
    scaled = int(base[1] * factor)
    if scaled != length:
        assumptions.append(f"longest context {scaled}: {base[0]} {base[1]} x {kind} factor {factor:g}")
    if scaled > MAX_CONTEXT:
        fields.refuse(factor_key, f"is {factor:g}; with it the context is over {MAX_CONTEXT} tokens")
    return scaled
