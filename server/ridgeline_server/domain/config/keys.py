"""Which keys of a config may stay unread: those known to change no weight and no cache. All others are said
or refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ridgeline_server.domain.config.fields import ConfigFields, shown
from ridgeline_server.domain.errors import UnsupportedConfigError

_IRRELEVANT = re.compile(
    r"""
    # whose it is
    _.* | name_or_path | architectures | auto_map | model_type | transformers_version
    | transformers\.js_config | tokenizer_.* | torchscript | task_specific_params
    | finetuning_task | problem_type | id2label | label2id
    | num_labels | prefix | processor_class | license | language | version | is_llama_config | is_decoder
    | language_model_only | is_composition

    # numerics and training
    | .*(dropout|pdrop|dropout_prob|jitter(_noise|_eps)?|_eps|epsilon|loss|loss_(coef|weight|alpha))
    | .*initializer.* | init_.* | .*_init(_std|_scale)? | z_loss.* | .*aux_loss.* | seq_aux | pretraining_tp
    | gradient_checkpointing | use_cache | rescale_prenorm_residual | residual_in_fp32 | .*_in_fp32 | fp32_.*
    | use_bfloat16 | bf16 | fp16 | fp32 | torch_dtype | dtype | .*_dtype | .*upcast.* | tensor_parallel.*
    | sequence_parallel.* | ep_size | query_pre_attn_scalar | .*softcapping | logits?_scal(e|ing) | scale_emb
    | scale_depth | dim_model_base | .*scaling_factor | clip_qkv | qkv_clip.* | swiglu_(alpha|limit|beta)
    | (embedding|residual|attention(_in|_out)?|logits?|lm_head|key|output|ssm(_in|_out)?)_multiplier(_scale)?
    | (attn|attention|query|value|attention_value|router|route|embedding|output)_scale
    | (time_step|gate|dt)_(limit|clamp).* | activation_situ_.* | norm_topk_prob | scoring_func | topk_method
    | topk_group | n_group | num_expert_group | use_grouped_topk | moe_renormalize | norm_after_topk
    | output_router_logits | router_.*coef

    # kernels and layout in memory
    | scale_attn_.* | apply_query_key_layer_scaling | apply_residual_connection_post_layernorm
    | attn_implementation | flash_attn | use_flash_attn.* | flash_rotary | fused_.* | use_fused_.* | .*_fusion
    | .*_implementation | use_.*kernels? | inference_runner | validate_runner_input | pre_allocate_kv_cache
    | pad_key_length | cache_implementation | onnx_safe | num_logits_to_keep | return_dict.* | pruned_heads
    | output_(attentions|hidden_states|scores) | quantization_config | compression_config
    | chunk_size_feed_forward

    # tokens and generation
    | .*_token_ids? | .*_token_index | (?!.*expert).*_token | .*_tokens_ids? | .*[be]os_.* | bad_words_ids
    | .*_placeholder | (begin_)?suppress_tokens | ignore_index | n_special | predict_special_tokens
    | do_sample
    | num_beams | num_beam_groups | diversity_penalty | early_stopping | temperature | top_[kp] | typical_p
    | .*_penalty | (max|min)_length | max_new_tokens | .*no_repeat_ngram_size | num_return_sequences
    | forced_.* | remove_invalid_values | summary_.* | tf_legacy_loss | vision_soft_tokens_per_image
    | mm_tokens_per_image | num_image_tokens | image_seq_length | pad_id | .*_(start|end|pad)_id

    # positions: what they change is read elsewhere, or moves no weight
    | (.*_)?rope_(theta|scaling|parameters|type|ratio|base|factor|alpha|interleaved?) | .*rope_.*base_freq
    | .*rotary_(emb_)?base | rotary_.*_base | rotary | original_rope | rotary_emb_.* | (use_)?mrope.*
    | use_dynamic_ntk | use_logn_attn | alibi_bias_max | interpolate_factor | original_max_position_embeddings
    | max_position_embeddings | seq_length | n_ctx | initial_context_length | max_sequence_length
    | max_seq_len(gth)? | model_max_length | sliding_window | use_sliding_window | max_window_layers
    | full_attn_mod
    """,
    re.VERBOSE,
)
"""Keys that change no weight and no cache, whatever the family."""

_STRUCTURAL = re.compile(
    r"size|dim|width|rank|lora|head|layer|block|expert|moe|router|mlp|ffn|attn|attention|norm|bias|kernel|conv"
    r"|state|proj|embed|gate|hidden|intermediate|pattern|shared?|window|chunk|latent|sparse|index|mamba|ssm"
    r"|hybrid|lstm|memory|group|altup|laurel|depth|num_|^n_|activation|_act$|parallel|residual|multi|query|key"
    r"|value|tied?|encoder|decoder|cross|vision|audio|image|speech|config|type|use_|enable|add_|sink|alibi"
    r"|position|compress|hash|loop|repeat|recur|draft|mtp|nextn|predict|adapter|merge|cfg"
)
"""What the names of keys that shape a model have in them."""

MAX_KEY_LENGTH = 100
"""Characters of a key that is looked at; a longer one is no key of any model."""

_LOOKED_INTO = ("attn_config", "ffn_config", "linear_attn_config", "sparse_attention_config", "ssm_cfg")


def check_unread(
    config: Mapping[str, object],
    fields: ConfigFields,
    ignored: Iterable[str],
    model_type: str,
    assumptions: list[str],
) -> None:
    """Refuses a config with a key that may shape the model and was not read; says other unknown keys."""
    known = {*ignored, *fields.read}
    unread = [key for key in set_keys(config) if key not in known and not _irrelevant(key)]
    structural = [key for key in unread if len(key) > MAX_KEY_LENGTH or _STRUCTURAL.search(key.lower())]
    if structural:
        raise UnsupportedConfigError(
            f"the config has {', '.join(map(shown, structural[:8]))}, which may change the layers of a "
            f"model_type {shown(model_type)} in a way that is not known; take out what does not matter, or "
            "give the config of a model that is known",
            structural,
        )
    if unread:
        assumptions.append(f"taken to change neither weights nor cache: {', '.join(map(shown, unread[:8]))}")


def _irrelevant(key: str) -> bool:
    lower = key.lower()
    return len(key) <= MAX_KEY_LENGTH and any(
        _IRRELEVANT.fullmatch(name) for name in (lower, lower.rpartition(".")[2])
    )


def set_keys(config: Mapping[str, object]) -> list[str]:
    """The keys that say something: their values are not null, false, 0 or empty."""
    keys: list[str] = []
    for key, value in config.items():
        if key in _LOOKED_INTO and isinstance(value, Mapping):
            keys.extend(f"{key}.{inner}" for inner, inner_value in value.items() if _is_set(inner_value))
        elif _is_set(value):
            keys.append(key)
    return keys


def _is_set(value: object) -> bool:
    return not (value is None or value is False or value == 0 or value in ("", [], {}))
