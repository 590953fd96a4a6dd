"""Which layer of a hybrid has what: periods, patterns and lists, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.domain.mixers import Attention, StateSpace
from ridgeline_server.domain.mlps import Experts
from ridgeline_server.domain.model import Model
from tests.unit.domain.hybrid_configs import KIMI_LINEAR, without

MAMBA2: dict[str, Any] = {
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_n_groups": 2,
    "mamba_d_state": 16,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
}
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 101,
}
JAMBA: dict[str, Any] = {
    **SIZES,
    "model_type": "jamba",
    "attn_layer_period": 8,
    "attn_layer_offset": 4,
    "expert_layer_period": 2,
    "expert_layer_offset": 1,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "mamba_d_state": 16,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_dt_rank": 4,
}
BAMBA: dict[str, Any] = {**SIZES, **MAMBA2, "model_type": "bamba", "attn_layer_indices": [2, 5]}
GRANITE: dict[str, Any] = {
    **SIZES,
    **MAMBA2,
    "model_type": "granitemoehybrid",
    "layer_types": ["mamba"] * 7 + ["attention"],
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "shared_intermediate_size": 48,
}


def layers_with(model: Model, part: type) -> list[int]:
    """The layers that have a mixer or an MLP of a kind."""
    return [
        layer
        for layer, number in enumerate(model.layer_sequence)
        for kind in [model.layer_kinds[number]]
        if any(isinstance(found, part) for found in (*kind.mixers, *kind.mlps))
    ]


def test_jamba_has_attention_and_experts_at_the_offsets_of_their_periods() -> None:
    model = read_config(JAMBA)
    assert layers_with(model, Attention) == [4]
    assert layers_with(model, Experts) == [1, 3, 5, 7]
    assert layers_with(model, StateSpace) == [0, 1, 2, 3, 5, 6, 7]


def test_jamba_with_one_expert_is_dense() -> None:
    model = read_config({**JAMBA, "num_experts": 1, "num_experts_per_tok": 1})
    assert layers_with(model, Experts) == []
    assert model.active_parameter_count == model.parameter_count


def test_jamba_normalises_the_time_step_and_both_projections_of_the_state() -> None:
    with_norms = read_config(JAMBA)
    gains = [t.shape for t in with_norms.layer_kinds[0].tensors if t.operator == "ssm_norm"]
    assert gains == [(4,), (16,), (16,)]


def test_bamba_lists_its_attention_layers() -> None:
    assert layers_with(read_config(BAMBA), Attention) == [2, 5]
    assert layers_with(read_config({**BAMBA, "attn_layer_indices": None}), Attention) == []


def test_granite_4_has_a_shared_mlp_beside_its_experts_or_alone() -> None:
    model = read_config(GRANITE)
    assert layers_with(model, Attention) == [7]
    assert model.experts is not None
    assert model.experts.shared_intermediate_size == 48
    alone = read_config({**GRANITE, "num_local_experts": 0, "num_experts_per_tok": 0})
    assert layers_with(alone, Experts) == []
    assert model.parameter_count - alone.parameter_count == 8 * (4 * 64 + 4 * 3 * 96 * 64)


def test_layer_words_of_both_releases_of_transformers_mean_the_same() -> None:
    words = {"mamba": "linear_attention", "attention": "full_attention"}
    renamed = {**GRANITE, "layer_types": [words[word] for word in GRANITE["layer_types"]]}
    assert read_config(renamed) == read_config(GRANITE)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (JAMBA, "attn_layer_period"),
        (JAMBA, "attn_layer_offset"),
        (JAMBA, "expert_layer_offset"),
        (BAMBA, "attn_layer_indices"),
        (GRANITE, "layer_types"),
        (GRANITE, "shared_intermediate_size"),
    ],
)
def test_a_config_that_does_not_say_which_layer_has_what_is_refused(config: dict[str, Any], key: str) -> None:
    with pytest.raises(UnsupportedConfigError, match=key):
        read_config(without(config, key))


LISTS = KIMI_LINEAR["linear_attn_config"]


@pytest.mark.parametrize(
    ("config", "changes", "key"),
    [
        (JAMBA, {"attn_layer_offset": 8}, "attn_layer_offset"),
        (BAMBA, {"attn_layer_indices": [8]}, "attn_layer_indices"),
        (BAMBA, {"attn_layer_indices": "two, five"}, "attn_layer_indices"),
        (GRANITE, {"layer_types": ["mamba"] * 7}, "layer_types"),
        (
            KIMI_LINEAR,
            {"linear_attn_config": {**LISTS, "kda_layers": [*LISTS["kda_layers"], 27]}},
            "linear_attn_config.full_attn_layers",
        ),
        (
            KIMI_LINEAR,
            {"linear_attn_config": {**LISTS, "kda_layers": None}},
            "linear_attn_config.kda_layers",
        ),
    ],
)
def test_a_plan_that_does_not_fit_the_layers_is_refused(
    config: dict[str, Any], changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(InvalidFieldsError) as error:
        read_config({**config, **changes})
    assert key in [violation.field for violation in error.value.violations]


def test_a_word_that_is_not_known_is_refused_by_its_key() -> None:
    with pytest.raises(UnsupportedConfigError) as error:
        read_config({**GRANITE, "layer_types": ["mamba"] * 7 + ["gated_attention"]})
    assert error.value.keys == ("layer_types",)
