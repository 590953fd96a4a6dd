"""Speculation by a draft model: a small model of the same vocabulary drafts tokens, one step verifies them.

What it does: The draft model writes a few tokens one by one, and the model reads its weights once to verify
all of them. Those up to the first rejected one are kept, and the output's distribution is the model's own.

When it pays: Decode waits for weight bytes (few sequences a device), and the draft is several times smaller
and often right: on an A100 one of 1.1 billion parameters for Llama-2-7B gains 1.33x at batch 1 when 65% of
its tokens are kept and 2.21x when 95% are. How often it is right is assumed, and measured gains differ from
predicted ones by a factor of nearly 2: up to a predicted 2x it is only considered.

When it does not: At high load, where verifying turns a step compute-bound or reads many more keys; with a
draft that is too large or too often wrong; for outputs of a token or two.
"""

from __future__ import annotations

from ridgeline_server.advisor.results import Effort, ReasonCode
from ridgeline_server.advisor.speculation import explain, nothing_to_draft, propose_at_rate
from ridgeline_server.advisor.technique import Facts, NotApplicable, Part, Proposal, Technique
from ridgeline_server.domain.speculation import Draft
from ridgeline_server.roofline.operators.layer import Stage


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Drafting by the model that the request or the catalog knows."""
    no = nothing_to_draft(facts)
    if no:
        return no
    draft = facts.assumed.draft_model
    if draft is None:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"no model of {facts.model.name}'s family and vocabulary of {facts.model.vocab_size:,} is known "
            "that is under a fifth of its size.",
            "Name one as draft_model.",
        )
    return propose_at_rate(facts, Draft.MODEL, facts.assumed.draft_model_acceptance_rate, draft)


TECHNIQUE = Technique(
    id="speculation-draft-model",
    title="speculation by a draft model",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="None: verification keeps the distribution of the model's own outputs.",
    requirements=("a draft model with the model's own tokenizer", "memory for its weights and its cache"),
    conflicts=(),
    assumptions=(
        (
            "Draft model: each drafted token has the same chance to be kept; its prefill of the prompt is "
            "left out."
        ),
    ),
    propose=propose,
    explain=explain,
    lossless=True,
    sets=Part.DRAFT,
)
