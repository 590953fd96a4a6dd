"""Checkpoints that store module classes in formats of their own."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.errors import UnsupportedConfigError
from ridgeline_server.domain.model import Model
from tests.unit.domain.model_configs import PUBLISHED, read, small
from tests.unit.domain.test_checkpoint_format import FLOAT8, FP8, INT4_GROUPS, compressed

FP4 = {"num_bits": 4, "type": "float", "group_size": 16, "dynamic": False}


def formats(model: Model) -> dict[str, Dtype]:
    """The formats that are not the wide one."""
    return {found.module.value: found.dtype for found in model.formats}


def exceptions(model: Model) -> list[str]:
    return [said for said in model.assumptions if "of the matrix weights" in said]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param("openai/gpt-oss-20b", {"experts": Dtype.MXFP4}, id="experts alone"),
        pytest.param("moonshotai/Kimi-K2.5", {"experts": Dtype.INT4}, id="by regular expressions"),
        pytest.param("nvidia/GLM-5.1-NVFP4", {"experts": Dtype.NVFP4}, id="layer by layer"),
        pytest.param("nvidia/MiniMax-M2.7-NVFP4", {"experts": Dtype.NVFP4}, id="routers named too"),
        pytest.param("nvidia/Gemma-4-31B-IT-NVFP4", {"mlp": Dtype.NVFP4}, id="attention left wide"),
        pytest.param("nvidia/Gemma-4-26B-A4B-NVFP4", {"experts": Dtype.NVFP4}, id="experts beside mlp"),
        pytest.param(
            "nvidia/Qwen3.6-27B-NVFP4",
            {
                "mixer": Dtype.FP8,
                "attention": Dtype.FP8,
                "mlp": Dtype.NVFP4,
                "lm_head": Dtype.NVFP4,
            },
            id="each module listed",
        ),
        pytest.param(
            "nvidia/MiniMax-M3-NVFP4",
            {
                "attention": Dtype.FP8,
                "mlp": Dtype.FP8,
                "experts": Dtype.NVFP4,
                "shared_expert": Dtype.FP8,
            },
            id="mxfp8 beside nvfp4",
        ),
        pytest.param(
            "deepseek-ai/DeepSeek-V4-Flash",
            {"attention": Dtype.FP8, "experts": Dtype.MXFP4, "shared_expert": Dtype.FP8},
            id="expert_dtype",
        ),
        pytest.param(
            "nvidia/DeepSeek-V4-Flash-NVFP4",
            {"attention": Dtype.FP8, "experts": Dtype.NVFP4, "shared_expert": Dtype.FP8},
            id="nvfp4 within fp8",
        ),
        pytest.param(
            "sgl-project/DeepSeek-V4-Flash-FP8",
            {"attention": Dtype.FP8, "experts": Dtype.FP8, "shared_expert": Dtype.FP8},
            id="fp8 throughout",
        ),
        pytest.param(
            "zai-org/GLM-5-FP8",
            {
                "attention": Dtype.FP8,
                "mlp": Dtype.FP8,
                "experts": Dtype.FP8,
                "shared_expert": Dtype.FP8,
            },
            id="but for norms",
        ),
        pytest.param("Qwen/Qwen3-30B-A3B-FP8", {"attention": Dtype.FP8, "experts": Dtype.FP8}, id="router"),
    ],
)
def test_published_checkpoints_store_their_modules_so(model: str, expected: dict[str, Dtype]) -> None:
    found = read(model)
    assert formats(found) == expected
    assert found.weight_dtype is expected.get("experts", expected.get("mlp"))


def test_what_few_layers_store_otherwise_is_said_with_its_share() -> None:
    # The projection of the weights of the indexer's heads, 6144 x 32 in each layer.
    (said,) = exceptions(read("zai-org/GLM-5-FP8"))
    assert said.startswith("0.0021% of the matrix weights, in attention, are stored as bf16 in some layers")


def test_a_layer_that_is_left_wide_is_said_and_the_class_keeps_its_format() -> None:
    scheme = {**FP8, "modules_to_not_convert": ["lm_head", "model.layers.0.self_attn"]}
    model = read_config(small(quantization_config=scheme))
    assert formats(model) == {"attention": Dtype.FP8, "mlp": Dtype.FP8}
    # One of three layers: 2 x 64 x 64 + 2 x 16 x 64 of 3 x (10,240 + 3 x 64 x 160) and lm_head's 101 x 64.
    assert exceptions(model) == [
        "7.9% of the matrix weights, in attention, are stored as bf16 in some layers and taken as fp8"
    ]


@pytest.mark.parametrize(
    ("pattern", "wide"),
    [
        ("re:.*mlp.*", "mlp"),
        ("*.mlp.*", "mlp"),
        ("model.layers.*.mlp", "mlp"),
        ("mlp", "mlp"),
        ("re:.*self_attn.*", "attention"),
        ("self_attn", "attention"),
        ("model.layers.*.self_attn*", "attention"),
    ],
)
def test_a_pattern_for_all_layers_leaves_a_class_wide(pattern: str, wide: str) -> None:
    model = read_config(small(quantization_config=compressed(FLOAT8, FLOAT8, ignore=["lm_head", pattern])))
    assert formats(model) == {module: Dtype.FP8 for module in ("attention", "mlp") if module != wide}
    assert exceptions(model) == []


def test_a_number_before_a_star_means_all_layers_that_begin_with_it() -> None:
    scheme = compressed(FLOAT8, FLOAT8, ignore=["lm_head", "model.layers.1*"])
    twelve = read_config(small(num_hidden_layers=12, quantization_config=scheme))
    # Layers 1, 10 and 11 of twelve.
    assert [said.partition("%")[0] for said in exceptions(twelve)] == ["6.2", "19"]


def test_targets_by_name_quantise_nothing_else() -> None:
    group = {"targets": ["re:.*mlp.*"], "weights": FLOAT8, "input_activations": FLOAT8}
    model = read_config(small(quantization_config=compressed(FLOAT8, FLOAT8, config_groups={"a": group})))
    assert formats(model) == {"mlp": Dtype.FP8}


def test_lm_head_is_quantised_where_a_scheme_of_all_linear_layers_does_not_leave_it_out() -> None:
    named = read_config(small(quantization_config=compressed(FLOAT8, FLOAT8)))
    covered = read_config(small(quantization_config=compressed(FLOAT8, FLOAT8, ignore=[])))
    tied = read_config(
        small(tie_word_embeddings=True, quantization_config=compressed(FLOAT8, FLOAT8, ignore=[]))
    )
    assert "lm_head" not in formats(named)
    assert formats(covered)["lm_head"] is Dtype.FP8
    assert "lm_head" not in formats(tied)


@pytest.mark.parametrize(
    ("scheme", "weight", "group", "activation"),
    [
        (compressed(FP4, FP4), Dtype.NVFP4, 16, Dtype.NVFP4),
        (compressed({**FP4, "group_size": 32}, None), Dtype.MXFP4, 32, None),
        (compressed({**INT4_GROUPS, "group_size": 32}, None), Dtype.INT4, 32, None),
        (
            {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}},
            Dtype.NVFP4,
            16,
            Dtype.NVFP4,
        ),
        ({"quant_method": "modelopt", "quant_algo": "W4A16_AWQ", "group_size": 64}, Dtype.INT4, 64, None),
        ({"quant_method": "modelopt_fp4", "quant_algo": "NVFP4"}, Dtype.NVFP4, 16, Dtype.NVFP4),
        ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, Dtype.FP8, 0, Dtype.FP8),
        ({"quant_method": "intel/auto-round", "bits": 4, "group_size": 128}, Dtype.INT4, 128, None),
        (
            {
                "quant_method": "quark",
                "global_quant_config": {"weight": {"dtype": "fp4", "group_size": 32}, "input_tensors": None},
                "exclude": ["lm_head"],
            },
            Dtype.MXFP4,
            32,
            None,
        ),
    ],
)
def test_further_schemes_are_known(
    scheme: dict[str, Any], weight: Dtype, group: int, activation: Dtype | None
) -> None:
    model = read_config(small(quantization_config=scheme))
    assert (model.weight_dtype, model.weight_group_size) == (weight, group)
    assert model.activation_dtype is activation


@pytest.mark.parametrize(
    "scheme",
    [
        {**FP8, "modules_to_not_convert": ["lm_head", "model.layers.0.self_attention_of_another_kind"]},
        compressed(FLOAT8, FLOAT8, ignore=["re:.*experts.*"]),
        {"quant_method": "mxfp4"},
    ],
    ids=["no module", "no experts", "experts alone"],
)
def test_modules_that_the_model_does_not_have_are_refused(scheme: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedConfigError) as raised:
        read_config(small(quantization_config=scheme))
    assert raised.value.keys == ("quantization_config",)


def test_the_scheme_of_a_wrapper_holds_for_its_language_model() -> None:
    wrapper = PUBLISHED["google/gemma-3-12b-it"]["config"]
    assert formats(read_config({**wrapper, "quantization_config": FP8})) == {
        "attention": Dtype.FP8,
        "mlp": Dtype.FP8,
    }


@pytest.mark.parametrize(
    "pattern",
    [
        r"re:.*mlp\.(gate|up|down)_proj$",
        r"re:^model\.layers\.\d+\.mlp\..*",
        r"re:model.layers.[0-9]+.mlp.(?:gate_proj|up_proj|down_proj)",
        r"re:.*\.mlp\.\w+_proj\.weight$",
    ],
)
def test_expressions_are_matched_with_the_whole_names_of_modules(pattern: str) -> None:
    scheme = compressed(FLOAT8, FLOAT8, ignore=["lm_head", pattern])
    assert formats(read_config(small(quantization_config=scheme))) == {"attention": Dtype.FP8}


def test_an_expression_may_tell_layers_apart() -> None:
    # Layers 1 and 10 of twelve, of whose weights attention has 10,240 of 40,960.
    scheme = compressed(FLOAT8, FLOAT8, ignore=["lm_head", r"re:model\.layers\.(1|10)\.self_attn.*"])
    (said,) = exceptions(read_config(small(num_hidden_layers=12, quantization_config=scheme)))
    assert said == (
        "4.1% of the matrix weights, in attention, are stored as bf16 in some layers and taken as fp8"
    )


def test_a_star_within_the_number_of_a_layer_means_modules_of_all_layers_that_begin_so() -> None:
    scheme = compressed(FLOAT8, FLOAT8, ignore=["lm_head", "model.layers.1*.self_attn"])
    (said,) = exceptions(read_config(small(num_hidden_layers=12, quantization_config=scheme)))
    # Layers 1, 10 and 11, their attention alone.
    assert said.startswith("6.2% of the matrix weights, in attention,")


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (["re:(?!x)"], '"(?!x)", an expression that has a group that begins with "(?"'),
        (["re:" + "a" * 201], "an expression that has 201 characters, over 200"),
        (["a" * 501], "of 501 characters; 500 are read at most"),
        ([f"re:.*mlp{n}" for n in range(40)], "by 40 regular expressions; 32 are read at most"),
        ([f"mlp.m{n}" for n in range(300)], "by 300 patterns, numbers of layers and experts left out; 256"),
    ],
    ids=["unknown", "long", "long name", "many expressions", "many names"],
)
def test_patterns_beyond_what_is_read_are_refused_with_the_bound(patterns: list[str], said: str) -> None:
    with pytest.raises(UnsupportedConfigError) as raised:
        read_config(small(quantization_config=compressed(FLOAT8, FLOAT8, ignore=patterns)))
    assert said in str(raised.value)
    assert "state the format of the weights in the deployment" in str(raised.value)


def test_names_that_differ_by_layer_or_expert_alone_are_one_pattern() -> None:
    names = [
        f"model.layers.{layer}.mlp.{part}_proj" for layer in range(126) for part in ("gate", "up", "down")
    ]
    model = read_config(
        small(num_hidden_layers=126, quantization_config={**FP8, "modules_to_not_convert": names})
    )
    assert formats(model) == {"attention": Dtype.FP8}
