"""Figures are written with the digits and the unit that a reader can use."""

from __future__ import annotations

import pytest

from ridgeline_server.roofline.wording import ms


@pytest.mark.parametrize(
    ("value_ms", "written"),
    [
        (0.00431, "4.31 us"),
        (0.5, "0.50 ms"),
        (9.994, "9.99 ms"),
        (9.996, "10.0 ms"),
        (338.2, "338 ms"),
        (999.4, "999 ms"),
        (1000.0, "1.00 s"),
        (2478.0, "2.48 s"),
        (11_600.0, "11.6 s"),
        (331_727.0, "5.53 min"),
        (7_200_000.0, "120 min"),
        (1e12, "16,666,667 min"),
    ],
)
def test_a_time_has_three_digits_in_the_unit_that_keeps_it_readable(value_ms: float, written: str) -> None:
    assert ms(value_ms) == written
