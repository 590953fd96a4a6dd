"""What would flip a verdict: the load at which a gain appears or ends, found by simulating both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from ridgeline_server.advisor.effects import speedup
from ridgeline_server.advisor.technique import GAIN, Asking, Facts, Outcome
from ridgeline_server.advisor.wording import load_in_words
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.metrics import best_value
from ridgeline_server.roofline.serving import Candidate

LARGEST_BATCH = 16_384
LONGEST_INPUT = 1_048_576
LOADS_KEPT = 64
"""Questions whose other loads are remembered: several techniques of one question look at the same ones."""


@lru_cache(maxsize=LOADS_KEPT)
def larger_batches(workload: Workload) -> tuple[Workload, ...]:
    """The load at every doubling of its batch, up to LARGEST_BATCH."""
    return tuple([workload.at_batch(b) for b in _doublings(workload.batch, LARGEST_BATCH)])


@lru_cache(maxsize=LOADS_KEPT)
def smaller_batches(workload: Workload) -> tuple[Workload, ...]:
    """The load at every halving of its batch, largest first."""
    halvings = (workload.batch >> shift for shift in range(1, workload.batch.bit_length()))
    return tuple([workload.at_batch(batch) for batch in halvings])


@lru_cache(maxsize=LOADS_KEPT)
def longer_inputs(workload: Workload, longest: int | None) -> tuple[Workload, ...]:
    """The load at every doubling of its input, within a context and LONGEST_INPUT."""
    limit = min(longest or LONGEST_INPUT, LONGEST_INPUT) - workload.output_len
    inputs = _doublings(workload.input_len, limit)
    return tuple([replace(workload, input_len=n, decode_keys=None) for n in inputs])


def first_gaining(
    facts: Facts, after: Deployment, loads: Sequence[Workload], metric: str
) -> Asking[Workload | None]:
    """The first load at which a deployment is better than today's by more than 3% on a metric."""
    return (yield from _first(facts, after, loads, metric, gaining=True))


def first_without_gain(
    facts: Facts, after: Deployment, loads: Sequence[Workload], metric: str
) -> Asking[Workload | None]:
    """The first load at which a deployment is not better than today's by more than 3% on a metric."""
    return (yield from _first(facts, after, loads, metric, gaining=False))


def gains_until(facts: Facts, outcome: Outcome) -> Asking[str]:
    """Up to which batch a change gains that gains today, or would at a smaller batch, in a sentence."""
    deployment, metric = outcome.proposal.deployment, outcome.deciding.metric
    if not outcome.verdict.pays:
        smaller = yield from first_gaining(facts, deployment, smaller_batches(facts.workload), metric)
        return f"It gains over 3% at {load_in_words(smaller)} and below." if smaller else ""
    loads = larger_batches(facts.workload)
    end = yield from first_without_gain(facts, deployment, loads, metric)
    if end:
        still = load_in_words(end.at_batch(end.batch // 2))
        return f"The gain falls under 3% between {still} and {end.batch:,}."
    return f"It still gains over 3% at {load_in_words(loads[-1])}." if loads else ""


def _first(
    facts: Facts, after: Deployment, loads: Sequence[Workload], metric: str, *, gaining: bool
) -> Asking[Workload | None]:
    if not loads:
        return None
    scenarios = facts.scenario, replace(facts.scenario, deployment=after)
    places = yield [Candidate(scenario, load) for scenario in scenarios for load in loads]
    for load, *both in zip(loads, places[: len(loads)], places[len(loads) :], strict=True):
        old, new = (best_value(each.simulation, metric) for each in both)
        if (speedup(metric, old, new) > GAIN) is gaining:
            return load
    return None


def _doublings(start: int, limit: int) -> list[int]:
    values = []
    value = start * 2
    while value <= limit:
        values.append(value)
        value *= 2
    return values
