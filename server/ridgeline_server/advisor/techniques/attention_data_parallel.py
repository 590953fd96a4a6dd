"""Attention data parallelism: the devices of a stage divide sequences instead of the matrices of attention.

What it does: Each device attends to its own sequences with the whole of attention's weights, and the devices
meet again at the experts. The cache of a sequence lies on one device instead of on all.

When it pays: Where the cache cannot be divided by heads (latent attention has one, and tensor parallelism
copies it to every device), so that memory and bandwidth go to copies.

When it does not: For few sequences, of which a device needs at least one; each device reads all of
attention's weights; and for the latency of a single request.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.results import Effort, ReasonCode
from ridgeline_server.advisor.spreading import explain_redivided, propose_redivided
from ridgeline_server.advisor.technique import Explanation, Facts, NotApplicable, Outcome, Proposal, Technique
from ridgeline_server.roofline.operators.layer import Stage


def propose(facts: Facts) -> Proposal | NotApplicable:
    """A group of one device for each that divides the matrices of attention today."""
    today = facts.deployment.parallel
    if facts.model.experts is None:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"{facts.model.name} has no experts for its devices to meet at; replicas do the same for it.",
        )
    if today.attention_dp > 1 and today.tp == 1:
        return NotApplicable(
            ReasonCode.ALREADY_APPLIED, f"{today.attention_dp} devices attend to their own sequences today."
        )
    divided = replace(today, tp=1, attention_dp=today.stage_devices, ep=today.stage_devices)
    return propose_redivided(facts, divided)


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """A cache that lies once against weights that every device reads."""
    before, after = facts.deployment.parallel, outcome.proposal.deployment.parallel
    return explain_redivided(
        facts,
        outcome,
        f"{after.attention_dp} devices that attend to their own sequences instead of {before.tp} that "
        "divide each matrix",
        "It pays with more sequences for each device.",
    )


TECHNIQUE = Technique(
    id="attention-data-parallel",
    title="attention data parallelism",
    stage=Stage.DECODE,
    metric="output_tokens_per_s",
    effort=Effort.FLAG,
    accuracy="None but the order of sums.",
    requirements=("an engine that divides sequences between devices of one replica",),
    conflicts=("expert-parallel",),
    assumptions=("Attention data parallelism: experts are divided by expert over all devices of the stage.",),
    propose=propose,
    explain=explain,
    lossless=True,
)
