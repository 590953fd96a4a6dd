"""Fits of an engine's constants on a device: what they recover, and when factors alone are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ridgeline_server.calibration.correction import correct
from ridgeline_server.calibration.fitting import measured, predicted
from ridgeline_server.calibration.questions import MeasuredQuestion, question_of
from ridgeline_server.calibration.refit import LEAST_ROWS, Refit, refit
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import Estimate, OperatorClass, ProfileLevel, ProfileSet
from ridgeline_server.domain.measurement import MeasuredMetric, Measurement, Phase
from ridgeline_server.store.engines import builtin_engines
from tests.unit.calibration.test_correction import LARGE, SMALL, Shipped, profiles

ENGINE, DEVICE = "an-engine", "h100-sxm"
BATCHES = (1, 8, 64, 256)


def question(model_id: str, phase: Phase, batch: int, /, **changes: object) -> MeasuredQuestion:
    prefills = phase is Phase.PREFILL
    row = Measurement(
        id=f"{model_id} {phase} {batch}",
        engine=ENGINE,
        model_id=model_id,
        hardware_id=DEVICE,
        weight_dtype="bf16",
        act_dtype="bf16",
        kv_dtype="bf16",
        phase=phase,
        isl=512 if prefills else None,
        past_tokens=None if prefills else 511,
        batch=batch,
        metric=MeasuredMetric.PREFILL_MS if prefills else MeasuredMetric.DECODE_STEP_MS,
        value=1.0,
    )
    return question_of(replace(row, **changes), Shipped(), builtin_engines())  # type: ignore[arg-type]


def asked(**changes: object) -> list[MeasuredQuestion]:
    return [
        question(model_id, phase, batch, **changes)
        for model_id in (SMALL, LARGE)
        for phase, batches in ((Phase.PREFILL, (1, 4)), (Phase.DECODE, BATCHES))
        for batch in batches
    ]


def with_values(questions: Sequence[MeasuredQuestion], values: Sequence[float]) -> list[MeasuredQuestion]:
    return [
        replace(q, measurement=replace(q.measurement, value=float(value)))
        for q, value in zip(questions, values, strict=True)
    ]


@pytest.fixture(scope="module")
def slow_memory() -> tuple[list[MeasuredQuestion], Refit]:
    """An engine whose products attain a quarter of the bandwidth and all of the rate that others do."""
    shipped = profiles()
    questions = asked()
    found = shipped.find(shipped.setting(DEVICE), OperatorClass.GEMM, Dtype.BF16, Dtype.BF16)
    assert found is not None
    quarter = Estimate(*(found.profile.memory_efficiency.value / 4,) * 3)
    slow = replace(found.profile, id="slow", engine=ENGINE, memory_efficiency=quarter)
    rows = with_values(questions, predicted(questions, ProfileSet((*shipped.profiles, slow))).tolist())
    (found_fit,) = refit(rows, shipped)
    return rows, found_fit


def test_rows_of_a_model_that_was_left_out_are_met_where_one_factor_cannot_meet_them(
    slow_memory: tuple[list[MeasuredQuestion], Refit],
) -> None:
    rows, found = slow_memory
    assert found.is_kept
    assert found.split == "model"
    assert found.refit_error < 0.06 < 0.15 < found.factors_error
    assert len(found.places) == len(found.left_out) == len(rows)


def test_fitted_constants_are_the_engines_own_on_the_device(
    slow_memory: tuple[list[MeasuredQuestion], Refit],
) -> None:
    _, found = slow_memory
    grown = ProfileSet((*profiles().profiles, *found.profiles))
    assert all(p.is_calibrated for p in found.profiles)
    gemm = OperatorClass.GEMM, Dtype.BF16, Dtype.BF16
    mine, other = (grown.find(grown.setting(DEVICE, engine), *gemm) for engine in (ENGINE, "vllm"))
    shipped = profiles().find(profiles().setting(DEVICE, "vllm"), *gemm)
    assert mine is not None
    assert mine.level is ProfileLevel.ENGINE
    assert other == shipped
    estimate = mine.profile.memory_efficiency
    assert estimate.low <= estimate.value <= estimate.high <= 1


def test_factors_on_top_of_fitted_constants_find_little_left(
    slow_memory: tuple[list[MeasuredQuestion], Refit],
) -> None:
    rows, found = slow_memory
    grown = ProfileSet((*profiles().profiles, *found.profiles))
    after = correct(rows, grown).after
    assert np.median(np.abs(after / measured(rows) - 1)) < 0.05


def test_rows_that_follow_nothing_leave_the_constants_alone() -> None:
    questions = asked()
    noise = np.exp(np.random.default_rng(4).normal(0.0, 0.5, len(questions)))
    (found,) = refit(with_values(questions, (predicted(questions, profiles()) * noise).tolist()), profiles())
    assert found.is_kept == (found.refit_error <= found.factors_error and bool(found.profiles))
    assert not found.is_kept
    assert found.profiles == ()


def test_few_rows_prefills_alone_and_served_loads_are_not_fitted() -> None:
    few = asked()[: LEAST_ROWS - 1]
    assert refit(few, profiles()) == ()
    prefills = [question(SMALL, Phase.PREFILL, batch) for batch in range(1, 2 + LEAST_ROWS)]
    assert refit(prefills, profiles()) == ()
    loop = {"phase": Phase.CLOSED_LOOP, "batch": None, "isl": 512, "osl": 64, "past_tokens": None}
    served = asked(**loop, concurrency=8, metric=MeasuredMetric.TPOT_MS)
    assert refit(served, profiles()) == ()


def test_releases_before_all_that_the_catalog_tells_apart_are_not_fitted() -> None:
    # Constants of theirs would hold for today's releases on the device, too.
    assert refit(asked(engine="vllm", engine_version="0.4.0"), profiles()) == ()
