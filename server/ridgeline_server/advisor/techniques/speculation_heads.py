"""Speculation by heads: an extra layer that is trained for the model, such as EAGLE's, drafts tokens.

What it does: A decoder layer on top of the model's last hidden states drafts a few tokens one by one, and one
step of the model verifies them. The output's distribution is the model's own.

When it pays: Decode waits for weight bytes or keys; a layer drafts faster than a model of its own and is
right more often.

When it does not: Where verifying turns a step compute-bound, and for a model without trained heads. The
training is the user's, unless heads are published: therefore it is at most considered, and enters no plan.
"""

from __future__ import annotations

from ridgeline_server.advisor.results import Effort, ReasonCode
from ridgeline_server.advisor.speculation import explain, layers_of, nothing_to_draft, propose_at_rate
from ridgeline_server.advisor.technique import Facts, NotApplicable, Part, Proposal, Technique
from ridgeline_server.domain.speculation import Draft
from ridgeline_server.roofline.operators.layer import Stage


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Drafting by a layer of the model's kind, unless the model is published with one."""
    no = nothing_to_draft(facts)
    if no:
        return no
    if facts.model.prediction_layers:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"{facts.model.name} is published with {layers_of(facts.model)}: nothing is to be trained, and "
            "speculation-mtp drafts by them.",
        )
    return propose_at_rate(facts, Draft.HEADS, facts.assumed.heads_acceptance_rate)


TECHNIQUE = Technique(
    id="speculation-heads",
    title="speculation by extra heads",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.TRAIN_HEADS,
    accuracy="None: verification keeps the distribution of the model's own outputs.",
    requirements=("heads trained for this model, such as published ones of EAGLE",),
    conflicts=(),
    assumptions=(
        (
            "Heads: one more layer of the model's last kind and lm_head for each drafted token, each with "
            "the same chance to be kept."
        ),
    ),
    propose=propose,
    explain=explain,
    lossless=True,
    sets=Part.DRAFT,
)
