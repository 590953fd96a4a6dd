"""Summaries of errors, counted by hand."""

from __future__ import annotations

import pytest

from ridgeline_server.calibration.errors import ALL, NOT_STATED, summarise
from ridgeline_server.calibration.predictions import Prediction
from tests.unit.calibration.rows import row

ROWS = (
    Prediction(row(value=10.0), predicted=11.0, low=9.0, high=13.5, ideal=5.0),
    Prediction(row(value=10.0), predicted=8.0, low=7.0, high=9.1, ideal=4.0),
    Prediction(row(value=20.0, engine="", engine_version=""), predicted=20.0, low=16.0, high=32.0, ideal=14.0),
    Prediction(row(value=20.0, engine="", engine_version=""), unanswered_reason="nobody knows"),
)


def test_errors_are_of_answers_and_shares_of_all_rows() -> None:
    (found,) = summarise(ROWS)
    assert (found.group, found.rows, found.answered, found.answered_share) == (ALL, 4, 3, 0.75)
    assert found.median_error == pytest.approx(0.1)
    assert found.mean_error == pytest.approx((0.1 + 0.2 + 0) / 3)
    assert found.median_ideal_error == pytest.approx(0.5)
    assert found.median_ratio == pytest.approx(1.0)
    assert found.covered_share == pytest.approx(2 / 3)
    assert found.median_width == pytest.approx(1.5)


def test_groups_stand_apart_and_what_is_not_stated_is_one() -> None:
    found = {summary.group: summary for summary in summarise(ROWS, "engine")}
    assert set(found) == {"vllm 0.12.0", NOT_STATED}
    assert found["vllm 0.12.0"].median_error == pytest.approx(0.15)


def test_a_group_without_an_answer_has_no_errors() -> None:
    (found,) = summarise(ROWS[3:])
    assert (found.rows, found.answered, found.median_error, found.covered_share) == (1, 0, None, None)
