"""Speculation by heads: an extra layer of the model's own (EAGLE, multi-token prediction) drafts tokens.

What it does: a decoder layer on top of the model's last hidden states drafts a few tokens one by one, and one
step of the model verifies them. The output's distribution is the model's own.

When it pays: decode waits for weight bytes or keys; a layer drafts faster than a model of its own and is
right more often.

When it does not: where verifying turns a step compute-bound, and for a model without trained heads. The
training is the user's, unless heads are published: therefore it is at most considered, and enters no plan.
"""

from __future__ import annotations

from ridgeline_server.advisor.results import Effort
from ridgeline_server.advisor.speculation import explain, propose_at_rate, refused
from ridgeline_server.advisor.technique import Facts, NotApplicable, Proposal, Technique
from ridgeline_server.domain.speculation import Draft
from ridgeline_server.roofline.operators.layer import Stage


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Drafting by a layer of the model's kind."""
    return refused(facts) or propose_at_rate(facts, Draft.HEADS, facts.assumed.heads_acceptance_rate)


TECHNIQUE = Technique(
    id="speculation-heads",
    title="speculation by extra heads",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.RETRAIN,
    accuracy="None: verification keeps the distribution of the model's own outputs.",
    requirements=("heads trained for this model: published ones (EAGLE), or its own multi-token prediction",),
    conflicts=("speculation-draft-model", "speculation-ngram", "stop-speculation"),
    assumptions=(
        (
            "Heads: one more layer of the model's last kind and lm_head for each drafted token, each with "
            "the same chance to be kept."
        ),
    ),
    propose=propose,
    explain=explain,
    lossless=True,
)
