"""A window over the keys: decode holds the first keys and the last ones (the class of StreamingLLM).

What it does: Of each sequence the few first keys, on which attention leans whatever they say, and the last
ones stay in the cache, of a model that was trained without a window; all between them is dropped. Prefill
still attends to the whole prompt.

When it pays: For contexts much longer than the window, where the cache is a large part of the bytes that
decode reads, or of the memory: talk that goes on, in which the last turns matter.

When it does not: For contexts within the window, beside large weights, and wherever an answer needs what
stands before it: all of that is lost, not only made coarser. No accuracy of whole tasks is known to the
catalog, so it is at most considered.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from ridgeline_server.advisor.asking import both
from ridgeline_server.advisor.knobs import TRIED, break_even, knob
from ridgeline_server.advisor.kv_compression import ways_unless_it_pays
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
from ridgeline_server.advisor.wording import called, change, makes_it_fit, sequences, spent_on
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.wording import share

NAME = "kv_window"
WINDOW = 1024
WINDOW_SOURCE = (
    "github.com/tomaarsen/attention_sinks, of arXiv:2309.17453: 4 attention sinks and the 1,020 last tokens"
)


def propose(facts: Facts) -> Proposal | NotApplicable:
    """The published window or the stated one, where contexts are longer."""
    if facts.model.attention is None:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON, f"{facts.model.name} caches no keys that could be dropped."
        )
    today, stated = facts.deployment.kv_window, facts.assumed.kv_window
    if today is not None:
        return NotApplicable(
            ReasonCode.ALREADY_APPLIED, f"decode holds at most {today:,} keys of a sequence today."
        )
    window = WINDOW if stated is None else stated
    length = facts.workload.total_len
    if length <= window:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"a sequence ends with {length:,} tokens, all of them within a window of {window:,}.",
            f"It applies to contexts of over {window:,} tokens.",
        )
    assumed = "" if stated is not None else NAME
    return Proposal(
        facts.workload, _within(facts.deployment, window), at_most=Verdict.CONSIDER, assumed=assumed
    )


@lru_cache(maxsize=TRIED)
def _within(deployment: Deployment, window: int) -> Deployment:
    return replace(deployment, kv_window=window)


def explain(facts: Facts, outcome: Outcome) -> Asking[Explanation]:
    """Keys beyond the window against everything else that a decode step moves."""
    step, metric, length = facts.step, outcome.deciding.metric, facts.workload.total_len
    window = outcome.proposal.deployment.kv_window
    assert window is not None  # as it is proposed

    def part_of_context(part: float) -> Deployment:
        return _within(facts.deployment, max(round(part * length), 1))

    part, ways = yield from both(
        break_even(facts, part_of_context, metric, worst=1.0, best=0.01),
        ways_unless_it_pays(facts, outcome),
    )
    pays = None if part is None else max(round(part * length), 1)
    found = knob(NAME, facts.assumed.kv_window, WINDOW, WINDOW_SOURCE, pays)
    if outcome.memory.fits and not facts.memory.fits:
        return replace(makes_it_fit(facts, outcome, f"at most {window:,} keys of each"), knobs=(found,))
    read = step.bytes_by_class.kv_read / step.bytes
    reason = (
        f"at {sequences(facts, step)} with {step.keys:,.0f} keys, reading them is {share(read)} of all that "
        f"{called(step)} moves, and {spent_on(step)}; at most {window:,} of them: {change(outcome.deciding)}."
    )
    if outcome.verdict.pays:
        ends = f"It gains over 3% with a window of up to {pays:,} keys." if pays else ""
        return Explanation(ReasonCode.KV_BYTES_CUT, reason, ends, (found,))
    return Explanation(ReasonCode.BYTES_NOT_DOMINANT, reason, ways, (found,))


TECHNIQUE = Technique(
    id="kv-window",
    title="a window over the keys",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="All between the first tokens and the window is lost; measure it on your task.",
    requirements=("an engine that drops keys behind a window", "answers that need the last tokens alone"),
    conflicts=("kv-eviction",),
    assumptions=("A window: every layer holds as many keys, the first ones among them.",),
    propose=propose,
    explain=explain,
)
