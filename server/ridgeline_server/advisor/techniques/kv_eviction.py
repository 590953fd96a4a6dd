"""KV eviction: decode holds and reads only a share of each sequence's keys (the class of H2O and SnapKV).

What it does: Keys and values that attention has hardly looked at are dropped after prefill, and the cache
stays that small.

When it pays: Long contexts or many sequences, where the cache is a large part of the bytes that decode reads,
or of the memory.

When it does not: For short contexts, beside large weights, and where the model recalls details from anywhere
in the prompt.
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

NAME = "kv_keep_ratio"
KEEP_RATIO = 0.2
KEEP_RATIO_SOURCE = "arXiv:2306.14048, abstract: H2O with 20% heavy hitters"


def propose(facts: Facts) -> Proposal | NotApplicable:
    """The published share of the keys, worth considering at most, or the stated one."""
    if facts.model.attention is None:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON, f"{facts.model.name} caches no keys that could be dropped."
        )
    today, stated = facts.deployment.kv_keep_ratio, facts.assumed.kv_keep_ratio
    if today < 1:
        return NotApplicable(
            ReasonCode.ALREADY_APPLIED, f"decode holds {share(today)} of each sequence's keys today."
        )
    if stated is not None:
        return Proposal(facts.workload, _keeping(facts.deployment, stated))
    # Whether answers stand it depends on the task, so nobody is told to drop a share that he did not state.
    return Proposal(
        facts.workload, _keeping(facts.deployment, KEEP_RATIO), at_most=Verdict.CONSIDER, assumed=NAME
    )


@lru_cache(maxsize=TRIED)
def _keeping(deployment: Deployment, ratio: float) -> Deployment:
    return replace(deployment, kv_keep_ratio=ratio)


def explain(facts: Facts, outcome: Outcome) -> Asking[Explanation]:
    """Keys that are not read against everything else that a decode step moves."""
    step, metric = facts.step, outcome.deciding.metric
    pays, ways = yield from both(
        break_even(facts, lambda ratio: _keeping(facts.deployment, ratio), metric, worst=1.0, best=0.01),
        ways_unless_it_pays(facts, outcome),
    )
    found = knob(NAME, facts.assumed.kv_keep_ratio, KEEP_RATIO, KEEP_RATIO_SOURCE, pays)
    kept = f"{share(outcome.proposal.deployment.kv_keep_ratio)} of the keys"
    if outcome.memory.fits and not facts.memory.fits:
        return replace(makes_it_fit(facts, outcome, kept), knobs=(found,))
    read = step.bytes_by_class.kv_read / step.bytes
    reason = (
        f"at {sequences(facts, step)} with {step.keys:,.0f} keys, reading them is {share(read)} of the bytes "
        f"{called(step)} moves, and {spent_on(step)}; keeping {kept}: {change(outcome.deciding)}."
    )
    if outcome.verdict.pays:
        ends = f"It gains over 3% while it keeps {share(pays)} of the keys or less." if pays else ""
        return Explanation(ReasonCode.KV_BYTES_CUT, reason, ends, (found,))
    return Explanation(ReasonCode.BYTES_NOT_DOMINANT, reason, ways, (found,))


TECHNIQUE = Technique(
    id="kv-eviction",
    title="KV eviction",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="Visible where answers need details that were dropped; measure it on your task.",
    requirements=("an engine that drops keys by attention",),
    conflicts=("kv-window",),
    assumptions=("Eviction: each layer keeps the same share of the keys, chosen at no cost.",),
    propose=propose,
    explain=explain,
)
