"""Keys that say something for each layer, whatever the family."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.domain.mlps import Mlp
from tests.unit.domain.model_configs import attention, small


def test_any_family_takes_lists_and_transformers_per_layer_config() -> None:
    widths = read_config(small(intermediate_size=[160, 96, 160]))
    assert [(kind.mlps[0], kind.count) for kind in widths.layer_kinds] == [
        (Mlp(160, gated=True, activation="silu"), 2),
        (Mlp(96, gated=True, activation="silu"), 1),
    ]
    heads = read_config(small(per_layer_config={"01": {"head_dim": 32}}))
    assert [attention(heads.layer_kinds[k]).head_dim for k in heads.layer_sequence] == [8, 32, 8]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("intermediate_size", [160, 96]),
        ("intermediate_size", [160, 96, "wide"]),
        ("num_attention_heads_per_layer", [8]),
        ("per_layer_config", {"7": {"head_dim": 32}}),
        ("per_layer_config", {"x": {"head_dim": 32}}),
        ("per_layer_config", {"1": {"head_dim": "wide"}}),
        ("per_layer_config", [1]),
    ],
)
def test_a_list_that_does_not_fit_the_layers_is_told(key: str, value: object) -> None:
    with pytest.raises(InvalidFieldsError) as raised:
        read_config(small(**{key: value}))
    assert [violation.field for violation in raised.value.violations] == [key]
