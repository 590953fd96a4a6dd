"""Prefix caching: keys and values of prompt parts that several requests share are kept and not computed
again.

What it does: The cache of a system prompt, a shared document or the turns so far stays on the device, and a
prompt that begins with it is prefilled from there on.

When it pays: Prompts share long beginnings, and prefill is a large part of a request's time or holds up the
decodes of others.

When it does not: For prompts that share nothing, and for short ones, whose prefill is a matter of launches.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from ridgeline_server.advisor.effects import effect_on
from ridgeline_server.advisor.knobs import STATED, TRIED, break_even
from ridgeline_server.advisor.results import Effort, Knob, ReasonCode, Verdict
from ridgeline_server.advisor.technique import (
    Asking,
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Proposal,
    Technique,
    Unstated,
)
from ridgeline_server.advisor.wording import change, spent_on
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.wording import share

METRIC = "ttft_ms"
NAME = "prefix_hit_rate"


def propose(facts: Facts) -> Proposal | NotApplicable | Unstated:
    """The stated share of each prompt from the cache; without one, what it must be."""
    today, rate = facts.deployment.prefix_hit_rate, facts.assumed.prefix_hit_rate
    if today:
        return NotApplicable(
            ReasonCode.ALREADY_APPLIED, f"{share(today)} of each prompt come from the cache today."
        )
    return Unstated(_needed) if rate is None else Proposal(facts.workload, _hitting(facts.deployment, rate))


@lru_cache(maxsize=TRIED)
def _hitting(deployment: Deployment, rate: float) -> Deployment:
    return replace(deployment, prefix_hit_rate=rate)


def _break_even(facts: Facts) -> Asking[float | None]:
    return break_even(facts, lambda rate: _hitting(facts.deployment, rate), METRIC)


def _situation(facts: Facts) -> str:
    return f"prefill of {facts.workload.input_len:,} tokens ({spent_on(facts.prefill)})"


def _needed(facts: Facts) -> Asking[NotApplicable]:
    pays = yield from _break_even(facts)
    knobs = (Knob(NAME, None, "", pays),)
    if pays is None:
        return NotApplicable(
            ReasonCode.BOUND_NOT_ADDRESSED,
            f"{_situation(facts)} takes as long with all of a prompt but its last token in the cache.",
            verdict=Verdict.NO_GAIN,
            knobs=knobs,
        )
    return NotApplicable(
        ReasonCode.FIGURE_NOT_STATED,
        f"how much of a prompt is cached depends on your traffic, and no {NAME} is stated; "
        f"{_situation(facts)} is shortened by over 3% from a hit rate of {pays:.2f} on.",
        f"State {NAME}, as your engine's log tells it.",
        Verdict.CONSIDER,
        knobs,
    )


def explain(facts: Facts, outcome: Outcome) -> Asking[Explanation]:
    """What is left of prefill, and what that does to a request."""
    rate = outcome.proposal.deployment.prefix_hit_rate
    pays = yield from _break_even(facts)
    latency = effect_on(outcome.effects, "e2e_latency_ms")
    left = outcome.after.prefill
    reason = (
        f"a hit rate of {rate:.2g} leaves {left.query_len:,.0f} tokens to compute of a {_situation(facts)}: "
        f"{change(outcome.deciding)}; {change(latency)}."
    )
    gained = outcome.verdict.pays
    return Explanation(
        ReasonCode.PREFILL_CUT if gained else ReasonCode.BOUND_NOT_ADDRESSED,
        reason,
        "Not even a hit rate of 1 gains over 3%."
        if pays is None
        else f"It gains over 3% from a hit rate of {pays:.2f} on.",
        (Knob(NAME, rate, STATED, pays),),
    )


TECHNIQUE = Technique(
    id="prefix-caching",
    title="prefix caching",
    stage=Stage.PREFILL,
    metric=METRIC,
    effort=Effort.FLAG,
    accuracy="None: the same keys and values are read instead of computed again.",
    requirements=("prompts that begin alike", "memory that keeps their cache between requests"),
    conflicts=(),
    assumptions=("Prefix caching: every prompt finds the same share of itself in the cache.",),
    propose=propose,
    explain=explain,
    lossless=True,
)
