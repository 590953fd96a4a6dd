"""Constants come back from the times that they make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ridgeline_server.probe.fit import Curve, fit_curve

ROWS = 2.0 ** np.arange(10)
SIDES = np.repeat((64.0, 512.0, 2048.0), 10)


def ideal_us(peak: float, bandwidth: float) -> tuple[np.ndarray, np.ndarray]:
    """Ideal times in microseconds of fp32 products, 10 rows of input for each of three sides."""
    m = np.tile(ROWS, 3)
    compute = 2 * m * SIDES**2 / peak * 1e6
    memory = 4 * (SIDES**2 + 2 * m * SIDES) / bandwidth * 1e6
    return compute, memory


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    launch=st.floats(0.5, 50),
    ec=st.floats(0.3, 1.0),
    em=st.floats(0.3, 1.0),
    exponent=st.sampled_from((1.0, 2.0, 4.0)),
)
def test_known_constants_are_recovered_within_two_percent(
    launch: float, ec: float, em: float, exponent: float
) -> None:
    compute, memory = ideal_us(100e9, 20e9)
    times = launch + ((compute / ec) ** exponent + (memory / em) ** exponent) ** (1 / exponent)
    curve = fit_curve(compute.tolist(), memory.tolist(), times.tolist()).curve
    assert curve.exponent == exponent
    assert curve.launch_us == pytest.approx(launch, rel=0.02)
    assert curve.compute_efficiency == pytest.approx(ec, rel=0.02)
    assert curve.memory_efficiency == pytest.approx(em, rel=0.02)


def test_noise_of_some_percent_leaves_the_curve_as_close_as_the_noise() -> None:
    compute, memory = ideal_us(100e9, 20e9)
    truth = Curve(3.0, 0.8, 0.6, 2.0)
    noise = np.exp(np.random.default_rng(1).normal(0, 0.05, compute.size))
    fit = fit_curve(compute.tolist(), memory.tolist(), (truth.time_us(compute, memory) * noise).tolist())
    assert fit.median_error < 0.05
    assert fit.curve.time_us(compute, memory) == pytest.approx(truth.time_us(compute, memory), rel=0.06)
    assert 1.04 < fit.spread_factor(1.28) < 1.09


def test_efficiencies_stay_at_one_where_times_undercut_the_ideal() -> None:
    compute, memory = ideal_us(100e9, 20e9)
    curve = fit_curve(compute.tolist(), memory.tolist(), (np.maximum(compute, memory) / 2).tolist()).curve
    assert curve.compute_efficiency == 1.0
    assert curve.memory_efficiency == 1.0


def test_a_term_that_grows_with_a_larger_one_is_not_blamed() -> None:
    memory = 10.0 ** np.arange(1, 6)
    compute = memory / 50
    curve = fit_curve(compute.tolist(), memory.tolist(), (2 + memory / 0.7).tolist()).curve
    assert curve.compute_efficiency == 1.0
    assert curve.launch_us == pytest.approx(2, rel=0.05)
    assert curve.memory_efficiency == pytest.approx(0.7, rel=0.05)


def test_expected_times_never_fall_as_work_grows() -> None:
    curve = Curve(2.0, 0.7, 0.6, 3.0)
    work = np.linspace(0, 100, 50)
    assert np.all(np.diff(curve.time_us(work, np.full(50, 10.0))) > 0)
    assert np.all(np.diff(curve.time_us(np.full(50, 10.0), work)) > 0)


@pytest.mark.parametrize("times", [[], [0.0, 1.0], [-1.0]])
def test_no_timing_and_no_time_are_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match="one timing or more"):
        fit_curve([1.0] * len(times), [1.0] * len(times), times)
