"""How quantised checkpoints store their layers, and which quantisations are refused."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.dtypes import Dtype, weight_bits
from ridgeline_server.domain.errors import UnsupportedConfigError
from ridgeline_server.domain.model import Model
from tests.unit.domain.model_configs import config, small


def bits(model: Model) -> float:
    """Bits of a weight of the layers' matrices, as it is stored."""
    return weight_bits(model.weight_dtype, model.weight_group_size, model.weight_scale_bits)


FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True, "sym": True}
BNB4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


def compressed(weights: dict[str, Any], inputs: dict[str, Any] | None, **more: object) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
        **more,
    }


FLOAT8 = {"num_bits": 8, "type": "float", "strategy": "channel", "dynamic": False, "symmetric": True}
INT8 = {**FLOAT8, "type": "int"}
INT4_GROUPS = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
MODELOPT_FP8 = {
    "quant_algo": "FP8",
    "ignore": ["lm_head"],
    "producer": {"name": "modelopt", "version": "0.31.0"},
}


@pytest.mark.parametrize(
    ("scheme", "weight", "group_size", "activation"),
    [
        pytest.param(FP8, Dtype.FP8, 128 * 128, Dtype.FP8, id="fp8-blocks"),
        pytest.param({**FP8, "weight_block_size": None}, Dtype.FP8, 0, Dtype.FP8, id="fp8-tensor"),
        pytest.param(
            {"quant_method": "fp8", "activation_scheme": "static"}, Dtype.FP8, 0, Dtype.FP8, id="fp8-static"
        ),
        pytest.param(
            {**FP8, "modules_to_not_convert": ["lm_head", "model.layers.0.input_layernorm"]},
            Dtype.FP8,
            128 * 128,
            Dtype.FP8,
            id="fp8-but-for-norms",
        ),
        pytest.param(AWQ, Dtype.INT4, 128, None, id="awq"),
        pytest.param({**AWQ, "group_size": 64}, Dtype.INT4, 64, None, id="awq-g64"),
        pytest.param({**AWQ, "modules_to_not_convert": None}, Dtype.INT4, 128, None, id="awq-null"),
        pytest.param(GPTQ, Dtype.INT4, 128, None, id="gptq"),
        pytest.param({**GPTQ, "bits": 8, "group_size": -1}, Dtype.INT8, 0, None, id="gptq-int8-channel"),
        pytest.param({**GPTQ, "bits": 4.0, "group_size": 32.0}, Dtype.INT4, 32, None, id="gptq-floats"),
        pytest.param(BNB4, Dtype.INT4, 64, None, id="nf4"),
        pytest.param(
            {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_skip_modules": ["lm_head"]},
            Dtype.INT8,
            0,
            Dtype.INT8,
            id="llm.int8",
        ),
        pytest.param(compressed(FLOAT8, FLOAT8), Dtype.FP8, 0, Dtype.FP8, id="w8a8-fp8"),
        pytest.param(compressed(INT8, INT8), Dtype.INT8, 0, Dtype.INT8, id="w8a8-int8"),
        pytest.param(compressed(INT8, None), Dtype.INT8, 0, None, id="w8a16"),
        pytest.param(compressed(INT4_GROUPS, None), Dtype.INT4, 128, None, id="w4a16-g128"),
        pytest.param(
            compressed({**FLOAT8, "strategy": "block", "block_structure": "128x128"}, FLOAT8),
            Dtype.FP8,
            128 * 128,
            Dtype.FP8,
            id="fp8-block-structure",
        ),
        pytest.param(compressed(INT4_GROUPS, INT8), Dtype.INT4, 128, Dtype.INT8, id="w4a8-int8"),
        pytest.param(compressed(INT4_GROUPS, FLOAT8), Dtype.INT4, 128, Dtype.FP8, id="w4a8-fp8"),
        pytest.param(
            {"quant_method": "modelopt", "quant_algo": "W4A8_AWQ", "group_size": 64},
            Dtype.INT4,
            64,
            Dtype.FP8,
            id="modelopt-w4a8",
        ),
        pytest.param(MODELOPT_FP8, Dtype.FP8, 0, Dtype.FP8, id="modelopt"),
        pytest.param(
            {**MODELOPT_FP8, "quant_method": "modelopt"}, Dtype.FP8, 0, Dtype.FP8, id="modelopt-named"
        ),
    ],
)
def test_a_known_quantisation_tells_the_formats_of_the_layers(
    scheme: dict[str, Any], weight: Dtype, group_size: int, activation: Dtype | None
) -> None:
    model = read_config(small(quantization_config=scheme))
    assert model.dtype is Dtype.BF16
    assert (model.weight_dtype, model.weight_group_size) == (weight, group_size)
    assert model.activation_dtype is activation
    assert model.quantized


@pytest.mark.parametrize("model", ["Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-32B-FP8-Static-PerTensor"])
def test_published_fp8_checkpoints_hold_the_parameters_of_the_wide_one(model: str) -> None:
    found, wide = read_config(config(model)), read_config(config("Qwen/Qwen3-32B"))
    assert (found.weight_dtype, found.activation_dtype) == (Dtype.FP8, Dtype.FP8)
    assert (found.layer_kinds, found.tensors) == (wide.layer_kinds, wide.tensors)
    assert not wide.quantized


def test_block_scales_of_fp8_cost_one_fp32_for_each_128_by_128_weights() -> None:
    model = read_config(small(quantization_config=FP8))
    assert bits(model) == 8 + 32 / 16384


def test_double_quantised_nf4_costs_4_127_bits_a_weight() -> None:
    # arXiv:2305.14314, section 3: double quantisation takes the scales from 0.5 to 0.127 bits a parameter.
    plain = read_config(small(quantization_config=BNB4))
    double = read_config(small(quantization_config={**BNB4, "bnb_4bit_use_double_quant": True}))
    assert bits(plain) == 4.5
    assert bits(double) == pytest.approx(4.127, abs=1e-3)
    # The same section: blocks of 64 in both.
    assert plain.weight_group_size == double.weight_group_size == 64


def test_mxfp8_has_an_8_bit_scale_for_32_weights() -> None:
    model = read_config(small(quantization_config={"quant_method": "modelopt", "quant_algo": "MXFP8"}))
    assert (model.weight_group_size, bits(model)) == (32, 8.25)


@pytest.mark.parametrize("method", ["awq", "gptq", "auto-round"])
def test_the_usual_group_of_128_is_said_where_a_scheme_leaves_it_out(method: str) -> None:
    model = read_config(small(quantization_config={"quant_method": method, "bits": 4}))
    assert model.weight_group_size == 128
    assert model.assumptions == (f"quantization_config has no group_size: 128, the usual one of {method}",)


AUTO_ROUND = {"quant_method": "auto-round", "bits": 4, "group_size": 128, "data_type": "int", "sym": True}


@pytest.mark.parametrize(
    ("extra", "wide"),
    [
        pytest.param(
            {
                f"model.layers.{n}.mlp.{p}_proj": {"bits": 16, "data_type": "float"}
                for n in range(3)
                for p in ("gate", "up", "down")
            },
            "mlp",
            id="names",
        ),
        pytest.param({r".*\.self_attn\..*": {"bits": 16}}, "attention", id="an expression"),
    ],
)
def test_auto_round_leaves_modules_wide_by_name_or_by_expression(extra: dict[str, Any], wide: str) -> None:
    model = read_config(small(quantization_config={**AUTO_ROUND, "extra_config": extra}))
    found = {form.module.value: form.dtype for form in model.formats}
    assert found == {module: Dtype.INT4 for module in ("attention", "mlp") if module != wide}


def test_gptq_gives_modules_formats_of_their_own_by_expression() -> None:
    dynamic = {r"-:.*self_attn.*": {}, r"+:.*down_proj": {"bits": 8, "group_size": 64}, r".*up_proj": {}}
    model = read_config(small(quantization_config={**GPTQ, "dynamic": dynamic}))
    # Two of the three matrices of the MLP have the scheme's own format.
    assert [(form.module.value, form.dtype) for form in model.formats] == [("mlp", Dtype.INT4)]
    assert any("stored as int8 in some layers and taken as int4" in said for said in model.assumptions)


def test_auto_round_stores_modules_in_more_bits_where_it_says_so() -> None:
    extra = {r".*mlp.*": {"bits": 8, "group_size": 32}}
    model = read_config(small(quantization_config={**AUTO_ROUND, "extra_config": extra}))
    assert {form.module.value: (form.dtype, form.group_size) for form in model.formats} == {
        "attention": (Dtype.INT4, 128),
        "mlp": (Dtype.INT8, 32),
    }


def test_the_older_name_of_the_key_is_read_too() -> None:
    assert read_config(small(compression_config=compressed(INT8, INT8))).weight_dtype is Dtype.INT8


def test_what_a_quantisation_leaves_out_is_said() -> None:
    eight_bit = read_config(small(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}))
    assert any("outlier columns" in assumption for assumption in eight_bit.assumptions)
    low_bit_kv = compressed(FLOAT8, FLOAT8, kv_cache_scheme={"num_bits": 8, "type": "float"})
    assert any(
        "low-bit KV cache" in a for a in read_config(small(quantization_config=low_bit_kv)).assumptions
    )


@pytest.mark.parametrize(
    ("scheme", "said"),
    [
        ({"quant_method": "hqq"}, "hqq is not known"),
        ({"quant_method": "modelopt", "quant_algo": "W3A16"}, 'modelopt has quant_algo "W3A16"'),
        ({"quant_method": "quark"}, "quark has no global_quant_config.weight"),
        ({**GPTQ, "dynamic": {"layers.0": 8}}, "gptq has dynamic 8, not an object"),
        ({**GPTQ, "dynamic": {"layers.0": {"bits": 3}}}, "gptq has bits 3"),
        ({}.fromkeys(["bits"], 4), "null is not known"),
        ({"quant_method": ["awq"]}, '["awq"] is not known'),
        ("awq", 'is "awq", not an object'),
        ({**GPTQ, "bits": 3}, "gptq has bits 3"),
        ({**AWQ, "bits": None}, "awq has bits null"),
        ({**AWQ, "group_size": "128"}, 'awq has group_size "128"'),
        ({**AWQ, "group_size": 1 << 20}, "awq has group_size 1048576"),
        ({**GPTQ, "lm_head": True}, "gptq quantises lm_head too"),
        ({**FP8, "activation_scheme": "none"}, 'fp8 has activation_scheme "none"'),
        ({**FP8, "weight_block_size": [128]}, "fp8 has blocks of [128]"),
        ({**FP8, "weight_block_size": [128, -128]}, "fp8 has blocks of [128, -128]"),
        ({**FP8, "weight_block_size": [-128, -128]}, "fp8 has blocks of [-128, -128]"),
        ({**FP8, "modules_to_not_convert": "lm_head"}, 'has modules_to_not_convert "lm_head", not a list'),
        ({**FP8, "ignored_layers": [7]}, "leaves 7 of the layers unquantised"),
        ({"quant_method": "bitsandbytes"}, "neither load_in_8bit nor load_in_4bit"),
        ({**AUTO_ROUND, "data_type": "mx_fp"}, 'auto-round has data_type "mx_fp"; known is "int"'),
        ({**AUTO_ROUND, "act_bits": 8}, "auto-round has act_bits 8; known is 16"),
        ({**AUTO_ROUND, "extra_config": {"mlp": {"bits": 2}}}, "auto-round has bits 2"),
        ({**AUTO_ROUND, "extra_config": {"mlp": {"data_type": "nv_fp"}}}, 'auto-round has data_type "nv_fp"'),
        (compressed({"num_bits": 4, "type": "float"}, None), 'operands of 4 bits, "float"'),
        (compressed(FLOAT8, INT8), "fp8 weights with int8 activations"),
        (compressed(FLOAT8, {"num_bits": 4, "type": "int"}), 'operands of 4 bits, "int"'),
        (compressed(FLOAT8, FLOAT8, config_groups={}), "config_groups an object"),
        (
            compressed(FLOAT8, FLOAT8, sparsity_config={"format": "sparse-24-bitmask"}),
            "stores sparse weights",
        ),
        (
            compressed(
                FLOAT8,
                FLOAT8,
                config_groups={"a": {"weights": FLOAT8, "input_activations": None}, "b": {"weights": INT8}},
            ),
            "mixes formats",
        ),
        (compressed(FLOAT8, FLOAT8, config_groups={"a": 7}), "has a config group 7"),
        (compressed(FLOAT8, FLOAT8, config_groups={"a": {}}), "has an operand null"),
    ],
)
def test_any_other_quantisation_is_refused_by_name_with_the_way_out(scheme: object, said: str) -> None:
    with pytest.raises(UnsupportedConfigError) as raised:
        read_config(small(quantization_config=scheme))
    assert said in str(raised.value)
    assert raised.value.keys == ("quantization_config",)
    assert "state the format of the weights in the deployment" in str(raised.value)
