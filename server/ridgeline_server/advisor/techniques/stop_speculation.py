"""No speculation: steps verify no drafts, where drafting costs more than the tokens that are kept save.

What it does: Each decode step computes one token for each sequence again, and nothing is drafted for it.

When it pays: At loads where a step's time is arithmetic, so that verified tokens are no longer free; where
few drafts are kept; where each drafted token of a mixture of experts reads further experts; where the draft
takes long beside the model.

When it does not: For few sequences of a dense model whose steps wait for weight bytes, as long as drafts are
often right. Fewer drafted tokens may do better than none, which the answer then says.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.flips import first_gaining, larger_batches, smaller_batches
from ridgeline_server.advisor.knobs import STATED, break_even
from ridgeline_server.advisor.results import Effort, Knob, ReasonCode
from ridgeline_server.advisor.speculation import LENGTHS, accepting, cost_of_drafting, rate_of
from ridgeline_server.advisor.technique import (
    GAIN,
    Asking,
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Part,
    Proposal,
    Technique,
)
from ridgeline_server.advisor.wording import change, counted, load_in_words, makes_it_fit, sequences
from ridgeline_server.roofline.metrics import best_value
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.wording import ms


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Today's deployment without its draft."""
    if facts.deployment.speculation is None:
        return NotApplicable(ReasonCode.NOTHING_TO_WORK_ON, "today's deployment drafts no tokens.")
    if facts.workload.output_len == 1:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            "a request of one output token has no decode step for which tokens are drafted.",
        )
    return Proposal(facts.workload, replace(facts.deployment, speculation=None))


def explain(facts: Facts, outcome: Outcome) -> Asking[Explanation]:
    """What drafting and verifying cost against the tokens that are kept."""
    today, after = facts.deployment, outcome.after
    speculation, metric = today.speculation, outcome.deciding.metric
    assert speculation is not None  # nothing is proposed without
    if outcome.memory.fits and not facts.memory.fits:
        return makes_it_fit(facts, outcome, "decode steps without a draft")
    drafting = yield from cost_of_drafting(after, facts)
    reason = f"at {sequences(facts, after.decode)}, {drafting}: without drafts {change(outcome.deciding)}."
    pays = yield from break_even(after, lambda rate: accepting(today, rate), metric)
    source = speculation.acceptance_rate_source or STATED
    found = Knob(rate_of(facts.model, speculation.draft), speculation.acceptance_rate, source, pays)
    needed = _needed(speculation.tokens, pays)
    if outcome.verdict.pays:
        smaller = yield from first_gaining(after, today, smaller_batches(facts.workload), metric)
        ways = [
            needed,
            f"Drafting gains over 3% at {load_in_words(smaller)} and below." if smaller else "",
            _fewer(facts, outcome),
        ]
        return Explanation(ReasonCode.DRAFTING_EXCEEDS_GAIN, reason, " ".join(filter(None, ways)), (found,))
    larger = yield from first_gaining(facts, after.deployment, larger_batches(facts.workload), metric)
    flips = f"Without drafts it is faster by over 3% from {load_in_words(larger)} on." if larger else ""
    return Explanation(ReasonCode.MORE_TOKENS_PER_STEP, reason, f"{needed} {flips}".strip(), (found,))


def _needed(tokens: int, pays: float | None) -> str:
    """From which acceptance rate on drafting pays, in a sentence."""
    if pays is None:
        return f"Not even an acceptance rate of 1 makes {counted(tokens, 'drafted token')} pay."
    gain = "gains" if tokens == 1 else "gain"
    return f"{counted(tokens, 'drafted token')} {gain} over 3% from an acceptance rate of {pays:.2f} on."


def _fewer(facts: Facts, outcome: Outcome) -> str:
    """That fewer drafted tokens are faster than none, in a sentence; empty where none are."""
    speculation, metric = facts.deployment.speculation, outcome.deciding.metric
    assert speculation is not None
    fewer = [tokens for tokens in LENGTHS if tokens < speculation.tokens]
    simulations = facts.simulate(
        [
            facts.candidate(
                deployment=replace(facts.deployment, speculation=replace(speculation, tokens=tokens))
            )
            for tokens in fewer
        ]
    )
    times = [best_value(simulation, metric) for simulation in simulations]
    if not times or min(times) * GAIN >= outcome.deciding.after:
        return ""
    tokens = fewer[times.index(min(times))]
    return f"With {counted(tokens, 'drafted token')} it is {ms(min(times))}, less than without any."


TECHNIQUE = Technique(
    id="stop-speculation",
    title="no speculation",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="None: verified tokens have the distribution of the model's own.",
    requirements=("a deployment that drafts tokens",),
    conflicts=(),
    assumptions=("Drafts: each of them has the same chance to be kept.",),
    propose=propose,
    explain=explain,
    lossless=True,
    sets=Part.DRAFT,
)
