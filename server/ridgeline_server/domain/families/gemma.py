"""Gemma 3n and 4: layers that share keys and values, per-layer embeddings, AltUp, by model_type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from ridgeline_server.domain.config.sizes import MAX_HEAD_DIM, MAX_HEADS, MAX_HIDDEN_SIZE, MAX_VOCAB
from ridgeline_server.domain.families.dense import GEMMA3
from ridgeline_server.domain.parts.attention import OwnAttention
from ridgeline_server.domain.parts.experts import ExpertsFacts
from ridgeline_server.domain.parts.facts import BOTH, DENSE, FULL, SLIDING, Family, varied, when
from ridgeline_server.domain.parts.mlp import OwnMlp
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.parts.schedules import LAYER_TYPES, EachNth, Every, LastRenamed
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor, linear, norm, vector

SHARED_FULL, SHARED_SLIDING, WIDE = "shared-full", "shared-sliding", "wide-mlp"
SHARED = MappingProxyType({FULL: SHARED_FULL, SLIDING: SHARED_SLIDING})
SHARED_LAYERS = ("num_kv_shared_layers",)


def shared_at_the_end(n: int) -> LastRenamed:
    """All layers slide but each n-th; the last ones read the keys and values of earlier layers."""
    return LastRenamed((LAYER_TYPES, EachNth((), FULL, SLIDING, n)), SHARED_LAYERS, SHARED)


def per_layer_table(reading: Reading) -> list[WeightTensor]:
    """The embedding that every layer has a slice of, and its projection of the hidden state."""
    size, fields = _per_layer_size(reading), reading.fields
    if not size:
        return []
    rows = fields.needed_integer(("vocab_size_per_layer_input",), 1, MAX_VOCAB)
    width = reading.layer_count * size
    here = ModuleClass.EMBEDDING
    return [
        WeightTensor("per_layer_embedding", (rows, width), TensorKind.TABLE, here),
        *linear("per_layer_model_proj", width, reading.hidden_size, here),
        *norm("per_layer_embedding_norm", reading.family.norm, size),
    ]


def _per_layer_size(reading: Reading) -> int:
    size = reading.fields.integer(("hidden_size_per_layer_input",), 0, MAX_HIDDEN_SIZE)
    if size is None:
        reading.fields.lack(("hidden_size_per_layer_input",))
    return size or 0


def _per_layer_input(reading: Reading) -> Iterator[WeightTensor]:
    size, hidden = _per_layer_size(reading), reading.hidden_size
    if size:
        yield from linear("per_layer_gate_proj", size, hidden, ModuleClass.MLP)
        yield from linear("per_layer_proj", hidden, size, ModuleClass.MLP)
        yield from norm("per_layer_norm", reading.family.norm, hidden)


def gemma4_layer(reading: Reading) -> list[WeightTensor]:
    """A layer's slice of the per-layer embedding, a scale of its output, and three norms around experts."""
    expert_norms = ("dense_post_norm", "experts_norm", "experts_post_norm")
    experts = expert_norms if reading.family.experts is not None else ()
    return [
        *_per_layer_input(reading),
        vector("layer_scale", 1, ModuleClass.NORM),
        *(t for name in experts for t in norm(name, reading.family.norm, reading.hidden_size)),
    ]


def gemma4_keys(reading: Reading) -> list[dict[str, int]]:
    """Full layers have heads of global_head_dim, and with attention_k_eq_v KV heads of their own."""
    fields = reading.fields
    of_full = {}
    if fields.value("per_layer_config") is None:
        dim = fields.integer(("global_head_dim",), 1, MAX_HEAD_DIM)
        if dim is None:
            dim = 512
            reading.assume("global_head_dim is absent: 512, transformers' default for this model_type")
        of_full["head_dim"] = dim
        kv_heads = fields.integer(("num_global_key_value_heads",), 1, MAX_HEADS)
        if kv_heads is not None and fields.boolean("attention_k_eq_v"):
            of_full["num_key_value_heads"] = kv_heads
    types = shared_at_the_end(6).names(reading) or []
    return [of_full if name in (FULL, SHARED_FULL) else {} for name in types]


def altup_layer(reading: Reading) -> list[WeightTensor]:
    """Gemma 3n: AltUp's mixing of the streams, a low-rank residual, a slice of the per-layer embedding."""
    fields, hidden, stored = reading.fields, reading.hidden_size, reading.family.norm
    streams = fields.needed_integer(("altup_num_inputs",), 1, 64)
    rank = fields.needed_integer(("laurel_rank",), 1, MAX_HIDDEN_SIZE)
    here, mlp = ModuleClass.NORM, ModuleClass.MLP
    return [
        *linear("altup_router", streams, hidden, here),
        *norm("altup_norm", stored, hidden),
        *linear("altup_predict", streams * streams, streams, here),
        *linear("altup_correct", streams, streams, here),
        vector("altup_scale", hidden, here),
        *linear("laurel_left_proj", rank, hidden, mlp),
        *linear("laurel_right_proj", hidden, rank, mlp),
        *norm("laurel_norm", stored, hidden),
        *_per_layer_input(reading),
    ]


def altup_outside(reading: Reading) -> list[WeightTensor]:
    """The per-layer embedding, and what makes the streams and joins them again."""
    hidden = reading.hidden_size
    streams = reading.fields.needed_integer(("altup_num_inputs",), 1, 64)
    names = [name for name in ("altup_in_proj", "altup_out_proj") for _ in range(streams - 1)]
    projections = [t for name in names for t in linear(name, hidden, hidden, ModuleClass.EMBEDDING)]
    return [*per_layer_table(reading), *projections]


SHARING = replace(
    GEMMA3,
    mixers={
        SHARED_FULL: (OwnAttention(like=FULL, shares_kv=True),),
        SHARED_SLIDING: (OwnAttention(like=SLIDING, shares_kv=True),),
    },
    more_tensors=per_layer_table,
)
KEYS_ARE_VALUES = MappingProxyType({name: varied(keys_are_values=True) for name in (FULL, SHARED_FULL)})

GEMMA_3N_AND_4: Mapping[str, Family] = MappingProxyType(
    {
        "gemma4_text": replace(
            SHARING,
            mixers_by=(shared_at_the_end(6),),
            mlps={WIDE: (OwnMlp(times=2),)},
            per_layer=gemma4_keys,
            more_in_layers=gemma4_layer,
            experts_apart=True,
            when=(
                *GEMMA3.when,
                when("attention_k_eq_v", equals=True, variants=KEYS_ARE_VALUES),
                when(
                    "use_double_wide_mlp",
                    equals=True,
                    mlps_by=(LastRenamed((Every(DENSE),), SHARED_LAYERS, MappingProxyType({DENSE: WIDE})),),
                ),
                when(
                    "enable_moe_block",
                    equals=True,
                    mlps_by=(Every(BOTH),),
                    experts=ExpertsFacts(router_scales=True),
                ),
            ),
            ignored=frozenset(
                {"use_bidirectional_attention", "num_global_key_value_heads", "vocab_size_per_layer_input"}
            ),
        ),
        "gemma3n_text": replace(
            SHARING,
            mixers_by=(shared_at_the_end(5),),
            more_in_layers=altup_layer,
            more_tensors=altup_outside,
            residual_keys=("altup_num_inputs",),
            ignored=frozenset(
                {
                    "activation_sparsity_pattern",
                    "altup_active_idx",
                    "altup_coef_clip",
                    "altup_correct_scale",
                    "altup_lr_multiplier",
                    "use_bidirectional_attention",
                }
            ),
        ),
    }
)
