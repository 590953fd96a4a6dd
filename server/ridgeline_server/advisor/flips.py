"""What would flip a verdict: the load at which a gain appears or ends, found by simulating both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ridgeline_server.advisor.effects import speedup
from ridgeline_server.advisor.technique import GAIN, Facts, Outcome
from ridgeline_server.advisor.wording import load_in_words
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.metrics import metric_values
from ridgeline_server.roofline.serving import Candidate

LARGEST_BATCH = 16_384
LONGEST_INPUT = 1_048_576


def larger_batches(workload: Workload) -> list[Workload]:
    """The load at every doubling of its batch, up to LARGEST_BATCH."""
    return [replace(workload, batch=b) for b in _doublings(workload.batch, LARGEST_BATCH)]


def smaller_batches(workload: Workload) -> list[Workload]:
    """The load at every halving of its batch, largest first."""
    batches = []
    batch = workload.batch // 2
    while batch >= 1:
        batches.append(replace(workload, batch=batch))
        batch //= 2
    return batches


def longer_inputs(workload: Workload, longest: int | None) -> list[Workload]:
    """The load at every doubling of its input, within a context and LONGEST_INPUT."""
    limit = min(longest or LONGEST_INPUT, LONGEST_INPUT) - workload.output_len
    return [replace(workload, input_len=n, decode_keys=None) for n in _doublings(workload.input_len, limit)]


def first_gaining(facts: Facts, after: Deployment, loads: Sequence[Workload], metric: str) -> Workload | None:
    """The first load at which a deployment is better than today's by more than 3% on a metric."""
    return _first(facts, after, loads, metric, gaining=True)


def first_without_gain(
    facts: Facts, after: Deployment, loads: Sequence[Workload], metric: str
) -> Workload | None:
    """The first load at which a deployment is not better than today's by more than 3% on a metric."""
    return _first(facts, after, loads, metric, gaining=False)


def gain_ends(facts: Facts, outcome: Outcome) -> str:
    """Between which batches a gain ends, in a sentence."""
    loads = larger_batches(facts.workload)
    end = first_without_gain(facts, outcome.proposal.deployment, loads, outcome.deciding.metric)
    if end:
        still = load_in_words(replace(end, batch=end.batch // 2))
        return f"The gain falls under 3% between {still} and {end.batch:,}."
    return f"It still gains over 3% at {load_in_words(loads[-1])}." if loads else ""


def _first(
    facts: Facts, after: Deployment, loads: Sequence[Workload], metric: str, *, gaining: bool
) -> Workload | None:
    if not loads:
        return None
    other = replace(facts.scenario, deployment=after)
    before = facts.under_loads(loads)
    changed = facts.simulate([Candidate(other, load) for load in loads])
    ideal = facts.scenario.profiles is None
    for load, *both in zip(loads, before, changed, strict=True):
        old, new = (metric_values(each, ideal=ideal)[metric][0] for each in both)
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
