"""Fits t0 + ((F/(ec P))^p + (B/(em BW))^p)^(1/p) to timings by least squares in log time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

COLLINEAR = 4.0
"""Both terms keep their proportion within this factor over all timings: then they cannot be told apart."""

EXPONENTS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Exponents p that are tried: 1 adds the terms, 8 all but takes the larger one."""

LEAST_EFFICIENCY = 1e-3
LEAST_LAUNCH_US = 1e-3


@dataclass(frozen=True)
class Curve:
    """The constants of one operator class: t0 in microseconds, ec and em in (0, 1], p."""

    launch_us: float
    compute_efficiency: float
    memory_efficiency: float
    exponent: float

    def time_us(self, compute_us: Array, memory_us: Array) -> Array:
        """Expected times from the ideal times of both terms, F/P and B/BW in microseconds."""
        constants = np.array((self.launch_us, self.compute_efficiency, self.memory_efficiency))
        return np.exp(_log_time(np.log(constants), compute_us, memory_us, self.exponent))


@dataclass(frozen=True)
class Fit:
    """A curve and how far it is from each of N timings: log of measured over expected, shape (N,)."""

    curve: Curve
    log_errors: Array

    @property
    def median_error(self) -> float:
        """Median of |measured / expected - 1|, or of its inverse where that is larger."""
        return float(np.expm1(np.median(np.abs(self.log_errors))))

    def spread_factor(self, deviations: float) -> float:
        """The factor that so many standard deviations of the errors are, at least 1."""
        return float(np.exp(deviations * np.sqrt(np.mean(self.log_errors**2))))


def fit_curve(compute_us: Sequence[float], memory_us: Sequence[float], time_us: Sequence[float]) -> Fit:
    """The curve nearest to N timings, given with the ideal times of both terms, all in microseconds.

    Efficiencies stay in [LEAST_EFFICIENCY, 1]. Constants on which no timing depends stay near 0.7. Where both
    terms grow in proportion, the smaller one is taken to attain its rate. Raises ValueError without timings
    or where one is not above 0.
    """
    compute, memory = np.asarray(compute_us, np.float64), np.asarray(memory_us, np.float64)
    measured = np.asarray(time_us, np.float64)
    if measured.size == 0 or not np.all(measured > 0):
        raise ValueError("a curve is fitted to one timing or more, each above 0 microseconds")
    target = np.log(measured)
    low = np.log((LEAST_LAUNCH_US, LEAST_EFFICIENCY, LEAST_EFFICIENCY))
    high = np.array((np.log(max(float(measured.min()), 2 * LEAST_LAUNCH_US)), 0.0, 0.0))
    fixed = _indistinct(compute, memory)
    if fixed is not None:
        low[fixed] = 0.0
    best: tuple[float, Array, float] | None = None
    for exponent in EXPONENTS:
        for launch_share in (0.9, 0.1):
            start = np.array((high[0] + np.log(launch_share), np.log(0.7), np.log(0.7)))
            constants = _descend(np.clip(start, low, high), low, high, compute, memory, target, exponent)
            residual = float(np.sum((_log_time(constants, compute, memory, exponent) - target) ** 2))
            if best is None or residual < best[0] * (1 - 1e-6):
                best = (residual, constants, exponent)
    assert best is not None
    _, constants, exponent = best
    launch, ec, em = np.exp(constants)
    curve = Curve(float(launch), float(min(1.0, ec)), float(min(1.0, em)), exponent)
    return Fit(curve, target - _log_time(constants, compute, memory, exponent))


def _indistinct(compute: Array, memory: Array) -> int | None:
    """The place among the constants of the smaller term where both grow in proportion."""
    both = (compute > 0) & (memory > 0)
    if not both.all():
        return None
    ratios = compute / memory
    if ratios.max() > COLLINEAR * ratios.min():
        return None
    return 1 if np.median(ratios) < 1 else 2


def _log_time(constants: Array, compute: Array, memory: Array, exponent: float) -> Array:
    launch, ec, em = np.exp(constants)
    terms = np.stack((compute / ec, memory / em))
    largest = np.maximum(terms.max(axis=0), 1e-12)
    # Divided by the larger term, so that no power overflows.
    work = largest * np.sum((terms / largest) ** exponent, axis=0) ** (1 / exponent)
    time: Array = np.log(launch + work)
    return time


def _descend(
    constants: Array, low: Array, high: Array, compute: Array, memory: Array, target: Array, exponent: float
) -> Array:
    """Levenberg and Marquardt's method on the logarithms of the constants, kept inside of their bounds."""
    damping, step = 1e-2, 1e-6
    error = _log_time(constants, compute, memory, exponent) - target
    for _ in range(200):
        moved = np.clip(constants + step * np.eye(3), None, high + step)
        slopes = np.stack([(_log_time(m, compute, memory, exponent) - target - error) / step for m in moved])
        # A constant at its bound whose slope leads beyond it stays out of this step.
        gradient = slopes @ error
        free = ~((constants >= high) & (gradient < 0) | (constants <= low) & (gradient > 0))
        slopes = np.where(free[:, None], slopes, 0.0)
        normal = slopes @ slopes.T
        # The small constant keeps those on which nothing depends where they are.
        change = np.linalg.solve(
            normal + damping * np.diag(np.diag(normal)) + 1e-12 * np.eye(3), -slopes @ error
        )
        tried = np.clip(constants + np.clip(change, -1.0, 1.0), low, high)
        tried_error = _log_time(tried, compute, memory, exponent) - target
        if tried_error @ tried_error < error @ error:
            settled = np.max(np.abs(tried - constants)) < 1e-9
            constants, error, damping = tried, tried_error, max(damping / 5, 1e-9)
            if settled:
                break
        else:
            damping *= 5
            if damping > 1e9:
                break
    return constants
