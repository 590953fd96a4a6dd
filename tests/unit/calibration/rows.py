"""Measured rows of the shipped catalog's models and devices, made for tests."""

from __future__ import annotations

from typing import Any

from ridgeline_server.calibration.fitting import predicted
from ridgeline_server.calibration.questions import MeasuredQuestion, question_of
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.domain.measurement import MeasuredMetric, Measurement, Phase
from ridgeline_server.store.engines import builtin_engines
from tests.accuracy.published import ShippedNames

NAMES = ShippedNames()
LLAMA, QWEN = "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-32B"


def row(**stated: Any) -> Measurement:
    """A closed loop of 16 on one H100 under vLLM, its TPOT of 10 ms, but for what is stated."""
    usual = {
        "id": "a row",
        "engine": "vllm",
        "engine_version": "0.12.0",
        "model_id": LLAMA,
        "hardware_id": "h100-sxm",
        "weight_dtype": "bf16",
        "act_dtype": "bf16",
        "kv_dtype": "bf16",
        "phase": Phase.CLOSED_LOOP,
        "isl": 1024,
        "osl": 256,
        "concurrency": 16,
        "metric": MeasuredMetric.TPOT_MS,
        "value": 10.0,
    }
    return Measurement(**{**usual, **stated})


def question(**stated: Any) -> MeasuredQuestion:
    """The question of such a row."""
    return question_of(row(**stated), NAMES, builtin_engines())


def off_by(factor: float, profiles: ProfileSet, **stated: Any) -> MeasuredQuestion:
    """The question of a row whose value is so many times what is predicted."""
    (value,) = predicted([question(**stated)], profiles)
    return question(**stated, value=float(value) * factor)
