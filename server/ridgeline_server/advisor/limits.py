"""The load at which latency limits are kept, found by simulating smaller ones."""

from __future__ import annotations

from collections.abc import Iterable

from ridgeline_server.advisor.flips import smaller_batches
from ridgeline_server.advisor.technique import Facts
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.metrics import meets_slo

MOST_BETWEEN = 64
"""Loads that are looked at between a halving and its double."""


def largest_keeping(facts: Facts) -> int | None:
    """The largest batch below today's at which the load fits and keeps its limits; None where none does.

    Halvings are tried first, then loads between the largest that keeps them and its double.
    """
    low = _largest(facts, smaller_batches(facts.workload))
    if low is None:
        return None
    high = min(2 * low + 1, facts.workload.batch)
    between = range(low + 1, high, max((high - low) // MOST_BETWEEN, 1))
    return _largest(facts, [facts.workload.at_batch(batch) for batch in (low, *between)])


def _largest(facts: Facts, loads: Iterable[Workload]) -> int | None:
    ideal = facts.scenario.profiles is None
    simulations = [place.simulation for place in facts.places([facts.candidate(load) for load in loads])]
    keeping = (
        each.candidate.workload.batch
        for each in simulations
        if each.memory.fits and meets_slo(each, ideal=ideal)
    )
    return max(keeping, default=None)
