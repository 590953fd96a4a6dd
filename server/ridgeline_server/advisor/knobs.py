"""Knobs: figures that had to be assumed, each with the value from which on its technique gains."""

from __future__ import annotations

from collections.abc import Callable

from ridgeline_server.advisor.effects import speedup
from ridgeline_server.advisor.results import Knob
from ridgeline_server.advisor.technique import GAIN, Asking, Facts
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.roofline.metrics import best_value

STATED = "stated in the request"
HUNDREDTHS = 100
TRIED = 256
"""Deployments with another value that are remembered: questions about one deployment try the same ones, and
what is derived from a deployment stays with it.
"""
STEPS = (25, 5, 1)
"""Hundredths between the values that are tried together: first few, then closer between two of these."""


def knob(name: str, stated: float | None, default: float, default_source: str, pays: float | None) -> Knob:
    """A figure as the request states it, else by its published default; `pays` is its break-even."""
    if stated is None:
        return Knob(name, default, default_source, pays)
    return Knob(name, stated, STATED, pays)


def break_even(
    facts: Facts,
    serve: Callable[[float], Deployment],
    metric: str,
    *,
    worst: float = 0.0,
    best: float = 1.0,
) -> Asking[float | None]:
    """The value, to a hundredth, from which on a deployment is better than today's by more than 3% on a
    metric; None where not even the best one is. The gain grows from the worst value to the best.
    """
    losing, gaining = round(worst * HUNDREDTHS), round(best * HUNDREDTHS)
    for step in STEPS:
        values = _steps(losing, gaining, step)
        served = (facts.candidate(deployment=serve(value / HUNDREDTHS)) for value in values)
        today, *changed = yield [facts.candidate(), *served]
        before = best_value(today.simulation, metric)
        after = (best_value(each.simulation, metric) for each in changed)
        first = next((n for n, value in enumerate(after) if speedup(metric, before, value) > GAIN), None)
        if first is None:
            return None
        losing, gaining = [losing, *values][first : first + 2]
    return gaining / HUNDREDTHS


def _steps(start: int, stop: int, step: int) -> list[int]:
    """The values behind `start` in steps towards `stop`, which is the last one."""
    towards = step if stop > start else -step
    return [*range(start + towards, stop, towards), stop]
