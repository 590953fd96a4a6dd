"""Effects: metrics of two simulations compared, with the interval of the change itself."""

from __future__ import annotations

from ridgeline_server.advisor.changes import Interval, interval_of, spread_of
from ridgeline_server.advisor.results import Effect
from ridgeline_server.domain.deployment import CostBasis
from ridgeline_server.roofline.metrics import RATE_METRICS, best_value, metric_values
from ridgeline_server.roofline.serving import Simulation

MEMORY_METRIC = "total_memory_bytes"


def compare(before: Simulation, after: Simulation, basis: CostBasis) -> tuple[Effect, ...]:
    """How every metric changes that both sides have, at the constants' best values, with the interval of the
    change itself; the ideal roofline has none, nor has the memory. Costs need a price, energy a power limit.
    """
    ideal_before = metric_values(before, ideal=True)
    ideal_after = metric_values(after, ideal=True)
    on_ideal = basis is CostBasis.IDEAL
    values_before = ideal_before if on_ideal else metric_values(before, ideal=False)
    values_after = ideal_after if on_ideal else metric_values(after, ideal=False)
    scenarios = [side.candidate.scenario for side in (before, after)]
    moved = scenarios[0].hardware != scenarios[1].hardware
    spread = spread_of(*(scenario.deployment for scenario in scenarios), other_hardware=moved)
    effects = []
    for metric, (old, *_) in values_before.items():
        if metric not in values_after:
            continue
        new = values_after[metric][0]
        gain = speedup(metric, old, new)
        change = Interval(gain, gain, gain) if on_ideal else interval_of(gain, spread)
        ideal = speedup(metric, ideal_before[metric][0], ideal_after[metric][0])
        effects.append(Effect(metric, old, new, *change, ideal))
    total_before, total_after = before.memory.total_bytes, after.memory.total_bytes
    saved = total_before / total_after
    effects.append(Effect(MEMORY_METRIC, total_before, total_after, saved, saved, saved, saved))
    return tuple(effects)


def speedup(metric: str, before: float, after: float) -> float:
    """How many times better; 1 where the metric does not exist on either side."""
    if before == 0 or after == 0:
        return 1.0
    return after / before if metric in RATE_METRICS else before / after


def gain_on(metric: str, before: Simulation, after: Simulation) -> float:
    """How many times better a metric, or the memory, is after a change, at the constants' best values."""
    if metric == MEMORY_METRIC:
        return before.memory.total_bytes / after.memory.total_bytes
    return speedup(metric, best_value(before, metric), best_value(after, metric))


def effect_on(effects: tuple[Effect, ...], metric: str) -> Effect:
    """The effect on one metric."""
    return next(effect for effect in effects if effect.metric == metric)
