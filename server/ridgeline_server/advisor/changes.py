"""How far the predicted effect of a change is from what is measured: an interval of its own.

Both sides of a change share most of what is not known of a system, so a speedup is nearer than either of its
times. The spread of ln(measured / predicted) is

    sqrt(a^2 + (b ln s)^2)

of a predicted speedup s: fitted to 80% of published pairs, and holding about as many of those of sources
that the fit has not seen (docs/accuracy.md). Drafts and what lies in the host's memory are further off: how
often a draft is right, and what an engine does with data that is far away, is assumed and not known. Two
devices share less than one does with itself, so that a change between them is further off too.
"""

from __future__ import annotations

from math import exp, hypot, isclose, log
from typing import NamedTuple

from ridgeline_server.domain.deployment import Deployment

SPREAD = 0.19
"""a, of formats, loads, kernels, the number of devices, and models."""
SPREAD_OF_EFFECT = 0.12
"""b"""
SPREAD_OF_ASSUMED = 0.65
"""a, where drafts or an offload come or go."""
SPREAD_OF_HARDWARE = 0.63
"""a, between two devices: of settings that one source measured on both, each pair counting alike."""


class Interval(NamedTuple):
    """A speedup, and the low and high end that are meant to hold 80% of measured ones."""

    speedup: float
    low: float
    high: float


def change_interval(
    speedup: float, before: Deployment, after: Deployment, *, other_hardware: bool = False
) -> Interval:
    """The interval of a predicted speedup over 0 between two deployments, on one device or on two. What is
    predicted to stay as it is, but for rounding, has none: nothing of what it is computed from changes.
    """
    return interval_of(speedup, spread_of(before, after, other_hardware=other_hardware))


def spread_of(before: Deployment, after: Deployment, *, other_hardware: bool = False) -> float:
    """The spread a of the metrics of a change between two deployments, on one device or on two."""
    assumed = (before.speculation, before.offload) != (after.speculation, after.offload)
    return max(SPREAD_OF_ASSUMED if assumed else SPREAD, SPREAD_OF_HARDWARE if other_hardware else SPREAD)


def interval_of(speedup: float, spread: float) -> Interval:
    """The interval of a predicted speedup of a change with a spread a."""
    if isclose(speedup, 1):
        return Interval(speedup, speedup, speedup)
    factor = exp(hypot(spread, SPREAD_OF_EFFECT * log(speedup)))
    return Interval(speedup, speedup / factor, speedup * factor)
