"""Families whose attention is compressed or sparse, or differs by layer, by model_type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ridgeline_server.domain.families.expert_rules import (
    DEEPSEEK,
    FIRST_DENSE_NEEDED,
    MLP_TYPES,
    MOE_FREQ_LIST,
)
from ridgeline_server.domain.parts.attention import OwnAttention
from ridgeline_server.domain.parts.compressed import CompressedFacts, hyper_connections, hyper_head
from ridgeline_server.domain.parts.experts import SHARED_WIDTH, ExpertsFacts
from ridgeline_server.domain.parts.facts import (
    DENSE,
    FULL,
    SLIDING,
    SPARSE,
    Family,
    Gate,
    KvHeads,
    QkNorm,
    varied,
    when,
)
from ridgeline_server.domain.parts.indexer import IndexerFacts
from ridgeline_server.domain.parts.schedules import LAYER_TYPES, LAYER_TYPES_NEEDED, FirstThen, Listed, Stated
from ridgeline_server.domain.tensors import Norm

WINDOW_ONLY, COMPRESSED, INDEXED = "window-only", "compressed", "indexed"
HASHED = "hash-routed"

DEEPSEEK_V4 = Family(
    mixers={
        WINDOW_ONLY: (CompressedFacts(0),),
        COMPRESSED: (CompressedFacts(128),),
        INDEXED: (CompressedFacts(4, sparse=True),),
    },
    mixers_by=(
        Stated(
            "layer_types",
            MappingProxyType(
                {
                    "sliding_attention": WINDOW_ONLY,
                    "heavily_compressed_attention": COMPRESSED,
                    "compressed_sparse_attention": INDEXED,
                }
            ),
        ),
        Stated(
            "compress_ratios", MappingProxyType({0: WINDOW_ONLY, 128: COMPRESSED, 4: INDEXED}), longer=True
        ),
    ),
    experts=DEEPSEEK,
    # The first layers look the experts up by token, so that their router has no bias.
    mlps={HASHED: (replace(DEEPSEEK, routing_bias=False),)},
    mlps_by=(
        Stated("mlp_layer_types", MappingProxyType({"moe": SPARSE, "hash_moe": HASHED})),
        FirstThen(("num_hash_layers",), HASHED, SPARSE),
    ),
    more_in_layers=hyper_connections,
    more_tensors=hyper_head,
    residual_keys=("hc_mult",),
    only={"compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128}},
    ignored=frozenset({"num_key_value_heads", "compress_rope_theta", "hc_sinkhorn_iters", "attention_bias"}),
)

MINIMAX_M3_SPARSE = "minimax_m3_sparse"
MINIMAX_M3 = Family(
    kv_heads=KvHeads.KEY,
    needs_head_dim=True,
    qk_norm=QkNorm.PER_HEAD,
    mlp_keys=("dense_intermediate_size",),
    mixers={
        MINIMAX_M3_SPARSE: (
            OwnAttention(
                indexer=IndexerFacts(
                    head_keys=("index_n_heads", "sparse_attention_config.sparse_num_index_heads"),
                    head_dim_keys=("index_head_dim", "sparse_attention_config.sparse_index_dim"),
                    top_k_keys=("index_topk_blocks", "sparse_attention_config.sparse_topk_blocks"),
                    block_keys=("index_block_size", "sparse_attention_config.sparse_block_size"),
                    weighted=False,
                    norms=(Norm.RMS, Norm.RMS),
                ),
            ),
        )
    },
    mixers_by=(
        Stated(
            "layer_types",
            MappingProxyType({"full_attention": FULL, MINIMAX_M3_SPARSE: MINIMAX_M3_SPARSE}),
        ),
        Stated(
            "sparse_attention_config.sparse_attention_freq",
            MappingProxyType({0: FULL, 1: MINIMAX_M3_SPARSE}),
        ),
    ),
    experts=ExpertsFacts(
        width_keys=("intermediate_size",),
        shared_width_keys=("shared_intermediate_size",),
        routing_bias=True,
    ),
    mlps_by=(MLP_TYPES, MOE_FREQ_LIST),
    only={
        "qk_norm_type": "per_head",
        "use_qk_norm": True,
        "use_routing_bias": True,
        "attention_output_gate": False,
        "n_shared_experts": 1,
    },
    ignored=frozenset(
        {
            "moe_intermediate_size",
            "use_gemma_norm",
            "index_block_size",
            "index_head_dim",
            "index_n_heads",
            "index_topk_blocks",
            "index_local_blocks",
            "sparse_attention_config.sparse_local_block",
            "sparse_attention_config.sparse_disable_index_value",
            "sparse_attention_config.sparse_score_type",
            "sparse_attention_config.use_sparse_attention",
        }
    ),
    # As of MiniMax-M2: the checkpoints hold none of those that the config tells of.
    prediction_layers=0,
)

MIMO_SLIDING = varied(
    head_keys=("swa_num_attention_heads",),
    kv_head_keys=("swa_num_key_value_heads",),
    head_dim_keys=("swa_head_dim",),
    value_head_dim_keys=("swa_v_head_dim",),
    sinks=True,
)
MIMO_V2 = Family(
    kv_heads=KvHeads.KEY,
    needs_head_dim=True,
    value_head_dim_keys=("v_head_dim",),
    experts=DEEPSEEK,
    mixers_by=(LAYER_TYPES, Stated("hybrid_layer_pattern", MappingProxyType({0: FULL, 1: SLIDING}))),
    mlps_by=(MLP_TYPES, MOE_FREQ_LIST),
    window_keys=("sliding_window", "sliding_window_size"),
    variants={SLIDING: MIMO_SLIDING},
    when=(
        when(
            "add_swa_attention_sink_bias",
            equals=False,
            variants={SLIDING: varied(**{**MIMO_SLIDING, "sinks": False})},
        ),
        when("attention_bias", equals=True, qkv_bias=True),
    ),
    only={"add_full_attention_sink_bias": False},
    ignored=frozenset({"attention_chunk_size", "hybrid_block_size"}),
)

STEP = Family(
    kv_heads=KvHeads.KEY,
    kv_head_keys=("num_key_value_heads", "num_attention_groups"),
    needs_head_dim=True,
    qk_norm=QkNorm.PER_HEAD,
    output_gate=Gate.PER_HEAD,
    experts=ExpertsFacts(shared_width_keys=(*SHARED_WIDTH, "share_expert_dims"), routing_bias=True),
    mixers_by=(replace(LAYER_TYPES_NEEDED, longer=True),),
    mlps_by=(MLP_TYPES, Listed("moe_layers_enum", SPARSE, DENSE), FIRST_DENSE_NEEDED),
    variants={
        SLIDING: varied(
            head_keys=("num_sliding_attention_heads", "attention_other_setting.num_attention_heads"),
            # What both releases have: the published count of Step-3.7-Flash is hit with it alone.
            heads_default=96,
            kv_head_keys=(
                "num_key_value_heads",
                "num_attention_groups",
                "attention_other_setting.num_attention_groups",
            ),
        )
    },
    only={"use_moe_router_bias": True, "n_shared_experts": 1},
    ignored=frozenset(
        {
            "use_head_wise_attn_gate",
            "moe_router_scaling_factor",
            "moe_router_activation",
            "need_fp32_gate",
            "swiglu_limits",
            "swiglu_limits_shared",
            "partial_rotary_factors",
            "yarn_only_types",
            "use_rope_layers",
        }
    ),
)

SPARSE_ATTENTION: Mapping[str, Family] = MappingProxyType(
    {
        "deepseek_v4": DEEPSEEK_V4,
        "deepseek_ref": DEEPSEEK_V4,
        "minimax_m3": MINIMAX_M3,
        "minimax_m3_vl_text": MINIMAX_M3,
        "mimo_v2_flash": MIMO_V2,
        "step3p7": STEP,
        "step3p5": STEP,
    }
)
