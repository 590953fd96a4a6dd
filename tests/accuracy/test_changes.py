"""Published changes beside what is predicted of them: directions, harms, sizes and intervals.

Bounds lie a little above what was reached, so that nothing gets worse unnoticed.
"""

from __future__ import annotations

import pytest

from ridgeline_server.calibration.case_errors import CaseSummary, by_class
from ridgeline_server.calibration.cases import CasePrediction
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.domain.measured_case import CaseClass
from tests.accuracy.changes import cases, held_on_sources_left_out, predictions
from tests.accuracy.published import shipped_profiles


@pytest.fixture(scope="module")
def found() -> list[CasePrediction]:
    return predictions(ProfileSet(shipped_profiles()))


@pytest.fixture(scope="module")
def mechanism(found: list[CasePrediction]) -> CaseSummary:
    return next(summary for summary in by_class(found) if summary.group == CaseClass.MECHANISM)


def test_nearly_all_cases_are_answered(mechanism: CaseSummary) -> None:
    assert mechanism.cases == 144
    assert mechanism.answered >= 142


def test_directions_are_right(mechanism: CaseSummary) -> None:
    assert mechanism.effects >= 120
    assert mechanism.right_sign_share >= 0.97


def test_most_harms_are_foreseen(mechanism: CaseSummary) -> None:
    assert mechanism.harms == 12
    assert mechanism.foreseen_harm_share >= 0.8


def test_sizes_are_near(mechanism: CaseSummary) -> None:
    assert mechanism.median_error < 0.12


def test_intervals_hold_what_they_are_meant_to(found: list[CasePrediction], mechanism: CaseSummary) -> None:
    assert 0.75 <= mechanism.covered_share <= 0.85
    assert 0.75 <= held_on_sources_left_out(found) <= 0.85


def test_always_helps_would_be_right_less_often(mechanism: CaseSummary) -> None:
    effects = [
        case.speedup > 1
        for case in cases()
        if case.case_class is CaseClass.MECHANISM and not 1 / 1.15 <= case.speedup <= 1.15
    ]
    assert sum(effects) / len(effects) < mechanism.right_sign_share
