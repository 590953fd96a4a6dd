"""Families with linear attention, recurrences or short convolutions, by model_type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ridgeline_server.domain.families.dense import GEMMA, OLMO2
from ridgeline_server.domain.families.expert_rules import (
    AFTER_FIRST_DENSE,
    DEEPSEEK,
    IN_MLP_WIDTH,
    QWEN_DEFAULTS,
    QWEN_SPARSE,
)
from ridgeline_server.domain.parts.block_residual import BlockResidual, residual_at_the_end
from ridgeline_server.domain.parts.convolutions import GatedConvolution, Lfm2Mlp, RealGatedLru
from ridgeline_server.domain.parts.experts import SHARED_COUNT, SHARED_WIDTH, ExpertsFacts
from ridgeline_server.domain.parts.facts import (
    DENSE,
    FULL,
    SLIDING,
    SPARSE,
    Family,
    Gate,
    KvHeads,
    Position,
    QkNorm,
    varied,
    when,
)
from ridgeline_server.domain.parts.hybrid_schedules import BothLists, Cycled, LayerGroups, Unsaid
from ridgeline_server.domain.parts.latent import LatentFacts
from ridgeline_server.domain.parts.linear_attention import (
    GatedDeltaNet,
    KimiDelta,
    Lightning,
    MatrixLstm,
    XlstmMlp,
)
from ridgeline_server.domain.parts.mlp import OwnMlp
from ridgeline_server.domain.parts.schedules import EachNth, Every, FirstThen, Listed, Stated

LINEAR, CONVOLUTION, RECURRENT = "linear_attention", "convolution", "recurrent"

LINEAR_OR_FULL: Mapping[str | int, str] = {"linear_attention": LINEAR, "full_attention": FULL}
MINIMAX_PARTS = ("full_attn", "linear_attn", "mlp")
MINIMAX_LONG_PARTS = ("full_attention", "linear_attention", "mlp")

QWEN_LAYERS = (
    Stated("layer_types", LINEAR_OR_FULL),
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

QWEN3_5_MOE = replace(
    QWEN3_5,
    experts=ExpertsFacts(shared_width_keys=SHARED_WIDTH, shared_width_needed=True, shared_gate=True),
)

OLMO_LAYERS = (QWEN_LAYERS[0], EachNth((), FULL, LINEAR, 4))
OLMO_HYBRID = replace(
    OLMO2,
    mixers={LINEAR: (GatedDeltaNet(from_attention=True),)},
    mlps={LINEAR: (OwnMlp(),), FULL: (OwnMlp(),)},
    mixers_by=OLMO_LAYERS,
    mlps_by=OLMO_LAYERS,
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

LFM2_MOE = replace(
    LFM2,
    mlps={},
    experts=ExpertsFacts(
        routing_bias=True, when=(when("use_expert_bias", equals=False, routing_bias=False),)
    ),
    mlps_by=(FirstThen(("num_dense_layers",), DENSE, SPARSE), Unsaid(("num_dense_layers",), SPARSE)),
    ignored=LFM2.ignored | {"use_expert_bias"},
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
    ignored=frozenset(
        {
            "embeddings_scale_by_sqrt_dim",
            "logits_soft_cap",
            "w_init_variance_scale",
            "final_w_init_variance_scale",
        }
    ),
)

MINIMAX = Family(
    kv_heads=KvHeads.KEY,
    mixers={LINEAR: (Lightning(),)},
    mixers_by=(
        Stated("layer_types", LINEAR_OR_FULL),
        Stated("attn_type_list", {0: LINEAR, 1: FULL}),
        Unsaid(("layer_types", "attn_type_list"), LINEAR),
    ),
    experts=IN_MLP_WIDTH,
    only={"shared_intermediate_size": [0]},
    ignored=frozenset(
        {
            "block_size",
            "postnorm",
            "shared_moe_mode",
            *(f"{part}_{factor}_factor" for part in MINIMAX_PARTS for factor in ("alpha", "beta")),
            *(f"layernorm_{part}_{factor}" for part in MINIMAX_LONG_PARTS for factor in ("alpha", "beta")),
        }
    ),
)

KIMI_LINEAR = Family(
    mixers={
        FULL: (
            BlockResidual(LatentFacts(output_gate=Gate.PER_ELEMENT, output_gate_key="mla_use_output_gate")),
        ),
        LINEAR: (
            BlockResidual(
                KimiDelta(
                    head_keys=("linear_attn_config.num_heads", "linear_num_heads"),
                    head_dim_keys=("linear_attn_config.head_dim", "linear_head_dim"),
                    kernel_keys=("linear_attn_config.short_conv_kernel_size", "linear_conv_kernel_dim"),
                    gate_full_rank_key="linear_attn_config.use_full_rank_gate",
                )
            ),
        ),
    },
    mixers_by=(
        Stated("layer_types", LINEAR_OR_FULL),
        BothLists("linear_attn_config.full_attn_layers", FULL, "linear_attn_config.kda_layers", LINEAR),
        Unsaid(("linear_attn_config.full_attn_layers", "layer_types"), LINEAR),
    ),
    experts=replace(
        DEEPSEEK,
        latent_keys=("routed_expert_hidden_size",),
        when=(when("latent_moe_use_norm", equals=True, latent_norm=True),),
    ),
    mlps_by=AFTER_FIRST_DENSE,
    more_tensors=residual_at_the_end,
    only={"tie_word_embeddings": False},
    ignored=frozenset(
        {
            # every head has keys and values of its own in latent attention
            "num_key_value_heads",
            "head_dim",
            "qk_head_dim",
            # whether the part of the keys that could be rotated is
            "mla_use_nope",
            "linear_attn_config.gate_lower_bound",
            "moe_router_activation_func",
            "latent_moe_use_norm",
        }
    ),
)

BAILING_HYBRID = Family(
    mixers={
        FULL: (LatentFacts(output_gate=Gate.PER_HEAD),),
        LINEAR: (
            KimiDelta(
                head_keys=("num_attention_heads",),
                head_dim_keys=("head_dim",),
                kernel_keys=("short_conv_kernel_size",),
                decay_full_rank=True,
            ),
        ),
    },
    mixers_by=(Stated("layer_types", LINEAR_OR_FULL), LayerGroups("layer_group_size", FULL, LINEAR)),
    experts=replace(DEEPSEEK, shared_width_keys=("moe_shared_expert_intermediate_size",)),
    mlps_by=AFTER_FIRST_DENSE,
    only={
        "no_kda_lora": True,
        "gated_attention_proj_granularity_type": "head_wise",
        "moe_router_enable_expert_bias": True,
        "moe_router_enable_shared_expert": True,
        "use_qkv_bias": False,
        "use_bias": False,
        "norm_head": False,
        "tie_word_embeddings": False,
    },
    ignored=frozenset(
        {
            "num_key_value_heads",
            "qk_head_dim",
            "kda_safe_gate",
            "kda_lower_bound",
            "group_norm_size",
            "use_qk_norm",
            "rotary_dim",
            "score_function",
            "router_dtype",
            "use_rmsnorm",
            "moe_router_enable_routed_scaling",
            "mtp_layer_types",
        }
    ),
)
"""Ling 3: KDA and gated latent attention in groups of layers."""

BAILING_LINEAR = Family(
    kv_heads=KvHeads.KEY,
    mixers={LINEAR: (Lightning(qk_norm_key="use_qk_norm", bias_key="use_qkv_bias"),)},
    mixers_by=(LayerGroups("layer_group_size", FULL, LINEAR),),
    experts=ExpertsFacts(
        shared_count_keys=SHARED_COUNT,
        shared_width_keys=("moe_shared_expert_intermediate_size",),
        when=(when("moe_router_enable_expert_bias", equals=True, routing_bias=True),),
    ),
    mlps_by=(FirstThen(("first_k_dense_replace",), DENSE, SPARSE),),
    when=(
        when("use_qk_norm", equals=True, qk_norm=QkNorm.PER_HEAD),
        when("use_qkv_bias", equals=True, qkv_bias=True),
    ),
    only={
        "use_bias": False,
        "norm_head": False,
        "use_rmsnorm": True,
        "moe_router_enable_shared_expert": True,
    },
    ignored=frozenset(
        {
            "group_norm_size",
            "score_function",
            "norm_softmax",
            "moe_router_enable_expert_bias",
            "moe_router_enable_routed_scaling",
            "router_dtype",
            "linear_rope",
            "linear_silu",
            "rotary_type",
        }
    ),
)
"""Ring and Ling linear: lightning attention and grouped-query attention, as mlx-lm has it."""

XLSTM = Family(
    position=Position.NONE,
    mixers={LINEAR: (MatrixLstm(),)},
    mlps={DENSE: (XlstmMlp(),)},
    mixers_by=(Every(LINEAR),),
    only={
        "add_out_norm": True,
        "add_post_blocks_norm": True,
        "add_post_norm": False,
        "lm_head_bias": False,
        "norm_type": "rmsnorm",
        "tie_word_embeddings": False,
        "use_bias": False,
    },
    ignored=frozenset(
        {
            "head_dim",
            "igate_bias_init_range",
            "mlstm_round_up_to_multiple_of",
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
        "qwen3_next": replace(
            QWEN3_5_MOE,
            mlps_by=QWEN_SPARSE,
            defaults=QWEN_DEFAULTS,
            not_modelled=("a layer for multi-token prediction, which the config does not tell of",),
            prediction_layers=1,
        ),
        "qwen3_5": QWEN3_5,
        "qwen3_5_text": QWEN3_5,
        "qwen3_5_moe": QWEN3_5_MOE,
        "qwen3_5_moe_text": QWEN3_5_MOE,
        "kimi_linear": KIMI_LINEAR,
        "bailing_hybrid": BAILING_HYBRID,
        "bailing_moe_linear": BAILING_LINEAR,
        "minimax": MINIMAX,
        "minimax_text_01": MINIMAX,
        "minimax_m1": MINIMAX,
        "olmo_hybrid": OLMO_HYBRID,
        "lfm2": LFM2,
        "lfm2_moe": LFM2_MOE,
        "recurrent_gemma": RECURRENT_GEMMA,
        "xlstm": XLSTM,
    }
)
"""Families by model_type."""
