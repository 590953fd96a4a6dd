"""Fewer devices: half of them serve the same load.

What it does: Tensor parallelism, the pipeline or the number of replicas is halved, whichever leaves the most
throughput for each device.

When it pays: For cost, where devices spend their time on exchanges and launches, or replicas run small
batches.

When it does not: For latency, since each device holds twice as much of the model or of the load and requests
take longer; where the model, its cache or an SLO needs all devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ridgeline_server.advisor.effects import effect_on
from ridgeline_server.advisor.results import Effort, ReasonCode
from ridgeline_server.advisor.spreading import spread, waiting
from ridgeline_server.advisor.technique import Explanation, Facts, NotApplicable, Outcome, Proposal, Technique
from ridgeline_server.advisor.verdict import PER_DEVICE
from ridgeline_server.advisor.wording import change
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.roofline.metrics import best_value, meets_slo
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.wording import gib


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Half of the devices, in the way that keeps the SLO and leaves the most throughput for each of them."""
    if facts.deployment.parallel.devices == 1:
        return NotApplicable(ReasonCode.NOTHING_TO_WORK_ON, "it is served by one device.")
    found = [spread(facts, parallel) for parallel in _halves(facts.deployment.parallel)]
    halves: list[Deployment] = [each for each in found if isinstance(each, Deployment)]
    if not halves:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON, "no degree of parallelism can be halved by itself."
        )
    simulations = facts.simulate([facts.candidate(deployment=half) for half in halves])
    ideal = facts.scenario.profiles is None
    fitting = [s for s in simulations if s.memory.fits]
    if not fitting:
        memory = min((s.memory for s in simulations), key=lambda each: each.total_bytes)
        return NotApplicable(
            ReasonCode.MEMORY_LIMIT,
            f"half of the devices would need {gib(memory.total_bytes)} of {gib(memory.usable_bytes)} each.",
            "Fewer bits for weights or KV cache make room for fewer devices.",
        )
    best = max(
        fitting,
        key=lambda s: (meets_slo(s, ideal=ideal), best_value(s, PER_DEVICE)),
    )
    return Proposal(facts.workload, best.candidate.scenario.deployment)


def _halves(parallel: Parallelism) -> Iterator[Parallelism]:
    """Each degree halved by itself; experts are divided by half as many devices where they must be."""
    for name in ("tp", "pp", "dp"):
        degree = getattr(parallel, name)
        if degree % 2 == 0:
            yield replace(parallel, **{name: degree // 2})
    if parallel.tp % 2 == 0 and parallel.ep % 2 == 0:
        yield replace(parallel, tp=parallel.tp // 2, ep=parallel.ep // 2)


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """What each device gives against what a request takes."""
    before, after = facts.deployment.parallel, outcome.proposal.deployment.parallel
    reason = (
        f"{after.devices} devices instead of {before.devices} hold it ({gib(outcome.memory.total_bytes)} of "
        f"{gib(outcome.memory.usable_bytes)} each); today {waiting(facts)}: {change(outcome.deciding)}; "
        f"{change(effect_on(outcome.effects, 'output_tokens_per_s'))}; "
        f"{change(effect_on(outcome.effects, 'e2e_latency_ms'))}."
    )
    gained = outcome.verdict.pays
    return Explanation(
        ReasonCode.DEVICES_SAVED if gained else ReasonCode.BOUND_NOT_ADDRESSED,
        reason,
        "" if gained else "It pays where exchanges or launches hold more of a step.",
    )


TECHNIQUE = Technique(
    id="fewer-devices",
    title="fewer devices",
    stage=Stage.DECODE,
    metric=PER_DEVICE,
    effort=Effort.FLAG,
    accuracy="None but the order of sums.",
    requirements=("latency to spare",),
    conflicts=("data-parallel", "pipeline-parallel", "tensor-parallel"),
    assumptions=(),
    propose=propose,
    explain=explain,
    changes_devices=True,
    lossless=True,
)
