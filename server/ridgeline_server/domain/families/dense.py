"""Families of dense models with softmax attention, by model_type. To add one, add an entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ridgeline_server.domain.parts.experts import ExpertsFacts
from ridgeline_server.domain.parts.facts import (
    FULL,
    MLP_WIDTH,
    SLIDING,
    Family,
    KvHeads,
    Position,
    QkNorm,
    Schedule,
    when,
)
from ridgeline_server.domain.parts.schedules import (
    LAYER_TYPES,
    EachNth,
    Every,
    SlidingFrom,
)
from ridgeline_server.domain.tensors import Norm

ALL_SLIDE = (LAYER_TYPES, Every(SLIDING))
"""All layers have the window, where the config has one."""
QWEN_SLIDE = (LAYER_TYPES, SlidingFrom())


def full_every(n: int) -> tuple[Schedule, ...]:
    """All layers slide but each n-th; the config may give another n."""
    return (LAYER_TYPES, EachNth(("sliding_window_pattern", "_sliding_window_pattern"), FULL, SLIDING, n))


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
    norms=("attn_norm", "attn_post_norm", "mlp_norm", "mlp_post_norm"),
    mixers_by=full_every(2),
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
GLM = Family(
    qkv_bias=True,
    kv_heads=KvHeads.KEY,
    needs_head_dim=True,
    rotary_fraction=0.5,
    when=(when("attention_bias", equals=False, qkv_bias=False),),
)

PLAIN = Family(
    norm=Norm.LAYER,
    gated=False,
    activation="gelu",
    qkv_bias=True,
    o_bias=True,
    mlp_bias=True,
    kv_heads=KvHeads.ALL,
)
"""The GPT-2 line: LayerNorm, biases, a plain MLP, no shared key-value heads."""
GPT2 = replace(PLAIN, activation="gelu_new", mlp_ratio=4, position=Position.LEARNED, tied=True)
PHI = replace(
    PLAIN,
    activation="gelu_new",
    norms=("attn_norm",),
    parallel=True,
    kv_heads=KvHeads.KEY_OR_ALL,
    mlp_ratio=4,
    rotary_fraction=0.5,
    lm_head_bias=True,
    when=(when("qk_layernorm", equals=True, qk_norm=QkNorm.PER_HEAD, qk_norm_bias=True),),
)
FALCON = replace(
    PLAIN,
    norms=("attn_norm",),
    parallel=True,
    qkv_bias=False,
    o_bias=False,
    mlp_bias=False,
    mlp_ratio=4,
    kv_heads=KvHeads.ONE,
    tied=True,
    when=(
        when("bias", equals=True, qkv_bias=True, o_bias=True, mlp_bias=True),
        when("alibi", equals=True, position=Position.ALIBI),
        when("multi_query", equals=False, kv_heads=KvHeads.ALL),
        when(
            "new_decoder_architecture",
            equals=True,
            kv_heads=KvHeads.KEY_OR_ALL,
            norms=("attn_norm", "mlp_norm"),
        ),
        when("num_ln_in_parallel_attn", equals=1, norms=("attn_norm",)),
        when("num_ln_in_parallel_attn", equals=2, norms=("attn_norm", "mlp_norm")),
        when("parallel_attn", equals=False, parallel=False, norms=("attn_norm", "mlp_norm")),
    ),
    ignored=frozenset({"num_kv_heads", "n_head_kv"}),
)
FALCON_40B = replace(FALCON, kv_heads=KvHeads.KEY, norms=("attn_norm", "mlp_norm"))

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
        "gemma": GEMMA,
        "gemma2": GEMMA2,
        "gemma3_text": GEMMA3,
        "phi3": Family(mixers_by=ALL_SLIDE),
        "olmo": Family(norm=Norm.NON_PARAMETRIC, when=(ATTENTION_BIAS,)),
        "olmo2": OLMO2,
        "olmo3": replace(OLMO2, mixers_by=full_every(4), window_default=4096),
        "internlm": Family(
            qkv_bias=True, o_bias=True, when=(when("bias", equals=False, qkv_bias=False, o_bias=False),)
        ),
        "internlm2": Family(when=(when("bias", equals=True, qkv_bias=True, o_bias=True),)),
        "baichuan": Family(when=(when("hidden_size", equals=5120, position=Position.ALIBI),)),
        "stablelm": Family(
            norm=Norm.LAYER,
            kv_heads=KvHeads.KEY,
            rotary_fraction=0.25,
            when=(
                when("use_qkv_bias", equals=True, qkv_bias=True),
                when("qk_layernorm", equals=True, qk_norm=QkNorm.FULL_WIDTH),
                when("use_parallel_residual", equals=True, parallel=True, norms=("attn_norm",)),
            ),
        ),
        "cohere": COHERE,
        "cohere2": replace(COHERE, mixers_by=full_every(4), window_default=4096, when=(ATTENTION_BIAS,)),
        "granite": LLAMA,
        "smollm3": replace(LLAMA, kv_heads=KvHeads.KEY, tied=True),
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
        "hunyuan_v1_dense": Family(needs_head_dim=True, qk_norm=QkNorm.PER_HEAD, when=(ATTENTION_BIAS,)),
        "exaone4": Family(
            norms=("attn_post_norm", "mlp_post_norm"),
            qk_norm=QkNorm.PER_HEAD,
            kv_heads=KvHeads.KEY,
            mixers_by=full_every(4),
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
        "glm4": replace(GLM, norms=("attn_norm", "attn_post_norm", "mlp_norm", "mlp_post_norm")),
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
        ),
        "orion": Family(norm=Norm.LAYER),
        "minicpm": Family(
            tied=True, optional_experts=ExpertsFacts(width_keys=MLP_WIDTH), when=(ATTENTION_BIAS,)
        ),
        "opt": replace(
            PLAIN,
            activation="relu",
            position=Position.LEARNED,
            position_offset=2,
            tied=True,
            when=(
                when("enable_bias", equals=False, qkv_bias=False, o_bias=False, mlp_bias=False),
                when("layer_norm_elementwise_affine", equals=False, norm=Norm.NON_PARAMETRIC),
            ),
            only={"do_layer_norm_before": True, "_remove_final_layer_norm": False},
            same_as_hidden_size="word_embed_proj_dim",
        ),
        "phi": PHI,
        "phi-msft": PHI,
        "gpt2": GPT2,
        "gptj": replace(
            PLAIN,
            activation="gelu_new",
            mlp_ratio=4,
            norms=("attn_norm",),
            parallel=True,
            qkv_bias=False,
            o_bias=False,
            lm_head_bias=True,
        ),
        "gpt_neox": replace(
            PLAIN,
            parallel=True,
            rotary_fraction=0.25,
            when=(
                when("use_parallel_residual", equals=False, parallel=False),
                when("attention_bias", equals=False, qkv_bias=False, o_bias=False),
            ),
        ),
        "gpt_bigcode": replace(
            GPT2,
            activation="gelu_pytorch_tanh",
            kv_heads=KvHeads.ONE,
            when=(when("multi_query", equals=False, kv_heads=KvHeads.ALL),),
        ),
        "starcoder2": replace(
            PLAIN,
            activation="gelu_pytorch_tanh",
            kv_heads=KvHeads.KEY,
            mixers_by=ALL_SLIDE,
            tied=True,
            when=(when("use_bias", equals=False, qkv_bias=False, o_bias=False, mlp_bias=False),),
            only={"mlp_type": "default", "norm_type": "layer_norm"},
        ),
        "bloom": replace(PLAIN, mlp_ratio=4, position=Position.ALIBI, embedding_norm=True, tied=True),
        "mpt": replace(
            PLAIN,
            norm=Norm.LAYER_WITHOUT_BIAS,
            qkv_bias=False,
            o_bias=False,
            mlp_bias=False,
            mlp_ratio=4,
            position=Position.ALIBI,
            tied=True,
            only={
                "no_bias": True,
                "attn_config.alibi": True,
                "attn_config.attn_type": "multihead_attention",
                "attn_config.qk_ln": False,
            },
        ),
        "falcon": FALCON,
        "RefinedWebModel": FALCON,
        "RefinedWeb": FALCON_40B,
    }
)
