"""Spreading a model over devices: what its techniques share. Devices divide work and wait for one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ridgeline_server.advisor.effects import effect_on
from ridgeline_server.advisor.results import ReasonCode
from ridgeline_server.advisor.technique import Explanation, Facts, NotApplicable, Outcome, Proposal
from ridgeline_server.advisor.verdict import PER_DEVICE
from ridgeline_server.advisor.wording import called, change, makes_it_fit, spent_on
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.efficiency import OperatorClass
from ridgeline_server.domain.errors import FieldViolation
from ridgeline_server.domain.gates import check_parallelism, check_techniques
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.roofline import communication
from ridgeline_server.roofline.results import Bound, StepFigures
from ridgeline_server.roofline.scenario import fabric_of
from ridgeline_server.roofline.wording import share

MOST_TIMES = 16
"""How many times more devices are looked at to make a model fit."""
LEAST_SHARE = 0.001
"""A smaller share of a stage is not told apart from none."""


def spread(facts: Facts, parallel: Parallelism) -> Deployment | list[FieldViolation]:
    """Today's deployment over other devices, or why the model cannot be divided like that."""
    deployment = replace(facts.deployment, parallel=parallel)
    violations = list(check_parallelism(facts.model, parallel))
    if not violations:
        violations = list(check_techniques(deployment, facts.model, facts.scenario.hardware))
    return violations or deployment


def propose_wider(facts: Facts, choices: Sequence[Parallelism]) -> Proposal | NotApplicable:
    """As `propose_more` does, with devices that a link has to join."""
    hardware = facts.scenario.hardware
    if hardware.is_whole_machine:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"{hardware.name} is a machine of its own, and no link between such machines is known.",
        )
    return propose_more(facts, choices)


def propose_more(facts: Facts, choices: Sequence[Parallelism]) -> Proposal | NotApplicable:
    """The first of the choices, from few devices to many, that the model can be divided by; where it does not
    fit today, the first that makes it fit.
    """
    possible: list[Deployment] = []
    reasons: list[FieldViolation] = []
    for parallel in choices:
        found = spread(facts, parallel)
        if isinstance(found, list):
            reasons += found
        else:
            possible.append(found)
    if not possible:
        field = reasons[0].field.rpartition(".")[2]
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"the model cannot be divided further: {field} {reasons[0].description}.",
        )
    chosen = possible[0]
    if not facts.memory.fits:
        memories = [s.memory for s in facts.simulate([facts.candidate(deployment=d) for d in possible])]
        chosen = next((d for d, m in zip(possible, memories, strict=True) if m.fits), possible[-1])
    return Proposal(facts.workload, chosen)


def propose_redivided(facts: Facts, parallel: Parallelism) -> Proposal | NotApplicable:
    """Today's devices, which divide the work in another way."""
    if facts.deployment.parallel.stage_devices == 1:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            "one device serves each stage.",
            "Tensor parallelism has more.",
        )
    found = spread(facts, parallel)
    if isinstance(found, list):
        field = found[0].field.rpartition(".")[2]
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"the model cannot be divided so: {field} {found[0].description}.",
        )
    return Proposal(facts.workload, found)


def explain_redivided(facts: Facts, outcome: Outcome, cause: str, flips_when: str) -> Explanation:
    """What devices exchange before and after the same devices divide their work in another way."""
    after = outcome.after
    if outcome.memory.fits and not facts.memory.fits:
        return makes_it_fit(facts, outcome, cause)
    changes = f"{change(outcome.deciding)}; {change(effect_on(outcome.effects, 'ttft_ms'))}"
    today = f"{_taken(facts.step)} of {called(facts.step)} today"
    reason = f"with {cause}, {waiting(after)}, and {today}: {changes}."
    if outcome.verdict.pays:
        return Explanation(ReasonCode.DEVICES_SHARE_WORK, reason, "")
    return Explanation(ReasonCode.COMMUNICATION_EXCEEDS_GAIN, reason, flips_when)


def explain_wider(facts: Facts, outcome: Outcome, cause: str, flips_when: str) -> Explanation:
    """What devices share against what they exchange, in all and for each device."""
    after = outcome.after
    if outcome.memory.fits and not facts.memory.fits:
        fits = makes_it_fit(facts, outcome, cause)
        return replace(fits, reason=f"{fits.reason} There {waiting(after)}.")
    changes = f"{change(outcome.deciding)}; {change(effect_on(outcome.effects, PER_DEVICE))}"
    if outcome.verdict.pays:
        return Explanation(ReasonCode.DEVICES_SHARE_WORK, f"with {cause}, {waiting(after)}: {changes}.", "")
    return Explanation(
        ReasonCode.COMMUNICATION_EXCEEDS_GAIN,
        f"with {cause}, {waiting(after)}; in {called(after.step)} {spent_on(after.step)}: {changes}.",
        flips_when,
    )


def waiting(facts: Facts) -> str:
    """What exchanges between devices take of the stages, and over what they go."""
    stages = [facts.prefill] if facts.step is facts.prefill else [facts.decode, facts.prefill]
    taken = " and ".join(f"{_taken(stage)} of {called(stage)}" for stage in stages)
    return f"communication takes {taken} {_way(facts)}"


def _taken(stage: StepFigures) -> str:
    part = stage.share(Bound.COMMUNICATION)
    return share(part) if part >= LEAST_SHARE else f"under {share(LEAST_SHARE)}"


def _way(facts: Facts) -> str:
    """Over what the devices of a stage, or the stages of a pipeline, talk to one another."""
    parallel, fabric = facts.deployment.parallel, fabric_of(facts.scenario)
    used = communication.classes_used(communication.all_gather, parallel.replica_devices, fabric)
    if OperatorClass.NETWORK in used:
        return "over the network between hosts"
    if OperatorClass.PCIE_GROUP in used:
        return "over PCIe"
    return f"over the link of {float(fabric.link_bytes_per_s) / 1e9:,.4g} GB/s"
