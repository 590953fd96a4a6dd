"""What the contract's message tells of a model that is not dense."""

from __future__ import annotations

import json

import pytest

from ridgeline.v1 import model_pb2
from ridgeline_server.rpc.convert.models import entry_message
from ridgeline_server.store.entries import ModelEntry
from tests.unit.domain.model_configs import PUBLISHED


def message(model: str) -> model_pb2.Model:
    return entry_message(ModelEntry(id=model, config_json=json.dumps(PUBLISHED[model]["config"])))


def formats(of: model_pb2.Model) -> dict[str, str]:
    return {
        f.module_class: type(f).DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_number[f.dtype].name
        for f in of.weight_formats
    }


def test_a_mixture_of_experts_tells_its_experts_and_what_a_token_uses() -> None:
    told = message("deepseek-ai/DeepSeek-V3")
    assert (told.parameter_count, told.active_parameter_count) == (671_026_419_200, 37_552_297_472)
    assert told.active_parameter_count_without_embedding == 37_552_297_472 - 129_280 * 7168
    assert (told.expert_count, told.experts_per_token) == (256, 8)
    assert (told.head_count, told.kv_head_count, told.layer_count) == (128, 1, 61)
    assert told.kv_bytes_per_token == 61 * 576 * 2
    assert told.state_bytes_per_sequence == 0
    assert list(told.not_modelled) == ["1 multi-token-prediction layer(s)"]


def test_layer_kinds_are_told_in_words_with_the_weights_of_one_layer() -> None:
    dense, sparse = message("deepseek-ai/DeepSeek-V3").layer_kinds
    assert (dense.name, dense.count, sparse.name, sparse.count) == ("mlp", 3, "experts", 58)
    assert dense.mixer == sparse.mixer == "latent attention, 128 heads of 128 + 64, latent 512"
    assert dense.mlp == "gated MLP of width 18432"
    assert sparse.mlp == "8 of 256 experts of width 2048, one shared of width 2048"
    assert sparse.parameter_count == 11_507_286_272


@pytest.mark.parametrize(
    ("model", "mixers"),
    [
        (
            "openai/gpt-oss-20b",
            ["attention, 64 heads of 64, 8 KV heads, window 128", "attention, 64 heads of 64, 8 KV heads"],
        ),
        ("XiaomiMiMo/MiMo-V2-Flash", None),
        (
            "deepseek-ai/DeepSeek-V3.2",
            ["latent attention, 128 heads of 128 + 64, latent 512, the 2048 keys that an indexer picks"] * 2,
        ),
        ("state-spaces/mamba-2.8b-hf", None),
        ("moonshotai/Kimi-K3", None),
    ],
)
def test_every_mixer_has_words(model: str, mixers: list[str] | None) -> None:
    told = [kind.mixer for kind in message(model).layer_kinds]
    assert all(told)
    assert mixers is None or told == mixers


def test_each_module_class_tells_its_format() -> None:
    assert formats(message("openai/gpt-oss-20b")) == {
        "embedding": "DTYPE_BF16",
        "norms": "DTYPE_BF16",
        "attention": "DTYPE_BF16",
        "router": "DTYPE_BF16",
        "experts": "DTYPE_MXFP4",
        "lm_head": "DTYPE_BF16",
    }


def test_a_model_without_attention_has_no_heads_and_no_cache_but_a_state() -> None:
    told = message("state-spaces/mamba-2.8b-hf")
    assert (told.head_count, told.kv_head_count, told.kv_bytes_per_token) == (0, 0, 0)
    assert told.state_bytes_per_sequence > 0


def test_every_published_model_fits_into_the_message() -> None:
    for model in PUBLISHED:
        told = message(model)
        assert told.parameter_count > 0
        assert sum(kind.count for kind in told.layer_kinds) == told.layer_count
        whole = sum(kind.count * kind.parameter_count for kind in told.layer_kinds)
        assert 0 < whole < told.parameter_count
