"""Which models are costed, and what is said of those that are not."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.errors import UnsupportedArchitectureError
from ridgeline_server.domain.model import Model
from ridgeline_server.roofline.operators import operator_table
from tests.unit.domain.model_configs import PUBLISHED, read, small
from tests.unit.questions import model


def refusal(of: Model) -> str:
    with pytest.raises(UnsupportedArchitectureError) as raised:
        operator_table(of)
    return str(raised.value)


@pytest.mark.parametrize(
    "model_id",
    [
        "meta-llama/Llama-2-7b-hf",
        "meta-llama/Llama-3.1-8B",
        "mistralai/Mistral-7B-v0.1",
        "Qwen/Qwen2.5-7B",
        "Qwen/Qwen3-32B-FP8",
        "google/gemma-2-27b-it",
        "google/gemma-3-27b-it",
        "microsoft/phi-4",
        "openai-community/gpt2-xl",
        "bigscience/bloom",
        "tiiuae/falcon-7b",
        "CohereForAI/aya-23-8B",
        "allenai/OLMo-2-1124-13B",
        "Qwen/Qwen3-VL-8B-Instruct",
    ],
)
def test_models_with_one_attention_and_one_mlp_a_layer_are_costed(model_id: str) -> None:
    asked = model(model_id)
    assert operator_table(asked).names[0] == "embedding"


@pytest.mark.parametrize(
    ("model_id", "said"),
    [
        (
            "deepseek-ai/DeepSeek-V3",
            "deepseek-ai/DeepSeek-V3 has latent attention and a mixture of experts in 58 of 61 layers",
        ),
        ("Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-30B-A3B has a mixture of experts"),
        (
            "openai/gpt-oss-20b",
            "openai/gpt-oss-20b has attention sinks and a mixture of experts",
        ),
        (
            "deepseek-ai/DeepSeek-V3.2",
            (
                "deepseek-ai/DeepSeek-V3.2 has latent attention, sparse attention with an indexer and a "
                "mixture of experts in 58 of 61 layers"
            ),
        ),
        (
            "google/gemma-4-26B-A4B",
            (
                "google/gemma-4-26B-A4B has a mixture of experts, MLPs side by side and keys that are also "
                "values in 5 of 30 layers"
            ),
        ),
        (
            "deepseek-ai/DeepSeek-V4-Flash",
            (
                "deepseek-ai/DeepSeek-V4-Flash has compressed attention, a mixture of experts, "
                "head_hyper_connection outside of the layers and 4 residual streams"
            ),
        ),
        ("state-spaces/mamba-2.8b-hf", "state-spaces/mamba-2.8b-hf has state-space mixers and no MLP"),
        (
            "nvidia/Gemma-4-31B-IT-NVFP4",
            (
                "nvidia/Gemma-4-31B-IT-NVFP4 has layer_scale in 50 of 60 layers and keys that are also "
                "values in 10 of 60 layers"
            ),
        ),
    ],
)
def test_what_is_not_costed_is_named(model_id: str, said: str) -> None:
    assert refusal(read(model_id)) == (
        f"{said}; this release reads such models and counts their weights, and costs dense models alone: one "
        "attention and one MLP in each layer"
    )


def test_weights_of_several_formats_are_named_where_nothing_else_is_in_the_way() -> None:
    scheme = {"quant_method": "fp8", "modules_to_not_convert": ["lm_head", "self_attn"]}
    said = refusal(read_config(small(quantization_config=scheme), "org/tiny"))
    assert said.startswith("org/tiny has weights of several formats in its layers; ")


def test_no_published_model_is_costed_with_a_part_left_out() -> None:
    for model_id in PUBLISHED:
        of = read(model_id)
        try:
            table = operator_table(of)
        except UnsupportedArchitectureError:
            continue
        assert {t.operator for _, t in of.all_tensors()} <= {*table.names, "position_embedding"}


def test_a_mixer_of_another_model_is_named_by_what_it_is() -> None:
    said = refusal(
        read_config(
            small(model_type="gpt_oss", head_dim=8, sliding_window=8, num_experts=4, num_experts_per_tok=2)
        )
    )
    assert said.startswith("a gpt_oss model has attention sinks and a mixture of experts; ")
