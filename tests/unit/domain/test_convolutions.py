"""Short convolutions and gated recurrences: the weights of one layer, its state, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.domain.mixers import Attention, Recurrence, ShortConvolution
from ridgeline_server.domain.mlps import Mlp
from tests.unit.domain.hybrid_configs import LFM2_1_2B, RECURRENTGEMMA_2B, only_kind, without


def test_a_convolution_layer_of_lfm2_1_2b() -> None:
    model = read_config(LFM2_1_2B)
    kind = only_kind(model, "convolution")
    # Three parts in, a convolution over three tokens, one part out; two thirds of 12288 is the MLP's width.
    assert kind.parameters == 2 * 2048 + 3 * 2048 * 2048 + 2048 * 3 + 2048 * 2048 + 3 * 8192 * 2048
    (mixer,) = kind.mixers
    assert isinstance(mixer, ShortConvolution)
    assert [state.elements for state in mixer.states] == [2 * 2048]
    assert (kind.count, only_kind(model, "full").count) == (10, 6)


@pytest.mark.parametrize(
    ("changes", "width"),
    [
        # LFM2-350M: two thirds of 6656 are 4437.3, rounded up to a multiple of 256.
        ({"block_ff_dim": 6656}, 4608),
        ({"block_ff_dim": 6656, "block_ffn_dim_multiplier": 1.5}, 6656),
        ({"block_ff_dim": 6656, "block_auto_adjust_ff_dim": False}, 6656),
    ],
)
def test_the_width_of_an_lfm2_mlp_follows_its_rule(changes: dict[str, Any], width: int) -> None:
    (mlp,) = only_kind(read_config({**LFM2_1_2B, **changes}), "full").mlps
    assert isinstance(mlp, Mlp)
    assert mlp.intermediate_size == width


def test_a_recurrent_layer_of_recurrentgemma_2b() -> None:
    kind = only_kind(read_config(RECURRENTGEMMA_2B), "recurrence")
    # Two branches in and one out with biases; a convolution over four tokens; two gates, each of ten blocks
    # of 256 x 256; a decay. The MLP's 15360 is that of gate and up together.
    assert kind.parameters == (
        2 * 2560
        + 2 * (2560 * 2560 + 2560)
        + (2560 * 4 + 2560)
        + 2 * (10 * 256 * 256 + 2560)
        + 2560
        + (2560 * 2560 + 2560)
        + (2 * (7680 * 2560 + 7680) + 2560 * 7680 + 2560)
    )
    (mixer,) = kind.mixers
    assert isinstance(mixer, Recurrence)
    assert [(state.elements, state.dtype) for state in mixer.states] == [(3 * 2560, None), (2560, Dtype.FP32)]


def test_every_third_layer_of_recurrentgemma_sees_2048_tokens() -> None:
    model = read_config(RECURRENTGEMMA_2B)
    kind = only_kind(model, "window-2048")
    (attention,) = kind.mixers
    assert isinstance(attention, Attention)
    assert (attention.window, attention.kv_head_count, attention.rotary_dim) == (2048, 1, 128)
    assert [
        n for n, kind_number in enumerate(model.layer_sequence) if model.layer_kinds[kind_number] is kind
    ] == ([*range(2, 26, 3)])


@pytest.mark.parametrize("word", ["block_types", "_block_types"])
def test_recurrentgemma_is_read_in_both_spellings(word: str) -> None:
    blocks = RECURRENTGEMMA_2B["block_types"]
    respelt = {**without(RECURRENTGEMMA_2B, "block_types"), word: blocks}
    assert read_config(respelt) == read_config(RECURRENTGEMMA_2B)


@pytest.mark.parametrize(
    ("config", "key"),
    [(LFM2_1_2B, "full_attn_idxs"), (LFM2_1_2B, "block_multiple_of"), (RECURRENTGEMMA_2B, "block_types")],
)
def test_what_is_left_out_is_asked_for(config: dict[str, Any], key: str) -> None:
    with pytest.raises(UnsupportedConfigError, match=key):
        read_config(without(config, key))


@pytest.mark.parametrize(
    ("config", "changes", "key"),
    [
        (LFM2_1_2B, {"conv_dim": 1024}, "conv_dim"),
        (LFM2_1_2B, {"full_attn_idxs": [16]}, "full_attn_idxs"),
        (LFM2_1_2B, {"tie_word_embeddings": True, "tie_embedding": False}, "tie_embedding"),
        (RECURRENTGEMMA_2B, {"lru_width": 2561}, "lru_width"),
        (RECURRENTGEMMA_2B, {"block_types": []}, "block_types"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(
    config: dict[str, Any], changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(InvalidFieldsError) as error:
        read_config({**config, **changes})
    assert key in [violation.field for violation in error.value.violations]


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (LFM2_1_2B, {"block_use_swiglu": False}),
        (LFM2_1_2B, {"layer_types": ["conv"] * 15 + ["sliding_attention"]}),
        (RECURRENTGEMMA_2B, {"block_types": ["recurrent", "global"]}),
        (RECURRENTGEMMA_2B, {"recurrent_heads": 5}),
    ],
)
def test_what_would_change_the_layers_unseen_is_refused_by_its_key(
    config: dict[str, Any], changes: dict[str, Any]
) -> None:
    (key,) = changes
    with pytest.raises(UnsupportedConfigError) as error:
        read_config({**config, **changes})
    assert error.value.keys == (key,)
