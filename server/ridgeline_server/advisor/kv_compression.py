"""KV-cache compression: what its techniques share. Keys and values shrink, attention computes in 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ridgeline_server.advisor.asking import side_by_side
from ridgeline_server.advisor.flips import first_gaining, larger_batches, longer_inputs
from ridgeline_server.advisor.results import ReasonCode, Verdict
from ridgeline_server.advisor.technique import (
    Asking,
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Proposal,
)
from ridgeline_server.advisor.wording import called, change, load_in_words, makes_it_fit, sequences, spent_on
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.dtypes import ELEMENT_BITS, Dtype, kv_bits
from ridgeline_server.roofline.results import Bound
from ridgeline_server.roofline.wording import gib, share


def propose_format(dtype: Dtype) -> Callable[[Facts], Proposal | NotApplicable]:
    """Proposes to store the KV cache in a format."""

    def propose(facts: Facts) -> Proposal | NotApplicable:
        if facts.model.attention is None:
            return NotApplicable(
                ReasonCode.BYTES_NOT_DOMINANT,
                f"{facts.model.name} caches no keys and values: what its layers remember of a sequence is a "
                f"state of {facts.model.state_bytes_per_sequence / 2**20:,.1f} MiB, whatever its length.",
            )
        today = facts.deployment.kv_dtype
        if ELEMENT_BITS[today] <= ELEMENT_BITS[dtype]:
            stored, new = (kv_bits(each, facts.model.attention.head_dim) for each in (today, dtype))
            than = (
                "as many as this format has but for scales"
                if ELEMENT_BITS[today] == ELEMENT_BITS[dtype]
                else f"no more than the {new:.3g} of this format"
            )
            return NotApplicable(
                ReasonCode.ALREADY_APPLIED,
                f"today's KV cache is {today}, {stored:.3g} bits per element with scales, {than}.",
            )
        return Proposal(facts.workload, replace(facts.deployment, kv_dtype=dtype))

    return propose


def explain(facts: Facts, outcome: Outcome) -> Asking[Explanation]:
    """KV bytes against everything else that a decode step moves."""
    step, memory = facts.step, facts.memory
    attention = facts.model.attention
    assert attention is not None  # nothing is proposed for a model without a cache
    head_dim = attention.head_dim
    before, after = facts.deployment.kv_dtype, outcome.proposal.deployment.kv_dtype
    kv = (step.bytes_by_class.kv_read + step.bytes_by_class.kv_written) / step.bytes
    load = f"at {sequences(facts, step)} with {step.keys:,.0f} keys"
    room = (
        f"the largest batch that fits goes from {memory.max_batch:,} to {outcome.memory.max_batch:,}"
        if outcome.memory.max_batch != memory.max_batch
        else f"{gib(memory.kv_cache_bytes - outcome.memory.kv_cache_bytes)} are freed"
    )
    if outcome.memory.fits and not memory.fits:
        return makes_it_fit(facts, outcome, f"{after} keys and values")
    effect = outcome.deciding
    bits, bits_today = kv_bits(after, head_dim), kv_bits(before, head_dim)
    cut = f"{bits:.3g} instead of {bits_today:.3g} bits per element with scales"
    if outcome.verdict.pays:
        return Explanation(
            ReasonCode.KV_BYTES_CUT,
            f"{load}, the KV cache is {share(kv)} of the bytes {called(step)} moves; {cut}: "
            f"{change(effect)}, and {room}.",
            "",
        )
    deployment = outcome.proposal.deployment
    ways = yield from ways_to_gain(facts, deployment, effect.metric)
    if outcome.verdict is Verdict.HARMFUL:
        code = ReasonCode.OVERHEAD_EXCEEDS_GAIN
    elif step.bound is Bound.MEMORY:
        code = ReasonCode.BYTES_NOT_DOMINANT
    else:
        code = ReasonCode.BOUND_NOT_ADDRESSED
    return Explanation(
        code,
        f"{load}, the KV cache is {share(kv)} of the bytes {called(step)} moves and {spent_on(step)}: "
        f"{change(effect)}; {room}.",
        ways,
    )


def ways_to_gain(facts: Facts, deployment: Deployment, metric: str) -> Asking[str]:
    """From which input or batch on fewer KV bytes gain, in a sentence."""
    inputs = longer_inputs(facts.workload, facts.model.max_context_len)
    loads = inputs, larger_batches(facts.workload)
    longer, larger = yield from side_by_side(
        *(first_gaining(facts, deployment, each, metric) for each in loads)
    )
    ways = [
        *([f"an input of {longer.input_len:,} tokens"] if longer else []),
        *([load_in_words(larger)] if larger else []),
    ]
    return f"It gains over 3% from {' or '.join(ways)} on." if ways else ""


def ways_unless_it_pays(facts: Facts, outcome: Outcome) -> Asking[str]:
    """The same of a proposal that does not pay today; empty where it does, or makes a deployment fit."""
    if outcome.verdict.pays or (outcome.memory.fits and not facts.memory.fits):
        return ""
    return (yield from ways_to_gain(facts, outcome.proposal.deployment, outcome.deciding.metric))
