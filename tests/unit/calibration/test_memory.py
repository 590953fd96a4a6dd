"""Factors on an engine's memory: what rows of its parts make, by device, engine and release."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ridgeline_server.calibration.memory import MeasuredMemory, measured_memory
from ridgeline_server.calibration.questions import MeasuredQuestion
from ridgeline_server.domain.efficiency import Estimate, FurtherConstant, OperatorClass
from ridgeline_server.domain.measurement import MeasuredMetric, Phase
from tests.unit.calibration.rows import question

ACTIVATIONS, NON_TORCH, GRAPHS = (
    MeasuredMetric.ACTIVATIONS_GIB,
    MeasuredMetric.NON_TORCH_GIB,
    MeasuredMetric.CUDA_GRAPH_GIB,
)


def part(metric: MeasuredMetric = NON_TORCH, **stated: Any) -> MeasuredQuestion:
    """A part of the memory of vLLM 0.19.0 on an H100, of a start without any load."""
    usual = {
        "phase": Phase.MEMORY,
        "concurrency": None,
        "isl": None,
        "osl": None,
        "engine_version": "0.19.0",
    }
    return question(**{**usual, "metric": metric, **stated})


def learnt(*rows: tuple[MeasuredQuestion, float]) -> MeasuredMemory:
    """What rows say that are so many times what is predicted."""
    return measured_memory([asked for asked, _ in rows], np.array([ratio for _, ratio in rows]))


def ends(factor: Estimate) -> list[float]:
    return [factor.value, factor.low, factor.high]


def test_rows_of_times_and_of_whole_loads_say_nothing() -> None:
    found = learnt((question(), 2.0), (part(MeasuredMetric.MEMORY_GIB, isl=128), 2.0))
    assert found.profiles == ()
    assert np.isnan([found.value, found.low, found.high]).all()


def test_weights_and_the_pool_follow_from_the_rest_and_make_nothing() -> None:
    assert not learnt(
        (part(MeasuredMetric.WEIGHTS_GIB), 1.1), (part(MeasuredMetric.KV_POOL_GIB), 0.9)
    ).profiles


def test_one_row_of_a_part_is_its_factor_with_the_least_range() -> None:
    found = learnt((part(NON_TORCH), 0.8), (part(ACTIVATIONS), 1.2), (part(GRAPHS), 0.5))
    (profile,) = found.profiles
    assert profile.id == "calibrated-engine-memory-h100-sxm-vllm-0.19.0"
    assert profile.operator_class is OperatorClass.ENGINE_MEMORY
    assert (profile.hardware_id, profile.engine, profile.since_version) == ("h100-sxm", "vllm", "0.19.0")
    assert (profile.model_id, profile.evidence_count) == ("", 3)
    assert ends(profile.further[FurtherConstant.NON_TORCH_FACTOR]) == pytest.approx([0.8, 0.76, 0.84])
    assert ends(profile.further[FurtherConstant.ACTIVATION_FACTOR]) == pytest.approx([1.2, 1.08, 1.32])
    assert ends(profile.further[FurtherConstant.CUDA_GRAPH_FACTOR]) == pytest.approx([0.5, 0.475, 0.525])
    assert np.isnan(found.value).all()


def test_several_rows_give_their_geometric_mean_and_their_spread() -> None:
    (profile,) = learnt((part(), 0.5), (part(model_id="Qwen/Qwen3-32B"), 2.0)).profiles
    assert ends(profile.further[FurtherConstant.NON_TORCH_FACTOR]) == pytest.approx([1.0, 0.5, 2.0])
    assert list(profile.further) == [FurtherConstant.NON_TORCH_FACTOR]


def test_rows_that_agree_keep_the_least_range() -> None:
    (profile,) = learnt((part(), 1.5), (part(), 1.5)).profiles
    assert ends(profile.further[FurtherConstant.NON_TORCH_FACTOR]) == pytest.approx([1.5, 1.425, 1.575])


def test_each_row_is_predicted_from_the_others_of_its_part() -> None:
    found = learnt((part(), 1.0), (part(), 2.0), (part(), 8.0), (part(ACTIVATIONS), 3.0))
    assert found.value[:3] == pytest.approx([4.0, 8**0.5, 2**0.5])
    assert found.low[:3] == pytest.approx([2.0, 1.0, 1.0])
    assert found.high[:3] == pytest.approx([8.0, 8.0, 2.0])
    assert np.isnan(found.value[3])


def test_devices_engines_and_releases_are_told_apart() -> None:
    found = learnt(
        (part(), 1.0),
        (part(hardware_id="h200-sxm"), 2.0),
        (part(engine="sglang", engine_version="0.5.6"), 3.0),
        (part(engine_version="v0.20"), 4.0),
        (part(engine_version=""), 5.0),
        (part(engine="VLLM", engine_version="0.19"), 1.0),
    )
    factors = {p.id: p.further[FurtherConstant.NON_TORCH_FACTOR].value for p in found.profiles}
    assert factors == {
        "calibrated-engine-memory-h100-sxm-vllm": pytest.approx(5.0),
        "calibrated-engine-memory-h100-sxm-vllm-0.19.0": pytest.approx(1.0),
        "calibrated-engine-memory-h100-sxm-vllm-0.20.0": pytest.approx(4.0),
        "calibrated-engine-memory-h100-sxm-sglang-0.5.6": pytest.approx(3.0),
        "calibrated-engine-memory-h200-sxm-vllm-0.19.0": pytest.approx(2.0),
    }
