"""What a measured row asks: deployment, load and what it leaves open."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.calibration.questions import UnansweredError
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.measurement import MeasuredMetric, Phase
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Load
from tests.unit.calibration.rows import question

STATIC = {"phase": Phase.STATIC_BATCH, "concurrency": None, "batch": 4}
PREFILL = {"phase": Phase.PREFILL, "concurrency": None, "osl": 0, "metric": MeasuredMetric.TTFT_MS}
DECODE = {"phase": Phase.DECODE, "concurrency": None}


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        pytest.param({"model_id": "nobody/nothing"}, "model_id: no model", id="unknown model"),
        pytest.param({"hardware_id": "abacus"}, "hardware_id: no device", id="unknown device"),
        pytest.param({"weight_dtype": "int3"}, "int3 is not a format", id="format that is not costed"),
        pytest.param({"isl": None}, "isl: is not stated", id="no prompt length"),
        pytest.param({"concurrency": None}, "concurrency: is not stated", id="no load"),
        pytest.param({"n_devices": 3, "tp": 2}, "n_devices: is 3", id="devices that are not told apart"),
        pytest.param({"tp": 3}, "does not divide the 32 query heads", id="cannot be divided"),
    ],
)
def test_what_cannot_be_answered_says_why(stated: dict[str, Any], why: str) -> None:
    with pytest.raises(UnansweredError, match=why):
        question(**stated)


@pytest.mark.parametrize(
    ("stated", "parallel"),
    [
        pytest.param({}, Parallelism(), id="one device"),
        pytest.param({"tp": 4, "n_devices": 4}, Parallelism(tp=4), id="tensor parallel"),
        pytest.param({"tp": 2, "n_devices": 8}, Parallelism(tp=2, dp=4), id="the rest are replicas"),
        pytest.param({"tp": 2, "pp": 2}, Parallelism(tp=2, pp=2), id="pipeline"),
    ],
)
def test_devices(stated: dict[str, Any], parallel: Parallelism) -> None:
    assert question(**stated).deployment.parallel == parallel


def test_a_closed_loop_keeps_its_concurrency() -> None:
    workload = question().workload
    assert (workload.load, workload.batch, workload.input_len, workload.output_len) == (
        Load.CLOSED_LOOP,
        16,
        1024,
        256,
    )


def test_a_prefill_gives_one_token() -> None:
    workload = question(**PREFILL, batch=2).workload
    assert (workload.load, workload.batch, workload.output_len) == (Load.STATIC_BATCH, 2, 1)


def test_a_decode_that_starts_from_nothing_reads_one_key() -> None:
    workload = question(**DECODE, isl=0, osl=128, batch=1).workload
    assert (workload.input_len, workload.output_len) == (1, 128)


def test_past_tokens_come_before_the_prompt() -> None:
    assert question(**DECODE, isl=None, past_tokens=2048, batch=1).workload.input_len == 2048


def test_an_open_loop_keeps_its_rate() -> None:
    workload = question(phase=Phase.OPEN_LOOP, concurrency=None, request_rate=2.5).workload
    assert (workload.load, workload.request_rate) == (Load.OPEN_LOOP, 2.5)


def test_low_bit_activations_count_where_the_device_has_the_unit() -> None:
    fp8 = {"weight_dtype": "fp8", "act_dtype": "fp8"}
    assert question(**fp8).deployment.activation_dtype is Dtype.FP8
    assert question(**fp8, hardware_id="a100-sxm-80gb").deployment.activation_dtype is Dtype.BF16


def test_weights_that_are_widened_to_low_bit_activations_count_but_for_blocks_of_gguf() -> None:
    w4a8 = {"weight_dtype": "int4", "act_dtype": "int8"}
    assert question(**w4a8, weight_format="qoq-g128").deployment.gemm_dtype is Dtype.INT8
    assert question(**w4a8, weight_format="gguf-q4_0").deployment.gemm_dtype is Dtype.BF16


def test_a_cache_that_is_not_stated_follows_low_bit_activations_and_is_told() -> None:
    asked = question(weight_dtype="fp8", act_dtype="fp8", kv_dtype="")
    assert asked.deployment.kv_dtype is Dtype.FP8
    assert any("kv_dtype is not stated: fp8" in text for text in asked.assumptions)
    assert question(kv_dtype="").deployment.kv_dtype is Dtype.BF16


@pytest.mark.parametrize(
    ("stored", "bits"), [("awq-g128", 4.25), ("gguf-q4_0", 4.5), ("gguf-q4_k_m", 4.84), ("int4-g32", 5.0)]
)
def test_scales_cost_what_the_format_says(stored: str, bits: float) -> None:
    found = question(**STATIC, weight_dtype="int4", weight_format=stored, act_dtype="bf16")
    assert found.deployment.weight_bits == pytest.approx(bits, abs=0.01)
