"""Zamba's shared blocks: which layer stores one, what each layer has of its own, and what is refused."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.domain.model import LayerKind
from tests.unit.domain.hybrid_configs import ZAMBA2, only_kind, without

MAMBA = 64 + (2 * 128 + 2 * 2 * 16 + 8) * 64 + (128 + 64) * 5 + 3 * 8 + 128 + 64 * 128
"""A Mamba-2 layer: norm, into the layer, convolution over four tokens with its bias, A, D, dt, norm, out."""
BLOCK = (128 + 4 * 128 * 128 - 64 * 128) + (64 + 3 * 96 * 64)
"""Norm, q, k and v on two hidden sizes, o back to one; norm, gate, up and down."""
OWN = 64 * 64 + 5 * (64 + 2 * 96)
"""Out of the block into the layer, and an adapter of rank 5 on gate and up."""


def kinds() -> tuple[LayerKind, LayerKind, LayerKind]:
    model = read_config(ZAMBA2)
    plain, stores, again = (model.layer_kinds[number] for number in range(3))
    return plain, stores, again


def test_two_of_three_hybrid_layers_store_their_block() -> None:
    plain, stores, again = kinds()
    assert (plain.count, stores.count, again.count) == (3, 2, 1)
    assert plain.parameters == MAMBA
    assert stores.parameters == MAMBA + BLOCK + OWN
    assert again.parameters == MAMBA + OWN


def test_a_block_that_is_used_again_is_read_and_has_a_cache_of_its_own() -> None:
    _, stores, again = kinds()
    assert [(t.operator, t.shape) for t in again.tensors] == [(t.operator, t.shape) for t in stores.tensors]
    assert again.kv_elements_per_token == stores.kv_elements_per_token == 2 * 128
    assert (again.mixers, again.mlps) == (stores.mixers, stores.mlps)


def test_attention_adapters_go_from_two_hidden_sizes_to_two() -> None:
    plain = read_config(ZAMBA2).parameter_count
    with_adapters = read_config({**ZAMBA2, "use_shared_attention_adapter": True}).parameter_count
    assert with_adapters - plain == 3 * 3 * 5 * (128 + 128)


def test_the_first_release_of_zamba2_spells_its_keys_in_another_way() -> None:
    old = {
        **ZAMBA2,
        "lora_rank": 5,
        "use_shared_block_lora": True,
        "use_shared_attention_lora": False,
        "expansion_factor": 2,
        "conv_dimension": 4,
        "state_size": 16,
        "mamba_headdim": 16,
        "ffn_hidden_size": 96,
    }
    for key in (
        "adapter_rank",
        "mamba_expand",
        "mamba_d_conv",
        "mamba_d_state",
        "n_mamba_heads",
        "intermediate_size",
    ):
        del old[key]
    assert read_config(old) == read_config(ZAMBA2)


def test_zamba_follows_a_period_where_no_layers_are_listed() -> None:
    model = read_config(
        {
            "model_type": "zamba",
            "hidden_size": 64,
            "num_hidden_layers": 12,
            "attn_layer_period": 6,
            "attn_layer_offset": 4,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "n_mamba_heads": 2,
            "mamba_d_state": 16,
            "mamba_d_conv": 4,
            "mamba_expand": 2,
            "vocab_size": 101,
        }
    )
    # The third layer, and the fifth of each six after it; they share one block.
    assert [n for n, kind in enumerate(model.layer_sequence) if model.layer_kinds[kind].mlps] == [2, 7]
    assert only_kind(model, "state-space").count == 10


def test_what_a_block_needs_is_asked_for() -> None:
    for key in ("num_mem_blocks", "adapter_rank", "layers_block_type", "intermediate_size"):
        with pytest.raises(UnsupportedConfigError, match=key):
            read_config(without(ZAMBA2, key))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"attention_hidden_size": 64}, "attention_hidden_size"),
        ({"attention_head_dim": 16}, "attention_head_dim"),
        ({"mamba_headdim": 32}, "n_mamba_heads"),
    ],
)
def test_a_block_of_another_width_is_refused(changes: dict[str, object], key: str) -> None:
    with pytest.raises(InvalidFieldsError) as error:
        read_config({**ZAMBA2, **changes})
    assert key in [violation.field for violation in error.value.violations]


@pytest.mark.parametrize(
    "changes", [{"tie_word_embeddings": False}, {"use_shared_mlp_adapter": False}, {"use_long_context": True}]
)
def test_what_is_not_modelled_of_zamba2_is_refused_by_its_key(changes: dict[str, object]) -> None:
    with pytest.raises(UnsupportedConfigError) as error:
        read_config({**ZAMBA2, **changes})
    assert error.value.keys == tuple(changes)
