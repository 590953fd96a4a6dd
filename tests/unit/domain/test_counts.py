"""Parameter counts against counts from elsewhere: published ones, and those that transformers allocates."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.families import FAMILIES
from ridgeline_server.domain.families.linear_attention import LINEAR_ATTENTION
from ridgeline_server.domain.families.state_space import STATE_SPACES
from ridgeline_server.domain.mixers import Attention
from ridgeline_server.domain.model import LayerKind, Model
from ridgeline_server.domain.tensors import TensorKind
from tests.unit.domain.model_configs import (
    FAMILY_COUNTS,
    PUBLISHED,
    TRANSFORMERS,
    WITH_ALL_KEYS,
    attention,
    read,
)

EXACT = [model for model, entry in PUBLISHED.items() if entry["verdict"] == "exact"]

# What a published count holds besides the weights of the language model

VISION = {
    # Parameters of the vision tower and the projector that transformers 5.24 builds from the same config.
    "google/gemma-3-4b-it": 419_816_304,
    "google/gemma-3-12b-it": 421_290_864,
    "google/gemma-3-27b-it": 423_060_336,
    "google/gemma-4-26B-A4B": 572_792_112,
    "mistralai/Devstral-Small-2-24B-Instruct-2512": 438_958_080,
    "MiniMaxAI/MiniMax-M3": 865_567_232,
    "Qwen/Qwen3-VL-2B-Instruct": 406_957_056,
    "Qwen/Qwen3-VL-4B-Instruct": 415_347_712,
    "Qwen/Qwen3-VL-8B-Instruct": 576_388_336,
    "Qwen/Qwen3-VL-30B-A3B-Instruct": 538_631_408,
    "Qwen/Qwen3-VL-32B-Instruct": 595_266_800,
    "Qwen/Qwen3-VL-32B-Thinking": 595_266_800,
    "Qwen/Qwen3-VL-235B-A22B-Instruct": 576_388_336,
    "Qwen/Qwen3.5-27B": 460_730_096,
    "Qwen/Qwen3.5-35B-A3B": 446_571_248,
    "Qwen/Qwen3.5-122B-A10B": 451_290_864,
    "Qwen/Qwen3.5-397B-A17B": 456_010_480,
    "stepfun-ai/Step-3.7-Flash": 1_955_848_960 + 6144 * 4096,
}


def kind_of(model: Model, *names: str) -> LayerKind:
    return next(kind for kind in model.layer_kinds if kind.name in names)


def mtp(model: Model, layer: int, *, own_embedding: bool = False) -> int:
    """A multi-token-prediction layer: a decoder layer, a projection of two hidden states into one, three
    norms, and in some checkpoints a copy of the embedding and of lm_head.
    """
    hidden, vocab = model.hidden_size, model.vocab_size
    return layer + 2 * hidden * hidden + 3 * hidden + (2 * vocab * hidden if own_embedding else 0)


def sparse_mtp(model: Model, *, own_embedding: bool = False) -> int:
    """One whose layer is like the last one of the model."""
    last = model.layer_kinds[model.layer_sequence[-1]]
    full = max(model.layer_kinds, key=lambda kind: kind.parameters)
    layer = full if last.name.startswith("shared") else last
    return mtp(model, layer.parameters, own_embedding=own_embedding)


def block_scales(model: Model) -> int:
    """One for each block of 128 x 128 weights of a matrix that is stored in FP8."""
    return sum(
        count * tensor.copies * ceil(tensor.shape[0] / 128) * ceil(tensor.shape[1] / 128)
        for count, tensor in model.layer_tensors()
        if tensor.kind is TensorKind.MATRIX and model.format_of(tensor.module).dtype is Dtype.FP8
    )


def mask_buffers(model: Model) -> int:
    assert model.max_context_len is not None
    return model.layer_count * model.max_context_len**2


def head_twice(model: Model) -> int:
    return model.vocab_size * model.hidden_size


BESIDES: dict[str, Callable[[Model], int]] = {
    "published stores the tied lm_head twice (+V*H)": head_twice,
    "published adds rotary inv_freq buffers": lambda m: (
        m.layer_count * attention(m.layer_kinds[0]).head_dim // 2
    ),
    "published adds rotary inv_freq": lambda m: attention(m.layer_kinds[0]).rotary_dim // 2,
    "published adds causal-mask buffers (n_layer*n_ctx^2)": mask_buffers,
    "published adds attention.bias/masked_bias/inv_freq buffers": lambda m: (
        mask_buffers(m) + m.layer_count * attention(m.layer_kinds[0]).rotary_dim // 2
    ),
    "published adds FP8 block scales": block_scales,
    "published adds vision tower/projector": lambda m: VISION[m.id],
    "published adds MTP layer(s)": sparse_mtp,
    "published adds MTP layer(s) and/or vision tower": lambda m: (
        mtp(m, kind_of(m, "full").parameters) + VISION[m.id]
    ),
}
"""By the verdict of the list of counts."""

HASH_TABLE_LAYERS = 3


def deepseek_v4_besides(model: Model) -> int:
    """A layer with the window alone, two projections of a hidden state each, three norms, a mixer of residual
    streams at its end; and for each token the experts of the first layers.
    """
    full = max(model.layer_kinds, key=lambda kind: kind.parameters)
    window = full.parameters - sum(
        tensor.parameters
        for tensor in full.tensors
        if "compressor" in tensor.operator or "indexer" in tensor.operator
    )
    hidden, streams = model.hidden_size, model.residual_streams
    joined = 2 * hidden * hidden + 3 * hidden + streams * streams * hidden + streams + 1
    assert model.experts is not None
    return window + joined + HASH_TABLE_LAYERS * model.vocab_size * model.experts.experts_per_token


def step_besides(model: Model) -> int:
    """A vision tower, and three layers: a dense one with a window, joined as above, with an lm_head each."""
    sliding = kind_of(model, "window-512, mlp").parameters
    return VISION["stepfun-ai/Step-3.7-Flash"] + 3 * (mtp(model, sliding) + head_twice(model))


SINGLE: dict[str, Callable[[Model], int]] = {
    # The published checkpoint has 32,000 tokens, the copy of the config 32,016: 16 rows in two matrices.
    "codellama/CodeLlama-34b-hf": lambda m: -16 * 2 * m.hidden_size,
    # The copies of the configs say 262,144 tokens, the checkpoints have 262,208.
    "google/gemma-3-12b-it": lambda m: VISION[m.id] + 64 * m.hidden_size,
    "google/gemma-3-27b-it": lambda m: VISION[m.id] + 64 * m.hidden_size,
    # lm_head twice, and the scale of each layer left out.
    "google/gemma-4-26B-A4B": lambda m: VISION[m.id] + head_twice(m) - m.layer_count,
    # Static FP8 per tensor: a scale of the weights and one of the inputs for each of seven matrices a layer.
    "mistralai/Devstral-Small-2-24B-Instruct-2512": lambda m: VISION[m.id] + m.layer_count * 7 * 2,
    "MiniMaxAI/MiniMax-M2.5": block_scales,
    "MiniMaxAI/MiniMax-M3": lambda m: VISION[m.id],
    "deepseek-ai/DeepSeek-R1": lambda m: sparse_mtp(m, own_embedding=True),
    "deepseek-ai/DeepSeek-V3": lambda m: sparse_mtp(m, own_embedding=True) + DEEPSEEK_V3_SCALES,
    "deepseek-ai/DeepSeek-V3.2": lambda m: sparse_mtp(m, own_embedding=True),
    "zai-org/GLM-4.5": lambda m: sparse_mtp(m, own_embedding=True),
    "zai-org/GLM-4.5-Air": lambda m: sparse_mtp(m, own_embedding=True),
    "zai-org/GLM-5-FP8": lambda m: sparse_mtp(m) + GLM_5_SCALES,
    "zai-org/GLM-5.1-FP8": lambda m: sparse_mtp(m) + GLM_5_SCALES,
    "zai-org/GLM-5.2-FP8": sparse_mtp,
    "deepseek-ai/DeepSeek-V4-Flash": deepseek_v4_besides,
    "deepseek-ai/DeepSeek-V4-Pro": deepseek_v4_besides,
    "stepfun-ai/Step-3.7-Flash": step_besides,
}
"""Where the verdict is silent or too short."""
DEEPSEEK_V3_SCALES = 40_838_232 + 702_264
"""Block scales of the 61 layers and of the multi-token-prediction layer."""
GLM_5_SCALES = 45_285_984 + 599_040


def besides(model: str) -> Callable[[Model], int] | None:
    return SINGLE.get(model, BESIDES.get(PUBLISHED[model]["verdict"]))


NOT_KNOWN_TO_THE_LAST = {
    # Vision towers that transformers does not build from these configs, or that are cut short in them.
    "moonshotai/Kimi-K2.5": (0, 1_000_000_000),
    "moonshotai/Kimi-K3": (0, 1_000_000_000),
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct": (0, 1_000_000_000),
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": (0, 1_000_000_000),
    # Multi-token prediction beside FP8 scales, or within 0.01%.
    "XiaomiMiMo/MiMo-V2-Flash": (0, 1_100_000_000),
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8": (0, 3_000_000_000),
    "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16": (0, 12_000_000_000),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (-3_000, 0),
    "moonshotai/Kimi-K2-Instruct": (0, 4_000),
    "stepfun-ai/Step-3.7-Flash-FP8": (0, 4_500_000_000),
    # The list of counts says so of it.
    "openbmb/MiniCPM3-4B": (-230_000_000, 0),
}
"""Bounds of the difference where the parts are not counted one by one."""


def test_63_models_have_an_exactly_published_count() -> None:
    assert len(PUBLISHED) == 191
    assert len(EXACT) == 63


@pytest.mark.parametrize("model", EXACT)
def test_parameters_are_those_published(model: str) -> None:
    assert read(model).parameter_count == PUBLISHED[model]["published_total"]


COUNTED = {
    model: entry
    for model, entry in PUBLISHED.items()
    if entry["published_total"] is not None
    and entry["verdict"] != "exact"
    and not entry["verdict"].startswith(("NVFP4", "llmfit"))
    and not model.endswith("-NVFP4")
}
EXPLAINED = [model for model in COUNTED if besides(model) and model not in NOT_KNOWN_TO_THE_LAST]


@pytest.mark.parametrize("model", EXPLAINED)
def test_a_published_count_differs_by_what_it_holds_besides_the_weights(model: str) -> None:
    found, explained = read(model), besides(model)
    assert explained is not None
    assert PUBLISHED[model]["published_total"] - found.parameter_count == explained(found)


@pytest.mark.parametrize("model", NOT_KNOWN_TO_THE_LAST)
def test_what_is_not_explained_to_the_last_is_small(model: str) -> None:
    least, most = NOT_KNOWN_TO_THE_LAST[model]
    assert least <= PUBLISHED[model]["published_total"] - read(model).parameter_count <= most


def test_no_published_count_is_left_out() -> None:
    assert {*COUNTED} == {*EXPLAINED, *NOT_KNOWN_TO_THE_LAST}
    assert len(EXPLAINED) >= 50


@pytest.mark.parametrize("model", ["nvidia/MiniMax-M2.5-NVFP4", "nvidia/MiniMax-M2.7-NVFP4"])
def test_a_count_of_packed_bytes_is_that_of_four_bit_experts_with_all_else_wide(model: str) -> None:
    # Two weights a byte; the hub's count leaves out FP32 tensors, such as the routing biases, and FP8 scales.
    found = read(model)
    assert found.experts is not None
    packed = sum(
        count * tensor.parameters
        for count, tensor in found.layer_tensors()
        if tensor.kind is TensorKind.MATRIX and found.format_of(tensor.module).dtype is Dtype.NVFP4
    )
    biases = found.layer_count * found.experts.expert_count
    assert found.parameter_count - packed // 2 - biases == PUBLISHED[model]["published_total"]


# Counts made from the modelling code

SHARED_INDEXERS = {
    # In GLM-5.2 and 5.3 57 of 78 layers take the keys that the layer before them chose, and have no
    # indexer of their own (transformers, GlmMoeDsaAttention). The published counts confirm it: they hold one
    # layer for multi-token prediction, as large as GLM-5's. The list of counts has an indexer in each layer.
    model: 57 * (32 * 128 * 2048 + 128 * 6144 + 2 * 128 + 32 * 6144)
    for model in PUBLISHED
    if "GLM-5.2" in model or "GLM-5.3" in model
}


@pytest.mark.parametrize("model", [m for m, entry in PUBLISHED.items() if entry["computed_total"]])
def test_totals_and_active_weights_agree_with_a_count_made_from_the_modelling_code(model: str) -> None:
    entry, found, less = PUBLISHED[model], read(model), SHARED_INDEXERS.get(model, 0)
    assert found.parameter_count == entry["computed_total"] - less
    assert found.active_parameter_count == entry["computed_active"] - less
    without = entry["computed_active_without_input_embedding"]
    assert found.active_parameter_count_without_embedding == without - less


@pytest.mark.parametrize("model", WITH_ALL_KEYS)
def test_configs_with_all_the_keys_that_files_have_hit_the_published_counts(model: str) -> None:
    entry = WITH_ALL_KEYS[model]
    assert read_config(entry["config"], model).parameter_count == entry["parameters"]


def test_every_published_config_is_read() -> None:
    for model in PUBLISHED:
        assert read(model).parameter_count > 0


# Counts of transformers


@pytest.mark.parametrize("entry", TRANSFORMERS, ids=lambda e: e["config"]["model_type"])
def test_small_models_have_as_many_parameters_as_transformers_allocates(entry: dict[str, Any]) -> None:
    assert read_config(entry["config"]).parameter_count == entry["parameters"]


@pytest.mark.parametrize("entry", FAMILY_COUNTS, ids=lambda e: e["config"]["model_type"])
def test_small_models_of_other_families_have_as_many_too(entry: dict[str, Any]) -> None:
    model = read_config(entry["config"])
    assert model.parameter_count == entry["parameters"] + entry["buffers"]
    if entry["kv_elements"] is not None:
        assert model.kv_elements_per_token == entry["kv_elements"]
    if entry["sliding_layers"] is not None:
        windows = [m.window for kind in model.layer_kinds for m in kind.mixers for _ in range(kind.count)]
        assert sum(window is not None for window in windows) == entry["sliding_layers"]


NOT_IN_TRANSFORMERS = {
    # Their code comes with the checkpoints; compared with rounded counts or worked by hand instead.
    *("RefinedWeb", "RefinedWebModel", "aquila", "aquila3", "arctic", "deci", "jais", "molmo"),
    *("nemotron-nas", "xverse"),
    # Other names of families that are compared.
    *("emu3_text_model", "glm4v_moe_text", "ministral", "phi4_multimodal"),
    *("qwen2_5_vl", "qwen2_5_vl_text", "qwen2_vl_text", "qwen3_omni_moe_text", "step3p5"),
}


def test_every_family_is_compared_with_a_count_from_elsewhere() -> None:
    published = {read(model).family for model in PUBLISHED}
    published |= {read_config(entry["config"]).family for entry in WITH_ALL_KEYS.values()}
    allocated = {entry["config"]["model_type"] for entry in (*TRANSFORMERS, *FAMILY_COUNTS)}
    hybrids = {*LINEAR_ATTENTION, *STATE_SPACES}
    assert set(FAMILIES) - published - allocated - hybrids == NOT_IN_TRANSFORMERS


def test_no_attention_is_left_out_of_the_caches_that_are_compared() -> None:
    compared = [entry for entry in FAMILY_COUNTS if entry["kv_elements"] is not None]
    plain = [
        entry
        for entry in FAMILY_COUNTS
        if all(
            isinstance(m, Attention) for kind in read_config(entry["config"]).layer_kinds for m in kind.mixers
        )
    ]
    assert len(compared) > 0.8 * len(plain)
