"""Published hybrids: their parameter counts are hit, or missed by what their checkpoints hold besides."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.model import LayerKind, Model
from ridgeline_server.domain.tensors import ModuleClass, TensorKind
from tests.unit.domain.model_configs import read_json

PUBLISHED: dict[str, dict[str, Any]] = {
    entry["model"]: entry for entry in read_json("hybrid_configs.json.gz")
}
COUNTED = [model for model, entry in PUBLISHED.items() if entry["computed_total"] is not None]


def read(model: str) -> Model:
    return read_config(PUBLISHED[model]["config"], model)


def beyond(model: str) -> int:
    """Weights of the published count besides those that the model has."""
    return int(PUBLISHED[model]["published_total"]) - read(model).parameter_count


def kind(model: Model, name: str) -> LayerKind:
    return next(kind for kind in model.layer_kinds if kind.name.startswith(name))


def prediction(model: Model, *layers: str) -> int:
    """A module for multi-token prediction: some of the model's layers, a matrix from two hidden sizes to one,
    and three norms.
    """
    own = sum(kind(model, name).parameters for name in layers)
    return own + 2 * model.hidden_size**2 + 3 * model.hidden_size


def vision(config: dict[str, Any]) -> int:
    """The tower of Qwen3.5: LayerNorms, biases, a plain MLP, learned positions; and its merger of patches."""
    of = config["vision_config"]
    size, width, out = of["hidden_size"], of["intermediate_size"], of["out_hidden_size"]
    attention = 3 * size * (size + 1) + size * (size + 1)
    layer = 2 * 2 * size + attention + width * (size + 1) + size * (width + 1)
    patch = of["in_channels"] * of["temporal_patch_size"] * of["patch_size"] ** 2
    merged = 4 * size
    merger = 2 * size + merged * (merged + 1) + out * (merged + 1)
    return int(of["depth"] * layer + (patch + 1) * size + of["num_position_embeddings"] * size + merger)


@pytest.mark.parametrize("model", COUNTED)
def test_counts_agree_with_those_made_from_the_modelling_code(model: str) -> None:
    entry, found = PUBLISHED[model], read(model)
    assert found.parameter_count == entry["computed_total"]
    assert found.active_parameter_count == entry["computed_active"]
    assert found.active_parameter_count_without_embedding == entry["computed_active_without_input_embedding"]


@pytest.mark.parametrize("model", ["nvidia/Nemotron-H-56B-Base-8K", "state-spaces/mamba-2.8b-hf"])
def test_exact_counts_are_hit(model: str) -> None:
    assert PUBLISHED[model]["verdict"] == "exact"
    assert beyond(model) == 0


def test_qwen3_next_is_published_with_a_layer_for_multi_token_prediction() -> None:
    model = "Qwen/Qwen3-Next-80B-A3B-Instruct"
    assert beyond(model) == prediction(read(model), "full")
    assert "multi-token prediction" in read(model).not_modelled[0]


@pytest.mark.parametrize(
    "model", ["Qwen/Qwen3.5-27B", "Qwen/Qwen3.5-35B-A3B", "Qwen/Qwen3.5-122B-A10B", "Qwen/Qwen3.5-397B-A17B"]
)
def test_qwen3_5_is_published_with_its_vision_tower_too(model: str) -> None:
    found = read(model)
    assert beyond(model) == prediction(found, "full") + vision(PUBLISHED[model]["config"])
    assert found.not_modelled == ("a vision tower (vision_config)", "1 multi-token-prediction layer(s)")


@pytest.mark.parametrize(
    ("model", "sparse_layers", "experts"),
    [
        # Published counts of Nemotron 3 leave out the routing biases, which are fp32 in a bf16 checkpoint.
        ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8", 40, 512),
        ("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16", 48, 512),
    ],
)
def test_nemotron_3_is_published_with_multi_token_prediction_and_without_routing_biases(
    model: str, sparse_layers: int, experts: int
) -> None:
    found = read(model)
    assert kind(found, "experts").count == sparse_layers
    biases = (sparse_layers + 1) * experts
    assert beyond(model) == prediction(found, "full", "experts") - biases


def test_nemotron_3_nano_is_published_without_routing_biases() -> None:
    model = "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"
    assert beyond(model) == -23 * 128


@pytest.mark.parametrize(
    ("model", "wide_gates"),
    [
        ("nvidia/Qwen3.6-27B-NVFP4", 0),
        ("nvidia/Qwen3.5-122B-A10B-NVFP4", 0),
        # The gate of the shared expert, one row of 2048 in each of 40 layers, stays wide.
        ("nvidia/Qwen3.6-35B-A3B-NVFP4", 40 * 2048),
    ],
)
def test_four_bit_weights_are_published_two_to_an_element(model: str, wide_gates: int) -> None:
    """These checkpoints have the vision tower and no layer for multi-token prediction; scales do not count.

    So the published count tells which modules are stored in 4 bits.
    """
    found = read(model)
    packed = sum(
        count * tensor.parameters
        for count, tensor in found.all_tensors()
        if tensor.kind is TensorKind.MATRIX and found.format_of(tensor.module).dtype is Dtype.NVFP4
    )
    assert beyond(model) == vision(PUBLISHED[model]["config"]) - (packed - wide_gates) // 2


def test_formats_of_mixers_are_told_from_those_of_what_follows() -> None:
    found = read("nvidia/Qwen3.6-27B-NVFP4")
    dtypes = {form.module: form.dtype for form in found.formats}
    assert dtypes == {
        ModuleClass.MIXER: Dtype.FP8,
        ModuleClass.ATTENTION: Dtype.FP8,
        ModuleClass.MLP: Dtype.NVFP4,
        ModuleClass.LM_HEAD: Dtype.NVFP4,
    }
    # Layers for multi-token prediction have numbers of their own: leaving those wide says nothing of layer 0.
    assert not any("experts" in said for said in read("nvidia/Qwen3.5-122B-A10B-NVFP4").assumptions)


def test_kimi_k3_has_the_published_weights_but_for_its_vision_part() -> None:
    # By its vision_config: 27 layers on 1024 with q, k and v 1536 wide, an MLP of two matrices of 4096, two
    # norms; patches of 3 x 14 x 14, 64 x 64 positions, a norm at the end; no biases. Then a projector of four
    # merged patches, and a norm. The checkpoint stores 128 elements of A_log for the 96 heads of a KDA layer.
    layer = 3 * 1536 * 1024 + 1024 * 1536 + 2 * 4096 * 1024 + 2 * 1024
    tower = 27 * layer + 3 * 14 * 14 * 1024 + 64 * 64 * 1024 + 1024
    projector = 4096 * 4096 + 7168 * 4096 + 7168
    assert beyond("moonshotai/Kimi-K3") == tower + projector + 69 * (128 - 96)
    found = read("moonshotai/Kimi-K3")
    assert [form.dtype for form in found.formats if form.module is ModuleClass.EXPERTS] == [Dtype.MXFP4]
