"""Offloading to the host's memory: what its techniques share. It makes room, and the link takes time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace

from ridgeline_server.advisor.effects import effect_on
from ridgeline_server.advisor.results import ReasonCode, Verdict
from ridgeline_server.advisor.technique import Explanation, Facts, NotApplicable, Outcome, Proposal
from ridgeline_server.advisor.wording import change, makes_it_fit
from ridgeline_server.domain.deployment import Deployment, Offload
from ridgeline_server.roofline.memory.device import Memory, memory_of
from ridgeline_server.roofline.wording import gib, share

STEPS = 20
"""Shares are tried in steps of a twentieth."""
OFFLOADED = {"weight_share": "the layers' weights", "kv_share": "the KV cache"}
"""What each share of an Offload is of."""


def propose_offload(name: str) -> Callable[[Facts], Proposal | NotApplicable]:
    """Proposes the smallest share in the host's memory with which the rest fits the device: worth considering
    at most, since what fits without the host is faster.
    """

    def propose(facts: Facts) -> Proposal | NotApplicable:
        deployment, memory, hardware = facts.deployment, facts.memory, facts.scenario.hardware
        if hardware.shares_host_memory:
            return NotApplicable(
                ReasonCode.NOTHING_TO_WORK_ON, f"the memory of {hardware.name} is the host's own."
            )
        link = deployment.offload.host_bandwidth_bytes_per_s
        if memory.fits:
            own = hardware.bandwidth_bytes_per_s
            return NotApplicable(
                ReasonCode.NOTHING_TO_WORK_ON,
                f"it fits ({gib(memory.total_bytes)} of {gib(memory.usable_bytes)}), and the host's memory "
                f"is read at {gigabytes(link)} instead of {gigabytes(own)}.",
                "It is a way to run what does not fit.",
            )
        today: float = getattr(deployment.offload, name)
        shares = [step / STEPS for step in range(1, STEPS + 1) if step / STEPS > today]
        found = first_that_fits(facts, [offloading(deployment, name, share) for share in shares])
        if found is None:
            least = memory_with(facts, offloading(deployment, name, shares[-1])) if shares else memory
            return NotApplicable(
                ReasonCode.MEMORY_LIMIT,
                f"with all of {OFFLOADED[name]} in the host's memory it would still need "
                f"{gib(least.total_bytes)} of {gib(least.usable_bytes)}.",
            )
        return Proposal(facts.workload, found, at_most=Verdict.CONSIDER)

    return propose


def memory_with(facts: Facts, deployment: Deployment) -> Memory:
    """What another deployment takes under the same load."""
    return memory_of(facts.model, replace(facts.scenario, deployment=deployment), facts.workload)


def first_that_fits(facts: Facts, deployments: Sequence[Deployment]) -> Deployment | None:
    """The first of deployments, each of which takes less memory than the one before, that fits."""
    first = bisect_left(deployments, 1, key=lambda each: int(memory_with(facts, each).fits))
    return deployments[first] if first < len(deployments) else None


def offloading(deployment: Deployment, name: str, value: float) -> Deployment:
    """The same with another share in the host's memory."""
    offload: Offload = replace(deployment.offload, **{name: value})
    return replace(deployment, offload=offload)


def explain_offload(name: str) -> Callable[[Facts, Outcome], Explanation]:
    """The room that is made against the time on the host's link."""

    def explain(facts: Facts, outcome: Outcome) -> Explanation:
        offload = outcome.proposal.deployment.offload
        moved = f"{share(getattr(offload, name))} of {OFFLOADED[name]}"
        found = makes_it_fit(facts, outcome, f"{moved} in the host's memory")
        link = gigabytes(offload.host_bandwidth_bytes_per_s)
        told = dict.fromkeys((outcome.deciding, effect_on(outcome.effects, "ttft_ms")))
        changes = "; ".join(map(change, told))
        slow = f"What lies there is read over its link at {link}: against a device that held all, {changes}."
        return replace(found, reason=f"{found.reason} {slow}")

    return explain


def gigabytes(bytes_per_s: float) -> str:
    """A bandwidth."""
    return f"{bytes_per_s / 1e9:,.4g} GB/s"
