"""The expected time of a kernel: the one formula that predicts with calibrated constants, and fits them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def kernel_seconds(busy_s: Array, moving_s: Array, exponent: Array, beside_s: Array) -> Array:
    """Seconds of kernels that compute for `busy_s` and move bytes for `moving_s`, both at attained rates.

        beside + (busy^p + moving^p)^(1/p)

    p is the exponent, and `beside_s` what overlaps with neither: the launch, serial work, further passes
    over activations. The arrays broadcast against each other. Where rates attained are no higher than the
    datasheet's, no time is below the ideal max(busy, moving).
    """
    square = exponent == 2
    squared: Array = np.sqrt(busy_s * busy_s + moving_s * moving_s)
    if square.all():
        squared += beside_s
        return squared
    return np.where(square, squared, _norm(busy_s, moving_s, exponent)) + beside_s


def _norm(one: Array, other: Array, exponent: Array) -> Array:
    """The p-norm of two times with the larger factored out, which cannot overflow; nothing takes 0."""
    larger = np.maximum(one, other)
    ratio = np.divide(np.minimum(one, other), larger, out=np.zeros_like(larger), where=larger > 0)
    found: Array = larger * (1 + ratio**exponent) ** (1 / exponent)
    return found
