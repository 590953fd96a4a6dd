"""No offloading: what lies in the host's memory comes back to the device, as far as there is room.

What it does: Weights and keys that steps read over the host's link are read from the device's own memory
again. Where not all of it has room, the smallest share stays with the host with which the rest fits.

When it pays: Wherever the device has room, since its memory is tens of times faster than the host's link.
Where it has none, fewer bits for weights or KV cache, or a smaller batch, make some.

When it does not: Where a step computes for longer than its copies take, so that they cost nothing, as in the
prefill of many tokens; where the device is full.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ridgeline_server.advisor.offloading import (
    OFFLOADED,
    STEPS,
    first_that_fits,
    gigabytes,
    memory_with,
    offloading,
)
from ridgeline_server.advisor.results import Effort, ReasonCode, Verdict
from ridgeline_server.advisor.technique import (
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Part,
    Proposal,
    Technique,
)
from ridgeline_server.advisor.wording import change, changes, listed, load_in_words
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.roofline.metrics import best_value
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.wording import gib, ms, rate, share


def propose(facts: Facts) -> Proposal | NotApplicable:
    """As little in the host's memory as the device has room for; nothing, which does not fit then, where it
    has none.
    """
    deployment = facts.deployment
    if not deployment.offload.is_used:
        return NotApplicable(ReasonCode.NOTHING_TO_WORK_ON, "nothing of it lies in the host's memory today.")
    if not facts.memory.fits:
        return NotApplicable(
            ReasonCode.MEMORY_LIMIT,
            f"with what lies in the host's memory today it still needs {gib(facts.memory.total_bytes)} of "
            f"{gib(facts.memory.usable_bytes)}.",
        )
    nothing = _nothing(deployment)
    if memory_with(facts, nothing).fits:
        return Proposal(facts.workload, nothing)
    less = list(_less(facts))
    if not less:
        return Proposal(facts.workload, nothing, ReasonCode.MEMORY_LIMIT, at_most=Verdict.CONSIDER)
    simulations = facts.simulate([facts.candidate(deployment=each) for each in less])
    times = [best_value(simulation, "e2e_latency_ms") for simulation in simulations]
    return Proposal(facts.workload, less[times.index(min(times))])


def _nothing(deployment: Deployment) -> Deployment:
    """All of it on the device."""
    return replace(deployment, offload=replace(deployment.offload, weight_share=0.0, kv_share=0.0))


def _less(facts: Facts) -> Iterator[Deployment]:
    """Less of the weights, or of the cache, with the host: the smallest share with which the rest fits."""
    for name in OFFLOADED:
        today: float = getattr(facts.deployment.offload, name)
        smaller = [step / STEPS for step in range(STEPS) if step / STEPS < today]
        found = first_that_fits(facts, [offloading(facts.deployment, name, value) for value in smaller])
        if found is not None:
            yield found


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """The host's link against the device's memory, and the room that there is."""
    today, after = facts.deployment.offload, outcome.proposal.deployment.offload
    memory = outcome.memory
    shares = listed(
        [
            f"{share(getattr(today, name))} of {what}"
            for name, what in OFFLOADED.items()
            if getattr(today, name)
        ]
    )
    own = gigabytes(facts.scenario.hardware.bandwidth_bytes_per_s)
    reason = (
        f"the host's link carries {shares} at {gigabytes(today.host_bandwidth_bytes_per_s)}; the device's "
        f"memory, which is read at {own},"
    )
    if outcome.proposal.reason_code is ReasonCode.MEMORY_LIMIT:
        return Explanation(
            ReasonCode.MEMORY_LIMIT,
            f"{reason} has no room for more of it: on a device with room, {change(outcome.deciding)}.",
            _smaller(facts, outcome),
        )
    stays = [f"{share(left)} of {what}" for name, what in OFFLOADED.items() if (left := getattr(after, name))]
    room = f"has room for all of it ({gib(memory.total_bytes)} of {gib(memory.usable_bytes)})"
    if stays:
        room = f"has room for all but {listed(stays)}"
    changed = changes(outcome, "output_tokens_per_s")
    if outcome.verdict.pays:
        return Explanation(ReasonCode.DEVICE_HAS_ROOM, f"{reason} {room}: {changed}.", "")
    return Explanation(
        ReasonCode.BOUND_NOT_ADDRESSED,
        f"{reason} {room}; but steps compute for as long as the copies take: {changed}.",
        "It pays with fewer tokens in a step.",
    )


def _smaller(facts: Facts, outcome: Outcome) -> str:
    """What a load gives that the device has room for, in a sentence."""
    batch = outcome.memory.max_batch
    fewer = "Fewer bits for weights or KV cache make room."
    if not 1 <= batch < facts.workload.batch:
        return fewer
    load = facts.workload.at_batch(batch)
    before, then = facts.simulate([facts.candidate(), facts.candidate(load, _nothing(facts.deployment))])
    throughput, latency = "output_tokens_per_s", "e2e_latency_ms"
    return (
        f"Without the host {load_in_words(load)} fits: it gives {rate(best_value(then, throughput))} instead "
        f"of {rate(best_value(before, throughput))}, and a request takes {ms(best_value(then, latency))} "
        f"instead of {ms(best_value(before, latency))}. {fewer}"
    )


TECHNIQUE = Technique(
    id="stop-offload",
    title="nothing in the host's memory",
    stage=Stage.DECODE,
    metric="e2e_latency_ms",
    effort=Effort.FLAG,
    accuracy="None: the same weights and keys are read from elsewhere.",
    requirements=("a deployment that offloads", "room on the device"),
    conflicts=(),
    assumptions=("Offloading: copies run beside the arithmetic of a step, and the slower of both counts.",),
    propose=propose,
    explain=explain,
    lossless=True,
    sets=Part.OFFLOAD,
)
