"""Language models inside of the configs of multimodal ones."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.errors import UnsupportedConfigError
from tests.unit.domain.model_configs import PUBLISHED, config, read, small


def inside(key: str, **outside: object) -> dict[str, Any]:
    return {"model_type": "wrapper", "vision_config": {"hidden_size": 1152}, key: small(), **outside}


@pytest.mark.parametrize(
    "key", ["text_config", "llm_config", "language_config", "llm_cfg", "language_model_config"]
)
def test_the_language_model_is_read_and_what_else_there_is_is_said(key: str) -> None:
    model = read_config(inside(key))
    assert (model.layer_kinds, model.tensors) == (
        read_config(small()).layer_kinds,
        read_config(small()).tensors,
    )
    assert model.not_modelled == ("a vision tower (vision_config)",)


def test_wrappers_may_lie_in_each_other() -> None:
    omni = {
        "thinker_config": inside("text_config", audio_config={"d_model": 1280}),
        "talker_config": {"a": 1},
    }
    model = read_config(omni)
    assert model.parameter_count == read_config(small()).parameter_count
    assert model.not_modelled == (
        "a speech decoder (talker_config)",
        "a vision tower (vision_config)",
        "an audio tower (audio_config)",
    )


def test_what_only_the_wrapper_says_holds_for_the_language_model() -> None:
    language = small(tie_word_embeddings=..., torch_dtype=...)
    model = read_config({"text_config": language, "tie_word_embeddings": True, "dtype": "float16"})
    assert model.tensors[-1].shared
    assert model.dtype == "fp16"
    own = read_config({"text_config": small(tie_word_embeddings=False), "tie_word_embeddings": True})
    assert not own.tensors[-1].shared


def test_keys_of_another_modality_beside_those_of_the_language_model_are_said() -> None:
    model = read_config(small(model_type="llava_llama", mm_hidden_size=1024, mm_vision_tower="clip", x=0))
    assert model.layer_kinds == read_config(small()).layer_kinds
    assert model.not_modelled == ("what is not of the language model (mm_hidden_size, mm_vision_tower)",)


def test_a_nested_config_takes_its_class_s_defaults_and_says_each() -> None:
    gemma = PUBLISHED["google/gemma-3-4b-it"]["config"]
    model = read("google/gemma-3-4b-it")
    assert "vocab_size" not in gemma["text_config"]
    assert model.vocab_size == 262_208
    assert "vocab_size is absent: 262208, transformers' default for gemma3_text" in model.assumptions
    assert "head_dim is absent: 256, transformers' default for gemma3_text" in model.assumptions


def test_a_config_of_its_own_takes_none() -> None:
    with pytest.raises(UnsupportedConfigError) as raised:
        read_config(PUBLISHED["google/gemma-3-4b-it"]["config"]["text_config"])
    assert set(raised.value.keys) == {"vocab_size", "num_attention_heads", "num_key_value_heads", "head_dim"}


def test_a_nested_model_type_without_known_defaults_takes_none_either() -> None:
    with pytest.raises(UnsupportedConfigError) as raised:
        read_config(inside("text_config") | {"text_config": small(model_type="olmo2", vocab_size=...)})
    assert raised.value.keys == ("vocab_size",)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("moonshotai/Kimi-K2.5", "a vision tower (vision_config)"),
        ("Qwen/Qwen3-VL-8B-Instruct", "a vision tower (vision_config)"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "what surrounds the language model"),
        ("deepseek-ai/DeepSeek-V3", "1 multi-token-prediction layer(s)"),
    ],
)
def test_what_is_left_out_is_said_of_published_models(model: str, said: str) -> None:
    assert said in read(model).not_modelled


MINICPM_V = {
    "model_type": "minicpmv",
    "query_num": 64,
    "patch_size": 14,
    "slice_config": {"max_slice_nums": 9, "model_type": "minicpmv"},
    "slice_mode": True,
    "batch_vision_input": True,
    "use_image_id": True,
    "vision_config": {"hidden_size": 1152},
}


@pytest.mark.parametrize(
    ("version", "family", "changes"),
    [("2.5", "llama", {}), (2.6, "qwen2", {}), (4.5, "qwen3", {"head_dim": 8})],
)
def test_the_language_model_of_minicpm_v_goes_by_its_version(
    version: object, family: str, changes: dict[str, Any]
) -> None:
    model = read_config(small(**MINICPM_V, version=version, **changes))
    alone = read_config(small(model_type=family, **changes))
    assert (model.family, model.layer_kinds, model.tensors) == (family, alone.layer_kinds, alone.tensors)
    assert f"the language model of minicpmv {version} is read as {family}" in model.assumptions
    assert model.not_modelled == ("a vision tower (vision_config)",)


@pytest.mark.parametrize("version", [None, 3.0, "2", [2.6]])
def test_a_version_of_minicpm_v_that_is_not_known_is_refused(version: object) -> None:
    with pytest.raises(UnsupportedConfigError) as raised:
        read_config(small(**MINICPM_V, version=version))
    assert raised.value.keys == ("version",)


@pytest.mark.parametrize(
    ("name", "family"), [("LlavaQwenForCausalLM", "qwen2"), ("LlavaMistralForCausalLM", "mistral")]
)
def test_the_language_model_of_llava_goes_by_its_class(name: str, family: str) -> None:
    keys = {"architectures": [name], "mm_hidden_size": 1024, "use_mm_proj": True, "sliding_window": None}
    model = read_config(small(model_type="llava", **keys))
    assert model.layer_kinds == read_config(small(model_type=family, sliding_window=None)).layer_kinds


@pytest.mark.parametrize(
    ("name", "headless", "published"),
    [
        ("MistralModel", True, small(model_type="mistral")),
        ("LlamaForSequenceClassification", True, small()),
        ("Qwen2ForRewardModel", True, small()),
        ("LlamaForCausalLM", False, small()),
        ("GPT2LMHeadModel", False, config("openai-community/gpt2")),
        ("ChatGLMModel", False, config("THUDM/chatglm3-6b")),
        ("InternVLChatModel", False, small()),
    ],
)
def test_a_class_without_lm_head_is_told_that_one_is_counted(
    name: str, headless: bool, published: dict[str, Any]
) -> None:
    model = read_config({**published, "architectures": [name]})
    said = f'architectures has "{name}", which has no lm_head: one is counted'
    assert (said in model.assumptions) is headless
