"""Deployments: what is taken when nothing is stated, what cannot be combined, what a stored element costs."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.deployment import NOT_OF_A_STEP, AttentionKernel, DeploymentRequest, Offload
from ridgeline_server.domain.dtypes import Dtype, kv_bits, weight_bits
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedDtypeError
from ridgeline_server.domain.model import WeightFormat
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.resolve import STATED_MODULES, compute_dtype_on, resolve_deployment
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.tensors import ModuleClass
from ridgeline_server.store.engines import builtin_engines
from tests.unit.domain.model_configs import small
from tests.unit.questions import LLAMA_2_7B, LLAMA_3_8B, W4, W8A8, Stated, device, model

FP8_CHECKPOINT = "Qwen/Qwen3-32B-FP8"


@pytest.mark.parametrize(
    ("dtype", "group", "bits"),
    [
        (Dtype.FP16, 0, 16),
        (Dtype.FP16, 128, 16),
        (Dtype.INT8, 0, 8),
        (Dtype.INT4, 0, 4),
        (Dtype.INT4, 128, 4.25),
        (Dtype.INT4, 32, 5),
        (Dtype.INT8, 128, 8.25),
        (Dtype.NVFP4, 0, 4.5),
        (Dtype.MXFP4, 0, 4.25),
    ],
)
def test_bits_of_a_stored_weight_with_its_share_of_scales(dtype: Dtype, group: int, bits: float) -> None:
    """GPTQ and AWQ: an fp16 scale and zero point per group; NVFP4: 8 bits for 16; MXFP4: 8 bits for 32."""
    assert weight_bits(dtype, group) == bits


@pytest.mark.parametrize(
    ("dtype", "head_dim", "bits"),
    [
        (Dtype.BF16, 128, 16),
        (Dtype.FP8, 128, 8),
        (Dtype.INT8, 128, 8.25),
        (Dtype.INT4, 128, 4.25),
        (Dtype.INT4, 64, 4.5),
        (Dtype.INT2, 128, 3),
        (Dtype.INT2, 64, 3),
    ],
)
def test_bits_of_a_cached_element_with_its_share_of_scales(dtype: Dtype, head_dim: int, bits: float) -> None:
    assert kv_bits(dtype, head_dim) == bits


@pytest.mark.parametrize(
    ("model_id", "device_id", "dtype"),
    [
        pytest.param(LLAMA_3_8B, "h100-sxm", Dtype.BF16, id="its own format"),
        pytest.param(LLAMA_3_8B, "t4", Dtype.FP16, id="no bf16"),
        pytest.param(LLAMA_2_7B, "tpu-v5e", Dtype.BF16, id="no fp16"),
        pytest.param(LLAMA_2_7B, "epyc-9654", Dtype.BF16, id="no fp16 on a CPU"),
        pytest.param(LLAMA_2_7B, "p40", Dtype.FP32, id="fp16 too slow to be used"),
    ],
)
def test_a_model_computes_in_its_own_16_bit_format_or_in_the_devices(
    model_id: str, device_id: str, dtype: Dtype
) -> None:
    assert compute_dtype_on(model(model_id), device(device_id)) is dtype


def test_a_device_without_any_wide_format_is_refused() -> None:
    only_int8 = device("t4", peak_flops_per_s={Dtype.INT8: 1e12})
    with pytest.raises(UnsupportedDtypeError, match="nothing can be computed") as refusal:
        compute_dtype_on(model(LLAMA_2_7B), only_int8)
    assert refusal.value.field == "hardware.peaks"


def test_nothing_stated_takes_the_checkpoints_own_formats() -> None:
    found = resolve_deployment(DeploymentRequest(), model(LLAMA_2_7B), device("rtx-a6000"))
    formats = {
        found.weight_dtype,
        found.lm_head_dtype,
        found.activation_dtype,
        found.kv_dtype,
        found.compute_dtype,
    }
    assert formats == {Dtype.FP16}
    assert found.weight_group_size == 0


def test_an_fp8_checkpoint_computes_in_fp8_where_there_is_a_unit() -> None:
    found = resolve_deployment(DeploymentRequest(), model(FP8_CHECKPOINT), device("h100-sxm"))
    assert found.gemm_dtype is Dtype.FP8
    assert found.kv_dtype is found.lm_head_dtype is Dtype.BF16


def test_an_fp8_checkpoint_is_stored_in_fp8_and_computed_in_16_bits_where_there_is_none() -> None:
    found = resolve_deployment(DeploymentRequest(), model(FP8_CHECKPOINT), device("a100-sxm-80gb"))
    assert found.weight_dtype is Dtype.FP8
    assert found.gemm_dtype is Dtype.BF16


@pytest.mark.parametrize(
    ("stated", "group"),
    [
        pytest.param(W4, 128, id="4 bits come in groups of 128"),
        pytest.param({**W4, "weight_group_size": 32}, 32, id="unless stated"),
        pytest.param({**W4, "weight_group_size": 0}, 0, id="or stated to have none"),
        pytest.param({"weight_dtype": Dtype.INT8}, 0, id="8 bits have a scale per channel"),
    ],
)
def test_group_sizes(stated: Stated, group: int) -> None:
    found = resolve_deployment(DeploymentRequest(**stated), model(LLAMA_2_7B), device("rtx-a6000"))
    assert found.weight_group_size == group


def test_the_checkpoints_own_scales_hold_until_its_weights_are_stored_anew() -> None:
    # arXiv:2305.14314: NF4 with double quantisation takes 4.127 bits a weight, without it 4.5.
    nf4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}
    checkpoint, hardware = read_config(small(quantization_config=nf4)), device("rtx-a6000")
    own = resolve_deployment(DeploymentRequest(), checkpoint, hardware)
    assert (own.weight_group_size, round(own.weight_bits, 3)) == (64, 4.127)
    for stated in ({**W4, "weight_group_size": 128}, {"weight_dtype": Dtype.INT8, "weight_group_size": 64}):
        anew = resolve_deployment(DeploymentRequest(**stated), checkpoint, hardware)
        assert anew.weight_bits == weight_bits(anew.weight_dtype, anew.weight_group_size)
    assert own.storing(Dtype.INT4, 64, Dtype.BF16).weight_bits == 4.5


def test_weights_of_another_format_forget_the_checkpoints_inputs_and_groups() -> None:
    request = DeploymentRequest(weight_dtype=Dtype.INT8)
    found = resolve_deployment(request, model(FP8_CHECKPOINT), device("h100-sxm"))
    assert found.weight_group_size == 0
    assert found.activation_dtype is Dtype.BF16


def test_stated_wide_inputs_are_the_format_that_everything_computes_in() -> None:
    request = DeploymentRequest(activation_dtype=Dtype.FP16)
    found = resolve_deployment(request, model(LLAMA_3_8B), device("h100-sxm"))
    assert found.compute_dtype is found.activation_dtype is found.kv_dtype is Dtype.FP16


def test_all_wrong_fields_are_told_at_once() -> None:
    request = DeploymentRequest(
        weight_dtype=Dtype.TF32,
        lm_head_dtype=Dtype.FP6,
        activation_dtype=Dtype.INT4,
        kv_dtype=Dtype.NVFP4,
        weight_group_size=-1,
    )
    with pytest.raises(InvalidFieldsError) as refusal:
        resolve_deployment(request, model(LLAMA_2_7B), device("h100-sxm"))
    assert [v.field for v in refusal.value.violations] == [
        "deployment.weight_dtype",
        "deployment.lm_head_dtype",
        "deployment.activation_dtype",
        "deployment.kv_dtype",
        "deployment.weight_group_size",
    ]


@pytest.mark.parametrize("weights", [Dtype.MXFP4, Dtype.FP16, Dtype.FP8])
def test_low_bit_inputs_need_weights_of_the_same_format(weights: Dtype) -> None:
    request = DeploymentRequest(weight_dtype=weights, activation_dtype=Dtype.INT8)
    with pytest.raises(InvalidFieldsError, match="set weight_dtype to int8"):
        resolve_deployment(request, model(LLAMA_2_7B), device("h100-sxm"))


@pytest.mark.parametrize("inputs", [Dtype.INT8, Dtype.FP8])
def test_4_bit_integer_weights_are_widened_to_8_bit_inputs(inputs: Dtype) -> None:
    request = DeploymentRequest(weight_dtype=Dtype.INT4, activation_dtype=inputs)
    deployment = resolve_deployment(request, model(LLAMA_2_7B), device("h100-sxm"))
    assert deployment.gemm_dtype is inputs
    assert deployment.gemm_dtype_of(ModuleClass.MLP) is inputs
    assert deployment.gemm_dtype_of(ModuleClass.LM_HEAD) is deployment.compute_dtype
    assert deployment.weight_bits == 4.25


@pytest.mark.parametrize(
    ("stated", "device_id", "wanted"),
    [
        pytest.param(Dtype.FP8, "a100-sxm-80gb", "has no fp8 unit", id="int4 by fp8 without the unit"),
        pytest.param(Dtype.NVFP4, "b200-sxm", "set weight_dtype to nvfp4", id="int4 by a 4-bit float"),
    ],
)
def test_4_bit_integer_weights_are_widened_to_units_that_there_are(
    stated: Dtype, device_id: str, wanted: str
) -> None:
    request = DeploymentRequest(weight_dtype=Dtype.INT4, activation_dtype=stated)
    with pytest.raises((InvalidFieldsError, UnsupportedDtypeError), match=wanted):
        resolve_deployment(request, model(LLAMA_2_7B), device(device_id))


def test_mxfp4_weights_are_multiplied_by_fp8_inputs_by_units_for_fp4_alone() -> None:
    request = DeploymentRequest(activation_dtype=Dtype.FP8)
    gpt_oss = model("openai/gpt-oss-20b")
    served = resolve_deployment(request, gpt_oss, device("b200-sxm"))
    assert served.gemm_dtype_of(ModuleClass.EXPERTS) is Dtype.FP8
    assert served.gemm_dtype_of(ModuleClass.ATTENTION) is Dtype.BF16
    with pytest.raises(InvalidFieldsError, match=r"has no fp4 unit.* or activation_dtype to bf16"):
        resolve_deployment(request, gpt_oss, device("h100-sxm"))


@pytest.mark.parametrize(
    ("stated", "device_id"),
    [
        pytest.param(W8A8, "v100-sxm2-32gb", id="int8 on a V100"),
        pytest.param({"activation_dtype": Dtype.BF16}, "t4", id="bf16 on a T4"),
    ],
)
def test_a_format_without_a_unit_is_refused_with_those_that_there_are(stated: Stated, device_id: str) -> None:
    with pytest.raises(UnsupportedDtypeError, match="it computes in fp16, fp32") as refusal:
        resolve_deployment(DeploymentRequest(**stated), model(LLAMA_2_7B), device(device_id))
    assert refusal.value.field == "deployment.activation_dtype"


@pytest.mark.parametrize(
    ("device_id", "dtype", "words"),
    [
        ("a100-sxm-80gb", Dtype.FP8, "has no fp8 unit, so it cannot compute with fp8 activations"),
        ("gaudi3", Dtype.INT8, "no int8 rate of Intel Gaudi 3 .*is known; .* --set peaks.int8=..."),
    ],
)
def test_a_unit_that_is_not_there_is_told_from_a_rate_that_nobody_knows(
    device_id: str, dtype: Dtype, words: str
) -> None:
    request = DeploymentRequest(weight_dtype=dtype, activation_dtype=dtype)
    with pytest.raises(UnsupportedDtypeError, match=words):
        resolve_deployment(request, model(LLAMA_2_7B), device(device_id))


@pytest.mark.parametrize(
    ("model_id", "device_id"),
    [
        (FP8_CHECKPOINT, "h100-sxm"),
        ("deepseek-ai/DeepSeek-V3", "a100-sxm-80gb"),
        ("openai/gpt-oss-20b", "b300-sxm"),
    ],
)
def test_a_checkpoints_own_format_costs_the_same_when_it_is_stated(model_id: str, device_id: str) -> None:
    """Scales of FP8 blocks are not those of integer groups, and stating the format must not change them."""
    asked, hardware = model(model_id), device(device_id)
    silent = resolve_deployment(DeploymentRequest(), asked, hardware)
    formats = tuple(
        replace(silent.format_of(stored.module), scale_bits=32.0)
        for stored in asked.module_formats
        if stored.module in STATED_MODULES
    )
    stated = resolve_deployment(DeploymentRequest(formats=formats), asked, hardware)
    for stored in formats:
        assert stated.stored_bits(stored.module) == silent.stored_bits(stored.module)


def test_a_format_of_a_module_that_the_model_lacks_is_refused_and_so_is_a_second_one() -> None:
    twice = WeightFormat(ModuleClass.MLP, Dtype.INT8)
    norms = WeightFormat(ModuleClass.NORM, Dtype.BF16)
    experts = WeightFormat(ModuleClass.EXPERTS, Dtype.INT8)
    with pytest.raises(InvalidFieldsError) as raised:
        resolve_deployment(
            DeploymentRequest(formats=(twice, experts, twice, norms)), model(LLAMA_2_7B), device("h100-sxm")
        )
    assert [v.field for v in raised.value.violations] == [
        f"deployment.module_formats[{index}].module_class" for index in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("draft", "rate", "cited"),
    [
        (Draft.MODEL, 0.65, "arXiv:2211.17192"),
        (Draft.MODEL, 0.85, ""),
        (Draft.HEADS, 0.85, "arXiv:2412.19437"),
        (Draft.NGRAM, 0.65, ""),
    ],
)
def test_a_published_acceptance_rate_has_its_source(draft: Draft, rate: float, cited: str) -> None:
    source = Speculation(draft, 3, rate).acceptance_rate_source
    assert source.startswith(cited)
    assert bool(source) is bool(cited)


def test_the_share_of_memory_is_the_stated_one_else_the_engines_else_all() -> None:
    engine = builtin_engines().find("vllm", "0.15.0")

    def share(**stated: Any) -> float:
        request = DeploymentRequest(**stated)
        return resolve_deployment(request, model(LLAMA_2_7B), device("h100-sxm")).memory_share

    assert share() == 1
    assert share(engine=engine) == 0.9
    assert share(engine=engine, memory_utilization=0.5) == 0.5


NOT_STORED = {
    "chunk_tokens": 512,
    "prefix_hit_rate": 0.5,
    "kv_keep_ratio": 0.25,
    "kv_window": 1024,
    "speculation": Speculation(Draft.NGRAM, 3, 0.5),
    "engine": builtin_engines().find("vllm"),
    "memory_utilization": 0.8,
    "eager": True,
}
STORED = {
    "attention": AttentionKernel.UNFUSED,
    "parallel": Parallelism(tp=2),
    "offload": Offload(weight_share=0.5),
    "sparse_weights": True,
    "skipped_layer_share": 0.25,
    "expert_popularity_spread": 0.5,
    "node_bandwidth_bytes_per_s": 1e9,
    "weight_dtype": Dtype.INT8,
    "weight_group_size": 64,
    "lm_head_dtype": Dtype.INT8,
    "activation_dtype": Dtype.INT8,
    "kv_dtype": Dtype.FP8,
    "compute_dtype": Dtype.FP16,
    "weight_scale_bits": 8.0,
    "formats": (WeightFormat(ModuleClass.MLP, Dtype.INT4, 32),),
}


class TestDeploymentsStoredAlike:
    usual = resolve_deployment(DeploymentRequest(), model(LLAMA_3_8B), device("h100-sxm"))

    def test_every_field_is_one_or_the_other(self) -> None:
        assert NOT_STORED.keys() == NOT_OF_A_STEP
        assert NOT_STORED.keys() | STORED.keys() == {field.name for field in fields(self.usual)}
        assert all(getattr(self.usual, name) != value for name, value in (NOT_STORED | STORED).items())

    @pytest.mark.parametrize("name", NOT_STORED)
    def test_what_no_step_depends_on_makes_no_other_object(self, name: str) -> None:
        changed: dict[str, Any] = {name: NOT_STORED[name]}
        assert replace(self.usual, **changed).as_stored is self.usual.as_stored

    @pytest.mark.parametrize("name", STORED)
    def test_what_a_step_depends_on_is_kept(self, name: str) -> None:
        changed: dict[str, Any] = {name: STORED[name]}
        assert replace(self.usual, **changed).as_stored == replace(self.usual, **changed)
