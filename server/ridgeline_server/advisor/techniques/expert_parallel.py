"""Expert parallelism: each device of a stage holds whole experts instead of a slice of every one.

What it does: Tokens travel to the devices of the experts that they meet and back, by two exchanges in each
layer; a device multiplies by few large matrices instead of many narrow ones.

When it pays: For models of many small experts on many devices, whose slices are too narrow to keep a device
busy, and at batches that meet most experts anyway.

When it does not: Where few tokens meet few experts, so that some devices have none; where the exchanges cross
a slow link; and where the router prefers some experts, since the busiest device decides.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.results import Effort, ReasonCode
from ridgeline_server.advisor.spreading import explain_redivided, propose_redivided
from ridgeline_server.advisor.technique import Explanation, Facts, NotApplicable, Outcome, Proposal, Technique
from ridgeline_server.roofline.operators.layer import Stage


def propose(facts: Facts) -> Proposal | NotApplicable:
    """As many ways by expert as the stage has devices."""
    today = facts.deployment.parallel
    if facts.model.experts is None:
        return NotApplicable(ReasonCode.NOTHING_TO_WORK_ON, f"{facts.model.name} has no experts to divide.")
    if today.ep == today.stage_devices > 1:
        return NotApplicable(
            ReasonCode.ALREADY_APPLIED, f"its experts are divided {today.ep} ways by expert today."
        )
    return propose_redivided(facts, replace(today, ep=today.stage_devices))


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """Whole experts and exchanges against slices and all-reduces."""
    before, after = facts.deployment.parallel, outcome.proposal.deployment.parallel
    return explain_redivided(
        facts,
        outcome,
        f"experts divided {after.ep} ways by expert instead of {before.ep}",
        "It pays with more tokens in a step, or with a faster link between the devices.",
    )


TECHNIQUE = Technique(
    id="expert-parallel",
    title="expert parallelism",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="None but the order of sums.",
    requirements=("an engine with exchanges between experts for this device",),
    conflicts=("attention-data-parallel",),
    assumptions=(
        "Experts: tokens are spread over experts as the router's stated spread says, even when unset.",
    ),
    propose=propose,
    explain=explain,
    lossless=True,
)
