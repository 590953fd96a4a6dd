"""Families of state-space models and their hybrids with attention, by model_type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ridgeline_server.domain.families.dense import ATTENTION_BIAS, MLP_BIAS
from ridgeline_server.domain.families.expert_rules import IN_MLP_WIDTH
from ridgeline_server.domain.parts.attention import OwnAttention
from ridgeline_server.domain.parts.experts import ExpertsFacts
from ridgeline_server.domain.parts.facts import (
    DENSE,
    FULL,
    NOTHING,
    SPARSE,
    Family,
    KvHeads,
    Position,
    when,
)
from ridgeline_server.domain.parts.hybrid_schedules import NullMeans, Periodic, Unsaid
from ridgeline_server.domain.parts.schedules import Every, Listed, Stated
from ridgeline_server.domain.parts.shared_block import (
    HYBRID,
    HYBRID_AGAIN,
    Reused,
    SharedAttention,
    SharedMlp,
)
from ridgeline_server.domain.parts.state_space import Mamba, Mamba2

STATE_SPACE = "state_space"

UNCOUNTED = frozenset(
    {
        "chunk_size",
        "mamba_chunk_size",
        "use_mambapy",
        "use_falcon_mambapy",
        "use_associative_scan",
        "use_mem_eff_path",
        "time_step_init_scheme",
        "time_step_min",
        "time_step_max",
        "time_step_floor",
        "time_step_scale",
        "mamba_hidden_act",
        "hidden_mamba_act",
        # of attention, in a config whose layers have none
        "num_attention_heads",
        "num_key_value_heads",
    }
)
"""How a scan is computed, how its step was initialised, activations; and what is read where it matters."""

EXPERT_KEYS = frozenset(
    {
        "num_experts",
        "num_local_experts",
        "n_routed_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "moe_latent_size",
    }
)
"""Read in a config of whose layers one has experts."""

MAMBA2_KEYS = frozenset(
    {
        "mamba_n_heads",
        "mamba_n_groups",
        "mamba_d_state",
        "mamba_d_head",
        "mamba_d_conv",
        "mamba_expand",
        "mamba_conv_bias",
        "mamba_proj_bias",
    }
)
"""Read in a config of whose layers one is a state space."""

MIXERS: Mapping[str | int, str] = {
    "mamba": STATE_SPACE,
    "linear_attention": STATE_SPACE,
    "attention": FULL,
    "full_attention": FULL,
}
"""Words of layers_block_type and layer_types, in transformers 4 and 5."""

MAMBA = Family(
    position=Position.NONE,
    mixers={
        STATE_SPACE: (
            Mamba(
                inner_keys=("intermediate_size",),
                expand_keys=("expand",),
                state_keys=("state_size",),
                kernel_keys=("conv_kernel",),
                rank_key="time_step_rank",
                bias_key="use_bias",
                conv_bias_key="use_conv_bias",
            ),
        )
    },
    mixers_by=(Every(STATE_SPACE),),
    mlps_by=(Every(NOTHING),),
    tied=True,
    only={"rms_norm": True},
    ignored=UNCOUNTED | {"expand", "d_inner", "pad_vocab_size_multiple"},
)
MAMBA2 = replace(
    MAMBA,
    mixers={
        STATE_SPACE: (
            Mamba2(
                inner_keys=("intermediate_size",),
                expand_keys=("expand",),
                head_keys=("num_heads",),
                head_dim_keys=("head_dim",),
                group_keys=("n_groups",),
                state_keys=("state_size",),
                kernel_keys=("conv_kernel",),
                in_bias_key="use_bias",
                out_bias_key="use_bias",
                conv_bias_key="use_conv_bias",
            ),
        )
    },
    tied=False,
    ignored=UNCOUNTED | {"expand", "time_step_rank", "norm_before_gate"},
)

BAMBA = Family(
    kv_heads=KvHeads.KEY,
    rotary_fraction=0.5,
    mixers={STATE_SPACE: (Mamba2(),)},
    mixers_by=(
        Listed("attn_layer_indices", FULL, STATE_SPACE),
        NullMeans("attn_layer_indices", STATE_SPACE),
        Unsaid(("attn_layer_indices",), STATE_SPACE),
    ),
    when=(ATTENTION_BIAS, MLP_BIAS),
    ignored=UNCOUNTED | {"attn_rotary_emb"},
)

FALCON_H1 = Family(
    kv_heads=KvHeads.KEY,
    mixers={
        HYBRID: (
            OwnAttention(),
            Mamba2(inner_keys=("mamba_d_ssm",), out_bias_key="projectors_bias", norm_key="mamba_rms_norm"),
        )
    },
    mixers_by=(Every(HYBRID),),
    when=(ATTENTION_BIAS, MLP_BIAS),
    only={"mamba_use_mlp": True, "attn_layer_indices": False},
    ignored=UNCOUNTED
    | {
        "mamba_expand",
        "mamba_norm_before_gate",
        "mlp_expansion_factor",
        "mlp_multipliers",
        "ssm_multipliers",
        "time_step_rank",
    },
)

ZAMBA_LAYERS = (
    Reused(Stated("layers_block_type", {**MIXERS, "hybrid": HYBRID})),
    Reused(
        Periodic(
            "attn_layer_period",
            "attn_layer_offset",
            HYBRID,
            STATE_SPACE,
            leading=(STATE_SPACE, STATE_SPACE, HYBRID),
        )
    ),
)
ZAMBA = Family(
    norms=("attn_norm",),
    position=Position.NONE,
    activation="gelu",
    mixers={
        STATE_SPACE: (Mamba(head_keys=("n_mamba_heads",)),),
        **{
            name: (SharedAttention(adapters=False), Mamba(head_keys=("n_mamba_heads",)))
            for name in (HYBRID, HYBRID_AGAIN)
        },
    },
    mlps={STATE_SPACE: (), **{name: (SharedMlp(adapters=False),) for name in (HYBRID, HYBRID_AGAIN)}},
    mixers_by=ZAMBA_LAYERS,
    mlps_by=ZAMBA_LAYERS,
    tied=True,
    only={"tie_word_embeddings": True},
    ignored=UNCOUNTED,
)
ZAMBA2_MAMBA = Mamba2(
    head_keys=("n_mamba_heads",),
    head_dim_keys=("mamba_headdim",),
    group_keys=("mamba_ngroups",),
    state_keys=("mamba_d_state", "state_size"),
    kernel_keys=("mamba_d_conv", "conv_dimension"),
    expand_keys=("mamba_expand", "expansion_factor"),
    in_bias_key="add_bias_linear",
    out_bias_key="add_bias_linear",
    conv_bias_key="",
)
ZAMBA2_LAYERS = (
    Reused(Stated("layers_block_type", {**MIXERS, "hybrid": HYBRID}), blocks_key="num_mem_blocks"),
    Unsaid(("layers_block_type",), STATE_SPACE),
)
ZAMBA2 = Family(
    norms=("attn_norm",),
    position=Position.NONE,
    activation="gelu",
    mixers={
        STATE_SPACE: (ZAMBA2_MAMBA,),
        **{name: (SharedAttention(adapters=True), ZAMBA2_MAMBA) for name in (HYBRID, HYBRID_AGAIN)},
    },
    mlps={STATE_SPACE: (), **{name: (SharedMlp(adapters=True),) for name in (HYBRID, HYBRID_AGAIN)}},
    mixers_by=ZAMBA2_LAYERS,
    mlps_by=ZAMBA2_LAYERS,
    tied=True,
    only={
        "use_shared_block_lora": True,
        "use_shared_mlp_adapter": True,
        "gated_linear_unit": True,
        "ft_lora": False,
        "use_conv_bias": True,
        "use_long_context": False,
        "tie_word_embeddings": True,
    },
    ignored=UNCOUNTED
    | {"hybrid_layer_ids", "num_query_groups", "kv_channels", "attention_hidden_size", "mamba_expand"},
)

JAMBA = Family(
    kv_heads=KvHeads.KEY,
    position=Position.NONE,
    mixers={STATE_SPACE: (Mamba(inner_norms=True),)},
    mixers_by=(Periodic("attn_layer_period", "attn_layer_offset", FULL, STATE_SPACE),),
    experts=IN_MLP_WIDTH,
    mlps_by=(Periodic("expert_layer_period", "expert_layer_offset", SPARSE, DENSE),),
    when=(when("num_experts", equals=1, experts=None, mlps_by=()),),
    only={"mamba_inner_layernorms": True},
    ignored=UNCOUNTED | EXPERT_KEYS | {"expert_layer_period", "expert_layer_offset"},
)

GRANITE_HYBRID = Family(
    position=Position.NONE,
    mixers={STATE_SPACE: (Mamba2(),)},
    mixers_by=(
        Stated("layer_types", MIXERS),
        Stated("layers_block_type", MIXERS),
        Unsaid(("layer_types",), STATE_SPACE),
    ),
    experts=replace(IN_MLP_WIDTH, shared_width_keys=("shared_intermediate_size",), shared_width_needed=True),
    when=(
        ATTENTION_BIAS,
        when("position_embedding_type", equals="rope", position=Position.ROTARY),
        when("num_local_experts", equals=0, experts=None, mlp_keys=("shared_intermediate_size",)),
    ),
    only={"normalization_function": "rmsnorm"},
    ignored=UNCOUNTED | EXPERT_KEYS | MAMBA2_KEYS | {"intermediate_size"},
)

NEMOTRON_MIXERS: Mapping[str | int, str] = {**MIXERS, "mlp": DENSE, "moe": SPARSE}
NEMOTRON_LAYERS = (
    Stated("layers_block_type", NEMOTRON_MIXERS),
    Stated("layer_types", NEMOTRON_MIXERS),
    Stated("hybrid_override_pattern", {"M": STATE_SPACE, "*": FULL, "-": DENSE, "E": SPARSE}),
    Unsaid(("hybrid_override_pattern", "layers_block_type"), STATE_SPACE),
)
NEMOTRON_H = Family(
    kv_heads=KvHeads.KEY,
    needs_head_dim=True,
    position=Position.NONE,
    gated=False,
    activation="relu2",
    mixers={
        STATE_SPACE: (
            Mamba2(
                expand_keys=(),
                head_keys=("mamba_num_heads",),
                head_dim_keys=("mamba_head_dim",),
                group_keys=("n_groups", "mamba_n_groups"),
                state_keys=("ssm_state_size",),
                kernel_keys=("conv_kernel", "mamba_d_conv"),
                in_bias_key="use_bias",
                out_bias_key="use_bias",
                conv_bias_key="use_conv_bias",
            ),
        ),
        DENSE: (),
        SPARSE: (),
    },
    mlps={STATE_SPACE: (), FULL: ()},
    mixers_by=NEMOTRON_LAYERS,
    mlps_by=NEMOTRON_LAYERS,
    layer_list_keys=("layers_block_type", "layer_types", "hybrid_override_pattern"),
    experts=ExpertsFacts(
        count_keys=("n_routed_experts",),
        shared_width_keys=("moe_shared_expert_intermediate_size",),
        shared_width_needed=True,
        routing_bias=True,
        latent_keys=("moe_latent_size",),
    ),
    only={
        "mlp_hidden_act": "relu2",
        "attention_bias": False,
        "mlp_bias": False,
        "mamba_proj_bias": False,
        "n_shared_experts": 1,
        "mamba_conv_bias": True,
        "tie_word_embeddings": False,
    },
    ignored=UNCOUNTED
    | EXPERT_KEYS
    | {
        "expand",
        "mamba_expand",
        "time_step_rank",
        "intermediate_size",
        "moe_shared_expert_overlap",
        "mtp_layers_block_type",
        "num_query_groups",
        "mtp_hybrid_override_pattern",
    },
)
"""Each layer is a mixer or what follows one, with one norm. Its attention knows no positions."""

STATE_SPACES: Mapping[str, Family] = MappingProxyType(
    {
        "mamba": MAMBA,
        "falcon_mamba": MAMBA,
        "mamba2": MAMBA2,
        "bamba": BAMBA,
        "jamba": JAMBA,
        "granitemoehybrid": GRANITE_HYBRID,
        "nemotron_h": NEMOTRON_H,
        "falcon_h1": FALCON_H1,
        "zamba": ZAMBA,
        "zamba2": ZAMBA2,
    }
)
"""Families by model_type."""
