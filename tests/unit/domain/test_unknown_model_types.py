"""What a config of an unknown model_type is read as, and which defaults are not taken."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.errors import UnsupportedConfigError
from ridgeline_server.domain.mixers import LatentAttention
from tests.unit.domain.model_configs import small
from tests.unit.domain.test_architectures import MOE, kinds, mixer, shapes


def test_an_unknown_mixture_of_experts_with_standard_keys_is_read_and_said() -> None:
    foo = small(model_type="foo", n_shared_experts=1, first_k_dense_replace=1, topk_method="noaux_tc", **MOE)
    model = read_config(foo)
    assert kinds(model) == [("mlp", 1), ("experts", 2)]
    assert shapes(model.layer_kinds[1])["shared_expert_up_proj"] == (24, 64)
    assert model.assumptions == (
        (
            'model_type "foo" is not known: read as llama-like: gated MLP, RMSNorm, no biases, no norms of '
            "queries and keys, experts with a routing bias, in all layers but those that keys make dense"
        ),
    )


def test_an_unknown_latent_attention_with_standard_keys_is_read_and_said() -> None:
    ranks = {
        "q_lora_rank": 24,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 12,
        "qk_rope_head_dim": 8,
        "v_head_dim": 10,
    }
    model = read_config(small(model_type="foo", **ranks))
    assert mixer(model.layer_kinds[0]) == LatentAttention(8, 24, 16, 12, 8, 10)
    assert "latent attention as DeepSeek-V3's" in model.assumptions[0]


def test_an_unknown_model_type_with_a_known_class_is_read_as_that_class_s() -> None:
    model = read_config(small(model_type="my_qwen", architectures=["Qwen2ForCausalLM"]))
    assert (model.family, model.layer_kinds) == ("qwen2", read_config(small(model_type="qwen2")).layer_kinds)
    assert 'model_type "my_qwen" is not known: read as qwen2, as architectures says' in model.assumptions


@pytest.mark.parametrize("key", ["moe_layers_pattern", "expert_groups_size", "kv_b_proj_rank", "shared_head"])
def test_an_unknown_mixture_with_a_key_of_its_own_is_refused(key: str) -> None:
    with pytest.raises(UnsupportedConfigError) as raised:
        read_config(small(model_type="foo", **MOE, **{key: 2}))
    assert key in raised.value.keys


@pytest.mark.parametrize(
    ("model_type", "missing"),
    [
        ("deepseek_v3", "first_k_dense_replace"),
        ("glm4_moe", "first_k_dense_replace"),
        ("exaone_moe", "first_k_dense_replace"),
        ("ernie4_5_moe", "moe_layer_start_index"),
        ("laguna", "mlp_layer_types"),
        ("granitemoe_swa", "layer_types"),
    ],
)
def test_a_default_that_is_that_of_one_size_of_model_is_not_taken(model_type: str, missing: str) -> None:
    ranks = {
        "q_lora_rank": 24,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 12,
        "qk_rope_head_dim": 8,
        "v_head_dim": 10,
    }
    with pytest.raises(UnsupportedConfigError) as raised:
        read_config(
            small(model_type=model_type, head_dim=8, **MOE, **(ranks if "deepseek" in model_type else {}))
        )
    assert missing in raised.value.keys
