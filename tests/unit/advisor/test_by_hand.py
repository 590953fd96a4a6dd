"""Gains worked out by hand: the mean decode step before and after a change, from the sizes in the configs.

Products and attention alone, each the longer of its arithmetic and its bytes on the data sheet's rates; what
lies between them is under 2% of a step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given

from ridgeline_server.advisor.results import ReasonCode, Verdict
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.results import Bound
from tests.unit.questions import IDEAL, Question, ask, effect, questions

INPUT, OUTPUT = 1024, 129
MEAN_KEYS = INPUT + 1 + (OUTPUT - 2) / 2
W16, W8, W4 = 16.0, 8.0, 4.25
"""Bits of a weight; of four bits, groups of 128 with a scale and a zero point of 16 bits each."""


class Sizes(NamedTuple):
    """What a config.json says of a dense decoder with gated MLPs."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    mlp: int
    vocabulary: int


class Device(NamedTuple):
    """Rates of a data sheet, per second."""

    flops: float
    int8_ops: float
    bandwidth: float


LLAMA_2_7B = "meta-llama/Llama-2-7b-hf", Sizes(32, 4096, 32, 32, 11008, 32000)
LLAMA_2_13B = "meta-llama/Llama-2-13b-hf", Sizes(40, 5120, 40, 40, 13824, 32000)
LLAMA_3_8B = "meta-llama/Meta-Llama-3-8B", Sizes(32, 4096, 32, 8, 14336, 128256)
A6000 = "rtx-a6000", Device(154.8e12, 309.7e12, 768e9)
A100 = "a100-sxm-80gb", Device(312e12, 624e12, 2039e9)
H100 = "h100-sxm", Device(989.4e12, 1978.9e12, 3352e9)


class Formats(NamedTuple):
    weight_bits: float = W16
    kv_bits: float = 16.0
    int8: bool = False


AFTER = {
    "weight-only-int8": Formats(weight_bits=W8),
    "weight-only-int4": Formats(weight_bits=W4),
    "int8-compute": Formats(weight_bits=W8, int8=True),
    # A scale and a zero point of 16 bits for the 128 elements of a head.
    "kv-cache-int8": Formats(kv_bits=8.25),
}


def decode_step_s(sizes: Sizes, device: Device, batch: int, formats: Formats) -> float:
    """Seconds of the mean decode step."""
    head = sizes.hidden // sizes.heads
    kv_width = sizes.kv_heads * head
    matrices = [
        (sizes.hidden, sizes.hidden),
        (sizes.hidden, kv_width),
        (sizes.hidden, kv_width),
        (sizes.hidden, sizes.hidden),
        (sizes.hidden, sizes.mlp),
        (sizes.hidden, sizes.mlp),
        (sizes.mlp, sizes.hidden),
    ]
    rate, inputs = (device.int8_ops, 1) if formats.int8 else (device.flops, 2)
    layer_s = 0.0
    for taken, given_ in matrices:
        moved = taken * given_ * formats.weight_bits / 8 + batch * (taken * inputs + given_ * 2)
        layer_s += max(2 * batch * taken * given_ / rate, moved / device.bandwidth)
    cache = batch * 2 * kv_width * (MEAN_KEYS + 1) * formats.kv_bits / 8
    attention = max(
        4 * batch * sizes.hidden * MEAN_KEYS / device.flops,
        (cache + batch * 4 * sizes.hidden) / device.bandwidth,
    )
    words = sizes.hidden * sizes.vocabulary
    lm_head = max(2 * batch * words / device.flops, 2 * words / device.bandwidth)
    return sizes.layers * (layer_s + attention) + lm_head


@pytest.mark.parametrize(
    ("model", "device", "batch", "technique", "verdict"),
    [
        pytest.param(LLAMA_2_7B, A6000, 1, "weight-only-int4", Verdict.APPLY, id="weights alone"),
        pytest.param(LLAMA_2_7B, A6000, 17, "weight-only-int4", Verdict.APPLY, id="weights beside a cache"),
        pytest.param(LLAMA_2_13B, A100, 8, "weight-only-int8", Verdict.APPLY, id="half of the weights"),
        pytest.param(LLAMA_3_8B, H100, 64, "weight-only-int4", Verdict.APPLY, id="below the ridge"),
        pytest.param(LLAMA_3_8B, A6000, 128, "weight-only-int4", Verdict.APPLY, id="crosses the ridge"),
        pytest.param(LLAMA_3_8B, A6000, 512, "weight-only-int4", Verdict.NO_GAIN, id="over the ridge"),
        pytest.param(LLAMA_3_8B, A100, 1024, "weight-only-int8", Verdict.NO_GAIN, id="far over the ridge"),
        pytest.param(LLAMA_2_7B, A100, 64, "kv-cache-int8", Verdict.APPLY, id="a cache of whole heads"),
        pytest.param(LLAMA_3_8B, H100, 1, "kv-cache-int8", Verdict.NO_GAIN, id="a cache of one sequence"),
        pytest.param(LLAMA_3_8B, H100, 256, "kv-cache-int8", Verdict.APPLY, id="a cache of many sequences"),
        pytest.param(LLAMA_2_13B, A6000, 4, "int8-compute", None, id="bytes of INT8 operands"),
        pytest.param(LLAMA_3_8B, A6000, 512, "int8-compute", None, id="rates of INT8 operands"),
    ],
)
def test_a_gain_is_the_one_worked_out_by_hand(
    model: tuple[str, Sizes], device: tuple[str, Device], batch: int, technique: str, verdict: Verdict | None
) -> None:
    model_id, sizes = model
    hardware_id, rates = device
    question = ask(model_id, hardware_id, Workload(batch, INPUT, OUTPUT), IDEAL)
    found = question.recommendation(technique)
    after = AFTER[technique]
    by_hand = decode_step_s(sizes, rates, batch, Formats()) / decode_step_s(sizes, rates, batch, after)
    assert effect(found.effects, "tpot_ms").speedup == pytest.approx(by_hand, rel=0.02)
    if verdict is not None and found.memory is not None and found.memory.fits:
        assert found.verdict in (verdict, Verdict.CONSIDER if verdict is Verdict.APPLY else verdict)


WEIGHT_FORMATS = ("weight-only-int8", "weight-only-int4")


@given(questions())
def test_twice_the_bandwidth_makes_no_compute_bound_stage_memory_bound(question: Question) -> None:
    """Nor does it let a technique gain by cutting bytes that gained nothing because arithmetic decides."""
    bandwidth = question.hardware.bandwidth_bytes_per_s
    faster = replace(
        question, basis=IDEAL, hardware=replace(question.hardware, bandwidth_bytes_per_s=2 * bandwidth)
    )
    slower = replace(question, basis=IDEAL)
    for before, after in zip(slower.analysis().stages, faster.analysis().stages, strict=True):
        if before.bound is Bound.COMPUTE:
            assert after.bound is not Bound.MEMORY
    for technique in WEIGHT_FORMATS:
        known, found = slower.recommendation(technique), faster.recommendation(technique)
        if known.reason_code is ReasonCode.BOUND_NOT_ADDRESSED:
            assert found.reason_code is not ReasonCode.WEIGHT_BYTES_CUT
