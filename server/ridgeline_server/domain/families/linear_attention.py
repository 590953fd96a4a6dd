"""Families with linear attention, recurrences or short convolutions, by model_type. To add one, add an entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ridgeline_server.domain.families.dense import ATTENTION_BIAS, GEMMA, OLMO2
from ridgeline_server.domain.parts.convolutions import GatedConvolution, Lfm2Mlp, RealGatedLru
from ridgeline_server.domain.parts.facts import (
    DENSE,
    FULL,
    SLIDING,
    Family,
    Gate,
    KvHeads,
    Position,
    QkNorm,
    varied,
    when,
)
from ridgeline_server.domain.parts.hybrid_schedules import Cycled, Unsaid
from ridgeline_server.domain.parts.linear_attention import GatedDeltaNet, MatrixLstm, XlstmMlp
from ridgeline_server.domain.parts.schedules import EachNth, Every, Listed, Stated

LINEAR, CONVOLUTION, RECURRENT = "linear_attention", "convolution", "recurrent"

QWEN_LAYERS = (
    Stated("layer_types", {"linear_attention": LINEAR, "full_attention": FULL}),
    EachNth(("full_attention_interval",), FULL, LINEAR, 4),
)
QWEN3_5 = Family(
    kv_heads=KvHeads.KEY,
    needs_head_dim=True,
    qk_norm=QkNorm.PER_HEAD,
    output_gate=Gate.PER_ELEMENT,
    rotary_fraction=0.25,
    mixers={LINEAR: (GatedDeltaNet(),)},
    mixers_by=QWEN_LAYERS,
    when=(when("attention_bias", equals=True, qkv_bias=True, gate_bias=True, o_bias=True),),
    only={"attn_output_gate": True, "output_gate_type": "swish"},
    ignored=frozenset({"mtp_use_dedicated_embeddings"}),
)

OLMO_HYBRID = replace(
    OLMO2,
    mixers={LINEAR: (GatedDeltaNet(from_attention=True),)},
    mixers_by=(QWEN_LAYERS[0], EachNth((), FULL, LINEAR, 4)),
    variants={LINEAR: varied(norms=("attn_norm", "mlp_norm"))},
    only={"linear_use_gate": True},
    ignored=frozenset({"linear_allow_neg_eigval"}),
)

LFM2 = Family(
    kv_heads=KvHeads.KEY,
    qk_norm=QkNorm.PER_HEAD,
    mixers={CONVOLUTION: (GatedConvolution(),)},
    mlps={DENSE: (Lfm2Mlp(),)},
    mixers_by=(
        Stated("layer_types", {"conv": CONVOLUTION, "full_attention": FULL}),
        Listed("full_attn_idxs", FULL, CONVOLUTION),
        Unsaid(("layer_types", "full_attn_idxs"), FULL),
    ),
    tied=True,
    head_keys=("num_attention_heads", "num_heads"),
    only={"block_use_swiglu": True, "use_pos_enc": True},
    ignored=frozenset(
        {
            "block_use_xavier_init",
            "conv_use_xavier_init",
            "theta",
            # read where they matter
            "full_attn_idxs",
            "block_multiple_of",
            "block_ffn_dim_multiplier",
            "conv_L_cache",
            "conv_bias",
        }
    ),
)

RECURRENT_BLOCKS = {"recurrent": RECURRENT, "attention": SLIDING}
RECURRENT_GEMMA = replace(
    GEMMA,
    kv_heads=KvHeads.KEY_OR_ALL,
    needs_head_dim=False,
    rotary_fraction=0.5,
    o_bias=True,
    mlp_bias=True,
    halved_mlp=True,
    window_keys=("attention_window_size",),
    window_default=2048,
    mixers={RECURRENT: (RealGatedLru(),)},
    mixers_by=(
        Cycled("block_types", RECURRENT_BLOCKS),
        Cycled("_block_types", RECURRENT_BLOCKS),
        Unsaid(("block_types",), RECURRENT),
    ),
    when=(when("attention_bias", equals=True, qkv_bias=True),),
    ignored=frozenset({"logits_soft_cap", "w_init_variance_scale", "final_w_init_variance_scale"}),
)

XLSTM = Family(
    position=Position.NONE,
    mixers={LINEAR: (MatrixLstm(),)},
    mlps={DENSE: (XlstmMlp(),)},
    mixers_by=(Every(LINEAR),),
    only={"add_out_norm": True, "use_bias": False, "tie_word_embeddings": False},
    ignored=frozenset(
        {
            "norm_reduction_force_float32",
            "chunkwise_kernel",
            "sequence_kernel",
            "step_kernel",
            "mode",
            "chunk_size",
            "return_last_states",
            "gate_soft_cap",
            "output_logit_soft_cap",
            "weight_mode",
            "max_inference_chunksize",
        }
    ),
)

LINEAR_ATTENTION: Mapping[str, Family] = MappingProxyType(
    {
        "qwen3_5_text": QWEN3_5,
        "qwen3_5": QWEN3_5,
        "olmo_hybrid": OLMO_HYBRID,
        "lfm2": LFM2,
        "recurrent_gemma": RECURRENT_GEMMA,
        "xlstm": XLSTM,
    }
)
"""Families by model_type."""
