"""Tensor parallelism: twice as many devices divide each matrix and each head of attention.

What it does: Every device holds a part of each matrix and of the cache, and two all-reduces in each layer put
the results together.

When it pays: For latency, where steps wait for weight bytes, keys or arithmetic and devices are joined by a
fast link; and to make a model fit.

When it does not: Over PCIe, where the all-reduces take what the division saves; for small models, whose steps
are launches; for cost, since throughput for each device falls. Beyond the key-value heads the cache is
copied, not divided.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.spreading import MOST_TIMES, explain_wider, propose_wider
from ridgeline_server.advisor.technique import Explanation, Facts, NotApplicable, Outcome, Proposal, Technique
from ridgeline_server.roofline.operators.layer import Stage


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Twice the devices, or as many as make the model fit; experts stay divided as they are if they can."""
    today = facts.deployment.parallel
    choices = []
    for times in (2**n for n in range(1, MOST_TIMES.bit_length())):
        choices.append(replace(today, tp=times * today.tp))
        if today.ep > 1:
            choices.append(replace(today, tp=times * today.tp, ep=times * today.ep))
    return propose_wider(facts, choices)


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """What the devices of a stage share against their all-reduces."""
    devices, tp = facts.deployment.parallel.tp, outcome.proposal.deployment.parallel.tp
    return explain_wider(
        facts,
        outcome,
        f"{tp} devices instead of {devices} that divide each matrix",
        "It pays over a faster link, or where a step has more bytes and arithmetic to divide.",
    )


TECHNIQUE = Technique(
    id="tensor-parallel",
    title="tensor parallelism",
    stage=Stage.DECODE,
    metric="e2e_latency_ms",
    effort=Effort.MORE_DEVICES,
    accuracy="None but the order of sums.",
    requirements=("more devices", "a fast link between them"),
    conflicts=("fewer-devices",),
    assumptions=(),
    propose=propose,
    explain=explain,
    changes_devices=True,
    lossless=True,
)
