"""Published measurements, predicted by the shipped catalog, which was fitted to most of them: errors on
devices, families of models and releases that a fit has not seen are larger, and stand in docs/accuracy.md.

Bounds lie a little above what was reached, so that nothing gets worse unnoticed. Tightening them is welcome,
loosening them is not.
"""

from __future__ import annotations

import numpy as np
import pytest

from ridgeline_server.calibration.engines import PIECES, is_sound
from ridgeline_server.calibration.errors import summarise
from ridgeline_server.calibration.predictions import Prediction, predict
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.store.engines import builtin_engines
from tests.accuracy.published import ShippedNames, published, questions, shipped_profiles
from tests.accuracy.report import KINDS, is_stated

MEDIANS = {
    "TPOT served, without experts": 0.06,
    "TPOT served, with experts": 0.13,
    "TTFT served, without experts": 0.30,
    "TTFT served, with experts": 0.34,
    "published tables": 0.11,
}
HELD_AND_WIDTH = {
    "TPOT served, without experts": (0.77, 1.6),
    "TPOT served, with experts": (0.77, 2.1),
    "TTFT served, without experts": (0.72, 3.0),
    "TTFT served, with experts": (0.55, 3.0),
    "published tables": (0.77, 1.8),
}


@pytest.fixture(scope="module")
def predictions() -> dict[str, Prediction]:
    found = predict(published(), ShippedNames(), builtin_engines(), ProfileSet(shipped_profiles()))
    return {each.measurement.id: each for each in found}


def of_kind(predictions: dict[str, Prediction], kind: str) -> list[Prediction]:
    """The predictions of the sound rows of a kind."""
    judged = [q for q in questions() if is_sound(q) and any(piece.tells(q) for piece in PIECES)]
    return [predictions[q.measurement.id] for q in judged if KINDS[kind](q)]


@pytest.mark.parametrize("kind", MEDIANS)
def test_median_error(predictions: dict[str, Prediction], kind: str) -> None:
    (found,) = summarise(of_kind(predictions, kind))
    assert found.median_error is not None
    assert found.median_error < MEDIANS[kind]


@pytest.mark.parametrize("kind", MEDIANS)
def test_half_the_error_of_the_datasheet_at_most(predictions: dict[str, Prediction], kind: str) -> None:
    (found,) = summarise(of_kind(predictions, kind))
    assert found.median_error is not None
    assert found.median_ideal_error is not None
    assert found.median_error < found.median_ideal_error / 2


@pytest.mark.parametrize("kind", MEDIANS)
def test_intervals_hold_and_say_something(predictions: dict[str, Prediction], kind: str) -> None:
    (found,) = summarise(of_kind(predictions, kind))
    assert found.covered_share is not None
    assert found.median_width is not None
    least, widest = HELD_AND_WIDTH[kind]
    assert found.covered_share > least
    assert found.median_width < widest


def test_nearly_every_row_that_says_what_was_run_is_answered(predictions: dict[str, Prediction]) -> None:
    stated = [found for found in predictions.values() if is_stated(found)]
    assert len(stated) > 6000
    assert np.mean([found.predicted is not None for found in stated]) > 0.98


def test_no_prediction_of_a_time_is_below_the_ideal(predictions: dict[str, Prediction]) -> None:
    times = [f for f in predictions.values() if f.predicted and f.measurement.metric.endswith("_ms")]
    assert len(times) > 3000
    assert all(f.low >= f.ideal * (1 - 1e-9) for f in times if f.low is not None and f.ideal is not None)
