"""Hybrids have as many weights, and as much state, as transformers allocates for them."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.families.linear_attention import LINEAR_ATTENTION
from ridgeline_server.domain.families.state_space import STATE_SPACES
from ridgeline_server.domain.tensors import TensorKind
from tests.unit.domain.hybrid_configs import (
    CODESTRAL_MAMBA,
    COUNTED,
    KIMI_LINEAR,
    MAMBA_2_8B,
    XLSTM_7B,
    state_elements,
)

RUN = [entry for entry in COUNTED if entry["state_elements"] is not None]
ONLY_IN_REMOTE_CODE = {"bailing_moe_linear", "minimax_m1", "minimax_text_01"}
"""Published with code of their own; the last two are transformers' minimax in other spellings."""
WRAPPERS = {"qwen3_5": "qwen3_5_text", "qwen3_5_moe": "qwen3_5_moe_text"}
"""A model_type of a multimodal model, beside that of its language model."""


def name(entry: dict[str, Any]) -> str:
    return str(entry["config"]["model_type"])


@pytest.mark.parametrize("entry", COUNTED, ids=name)
def test_parameters_are_those_that_transformers_allocates(entry: dict[str, Any]) -> None:
    found = read_config(entry["config"]).parameter_count
    assert found == entry["parameters"] + entry["routing_biases"]


@pytest.mark.parametrize("entry", RUN, ids=name)
def test_the_state_of_a_sequence_is_what_the_cache_of_transformers_holds(entry: dict[str, Any]) -> None:
    assert state_elements(read_config(entry["config"])) == entry["state_elements"]


def test_every_family_is_compared_with_transformers() -> None:
    families = {*STATE_SPACES, *LINEAR_ATTENTION} - ONLY_IN_REMOTE_CODE - {*WRAPPERS}
    assert families == {name(entry) for entry in COUNTED}
    assert families >= {*WRAPPERS.values()}
    assert len(RUN) > 70


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (MAMBA_2_8B, 2_768_345_600),
        # mistral.ai/news/codestral-mamba
        (CODESTRAL_MAMBA, 7_285_403_648),
        (KIMI_LINEAR, 49_122_681_728),
        (XLSTM_7B, 6_865_424_896),
    ],
    ids=["mamba-2.8b", "codestral-mamba", "kimi-linear-48b", "xlstm-7b"],
)
def test_published_counts_are_hit(config: dict[str, Any], published: int) -> None:
    assert read_config(config).parameter_count == published


@pytest.mark.parametrize("entry", COUNTED, ids=name)
def test_a_token_uses_all_weights_but_those_of_experts_that_it_is_not_sent_to(entry: dict[str, Any]) -> None:
    model = read_config(entry["config"])
    idle = sum(
        kind.count * (tensor.copies - tensor.active_copies) * tensor.shape[0] * tensor.shape[1]
        for kind in model.layer_kinds
        for tensor in kind.tensors
        if tensor.kind is TensorKind.MATRIX and tensor.active_copies is not None
    )
    assert model.active_parameter_count == model.parameter_count - idle
