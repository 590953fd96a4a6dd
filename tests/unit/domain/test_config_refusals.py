"""Which configs are refused, and what the refusal says."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedConfigError
from tests.unit.domain.model_configs import WITH_ALL_KEYS, config, small


def unsupported(changed: object) -> UnsupportedConfigError:
    with pytest.raises(UnsupportedConfigError) as raised:
        read_config(changed)  # type: ignore[arg-type]
    return raised.value


def violations(changed: object) -> dict[str, str]:
    with pytest.raises(InvalidFieldsError) as raised:
        read_config(changed)  # type: ignore[arg-type]
    return {violation.field: violation.description for violation in raised.value.violations}


def whole(model: str, **changes: object) -> dict[str, Any]:
    """A config with all the keys that its file has, some of them changed."""
    return {**WITH_ALL_KEYS[model]["config"], **changes}


# Architectures that are not modelled

BERT = {
    "model_type": "bert",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 30522,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
}


@pytest.mark.parametrize(
    ("changed", "said", "keys"),
    [
        pytest.param(BERT, "an encoder (type_vocab_size)", ("type_vocab_size",), id="bert"),
        pytest.param(
            {"model_type": "t5", "d_model": 512, "is_encoder_decoder": True, "num_decoder_layers": 6},
            "an encoder-decoder (is_encoder_decoder, num_decoder_layers)",
            ("is_encoder_decoder", "num_decoder_layers"),
            id="t5",
        ),
        pytest.param(
            {"model_type": "whisper", "encoder_layers": 32, "is_encoder_decoder": True, "num_mel_bins": 80},
            "an encoder-decoder (is_encoder_decoder, encoder_layers)",
            ("is_encoder_decoder", "encoder_layers"),
            id="whisper",
        ),
        pytest.param(
            {"_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.30.0", "num_layers": 19},
            "a part of a diffusion pipeline (_class_name, _diffusers_version)",
            ("_class_name", "_diffusers_version"),
            id="flux",
        ),
        pytest.param(
            {"model_type": "siglip_vision_model", "hidden_size": 1152, "patch_size": 14, "num_channels": 3},
            "a vision model (num_channels, patch_size)",
            ("num_channels", "patch_size"),
            id="siglip",
        ),
        pytest.param(
            {"model_type": "wav2vec2", "hidden_size": 768, "feat_extract_norm": "group"},
            "an audio model (feat_extract_norm)",
            ("feat_extract_norm",),
            id="wav2vec2",
        ),
    ],
)
def test_what_is_no_decoder_of_text_is_refused_by_what_it_is_and_by_its_keys(
    changed: dict[str, Any], said: str, keys: tuple[str, ...]
) -> None:
    error = unsupported(changed)
    assert str(error) == f"the config describes {said}; only decoders of text are modelled"
    assert error.keys == keys


@pytest.mark.parametrize(
    "key",
    [
        "num_experts",
        "moe_layer_freq",
        "kv_lora_rank",
        "latent_size",
        "ssm_cfg",
        "mamba_d_conv",
        "conv_kernel",
        "recurrent_block_type",
        "linear_attn_config",
        "indexer_heads",
        "hybrid_pattern",
        "num_kv_shared_layers",
        "hidden_size_per_layer_input",
        "add_cross_attention",
        "use_bidirectional_attention",
        "sparse_attention_config",
        "attention_chunk_size",
        "v_head_dim",
        "block_configs",
        "ffn_dim_multiplier",
        "num_experts_per_token",
        "num_key_value_headss",
    ],
)
@pytest.mark.parametrize("model_type", ["llama", "qwen3_moe"])
def test_a_key_of_other_structure_that_a_known_family_does_not_read_is_refused(
    key: str, model_type: str
) -> None:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    known = small(model_type=model_type, **(experts if model_type == "qwen3_moe" else {}))
    if key in known or (model_type == "qwen3_moe" and key == "num_experts_per_token"):
        return
    assert unsupported({**known, key: 4}).keys == (key,)


def test_a_class_of_a_model_type_that_is_read_otherwise_is_refused() -> None:
    error = unsupported(small(model_type="llama", architectures=["GPT2LMHeadModel"]))
    assert error.keys == ("model_type", "architectures")
    assert 'model_type is "llama", but architectures has "GPT2LMHeadModel"' in str(error)


def test_phi_without_a_width_is_refused_whose_default_is_that_of_one_size() -> None:
    phi = whole("microsoft/phi-2")
    del phi["intermediate_size"]
    assert "intermediate_size" in unsupported(phi).keys


def test_a_list_may_go_on_with_the_layers_for_multi_token_prediction_alone() -> None:
    flash = config("deepseek-ai/DeepSeek-V4-Flash")
    ratios = flash["compress_ratios"]
    assert len(ratios) == flash["num_hidden_layers"] + flash["num_nextn_predict_layers"]
    assert "compress_ratios" in violations({**flash, "compress_ratios": [*ratios, 0]})


def test_an_unknown_key_that_does_not_look_like_structure_is_said() -> None:
    model = read_config(small(quiet_mode=True, model_max_len=7))
    assert model.assumptions == ('taken to change neither weights nor cache: "quiet_mode", "model_max_len"',)


@pytest.mark.parametrize("unset", [None, False, 0, "", [], {}])
def test_a_key_that_is_not_set_tells_nothing(unset: object) -> None:
    assert read_config(small(num_experts=unset, is_encoder_decoder=unset)) == read_config(small())


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        (config("facebook/opt-6.7b", word_embed_proj_dim=512), "word_embed_proj_dim"),
        (config("facebook/opt-6.7b", do_layer_norm_before=False), "do_layer_norm_before"),
        (config("mosaicml/mpt-7b", attn_config={"alibi": False}), "attn_config.alibi"),
        (
            config("mosaicml/mpt-7b", attn_config={"attn_type": "multiquery_attention"}),
            "attn_config.attn_type",
        ),
        (config("mosaicml/mpt-7b", no_bias=False), "no_bias"),
        (config("bigcode/starcoder2-7b", mlp_type="gated"), "mlp_type"),
        (small(layer_types=["full_attention", "linear_attention", "full_attention"]), "layer_types"),
        (config("MiniMaxAI/MiniMax-M2.7", attn_type_list=[1] * 61 + [0]), "attn_type_list"),
        (config("deepseek-ai/DeepSeek-V3.2", layer_types=["full_attention"] * 61), "layer_types"),
        (whole("HuggingFaceTB/SmolLM3-3B", layer_types=["sliding_attention"] * 36), "layer_types"),
        (whole("allenai/OLMo-7B", block_type="parallel"), "block_type"),
        (whole("CohereLabs/c4ai-command-a-03-2025", use_parallel_block=False), "use_parallel_block"),
        (
            whole("CohereLabs/c4ai-command-a-03-2025", position_embedding_type="alibi"),
            "position_embedding_type",
        ),
        (whole("inclusionAI/Ling-mini-2.0", use_rmsnorm=False), "use_rmsnorm"),
        (whole("tencent/Hunyuan-A13B-Instruct", use_cla=True), "use_cla"),
    ],
)
def test_a_variant_of_a_known_family_that_is_not_modelled_is_refused_by_its_key(
    changed: dict[str, Any], key: str
) -> None:
    error = unsupported(changed)
    assert error.keys == (key,)
    assert key in str(error)


# Unknown families


def test_an_unknown_model_type_without_the_keys_of_llama_names_them_and_the_known_types() -> None:
    error = unsupported({"model_type": "foo", "hidden_size": 64, "n_layer": 3})
    assert error.keys == (
        "model_type",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "vocab_size",
        "rms_norm_eps",
        "hidden_act",
    )
    assert "model_types are known" in str(error)


def test_an_unknown_model_type_is_told_of_near_ones() -> None:
    assert "model_types are known, qwen3, " in str(unsupported({"model_type": "qwen3a"}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "relu2"),
        ("hidden_act", "xielu"),
        ("use_qk_norm", True),
        ("qk_layernorm", True),
        ("parallel_attn", True),
        ("use_parallel_residual", True),
        ("alibi", True),
        ("multi_query", True),
        ("use_bias", True),
        ("lm_head_bias", True),
    ],
)
def test_an_unknown_model_type_is_not_read_as_llama_when_a_key_speaks_against_it(
    key: str, value: object
) -> None:
    assert unsupported(small(model_type="foo", **{key: value})).keys == ("model_type", key)


def test_an_unknown_model_type_with_a_window_must_say_which_layers_have_it() -> None:
    assert unsupported(small(model_type="foo", sliding_window=8)).keys == ("sliding_window", "layer_types")
    types = ["sliding_attention", "full_attention", "sliding_attention"]
    found = read_config(small(model_type="foo", sliding_window=8, layer_types=types))
    assert [(kind.name, kind.count) for kind in found.layer_kinds] == [("window-8", 2), ("full", 1)]
    unused = read_config(small(model_type="foo", sliding_window=8, use_sliding_window=False))
    assert [(kind.name, kind.count) for kind in unused.layer_kinds] == [("all", 3)]


# Missing keys


def test_every_missing_key_is_named() -> None:
    error = unsupported(small(hidden_size=..., vocab_size=None, intermediate_size=...))
    assert error.keys == ("hidden_size", "vocab_size", "intermediate_size")
    assert "hidden_size (or n_embd, d_model, n_embed, embedding_dim, model_dim)" in str(error)


@pytest.mark.parametrize(
    ("changed", "keys"),
    [
        ({}, ("model_type",)),
        (
            {"model_type": "gpt2"},
            (
                "hidden_size",
                "num_hidden_layers",
                "vocab_size",
                "max_position_embeddings",
                "num_attention_heads",
            ),
        ),
        (small(model_type="mistral", num_key_value_heads=...), ("num_key_value_heads",)),
        (small(model_type="gemma"), ("head_dim",)),
        (small(layer_types=["sliding_attention"] * 3), ("sliding_window",)),
        (
            config("Qwen/Qwen2.5-7B", use_sliding_window=True, sliding_window=64, max_window_layers=None),
            ("max_window_layers",),
        ),
    ],
)
def test_keys_that_transformers_fills_with_one_models_constants_may_not_be_missing(
    changed: dict[str, Any], keys: tuple[str, ...]
) -> None:
    assert unsupported(changed).keys == keys


# Wrong values


@pytest.mark.parametrize(
    "value", [0, -4096, 1 << 40, 10**400, 64.5, float("nan"), float("inf"), "64", True, [64], {"x": 64}]
)
@pytest.mark.parametrize(
    "key",
    [
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
        "head_dim",
    ],
)
def test_a_size_that_is_no_sensible_whole_number_is_named_with_its_bounds(key: str, value: object) -> None:
    found = violations(small(**{key: value}))
    assert set(found) == {key}
    assert "; give a whole number f" in found[key]


def test_all_wrong_values_are_listed_at_once() -> None:
    found = violations(
        small(hidden_size=-1, vocab_size="many", torch_dtype="float64", tie_word_embeddings="no", mlp_bias=2)
    )
    assert found == {
        "hidden_size": "is -1; give a whole number from 1 to 1048576",
        "vocab_size": 'is "many"; give a whole number from 1 to 16777216',
        "torch_dtype": 'is "float64"; give bfloat16, float16 or float32',
        "tie_word_embeddings": 'is "no"; give true or false',
        "mlp_bias": "is 2; give true or false",
    }


@pytest.mark.parametrize(
    ("changes", "field", "description"),
    [
        (
            {"num_key_value_heads": 3},
            "num_key_value_heads",
            "is 3, which does not divide the 8 query heads; give a divisor",
        ),
        (
            {"num_key_value_heads": 16},
            "num_key_value_heads",
            "is 16, which does not divide the 8 query heads; give a divisor",
        ),
        (
            {"hidden_size": 60},
            "hidden_size",
            "is 60, not a multiple of the 8 heads; give a multiple, or head_dim",
        ),
        ({"weight_tying": True}, "weight_tying", "is true, but tie_word_embeddings is false; keep one"),
        ({"n_embd": 65}, "n_embd", "is 65, but hidden_size is 64; keep the one that holds"),
        ({"rotary_dim": 9}, "rotary_dim", "is 9; give a whole number from 1 to 8"),
        ({"partial_rotary_factor": 1.5}, "partial_rotary_factor", "is 1.5; give a number from 0 to 1"),
        ({"rope_scaling": "yarn"}, "rope_scaling", 'is "yarn"; give an object with rope_type'),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling.factor", "is absent; linear scaling needs it"),
        (
            {"rope_scaling": {"type": "linear", "factor": 0.001}},
            "rope_scaling.factor",
            "is 0.001; give a number from 1 to 1e+06",
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": 1e6}},
            "rope_scaling.factor",
            "is 1e+06; with it the context is over 100000000 tokens",
        ),
        (
            {"layer_types": ["full_attention"]},
            "layer_types",
            "has 1 entries for 3 layers; give one for each layer",
        ),
        ({"layer_types": "full"}, "layer_types", 'is "full"; give a list of 3 names'),
        (
            {"hidden_act": ["silu"]},
            "hidden_act",
            "is [\"silu\"]; give a name of letters, digits, '_', '-' and '.'",
        ),
        ({"model_type": 7}, "model_type", "is 7; give a name of letters, digits, '_', '-' and '.'"),
    ],
)
def test_a_wrong_value_is_told_with_its_bound_and_the_way_out(
    changes: dict[str, object], field: str, description: str
) -> None:
    assert violations(small(**changes)) == {field: description}


def test_the_width_of_gate_and_up_together_must_be_even() -> None:
    assert set(violations(config("Qwen/Qwen-7B-Chat", intermediate_size=22017))) == {"intermediate_size"}


@pytest.mark.parametrize("value", [None, [], "config.json", 7])
def test_what_is_no_object_is_refused(value: object) -> None:
    assert list(violations(value)) == [""]


def test_a_long_value_is_cut_in_messages() -> None:
    assert len(violations(small(hidden_act="x" * 10_000))["hidden_act"]) < 130


@pytest.mark.parametrize("key", ["rope_" * 21, "a" * 101])
def test_a_key_of_over_100_characters_is_one_that_is_not_known(key: str) -> None:
    assert unsupported(small(**{key: 1})).keys == (key,)


def test_a_config_of_over_1000_keys_is_refused_with_the_bound() -> None:
    error = unsupported(small(**{f"a{n}": 1 for n in range(1000)}))
    assert "keys, 1000 are read at most" in str(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"ffn_multipliers": [1.0] * 15},
        {"ffn_multipliers": [1.0] * 15 + ["wide"]},
        {"ffn_multipliers": [1.0] * 15 + [float("nan")]},
        {"ffn_multipliers": 4.0},
    ],
)
def test_widths_of_layers_that_are_no_numbers_are_refused(changes: dict[str, object]) -> None:
    found = violations(whole("apple/OpenELM-270M", **changes))
    assert "give a number under 1000 for each of 16 layers" in found["ffn_multipliers"]
