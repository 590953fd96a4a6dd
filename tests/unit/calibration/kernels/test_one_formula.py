"""Constants fitted to kernels cost the operators of a model alike: one formula, by two routes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ridgeline_catalog
from ridgeline_server.calibration.kernels.classes import FORMS
from ridgeline_server.calibration.kernels.counts import SYSTEMS, Constants, expected_seconds
from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.deployment import DeploymentRequest
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
    ProfileSet,
)
from ridgeline_server.domain.resolve import resolve_deployment
from ridgeline_server.roofline.cost import cost_steps
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.operators.variables import Steps
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.store.builtin import hardware_entry
from tests.unit.calibration.kernels.timed import timed

CONFIGS = {document["id"]: document["config"] for _, document in ridgeline_catalog.model_documents()}
L40S = replace(
    next(
        hardware_entry(document).hardware
        for _, document in ridgeline_catalog.hardware_documents()
        if document["id"] == "l40s"
    ),
    clock_hz=SYSTEMS["l40s"].clock_hz,
)
LLAMA, MIXTRAL = "meta-llama/Meta-Llama-3-8B", "mistralai/Mixtral-8x7B-v0.1"
HEADS: dict[str, object] = {"num_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "window_size": 0.0}
WIDE: dict[str, object] = {"attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16"}
FP8: dict[str, Any] = {"weight_dtype": Dtype.FP8, "activation_dtype": Dtype.FP8}
CONSTANTS = Constants(5.0, 3.0, 0.02, 0.5, 0.6, 0.8, 2.0, 1.5)


def profile(operator_class: OperatorClass, constants: Constants, exponent: float) -> EfficiencyProfile:
    """A profile of constants for everything."""

    def exactly(value: float) -> Estimate:
        return Estimate(value, value, value)

    return EfficiencyProfile(
        id=operator_class,
        operator_class=operator_class,
        launch_time_us=exactly(constants.launch_us),
        compute_efficiency=exactly(constants.compute),
        memory_efficiency=exactly(constants.memory),
        overlap_exponent=exponent,
        evidence_count=1,
        source="made for the test",
        further={
            FurtherConstant.SERIAL_TIME_US: exactly(constants.serial_us),
            FurtherConstant.ITEM_TIME_US: exactly(constants.item_us),
            FurtherConstant.LOOP_TIME_US: exactly(constants.loop_us),
            FurtherConstant.PASSES: exactly(constants.passes),
            FurtherConstant.INNER_PASSES: exactly(constants.inner_passes),
        },
    )


@pytest.mark.parametrize(
    ("name", "row", "model_id", "operator", "stage", "step", "stated"),
    [
        pytest.param(
            "gemm",
            {"dtype": "fp8", "m": 300, "n": 4096, "k": 4096},
            LLAMA,
            "o_proj",
            Stage.DECODE,
            (300, 1, 100),
            FP8,
            id="a product",
        ),
        pytest.param(
            "decode_attention",
            {**WIDE, **HEADS, "batch_size": 16, "kvlen": 1000.0},
            LLAMA,
            "attention",
            Stage.DECODE,
            (16, 1, 1000),
            {},
            id="decode attention",
        ),
        pytest.param(
            "prefill_attention",
            {**WIDE, **HEADS, "batch_size": 3, "isl": 1000},
            LLAMA,
            "attention",
            Stage.PREFILL,
            (3, 1000, 1000),
            {},
            id="prefill attention",
        ),
        pytest.param(
            "moe",
            {
                "dtype": "fp8",
                "kernel_source": "cutlass",
                "distribution": "power_law_1.01",
                "hidden_size": 4096,
                "inter_size": 14336,
                "topk": 2,
                "num_experts": 8,
                "moe_tp_size": 1,
                "moe_ep_size": 1,
                "num_tokens": 500,
            },
            MIXTRAL,
            "moe_experts",
            Stage.DECODE,
            (500, 1, 100),
            FP8,
            id="experts",
        ),
    ],
)
def test_a_kernel_and_an_operator_take_the_same_time(
    name: str,
    row: dict[str, object],
    model_id: str,
    operator: str,
    stage: Stage,
    step: tuple[int, int, int],
    stated: dict[str, Any],
) -> None:
    form = FORMS[name]
    fitted = Constants(*(value if start else 0.0 for value, start in zip(CONSTANTS, form.start, strict=True)))
    if name == "moe":
        fitted = fitted._replace(serial_us=0.002)
    kernel_s = expected_seconds(
        timed(name, row | {"system": "l40s"}), np.array(fitted)[:, None], form.exponent
    )

    profiles = ProfileSet(
        profile(operator_class, fitted, form.exponent)
        if operator_class is form.operator_class
        else profile(operator_class, Constants(0, 0, 0, 0, 1, 1, 0, 0), 2.0)
        for operator_class in OperatorClass
        if operator_class is not OperatorClass.EXPERT_STEP
    )
    model = read_config(CONFIGS[model_id], model_id)
    scenario = Scenario(L40S, resolve_deployment(DeploymentRequest(**stated), model, L40S), profiles)
    table = operator_table(model, scenario.placement(stage))
    batch, queries, keys = (np.array([[float(figure)]]) for figure in step)
    once = np.ones((1, 1))
    cost = cost_steps(table, [scenario], stage, Steps(batch, queries, keys, 0 * once, once, batch * queries))
    assert cost.expected_s is not None
    assert cost.expected_s[0, table.names.index(operator), 0] == pytest.approx(kernel_s[0], rel=1e-9)
