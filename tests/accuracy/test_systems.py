"""One setting on two devices, and of two models: how far measured changes are from predicted ones.

The profiles were fitted on these rows too, so that devices and models which nobody measured are further off.
"""

from __future__ import annotations

from collections import Counter
from math import hypot

import pytest

from ridgeline_server.advisor.changes import SPREAD, SPREAD_OF_EFFECT, SPREAD_OF_HARDWARE
from ridgeline_server.calibration.predictions import Prediction
from ridgeline_server.domain.efficiency import ProfileSet
from tests.accuracy.published import shipped_profiles
from tests.accuracy.systems import Change, changes, predictions


@pytest.fixture(scope="module")
def predicted() -> list[Prediction]:
    return predictions(ProfileSet(shipped_profiles()))


@pytest.fixture(scope="module")
def between_devices(predicted: list[Prediction]) -> list[Change]:
    return list(changes(predicted, "hardware_id"))


def share(found: list[Change], holds: list[bool]) -> float:
    """The share that holds, each pair of systems of a source counting alike."""
    counts = Counter((change.systems, change.source_group) for change in found)
    weights = [1 / counts[change.systems, change.source_group] for change in found]
    return sum(weight for weight, held in zip(weights, holds, strict=True) if held) / len(counts)


def held(found: list[Change], spread: float) -> float:
    """The share of changes within the interval of a spread."""
    return share(
        found,
        [
            abs(change.measured - change.predicted) <= hypot(spread, SPREAD_OF_EFFECT * change.predicted)
            for change in found
        ],
    )


def test_intervals_hold_what_is_measured_on_two_devices(between_devices: list[Change]) -> None:
    assert len({change.systems for change in between_devices}) >= 35
    assert held(between_devices, SPREAD_OF_HARDWARE) == pytest.approx(0.8, abs=0.02)
    assert held(between_devices, SPREAD) < 0.6


def test_the_better_of_two_devices_is_mostly_told(between_devices: list[Change]) -> None:
    right = [(change.measured > 0) == (change.predicted > 0) for change in between_devices]
    assert share(between_devices, right) > 0.85


def test_intervals_hold_what_is_measured_of_two_models(predicted: list[Prediction]) -> None:
    found = list(changes(predicted, "model_id"))
    assert len({change.systems for change in found}) >= 80
    assert 0.75 < held(found, SPREAD) < 0.85
