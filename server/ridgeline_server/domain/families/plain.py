"""The GPT-2 line: LayerNorm, biases, plain MLPs; by model_type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from ridgeline_server.domain.config.fields import shown, whole
from ridgeline_server.domain.config.sizes import MAX_LAYERS
from ridgeline_server.domain.families.dense import ALL_SLIDE
from ridgeline_server.domain.parts.facts import (
    FULL,
    SLIDING,
    Family,
    KvHeads,
    Position,
    QkNorm,
    when,
)
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.parts.schedules import Stated
from ridgeline_server.domain.tensors import Norm

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
POST_NORMS = ("attn_post_norm", "mlp_post_norm")
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

GPT_NEO_TYPES: Mapping[str | int, str] = MappingProxyType({"global": FULL, "local": SLIDING})


@dataclass(frozen=True)
class GptNeoTypes:
    """GPT-Neo's attention_types: [[["global", "local"], 12]] is twelve times the two."""

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return ("attention_types",)

    def names(self, reading: Reading) -> Sequence[str] | None:
        """The types, repeated as said."""
        stated = reading.fields.value("attention_types")
        if stated is None:
            return None
        names: list[str] = []
        for entry in stated if isinstance(stated, list | tuple) else [stated]:
            types, times = entry if isinstance(entry, list | tuple) and len(entry) == 2 else ((), 0)
            known = [GPT_NEO_TYPES.get(str(t)) for t in types] if isinstance(types, list | tuple) else []
            number = whole(times) or 0
            if 0 < number <= MAX_LAYERS and len(known) * number <= reading.layer_count >= len(names):
                names.extend(number * [name for name in known if name is not None])
        if len(names) != reading.layer_count:
            if reading.fields.sound:
                reading.fields.refuse(
                    "attention_types",
                    f"is {shown(stated)}; give global and local for {reading.layer_count} layers",
                )
            return [FULL] * reading.layer_count
        return names


PLAIN_LINE: Mapping[str, Family] = MappingProxyType(
    {
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
        "phi3small": replace(
            PLAIN,
            gated=True,
            activation="gegelu",
            kv_heads=KvHeads.KEY,
            mlp_keys=("ff_intermediate_size",),
            tied=True,
            ignored=frozenset(
                {
                    "blocksparse_block_size",
                    "blocksparse_homo_head_pattern",
                    "blocksparse_num_local_blocks",
                    "blocksparse_triton_kernel_block_size",
                    "blocksparse_vert_stride",
                    "dense_attention_every_n_layers",
                    "dummy_token_indices",
                    "gegelu_limit",
                    "gegelu_pad_to_256",
                    "mup_attn_multiplier",
                    "mup_embedding_multiplier",
                    "mup_width_multiplier",
                    "mup_use_scaling",
                    "pad_sequence_to_multiple_of_64",
                    "rope_embedding_base",
                    "rope_position_scale",
                }
            ),
            not_modelled=("block-sparse attention: its layers are taken to read all keys",),
        ),
        # Its class takes 8192 where the config gives no width, whatever the hidden size.
        "phi": replace(PHI, mlp_ratio=None),
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
        "codegen": replace(
            PLAIN,
            activation="gelu_new",
            mlp_ratio=4,
            norms=("attn_norm",),
            parallel=True,
            qkv_bias=False,
            o_bias=False,
            lm_head_bias=True,
        ),
        "gpt_neo": replace(
            GPT2,
            head_keys=("num_heads",),
            qkv_bias=False,
            window_keys=("window_size",),
            mixers_by=(Stated("attention_layers", GPT_NEO_TYPES), GptNeoTypes()),
        ),
        "jais": replace(
            GPT2,
            gated=True,
            activation="swiglu",
            position=Position.ALIBI,
            when=(when("position_embedding_type", equals="learned", position=Position.LEARNED),),
            only={"activation_function": "swiglu"},
        ),
        "jais2": replace(
            PLAIN,
            kv_heads=KvHeads.KEY_OR_ALL,
            activation="relu2",
            when=(
                when("attention_bias", equals=False, qkv_bias=False, o_bias=False),
                when("mlp_bias", equals=False, mlp_bias=False),
            ),
            defaults={"attention_bias": True, "mlp_bias": True},
        ),
        "persimmon": replace(
            PLAIN,
            activation="relu2",
            rotary_fraction=0.5,
            when=(when("qk_layernorm", equals=True, qk_norm=QkNorm.PER_HEAD, qk_norm_bias=True),),
            defaults={"qk_layernorm": True},
        ),
        "biogpt": replace(
            PLAIN,
            position=Position.LEARNED,
            position_offset=2,
            tied=True,
            ignored=frozenset({"scale_embedding"}),
        ),
        "openai-gpt": replace(GPT2, activation="gelu", final_norm=False, norms=POST_NORMS),
        "xglm": replace(
            PLAIN,
            head_keys=("attention_heads",),
            position=Position.NONE,
            tied=True,
            ignored=frozenset({"scale_embedding"}),
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
        "bloom": replace(
            PLAIN,
            mlp_ratio=4,
            position=Position.ALIBI,
            embedding_norm=True,
            tied=True,
            ignored=frozenset({"offset_alibi", "skip_bias_add", "skip_bias_add_qkv"}),
        ),
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
            ignored=frozenset(
                {
                    "attn_config.attn_impl",
                    "attn_config.attn_uses_sequence_id",
                    "attn_config.alibi_bias_max",
                    "attn_config.softmax_scale",
                    "embedding_fraction",
                    "init_device",
                    "learned_pos_emb",
                    "norm_type",
                }
            ),
        ),
        "falcon": FALCON,
        "RefinedWebModel": FALCON,
        "RefinedWeb": FALCON_40B,
    }
)
