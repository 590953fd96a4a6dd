"""How far the predicted effect of a change is from what is measured: an interval of its own.

Both sides of a change share most of what is not known of a system, so a speedup is nearer than either of its
times. What remains grows with the change: a technique that does nothing cannot be far off. The spread of
ln(measured / predicted) is taken as

    sqrt(a^2 + (b ln s)^2)

of a predicted speedup s, fitted to published pairs with whole sources left out (docs/accuracy.md).
"""

from __future__ import annotations

from math import exp, hypot, log
from typing import NamedTuple

SPREAD_OF_NONE = 0.06
"""a: half the width of the interval of a change that is predicted to do nothing, as a logarithm."""
SPREAD_OF_EFFECT = 0.22
"""b: how much of a change's logarithm adds to it."""


class Interval(NamedTuple):
    """A speedup, and the low and high end that are meant to hold 80% of measured ones."""

    speedup: float
    low: float
    high: float


def interval_of(speedup: float) -> Interval:
    """The interval of a predicted speedup over 0."""
    half = exp(hypot(SPREAD_OF_NONE, SPREAD_OF_EFFECT * log(speedup)))
    return Interval(speedup, speedup / half, speedup * half)
