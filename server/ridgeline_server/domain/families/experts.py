"""Families of mixtures of experts with softmax attention, by model_type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ridgeline_server.domain.config.sizes import MAX_HEADS
from ridgeline_server.domain.families.dense import (
    ALL_SLIDE,
    ATTENTION_BIAS,
    COHERE,
    FOUR_NORMS,
    HUNYUAN_IGNORED,
    HUNYUAN_ONLY,
    LLAMA,
    MLP_BIAS,
    NO_ROPE_EVERY_FOURTH,
    OLMO2,
    QWEN2,
    QWEN3,
    full_every,
)
from ridgeline_server.domain.families.expert_rules import (
    AFTER_FIRST_DENSE,
    DEEPSEEK,
    FIRST_DENSE,
    FIRST_DENSE_NEEDED,
    IN_MLP_WIDTH,
    MLP_TYPES,
    QWEN_DEFAULTS,
    QWEN_SPARSE,
)
from ridgeline_server.domain.parts.expert_attention import ExpertAttention
from ridgeline_server.domain.parts.experts import SHARED_COUNT, SHARED_WIDTH, ExpertsFacts
from ridgeline_server.domain.parts.facts import (
    CHUNKED,
    DENSE,
    FULL,
    MLP_WIDTH,
    NO_ROPE,
    SLIDING,
    SPARSE,
    Family,
    Gate,
    KvHeads,
    QkNorm,
    varied,
    when,
)
from ridgeline_server.domain.parts.mlp import OwnMlp
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.parts.schedules import (
    LAYER_TYPES,
    LAYER_TYPES_NEEDED,
    LAYER_TYPES_NO_ROPE,
    Between,
    EachNth,
    FirstThen,
    Listed,
    Stated,
    Unless,
)
from ridgeline_server.domain.tensors import ModuleClass, Norm, WeightTensor, vector

MIXTRAL = Family(
    kv_heads=KvHeads.KEY, mixers_by=ALL_SLIDE, experts=IN_MLP_WIDTH, ignored=frozenset({"num_experts"})
)
QWEN3_MOE = replace(
    QWEN3,
    needs_head_dim=False,
    experts=ExpertsFacts(),
    mlps_by=QWEN_SPARSE,
    only={"use_qk_norm": True},
    defaults=QWEN_DEFAULTS,
)
GLM4_MOE = Family(
    kv_heads=KvHeads.KEY,
    rotary_fraction=0.5,
    experts=DEEPSEEK,
    mlps_by=AFTER_FIRST_DENSE,
    when=(
        when("attention_bias", equals=True, qkv_bias=True),
        when("use_qk_norm", equals=True, qk_norm=QkNorm.PER_HEAD),
    ),
    defaults={"use_qk_norm": False},
)
GRANITE_MOE = Family(experts=IN_MLP_WIDTH, when=(ATTENTION_BIAS,))
MINIMAX_M2 = Family(
    kv_heads=KvHeads.KEY,
    needs_head_dim=True,
    qk_norm=QkNorm.FULL_WIDTH,
    # MiniMax-Text-01's 0, linear attention, is not in this class.
    mixers_by=(LAYER_TYPES, Stated("attn_type_list", MappingProxyType({1: FULL}))),
    experts=replace(IN_MLP_WIDTH, shared_width_keys=("shared_intermediate_size",), routing_bias=True),
    only={"qk_norm_type": "per_layer", "use_qk_norm": True, "use_routing_bias": True},
    ignored=frozenset(
        {
            "mtp_transformer_layers",
            "use_mtp",
            "moe_intermediate_size",
            "mlp_intermediate_size",
            "shared_moe_mode",
            "layernorm_full_attention_beta",
            "layernorm_linear_attention_beta",
            "layernorm_mlp_beta",
        }
    ),
    # The published checkpoints have exactly the elements of the layers without those for prediction.
    prediction_layers=0,
)
ERNIE_MOE = Family(
    kv_heads=KvHeads.KEY,
    defaults={"moe_layer_end_index": -1},
    tied=True,
    experts=replace(DEEPSEEK, when=(when("use_bias", equals=True, shared_bias=True),)),
    mlps_by=(
        MLP_TYPES,
        Unless(
            SPARSE,
            (
                Between(("moe_layer_start_index",), ("moe_layer_end_index",), SPARSE, DENSE),
                EachNth(("moe_layer_interval",), SPARSE, DENSE),
            ),
        ),
    ),
    when=(when("use_bias", equals=True, qkv_bias=True, o_bias=True, mlp_bias=True, lm_head_bias=True),),
    ignored=frozenset(
        {
            "moe_capacity",
            "moe_gate",
            "moe_norm_min",
            "moe_use_aux_free",
            "moe_world_size",
            "moe_use_hard_gate",
        }
    ),
)
LLAMA4 = Family(
    kv_heads=KvHeads.KEY,
    mlp_keys=("intermediate_size_mlp",),
    experts=ExpertsFacts(width_keys=("intermediate_size",), shared_count=1),
    mixers_by=(
        LAYER_TYPES_NO_ROPE,
        Stated("no_rope_layers", MappingProxyType({1: CHUNKED, 0: NO_ROPE})),
        EachNth(("no_rope_layer_interval",), NO_ROPE, CHUNKED, 4),
    ),
    mlps_by=(
        Listed("moe_layers", SPARSE, DENSE),
        EachNth(("interleave_moe_layer_step",), SPARSE, DENSE),
    ),
    when=(ATTENTION_BIAS, when("use_qk_norm", equals=True, qk_norm=QkNorm.NON_PARAMETRIC)),
    defaults={"attention_chunk_size": 8192, "interleave_moe_layer_step": 1},
    # Without a sparse layer the width of an expert means nothing.
    ignored=frozenset({"attn_temperature_tuning", "for_llm_compressor", "intermediate_size"}),
)
BAILING = Family(
    kv_heads=KvHeads.KEY,
    experts=replace(
        ExpertsFacts(shared_count_keys=SHARED_COUNT),
        when=(when("moe_router_enable_expert_bias", equals=True, routing_bias=True),),
    ),
    mlps_by=AFTER_FIRST_DENSE,
    when=(
        when("use_qkv_bias", equals=True, qkv_bias=True),
        when("use_bias", equals=True, o_bias=True),
        when("use_qk_norm", equals=True, qk_norm=QkNorm.PER_HEAD),
    ),
    only={"embedding_norm": False, "use_rmsnorm": True},
    # norm_head normalises the rows of lm_head when they are read.
    ignored=frozenset({"moe_router_enable_expert_bias", "moe_shared_expert_intermediate_size", "norm_head"}),
)
BESIDE = "residual-mlp-and-experts"
GPT_OSS = Family(
    kv_heads=KvHeads.KEY,
    needs_head_dim=True,
    qkv_bias=True,
    o_bias=True,
    sinks=True,
    mixers_by=(LAYER_TYPES, EachNth(("sliding_window_pattern",), FULL, SLIDING, 2)),
    experts=replace(IN_MLP_WIDTH, router_bias=True, bias=True),
    when=(when("attention_bias", equals=False, qkv_bias=False, o_bias=False),),
)


def gate_bias_of_heads(reading: Reading) -> list[WeightTensor]:
    """Beam's bias of the attention gate, one for each head."""
    heads = reading.fields.needed_integer(reading.family.head_keys, 1, MAX_HEADS)
    return [vector("attn_gate_proj", heads, ModuleClass.ATTENTION)]


EXPERTS: Mapping[str, Family] = MappingProxyType(
    {
        "mixtral": MIXTRAL,
        "phimoe": replace(
            MIXTRAL,
            norm=Norm.LAYER,
            when=(ATTENTION_BIAS, when("lm_head_bias", equals=True, lm_head_bias=True)),
        ),
        # The release of xAI has four norms a layer, one after each part too.
        "grok-1": replace(
            MIXTRAL,
            norms=("attn_norm", "attn_post_norm", "mlp_norm", "mlp_post_norm"),
            activation="gelu",
            tied=True,
            ignored=MIXTRAL.ignored | {"attn_output_multiplier", "max_attn_value"},
        ),
        "dbrx": Family(
            norm=Norm.LAYER_WITHOUT_BIAS,
            kv_heads=KvHeads.KEY,
            experts=ExpertsFacts(
                count_keys=("ffn_config.moe_num_experts",),
                per_token_keys=("ffn_config.moe_top_k",),
                width_keys=("ffn_config.ffn_hidden_size",),
            ),
            ignored=frozenset(
                {
                    "ffn_config.ffn_act_fn",
                    "ffn_config.uniform_expert_assignment",
                    "ffn_config.moe_normalize_expert_weights",
                    "ffn_config.hidden_size",
                    "attn_config.clip_qkv",
                }
            ),
        ),
        "qwen2_moe": replace(
            QWEN2,
            experts=ExpertsFacts(shared_width_keys=SHARED_WIDTH, shared_gate=True),
            mlps_by=QWEN_SPARSE,
            defaults=QWEN_DEFAULTS,
            when=(when("qkv_bias", equals=False, qkv_bias=False),),
        ),
        "qwen3_moe": QWEN3_MOE,
        "qwen3_vl_moe_text": QWEN3_MOE,
        "qwen3_omni_moe_text": QWEN3_MOE,
        "olmoe": Family(qk_norm=QkNorm.FULL_WIDTH, experts=IN_MLP_WIDTH, when=(ATTENTION_BIAS,)),
        "flex_olmo": replace(OLMO2, experts=IN_MLP_WIDTH),
        "granitemoe": GRANITE_MOE,
        "granitemoeshared": replace(
            GRANITE_MOE, experts=replace(IN_MLP_WIDTH, shared_width_keys=("shared_intermediate_size",))
        ),
        "gpt_oss": GPT_OSS,
        "llama4_text": LLAMA4,
        "glm4_moe": GLM4_MOE,
        "glm4v_moe_text": GLM4_MOE,
        "sarvam_moe": GLM4_MOE,
        "solar_open": replace(GLM4_MOE, rotary_fraction=1.0, mlps_by=(FIRST_DENSE,), mlp_keys=MLP_WIDTH),
        "minimax_m2": MINIMAX_M2,
        "ernie4_5_moe": ERNIE_MOE,
        "beam": Family(
            kv_heads=KvHeads.KEY,
            needs_head_dim=True,
            norms=FOUR_NORMS,
            qk_norm=QkNorm.PER_HEAD,
            output_gate=Gate.PER_ELEMENT,
            experts=ExpertsFacts(routing_bias=True),
            mixers_by=(replace(LAYER_TYPES_NO_ROPE, needed=True),),
            mlps_by=(replace(MLP_TYPES, needed=True),),
            more_in_layers=gate_bias_of_heads,
            when=(ATTENTION_BIAS,),
        ),
        "dots1": Family(
            qk_norm=QkNorm.PER_HEAD,
            experts=DEEPSEEK,
            mixers_by=ALL_SLIDE,
            mlps_by=AFTER_FIRST_DENSE,
            when=(ATTENTION_BIAS,),
        ),
        "exaone_moe": Family(
            kv_heads=KvHeads.KEY,
            qk_norm=QkNorm.PER_HEAD,
            experts=DEEPSEEK,
            mixers_by=full_every(4),
            window_default=4096,
            mlps_by=(
                MLP_TYPES,
                Stated("is_moe_layer", MappingProxyType({0: DENSE, 1: SPARSE})),
                FIRST_DENSE_NEEDED,
            ),
        ),
        "afmoe": Family(
            kv_heads=KvHeads.KEY,
            norms=("attn_norm", "attn_post_norm", "mlp_norm", "mlp_post_norm"),
            qk_norm=QkNorm.PER_HEAD,
            output_gate=Gate.PER_ELEMENT,
            experts=DEEPSEEK,
            mixers_by=(LAYER_TYPES, EachNth(("global_attn_every_n_layers",), FULL, SLIDING, 4)),
            mlps_by=(FirstThen(("num_dense_layers",), DENSE, SPARSE),),
            when=(ATTENTION_BIAS,),
            ignored=frozenset({"mup_enabled", "route_scale", "route_norm", "score_func", "use_grouped_mm"}),
        ),
        "cohere2_moe": replace(
            COHERE,
            experts=replace(IN_MLP_WIDTH, shared_count_keys=SHARED_COUNT),
            mixers_by=NO_ROPE_EVERY_FOURTH,
            rope_without_window=True,
            window_default=4096,
            mlps_by=(MLP_TYPES, FirstThen(("first_k_dense_replace",), DENSE, SPARSE)),
            when=(ATTENTION_BIAS,),
            only={"prefix_dense_intermediate_size": False},
            ignored=frozenset(
                {
                    "expert_selection_fn",
                    "prefix_dense_sliding_window_pattern",
                    "shared_expert_combination_strategy",
                }
            ),
        ),
        "hunyuan_v1_moe": Family(
            qk_norm=QkNorm.PER_HEAD,
            experts=replace(IN_MLP_WIDTH, shared_count_keys=("num_shared_expert",), shared_count=1),
            listed_keys=("num_experts", "moe_topk", "num_shared_expert"),
            when=(ATTENTION_BIAS,),
            only={**HUNYUAN_ONLY, "use_mixed_mlp_moe": True, "moe_layer_num_skipped": 0},
            ignored=HUNYUAN_IGNORED
            | {
                "anyres_pooling_size",
                "moe_drop_tokens",
                "moe_intermediate_size",
                "moe_random_routing_dropped_token",
            },
        ),
        "hy_v3": Family(
            kv_heads=KvHeads.KEY,
            needs_head_dim=True,
            qk_norm=QkNorm.PER_HEAD,
            experts=DEEPSEEK,
            mlps_by=(MLP_TYPES, FIRST_DENSE_NEEDED),
            when=(ATTENTION_BIAS, MLP_BIAS),
            ignored=frozenset({"enable_moe_fp32_combine", "enable_attention_fp32_softmax"}),
        ),
        "aria_text": replace(
            LLAMA, experts=replace(IN_MLP_WIDTH, shared_count_keys=SHARED_COUNT), needs_head_dim=False
        ),
        "mellum": replace(MIXTRAL, qk_norm=QkNorm.PER_HEAD, experts=ExpertsFacts(), mlps_by=(MLP_TYPES,)),
        "flint": replace(
            QWEN3_MOE,
            sinks=True,
            mixers_by=(LAYER_TYPES_NEEDED,),
            experts=ExpertsFacts(shared_width_keys=SHARED_WIDTH),
        ),
        "kolibri1": replace(
            MIXTRAL,
            mixers_by=(LAYER_TYPES_NEEDED,),
            norms=FOUR_NORMS,
            qk_norm=QkNorm.PER_HEAD,
            experts=ExpertsFacts(shared_width_keys=SHARED_WIDTH, routing_bias=True),
        ),
        "jetmoe": Family(
            kv_heads=KvHeads.KEY,
            needs_head_dim=True,
            tied=True,
            mixers={FULL: (ExpertAttention(),)},
            experts=replace(IN_MLP_WIDTH, output_bias=True),
        ),
        "laguna": Family(
            kv_heads=KvHeads.KEY,
            needs_head_dim=True,
            qk_norm=QkNorm.PER_HEAD,
            output_gate=Gate.PER_HEAD,
            experts=ExpertsFacts(shared_width_keys=SHARED_WIDTH, routing_bias=True),
            mixers_by=(LAYER_TYPES_NEEDED,),
            mlps_by=(replace(MLP_TYPES, needed=True),),
            when=(
                ATTENTION_BIAS,
                when("gating", equals="per-element", output_gate=Gate.PER_ELEMENT),
            ),
            ignored=frozenset({"gating", "moe_apply_router_weight_on_input"}),
        ),
        "granitemoe_swa": replace(
            GRANITE_MOE,
            sinks=True,
            mixers_by=(LAYER_TYPES_NEEDED,),
            experts=replace(IN_MLP_WIDTH, shared_width_keys=("shared_intermediate_size",)),
            ignored=frozenset({"layer_rope_theta"}),
        ),
        "deepseek": replace(
            LLAMA, experts=ExpertsFacts(shared_count_keys=SHARED_COUNT), mlps_by=AFTER_FIRST_DENSE
        ),
        "bailing_moe": BAILING,
        "bailing_moe_v2": BAILING,
        "arctic": Family(
            kv_heads=KvHeads.KEY,
            experts=IN_MLP_WIDTH,
            # Beside the experts runs a dense MLP as wide as the hidden state.
            mlp_keys=("intermediate_size",),
            mlps={BESIDE: (OwnMlp(as_wide_as_hidden=True), IN_MLP_WIDTH)},
            mlps_by=(EachNth(("moe_layer_frequency",), BESIDE, DENSE, 1),),
            variants={BESIDE: varied(norms=("attn_norm", "mlp_norm", "mlp_residual_norm"))},
            only={"parallel_attn_mlp_res": True, "use_residual": True, "attention_bias": False},
            ignored=frozenset(
                {
                    "moe_train_capacity_factor",
                    "moe_eval_capacity_factor",
                    "enable_expert_tensor_parallelism",
                    "moe_min_capacity",
                    "moe_token_dropping",
                    "enc_index",
                    "quantization",
                }
            ),
        ),
    }
)
