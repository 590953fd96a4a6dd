"""Speculation by lookup: tokens that followed the same words earlier in the text are verified in one step.

What it does: The last few tokens are looked up in the prompt and the output so far, and what followed them
there is verified in one step. Nothing is computed for the draft, and the output's distribution is the model's
own.

When it pays: The output repeats the prompt (summaries, code edits, retrieval), and decode waits for weight
bytes.

When it does not: For free text, where lookups are seldom right, and where verifying turns a step compute-
bound.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.knobs import break_even
from ridgeline_server.advisor.results import Effort, Knob, ReasonCode, Verdict
from ridgeline_server.advisor.speculation import (
    RATE_OF,
    accepting,
    explain,
    needed_rate,
    nothing_to_draft,
    propose_drafting,
)
from ridgeline_server.advisor.technique import (
    Asking,
    Facts,
    NotApplicable,
    Part,
    Proposal,
    Technique,
    Unstated,
)
from ridgeline_server.advisor.wording import sequences
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.roofline.operators.layer import Stage

TOKENS = 3
"""Tokens of a lookup whose rate is not known; a few cost little to verify."""


def propose(facts: Facts) -> Proposal | NotApplicable | Unstated:
    """Drafting by lookup at the stated rate; without one, what it must be."""
    no = nothing_to_draft(facts)
    if no:
        return no
    rate = facts.assumed.ngram_acceptance_rate
    return Unstated(_needed) if rate is None else propose_drafting(facts, Speculation(Draft.NGRAM, 1, rate))


def _needed(facts: Facts) -> Asking[NotApplicable]:
    deployment = replace(facts.deployment, speculation=Speculation(Draft.NGRAM, TOKENS, 0.0))
    pays = yield from break_even(facts, lambda rate: accepting(deployment, rate), "tpot_ms")
    name = RATE_OF[Draft.NGRAM]
    reason = (
        f"how often a lookup is right depends on how far outputs repeat their prompts, and no {name} is "
        f"stated. At {sequences(facts, facts.decode)}: "
    )
    needed = needed_rate(TOKENS, pays)
    return NotApplicable(
        ReasonCode.FIGURE_NOT_STATED if pays is not None else ReasonCode.DRAFTING_EXCEEDS_GAIN,
        reason + needed[0].lower() + needed[1:],
        f"State {name}, as your engine's log tells it." if pays is not None else "",
        Verdict.NO_GAIN if pays is None else Verdict.CONSIDER,
        (Knob(name, None, "", pays),),
    )


TECHNIQUE = Technique(
    id="speculation-ngram",
    title="speculation by lookup",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="None: verification keeps the distribution of the model's own outputs.",
    requirements=("outputs that repeat parts of their prompts",),
    conflicts=(),
    assumptions=("Lookup: it takes no time on the device; each token has the same chance to be kept.",),
    propose=propose,
    explain=explain,
    lossless=True,
    sets=Part.DRAFT,
)
