"""Families of dense models with softmax attention, by model_type. To add one, add an entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ridgeline_server.domain.config.sizes import MAX_MLP_WIDTH
from ridgeline_server.domain.parts.attention import OwnAttention
from ridgeline_server.domain.parts.experts import SHARED_COUNT, ExpertsFacts
from ridgeline_server.domain.parts.facts import (
    FULL,
    HEADS,
    MLP_WIDTH,
    NO_ROPE,
    SLIDING,
    Family,
    KvHeads,
    Position,
    QkNorm,
    Schedule,
    varied,
    when,
)
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.parts.schedules import (
    LAYER_TYPES,
    LAYER_TYPES_NEEDED,
    LAYER_TYPES_NO_ROPE,
    Confirmed,
    EachNth,
    Every,
    Listed,
    SlidingFrom,
    Stated,
)
from ridgeline_server.domain.tensors import ModuleClass, Norm, WeightTensor, norm, vector

FOUR_NORMS = ("attn_norm", "attn_post_norm", "mlp_norm", "mlp_post_norm")
ALL_SLIDE = (LAYER_TYPES, Every(SLIDING))
"""All layers have the window, where the config has one."""
QWEN_SLIDE = (LAYER_TYPES, SlidingFrom())


def full_every(n: int) -> tuple[Schedule, ...]:
    """All layers slide but each n-th; the config may give another n."""
    return (LAYER_TYPES, EachNth(("sliding_window_pattern", "_sliding_window_pattern"), FULL, SLIDING, n))


NO_ROPE_EVERY_FOURTH = (
    LAYER_TYPES_NO_ROPE,
    EachNth(("sliding_window_pattern", "_sliding_window_pattern", "layer_switch"), NO_ROPE, SLIDING, 4),
)
"""All layers slide but each fourth, which knows no positions."""

ATTENTION_BIAS = when("attention_bias", equals=True, qkv_bias=True, o_bias=True)
MLP_BIAS = when("mlp_bias", equals=True, mlp_bias=True)

LLAMA = Family(when=(ATTENTION_BIAS, MLP_BIAS))
MISTRAL = Family(kv_heads=KvHeads.KEY, mixers_by=ALL_SLIDE, window_default=4096)
QWEN2 = Family(kv_heads=KvHeads.KEY, qkv_bias=True, mixers_by=QWEN_SLIDE)
QWEN3 = replace(QWEN2, qkv_bias=False, needs_head_dim=True, qk_norm=QkNorm.PER_HEAD, when=(ATTENTION_BIAS,))
GEMMA = Family(
    kv_heads=KvHeads.KEY,
    needs_head_dim=True,
    activation="gelu_pytorch_tanh",
    tied=True,
    when=(ATTENTION_BIAS,),
)
GEMMA2 = replace(
    GEMMA,
    norms=FOUR_NORMS,
    mixers_by=full_every(2),
    window_keys=("sliding_window", "sliding_window_size"),
    window_default=4096,
)
GEMMA3 = replace(GEMMA2, qk_norm=QkNorm.PER_HEAD, mixers_by=full_every(6), scaled_context=False)
OLMO2 = Family(norms=("attn_post_norm", "mlp_post_norm"), qk_norm=QkNorm.FULL_WIDTH, when=(ATTENTION_BIAS,))
COHERE = Family(
    norm=Norm.LAYER_WITHOUT_BIAS,
    norms=("attn_norm",),
    parallel=True,
    tied=True,
    when=(ATTENTION_BIAS, when("use_qk_norm", equals=True, qk_norm=QkNorm.FULL_WIDTH)),
)
STABLELM = Family(
    norm=Norm.LAYER,
    kv_heads=KvHeads.KEY,
    rotary_fraction=0.25,
    when=(
        when("use_qkv_bias", equals=True, qkv_bias=True),
        when("qk_layernorm", equals=True, qk_norm=QkNorm.FULL_WIDTH),
        when("use_parallel_residual", equals=True, parallel=True, norms=("attn_norm",)),
    ),
)
GLM = Family(
    qkv_bias=True,
    kv_heads=KvHeads.KEY,
    needs_head_dim=True,
    rotary_fraction=0.5,
    when=(when("attention_bias", equals=False, qkv_bias=False),),
)

GLM4V = replace(
    GLM,
    norms=FOUR_NORMS,
    needs_head_dim=False,
    rotary_fraction=1.0,
    when=(),
    ignored=frozenset({"attention_bias"}),
)
"""Its queries, keys and values have biases whatever attention_bias says."""

HF_OLMO_ONLY: Mapping[str, object] = MappingProxyType(
    {
        "activation_type": "swiglu",
        "attention_layer_norm": False,
        "bias_for_layer_norm": False,
        "block_group_size": 1,
        "block_type": "sequential",
        "embedding_layer_norm": False,
        "include_bias": False,
        "multi_query_attention": False,
        "norm_after": False,
        "rope": True,
    }
)

HUNYUAN_ONLY: Mapping[str, object] = MappingProxyType(
    {
        "use_cla": False,
        "use_qk_norm": True,
        "use_mla": False,
        "use_rotary_pos_emb": True,
        "norm_type": "rms",
        "mlp_bias": False,
    }
)
HUNYUAN_IGNORED = frozenset({"cla_share_factor", "num_media_embeds", "org_vocab_size", "pool_type"})

PHI3 = Family(mixers_by=ALL_SLIDE, ignored=frozenset({"embd_layer", "img_processor"}))
PHI4_ADDS = ("a vision and an audio tower, and their low-rank adapters of every layer",)
CROSS = "cross_attention"


def sub_norms(reading: Reading) -> list[WeightTensor]:
    """BitNet's norms before the output projections of attention and MLP."""
    width = reading.fields.needed_integer(MLP_WIDTH, 1, MAX_MLP_WIDTH)
    stored, hidden = reading.family.norm, reading.hidden_size
    return [*norm("attn_sub_norm", stored, hidden), *norm("mlp_sub_norm", stored, width)]


def learned_activation(reading: Reading) -> list[WeightTensor]:  # noqa: ARG001
    """The two parameters of xIELU."""
    return [vector("mlp_act", 1, ModuleClass.MLP), vector("mlp_act", 1, ModuleClass.MLP)]


DENSE: Mapping[str, Family] = MappingProxyType(
    {
        "llama": LLAMA,
        "mistral": MISTRAL,
        "ministral3": replace(MISTRAL, window_default=None),
        "qwen": Family(
            qkv_bias=True,
            kv_heads=KvHeads.ALL,
            halved_mlp=True,
            when=(when("no_bias", equals=False, o_bias=True, mlp_bias=True),),
        ),
        "qwen2": QWEN2,
        "mimo": replace(QWEN2, ignored=frozenset({"attention_bias"})),
        "qwen3": QWEN3,
        "qwen3_vl_text": QWEN3,
        "qwen2_vl": QWEN2,
        "qwen2_vl_text": QWEN2,
        "qwen2_5_vl": QWEN2,
        "qwen2_5_vl_text": QWEN2,
        "qwen2_5_omni_text": QWEN2,
        "gemma": GEMMA,
        "gemma2": GEMMA2,
        "gemma3_text": GEMMA3,
        "phi3": PHI3,
        "phi3_v": PHI3,
        "phi4mm": replace(
            PHI3,
            ignored=PHI3.ignored | {"audio_processor", "vision_lora", "speech_lora"},
            not_modelled=PHI4_ADDS,
        ),
        "phi4_multimodal": replace(PHI3, not_modelled=PHI4_ADDS),
        "olmo": Family(norm=Norm.NON_PARAMETRIC, when=(ATTENTION_BIAS,)),
        "olmo2": OLMO2,
        "olmo3": replace(OLMO2, mixers_by=full_every(4), window_default=4096),
        "hf_olmo": Family(
            norm=Norm.NON_PARAMETRIC,
            mlp_keys=("mlp_hidden_size",),
            mlp_ratio=4,
            halved_mlp=True,
            vocab_keys=("embedding_size",),
            when=(
                when(
                    "layer_norm_type",
                    equals="rms",
                    norm=Norm.RMS,
                    only={**HF_OLMO_ONLY, "layer_norm_with_affine": True},
                ),
            ),
            only={**HF_OLMO_ONLY, "layer_norm_type": "default", "layer_norm_with_affine": False},
            ignored=frozenset({"flash_attention", "mlp_ratio", "rope_full_precision", "vocab_size"}),
        ),
        "molmo": Family(
            kv_heads=KvHeads.KEY,
            halved_mlp=True,
            vocab_keys=("embedding_size",),
            # Tokens of its own beside the table of the language model.
            extra_embedding_rows=128,
            when=(
                when("qkv_bias", equals=True, qkv_bias=True),
                when("norm_after", equals=True, norms=("attn_post_norm", "mlp_post_norm")),
                when("attention_layer_norm", equals=True, qk_norm=QkNorm.FULL_WIDTH),
            ),
            only={"layer_norm_type": "rms"},
            ignored=frozenset({"vocab_size", "use_position_ids"}),
            not_modelled=("a vision tower",),
        ),
        "internlm": Family(
            qkv_bias=True, o_bias=True, when=(when("bias", equals=False, qkv_bias=False, o_bias=False),)
        ),
        "internlm2": Family(when=(when("bias", equals=True, qkv_bias=True, o_bias=True),)),
        "baichuan": Family(when=(when("hidden_size", equals=5120, position=Position.ALIBI),)),
        "stablelm": STABLELM,
        "stablelm_epoch": replace(STABLELM, head_keys=(*HEADS, "num_heads")),
        "cohere": COHERE,
        "cohere2": replace(
            COHERE,
            mixers_by=NO_ROPE_EVERY_FOURTH,
            rope_without_window=True,
            window_default=4096,
            when=(ATTENTION_BIAS,),
            only={
                "order_of_interleaved_layers": "local_attn_first",
                "position_embedding_type": "rope_gptj",
                "use_gated_activation": True,
                "use_parallel_block": True,
            },
            ignored=frozenset({"use_parallel_embedding"}),
        ),
        "granite": LLAMA,
        "granite_swa": replace(
            LLAMA,
            sinks=True,
            tied=True,
            mixers_by=(LAYER_TYPES_NEEDED,),
            ignored=frozenset({"layer_rope_theta"}),
        ),
        "llava_llama": LLAMA,
        "llava_mistral": MISTRAL,
        "llava_qwen": QWEN2,
        "aquila": LLAMA,
        "aquila3": LLAMA,
        "xverse": replace(
            LLAMA,
            optional_experts=ExpertsFacts(width_keys=MLP_WIDTH, shared_count_keys=SHARED_COUNT),
            ignored=frozenset({"shared_expert"}),
        ),
        "exaone": LLAMA,
        "internlm3": Family(
            needs_head_dim=True,
            when=(
                when("qkv_bias", equals=True, qkv_bias=True),
                when("bias", equals=True, o_bias=True, mlp_bias=True),
            ),
        ),
        "helium": replace(
            LLAMA,
            needs_head_dim=True,
            when=(when("attention_bias", equals=True, qkv_bias=True), MLP_BIAS),
        ),
        "iquestcoder": replace(LLAMA, needs_head_dim=True),
        "emu3_text_model": replace(LLAMA, needs_head_dim=False),
        "cwm": replace(
            MISTRAL,
            needs_head_dim=True,
            window_default=8192,
            mixers_by=(LAYER_TYPES, EachNth((), FULL, SLIDING, 4, offset=0)),
        ),
        "ministral": replace(MISTRAL, mixers_by=ALL_SLIDE),
        "hyperclovax": replace(
            LLAMA,
            when=(*LLAMA.when, when("use_post_norm", equals=True, norms=FOUR_NORMS)),
            defaults={"use_post_norm": True},
        ),
        "bitnet": replace(LLAMA, activation="relu2", more_in_layers=sub_norms, when=(ATTENTION_BIAS,)),
        "apertus": Family(
            gated=False,
            activation="xielu",
            qk_norm=QkNorm.PER_HEAD,
            more_in_layers=learned_activation,
            when=(ATTENTION_BIAS,),
            only={"post_norm": False, "qk_norm": True, "mlp_bias": False},
            ignored=frozenset({"qk_norm"}),
        ),
        "nanochat": Family(
            norm=Norm.NON_PARAMETRIC,
            qk_norm=QkNorm.NON_PARAMETRIC,
            gated=False,
            activation="relu2",
            when=(ATTENTION_BIAS,),
        ),
        "vaultgemma": replace(GEMMA, mixers_by=full_every(2), window_default=4096),
        "mllama_text_model": replace(
            LLAMA,
            kv_heads=KvHeads.KEY,
            mixers={CROSS: (OwnAttention(positions=False, is_cross=True),)},
            mixers_by=(Listed("cross_attention_layers", CROSS, FULL),),
            variants={CROSS: varied(qk_norm=QkNorm.PER_HEAD)},
            extra_embedding_rows=8,
        ),
        "smollm3": replace(
            LLAMA,
            kv_heads=KvHeads.KEY,
            tied=True,
            mixers_by=(
                Confirmed(Stated("layer_types", MappingProxyType({"full_attention": FULL}))),
                Stated("no_rope_layers", MappingProxyType({1: FULL, 0: NO_ROPE})),
                EachNth(("no_rope_layer_interval",), NO_ROPE, FULL, 4),
            ),
            only={"use_sliding_window": False},
        ),
        "ernie4_5": Family(
            kv_heads=KvHeads.KEY,
            needs_head_dim=True,
            tied=True,
            when=(when("use_bias", equals=True, qkv_bias=True, o_bias=True, mlp_bias=True),),
        ),
        "seed_oss": Family(
            qkv_bias=True,
            kv_heads=KvHeads.KEY,
            needs_head_dim=True,
            when=(
                when("attention_bias", equals=False, qkv_bias=False),
                when("attention_out_bias", equals=True, o_bias=True),
                MLP_BIAS,
            ),
        ),
        "hunyuan_v1_dense": Family(
            needs_head_dim=True,
            qk_norm=QkNorm.PER_HEAD,
            when=(ATTENTION_BIAS,),
            only={**HUNYUAN_ONLY, "num_experts": 1},
            ignored=HUNYUAN_IGNORED,
        ),
        "exaone4": Family(
            norms=("attn_post_norm", "mlp_post_norm"),
            qk_norm=QkNorm.PER_HEAD,
            kv_heads=KvHeads.KEY,
            mixers_by=NO_ROPE_EVERY_FOURTH,
            rope_without_window=True,
            window_default=4096,
        ),
        "arcee": Family(gated=False, activation="relu2", when=(ATTENTION_BIAS, MLP_BIAS)),
        "nemotron": Family(
            norm=Norm.LAYER,
            gated=False,
            activation="relu2",
            kv_heads=KvHeads.KEY,
            rotary_fraction=0.5,
            when=(ATTENTION_BIAS, MLP_BIAS),
        ),
        "glm": GLM,
        "glm4": replace(GLM, norms=FOUR_NORMS),
        "glm4v": GLM4V,
        "glm4v_text": GLM4V,
        "glm_ocr_text": replace(GLM4V, qkv_bias=False),
        "chatglm": Family(
            kv_heads=KvHeads.ALL,
            rotary_fraction=0.5,
            vocab_keys=("padded_vocab_size",),
            when=(
                when("multi_query_attention", equals=True, kv_heads=KvHeads.KEY),
                when("add_qkv_bias", equals=True, qkv_bias=True),
                when(
                    "add_bias_linear",
                    equals=True,
                    qkv_bias=True,
                    o_bias=True,
                    mlp_bias=True,
                    lm_head_bias=True,
                ),
                when("rmsnorm", equals=False, norm=Norm.LAYER),
            ),
            only={"post_layer_norm": True},
            ignored=frozenset({"vocab_size"}),
        ),
        "orion": Family(norm=Norm.LAYER),
        "minicpm": Family(
            tied=True, optional_experts=ExpertsFacts(width_keys=MLP_WIDTH), when=(ATTENTION_BIAS,)
        ),
    }
)
