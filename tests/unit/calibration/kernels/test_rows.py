"""Files of timings become columns."""

from __future__ import annotations

import pytest

from ridgeline_server.calibration.kernels.rows import read_timings


def test_a_row_that_two_packages_hold_counts_once() -> None:
    text = "m,measured_us,source\n8,1.5,one\n8,1.5,other\n8,1.6,other\n"
    timings = read_timings(text)
    assert timings.number("measured_us").tolist() == [1.5, 1.6]
    assert timings.text("m").tolist() == ["8", "8"]


def test_the_order_of_the_rows_changes_nothing() -> None:
    one, other = read_timings("m,measured_us\n8,2\n4,1\n"), read_timings("m,measured_us\n4,1\n8,2\n")
    assert one.number("m").tolist() == other.number("m").tolist()


@pytest.mark.parametrize("text", ["", "m,n\n1,2\n"])
def test_a_file_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no column measured_us"):
        read_timings(text)
