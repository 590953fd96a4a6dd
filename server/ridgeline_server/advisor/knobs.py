"""Knobs: figures that had to be assumed, each with the value from which on its technique gains."""

from __future__ import annotations

from collections.abc import Callable

from ridgeline_server.advisor.effects import speedup
from ridgeline_server.advisor.results import Knob
from ridgeline_server.advisor.technique import GAIN, Facts
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.roofline.metrics import metric_values

STATED = "stated in the request"
HUNDREDTHS = 100


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
) -> float | None:
    """The value, to a hundredth, from which on a deployment is better than today's by more than 3% on a
    metric; None where not even the best one is. The gain grows from the worst value to the best.
    """
    ideal = facts.scenario.profiles is None

    def measured(deployment: Deployment) -> float:
        (simulation,) = facts.simulate([facts.candidate(deployment=deployment)])
        return metric_values(simulation, ideal=ideal)[metric][0]

    today = measured(facts.deployment)

    def gains(hundredths: int) -> bool:
        return speedup(metric, today, measured(serve(hundredths / HUNDREDTHS))) > GAIN

    losing, gaining = round(worst * HUNDREDTHS), round(best * HUNDREDTHS)
    if not gains(gaining):
        return None
    while abs(gaining - losing) > 1:
        middle = (losing + gaining) // 2
        losing, gaining = (losing, middle) if gains(middle) else (middle, gaining)
    return gaining / HUNDREDTHS
