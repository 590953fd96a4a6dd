"""Mamba and Mamba-2: the weights of one layer, the state of one sequence, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.domain.mixers import Attention, StateSpace
from tests.unit.domain.hybrid_configs import (
    CODESTRAL_MAMBA,
    FALCON_H1_7B,
    MAMBA_2_8B,
    NEMOTRON_H,
    only_kind,
    states_of,
    without,
)


def test_a_layer_of_mamba_2_8b() -> None:
    (kind,) = read_config(MAMBA_2_8B).layer_kinds
    # 5120 channels, twice into the layer: one half is the gate. Rank 160 and two vectors of 16 come out of x.
    assert kind.parameters == (
        2560
        + 2 * 5120 * 2560
        + (5120 * 4 + 5120)
        + (160 + 2 * 16) * 5120
        + (5120 * 160 + 5120)
        + (5120 * 16 + 5120)
        + 2560 * 5120
    )
    (mixer,) = kind.mixers
    assert isinstance(mixer, StateSpace)
    assert (mixer.version, mixer.inner_size, mixer.time_step_rank) == (1, 5120, 160)
    # Three of the four tokens that the convolution sees, and 16 elements per channel.
    assert {state.name: state.elements for state in mixer.states} == {
        "convolution": 3 * 5120,
        "state_space": 16 * 5120,
    }


def test_a_layer_of_codestral_mamba() -> None:
    (kind,) = read_config(CODESTRAL_MAMBA).layer_kinds
    # Gate 8192, channels 8192, eight groups of two vectors of 128, a time step for each of 128 heads.
    convolved = 8192 + 2 * 8 * 128
    assert kind.parameters == (
        4096 + (8192 + convolved + 128) * 4096 + (convolved * 4 + convolved) + 3 * 128 + 8192 + 4096 * 8192
    )
    assert {state.name: state.elements for state in states_of(kind)} == {
        "convolution": 3 * convolved,
        "state_space": 128 * 64 * 128,
    }
    assert kind.kv_elements_per_token == 0


def test_falcon_h1_runs_attention_and_mamba_side_by_side() -> None:
    (kind,) = read_config(FALCON_H1_7B).layer_kinds
    attention, mamba = kind.mixers
    assert isinstance(attention, Attention)
    assert isinstance(mamba, StateSpace)
    convolved = 3072 + 2 * 256
    assert kind.parameters == (
        2 * 3072
        + (12 + 2 * 2) * 128 * 3072
        + 3072 * 12 * 128
        + (3072 + convolved + 24) * 3072
        + (convolved * 4 + convolved)
        + 3 * 24
        + 3072 * 3072
        + 3 * 12288 * 3072
    )
    assert kind.kv_elements_per_token == 2 * 2 * 128


def test_nemotron_h_has_a_mixer_or_an_mlp_in_each_layer() -> None:
    model = read_config(NEMOTRON_H)
    assert [model.layer_kinds[n].name for n in model.layer_sequence] == [
        "state-space",
        "mlp",
        "state-space",
        "full",
        "state-space",
        "experts",
    ]
    mlp = only_kind(model, "mlp")
    # relu2 between two matrices, and one norm.
    assert mlp.parameters == 64 + 2 * 96 * 64
    assert mlp.norms == ("mlp_norm",)
    assert only_kind(model, "full").norms == ("attn_norm",)


def test_experts_of_nemotron_h_work_on_a_latent() -> None:
    experts = only_kind(read_config(NEMOTRON_H), "experts")
    # Router and its bias, down to 32 and up again, eight experts on 32, a shared one on the hidden state.
    assert experts.parameters == (64 + (8 * 64 + 8) + 2 * 32 * 64 + 8 * 2 * 24 * 32 + 2 * 48 * 64)


def test_nemotron_h_counts_its_layers_by_their_list() -> None:
    listed = without(NEMOTRON_H, "hybrid_override_pattern")
    listed |= {"layers_block_type": ["mamba", "mlp", "mamba", "attention", "mamba", "moe"]}
    assert read_config(listed).layer_kinds == read_config(NEMOTRON_H).layer_kinds
    assert read_config(listed).layer_count == 6


def test_states_have_the_format_that_the_config_asks_for() -> None:
    (asked,) = read_config({**MAMBA_2_8B, "mamba_ssm_cache_dtype": "float32"}).layer_kinds
    assert [state.dtype for state in states_of(asked)] == [None, Dtype.FP32]
    bf16 = read_config({**MAMBA_2_8B, "torch_dtype": "bfloat16"})
    assert bf16.state_bytes_per_sequence == 64 * 2 * (3 + 16) * 5120


def test_an_explicit_width_wins_over_the_expansion() -> None:
    # Falcon-Mamba-7B says expand 16 and intermediate_size 8192 with a hidden size of 4096.
    assert read_config({**MAMBA_2_8B, "expand": 16}) == read_config(MAMBA_2_8B)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (MAMBA_2_8B, "state_size"),
        (CODESTRAL_MAMBA, "n_groups"),
        (CODESTRAL_MAMBA, "state_size"),
        (NEMOTRON_H, "mamba_head_dim"),
        (NEMOTRON_H, "hybrid_override_pattern"),
        (NEMOTRON_H, "moe_shared_expert_intermediate_size"),
        (FALCON_H1_7B, "mamba_d_state"),
    ],
)
def test_a_size_that_is_left_out_is_asked_for(config: dict[str, Any], key: str) -> None:
    with pytest.raises(UnsupportedConfigError, match=key):
        read_config({"num_hidden_layers": 6, **without(config, key)})


@pytest.mark.parametrize(
    ("config", "changes", "key"),
    [
        (CODESTRAL_MAMBA, {"num_heads": 100}, "num_heads"),
        (CODESTRAL_MAMBA, {"n_groups": 7}, "n_groups"),
        (CODESTRAL_MAMBA, {"intermediate_size": 8000}, "num_heads"),
        (FALCON_H1_7B, {"mamba_d_head": 64}, "mamba_n_heads"),
        (MAMBA_2_8B, {"conv_kernel": 0}, "conv_kernel"),
        (MAMBA_2_8B, {"mamba_ssm_cache_dtype": "int3"}, "mamba_ssm_cache_dtype"),
        (NEMOTRON_H, {"num_hidden_layers": 7}, "hybrid_override_pattern"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(
    config: dict[str, Any], changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(InvalidFieldsError) as error:
        read_config({**config, **changes})
    assert key in [violation.field for violation in error.value.violations]


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (NEMOTRON_H, {"mlp_bias": True}),
        (NEMOTRON_H, {"attention_bias": True}),
        (NEMOTRON_H, {"mlp_hidden_act": "silu"}),
        (NEMOTRON_H, {"n_shared_experts": 2}),
        (NEMOTRON_H, {"hybrid_override_pattern": "M-M*MX"}),
        (FALCON_H1_7B, {"attn_layer_indices": [1, 2]}),
        (FALCON_H1_7B, {"mamba_use_mlp": False}),
        (CODESTRAL_MAMBA, {"rms_norm": False}),
        (MAMBA_2_8B, {"ssm_cfg": {"layer": "Mamba2"}}),
        (MAMBA_2_8B, {"n_meta_heads": 3}),
    ],
)
def test_what_would_change_the_layers_unseen_is_refused_by_its_key(
    config: dict[str, Any], changes: dict[str, Any]
) -> None:
    (key,) = changes
    with pytest.raises(UnsupportedConfigError) as error:
        read_config({**config, **changes})
    assert any(found.split(".")[0] == key for found in error.value.keys)
