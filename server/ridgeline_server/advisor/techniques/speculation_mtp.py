"""Multi-token prediction: the module that a model is published with drafts tokens, one step verifies them.

What it does: One more decoder layer, trained with the model and published in its checkpoint, drafts the token
after the next one from the model's last hidden states. One step of the model verifies what is drafted, and
the output's distribution is the model's own.

When it pays: Decode waits for weight bytes or keys; the module is a small part of the model and often right.
Nothing is to be trained, so that a flag switches it on.

When it does not: For models that are published without such a module; at high load, where verifying turns a
step compute-bound; with experts, where the drafted tokens of few sequences hit experts that no other token
needs, so that a step reads more weights.
"""

from __future__ import annotations

from ridgeline_server.advisor.results import Effort, ReasonCode
from ridgeline_server.advisor.speculation import LENGTHS, explain, nothing_to_draft, propose_drafting
from ridgeline_server.advisor.technique import Facts, NotApplicable, Part, Proposal, Technique
from ridgeline_server.domain.speculation import PUBLISHED_RATES, Draft, Speculation
from ridgeline_server.roofline.operators.layer import Stage

PUBLISHED_LENGTHS = (1,)
"""Tokens that are drafted at the published rate, which is that of the one next to the next."""


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Drafting by the model's own module: one token at the published rate, or as many as pay at a stated
    one.
    """
    no = nothing_to_draft(facts)
    if no:
        return no
    if not facts.model.prediction_layers:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"{facts.model.name} is published without layers for multi-token prediction, as far as its "
            "config tells.",
            "Heads that are trained for it draft alike: speculation-heads.",
        )
    stated = facts.assumed.mtp_acceptance_rate
    if stated is None:
        rate = PUBLISHED_RATES[Draft.HEADS].acceptance_rate
        return propose_drafting(facts, Speculation(Draft.HEADS, 1, rate), PUBLISHED_LENGTHS)
    return propose_drafting(facts, Speculation(Draft.HEADS, 1, stated), LENGTHS)


TECHNIQUE = Technique(
    id="speculation-mtp",
    title="multi-token prediction",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="None: verification keeps the distribution of the model's own outputs.",
    requirements=("a checkpoint with the module, which some copies in other formats leave out",),
    conflicts=(),
    assumptions=(
        (
            "Multi-token prediction: the module is a layer of the model's last kind with its lm_head, run "
            "once for each drafted token; each has the same chance to be kept."
        ),
    ),
    propose=propose,
    explain=explain,
    lossless=True,
    sets=Part.DRAFT,
)
