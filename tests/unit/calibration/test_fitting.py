"""Fits of constants to measured rows, by the estimator's own answers."""

from __future__ import annotations

import numpy as np
import pytest

from ridgeline_server.calibration.engines import CURRENT, profile_id
from ridgeline_server.calibration.fitting import Knob, fit, predicted, value_of, weights, with_values
from ridgeline_server.domain.efficiency import FurtherConstant, OperatorClass, ProfileSet
from tests.unit.calibration.rows import QWEN, off_by, question
from tests.unit.questions import PROFILES

VLLM = next(era for era in CURRENT if era.engine == "vllm")
STEP = profile_id(VLLM, OperatorClass.STEP)
KNOBS = (
    Knob((STEP,), "launch_time_us", spread=10.0),
    Knob((STEP,), FurtherConstant.SEQUENCE_TIME_US, spread=10.0),
)
LOADS = (1, 8, 32, 128)


def value(profiles: ProfileSet, constant: str) -> float:
    return value_of(next(p for p in profiles.profiles if p.id == STEP), constant)


def test_constants_that_made_the_rows_are_found_again() -> None:
    """Rows are predictions with a step of 5 ms and 90 us for each sequence."""
    truth = with_values(PROFILES, KNOBS, (5000.0, 90.0))
    rows = [
        off_by(1.0, truth, concurrency=n, model_id=model)
        for n in LOADS
        for model in (QWEN, "meta-llama/Llama-3.1-8B")
    ]
    found = fit(rows, PROFILES, KNOBS)
    assert found.values == pytest.approx((5000.0, 90.0), rel=0.02)
    assert found.after < 0.01 < found.before


def test_few_rows_move_what_they_tell_about_and_not_far() -> None:
    """One row that is 10% above its prediction does not take all of it with a narrow spread."""
    row = off_by(1.1, PROFILES)
    held = tuple(Knob(knob.profile_ids, knob.constant, 0.05) for knob in KNOBS)
    (before,), (after,) = (
        predicted([row], profiles) / row.measurement.value
        for profiles in (PROFILES, fit([row], PROFILES, held).profiles)
    )
    assert before < after < 1


def test_one_row_of_another_kind_decides_nothing() -> None:
    rows = [off_by(1.0, PROFILES, concurrency=n) for n in LOADS]
    odd = off_by(5.0, PROFILES, concurrency=64)
    found = fit([*rows, odd], PROFILES, KNOBS).profiles
    assert predicted(rows, found) / predicted(rows, PROFILES) == pytest.approx(1.0, abs=0.2)


def test_a_setting_that_was_measured_often_does_not_drown_the_others() -> None:
    often, once = [question(concurrency=n) for n in (1, 2, 4, 8)], question(model_id=QWEN)
    assert weights([*often, once]) == pytest.approx([0.5] * 4 + [1.0])


def test_ranges_move_along_with_a_value() -> None:
    changed = with_values(PROFILES, KNOBS[:1], (2 * value(PROFILES, "launch_time_us"),))
    before, after = (
        next(p for p in profiles.profiles if p.id == STEP).launch_time_us for profiles in (PROFILES, changed)
    )
    assert np.array([after.low, after.value, after.high]) == pytest.approx(
        2 * np.array([before.low, before.value, before.high])
    )
