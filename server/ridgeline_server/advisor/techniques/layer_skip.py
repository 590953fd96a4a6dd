"""Layer skipping: tokens go through fewer layers (the class of LayerSkip and FlexiDepth).

What it does: A model that was trained for it leaves a share of its layers out, at the end once it is sure of
a token, or in between. Layers that are left out read no weights and no keys and compute nothing, in prefill
and in decode; their weights and their cache stay in memory.

When it pays: Where layers hold the time of a step, if somebody trained such a model and an engine skips. The
share is simulated as if all tokens of a step left out the same layers, which is what lets weights be unread.

When it does not: For a model as it is, whose later layers were trained to be run. With large batches, whose
tokens differ in the layers that they need, unless all leave out the same: the work that the usual share is
taken from reports no gain in wall-clock time yet. No accuracy of such models is known to the catalog, so it
is at most considered, and enters no plan.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from ridgeline_server.advisor.knobs import TRIED, break_even, knob
from ridgeline_server.advisor.results import Effort, ReasonCode, Verdict
from ridgeline_server.advisor.technique import (
    Asking,
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Proposal,
    Technique,
)
from ridgeline_server.advisor.wording import called, changes
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.results import StageAnalysis
from ridgeline_server.roofline.wording import share

NAME = "skipped_layer_share"
SKIPPED_SHARE = 0.25
SKIPPED_SHARE_SOURCE = "arXiv:2503.23798, abstract: FlexiDepth skips 8 of the 32 layers of Llama-3-8B"
MOST = 0.99
"""The largest share that a deployment can state."""


def propose(facts: Facts) -> Proposal | NotApplicable:
    """The published share of the layers, or the stated one."""
    today, stated = facts.deployment.skipped_layer_share, facts.assumed.skipped_layer_share
    if today > 0:
        return NotApplicable(ReasonCode.ALREADY_APPLIED, f"tokens skip {share(today)} of the layers today.")
    assumed = "" if stated is not None else NAME
    skipped = SKIPPED_SHARE if stated is None else stated
    return Proposal(
        facts.workload, _skipping(facts.deployment, skipped), at_most=Verdict.CONSIDER, assumed=assumed
    )


@lru_cache(maxsize=TRIED)
def _skipping(deployment: Deployment, skipped: float) -> Deployment:
    return replace(deployment, skipped_layer_share=skipped)


def explain(facts: Facts, outcome: Outcome) -> Asking[Explanation]:
    """What the layers hold of a step, against what surrounds them."""
    step, metric = facts.step, outcome.deciding.metric
    pays = yield from break_even(
        facts, lambda skipped: _skipping(facts.deployment, skipped), metric, best=MOST
    )
    found = knob(NAME, facts.assumed.skipped_layer_share, SKIPPED_SHARE, SKIPPED_SHARE_SOURCE, pays)
    reason = (
        f"layers hold {share(_held(facts.described(step.stage)))} of the time of {called(step)}; without "
        f"{share(outcome.proposal.deployment.skipped_layer_share)} of them: "
        f"{changes(outcome, 'ttft_ms')}."
    )
    ends = f"It gains over 3% from {share(pays)} of the layers on." if pays else ""
    if outcome.verdict.pays:
        return Explanation(ReasonCode.LAYERS_SKIPPED, reason, ends, (found,))
    return Explanation(ReasonCode.BOUND_NOT_ADDRESSED, reason, ends, (found,))


def _held(step: StageAnalysis) -> float:
    """The share of a step's time that operators of layers take."""
    return sum(operator.time_share for operator in step.operators if operator.layer_kind)


TECHNIQUE = Technique(
    id="layer-skip",
    title="layer skipping",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.RETRAIN,
    accuracy="Large for a model that was not trained for it; measure it on your task.",
    requirements=("a model that was trained to skip layers", "an engine that leaves layers out"),
    conflicts=(),
    assumptions=("Layer skipping: all tokens of a step leave out the same share of the layers.",),
    propose=propose,
    explain=explain,
)
