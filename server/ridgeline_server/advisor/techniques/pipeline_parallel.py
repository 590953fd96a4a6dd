"""Pipeline parallelism: twice as many stages of devices divide the layers.

What it does: Each stage holds a part of the layers and the cache of these, and passes hidden states to the
next one.

When it pays: To make a model fit where links are slow, since stages exchange little; for the throughput of
many sequences, of which every stage works on a part.

When it does not: For the latency of a single sequence, which goes through all stages one after the other.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.spreading import MOST_TIMES, explain_wider, propose_wider
from ridgeline_server.advisor.technique import Explanation, Facts, NotApplicable, Outcome, Proposal, Technique
from ridgeline_server.roofline.operators.layer import Stage


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Twice the stages, or as many as make the model fit."""
    today = facts.deployment.parallel
    times = [2**n for n in range(1, MOST_TIMES.bit_length())]
    return propose_wider(facts, [replace(today, pp=n * today.pp) for n in times])


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """Stages that work side by side against those that wait."""
    before, after = facts.deployment.parallel, outcome.proposal.deployment.parallel
    cause = f"{after.pp} stages instead of {before.pp} that divide the layers"
    found = explain_wider(facts, outcome, cause, "It pays with as many sequences in flight as stages.")
    if facts.workload.batch <= after.dp:
        idle = f"{after.pp - 1} of {after.pp} {'wait' if after.pp > 2 else 'waits'}"
        idle = f"A token goes through the stages one by one, and {idle}."
        return replace(found, reason=f"{found.reason} {idle}")
    return found


TECHNIQUE = Technique(
    id="pipeline-parallel",
    title="pipeline parallelism",
    stage=Stage.DECODE,
    metric="output_tokens_per_s",
    effort=Effort.MORE_DEVICES,
    accuracy="None: each layer is computed as before.",
    requirements=("more devices",),
    conflicts=("fewer-devices",),
    assumptions=("Pipeline: stages of equal time, and as many parts of the sequences as stages.",),
    propose=propose,
    explain=explain,
    changes_devices=True,
    lossless=True,
)
