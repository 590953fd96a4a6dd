"""Families with multi-head latent attention, by model_type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ridgeline_server.domain.families.expert_rules import (
    AFTER_FIRST_DENSE,
    DEEPSEEK,
    FIRST_DENSE_NEEDED,
    MLP_TYPES,
)
from ridgeline_server.domain.parts.experts import ExpertsFacts
from ridgeline_server.domain.parts.facts import BOTH, DENSE, FULL, SPARSE, Family, varied, when
from ridgeline_server.domain.parts.latent import DSA, LatentFacts
from ridgeline_server.domain.parts.schedules import Confirmed, EachNth, Every, Stated

SHARED_INDEXER = "shared-indexer"

DEEPSEEK_V2 = Family(
    mixers={FULL: (LatentFacts(),)},
    mixers_by=(Every(FULL),),
    experts=replace(DEEPSEEK, routing_bias=False),
    mlps_by=AFTER_FIRST_DENSE,
    only={"use_mla": True},
    ignored=frozenset({"num_key_value_heads", "head_dim", "qk_head_dim"}),
)
DEEPSEEK_V3 = replace(DEEPSEEK_V2, experts=DEEPSEEK)
DENSE_LATENT = replace(DEEPSEEK_V2, experts=None, mlps_by=())
INDEXED = LatentFacts(indexer=replace(DSA, shared_names=(SHARED_INDEXER,)))
SPARSE_WORDS: Mapping[str | int, str] = MappingProxyType(
    {"deepseek_sparse_attention": FULL, "indexed_attention": FULL}
)
DEEPSEEK_V32 = replace(
    DEEPSEEK_V3,
    mixers={FULL: (INDEXED,), SHARED_INDEXER: (INDEXED,)},
    mixers_by=(
        Confirmed(Stated("layer_types", SPARSE_WORDS)),
        Stated("indexer_types", MappingProxyType({"full": FULL, "shared": SHARED_INDEXER})),
        Every(FULL),
    ),
)

LATENT: Mapping[str, Family] = MappingProxyType(
    {
        "deepseek_v2": replace(
            DEEPSEEK_V2,
            # DeepSeek-VL2's small language models and DeepSeek-OCR's: softmax attention as Llama's.
            when=(when("use_mla", equals=False, mixers={}, mixers_by=(), only={}),),
            ignored=DEEPSEEK_V2.ignored | {"lm_head"},
        ),
        "deepseek_v3": DEEPSEEK_V3,
        "kimi_k2": DEEPSEEK_V3,
        "deepseek_v32": DEEPSEEK_V32,
        "glm_moe_dsa": replace(
            DEEPSEEK_V32,
            ignored=DEEPSEEK_V32.ignored
            | {
                "index_share_for_mtp_iteration",
                "index_skip_topk_offset",
                "index_topk_freq",
                "index_topk_pattern",
                "indexer_rope_interleave",
            },
        ),
        "glm4_moe_lite": DEEPSEEK_V3,
        "sarvam_mla": DEEPSEEK_V3,
        "mistral4": DEEPSEEK_V2,
        "axk1": replace(
            DEEPSEEK_V3,
            mlps_by=(MLP_TYPES, FIRST_DENSE_NEEDED),
            variants={SPARSE: varied(norms=("attn_norm", "mlp_norm", "mlp_post_norm"))},
        ),
        # Each of its layers is two, and beside the MLP of the first run the experts.
        "longcat_flash": replace(
            DEEPSEEK_V3,
            layer_keys=("num_layers",),
            layers_each=2,
            mlp_keys=("ffn_hidden_size",),
            experts=ExpertsFacts(
                width_keys=("expert_ffn_hidden_size",),
                zero_count_keys=("zero_expert_num",),
                routing_bias=True,
                when=(when("router_bias", equals=True, router_bias=True),),
            ),
            mlps_by=(EachNth((), BOTH, DENSE, 2, offset=0),),
            only={**DEEPSEEK_V2.only, "zero_expert_type": "identity", "attention_method": "MLA"},
            ignored=DEEPSEEK_V2.ignored
            | {"num_hidden_layers", "mla_scale_kv_lora", "mla_scale_q_lora", "router_bias"},
        ),
        "minicpm3": replace(
            DENSE_LATENT, mixers={FULL: (LatentFacts(v_head_dim_is_even_share=True),)}, tied=True
        ),
        "youtu": replace(DENSE_LATENT, tied=True),
    }
)
