"""Chunked prefill: long prompts are cut into chunks that share steps with running decodes.

What it does: A step processes at most so many prompt tokens, beside the decodes that run, so that no decode
waits for a whole prompt.

When it pays: Requests arrive while others decode, and prompts are long: the longest pause between two tokens
becomes that of a chunk.

When it does not: For a static batch or a single request, where nobody waits, and with chunks so small that
each of them reads all weights again for little arithmetic. The first token of a long prompt comes later.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.effects import effect_on
from ridgeline_server.advisor.results import Effort, ReasonCode, Verdict
from ridgeline_server.advisor.technique import (
    GAIN,
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Proposal,
    Technique,
)
from ridgeline_server.advisor.wording import change
from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.metrics import best_value
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.wording import ms

CHUNKS = (512, 1024, 2048, 4096, 8192)
"""Tokens of a step that are tried, sizes that engines offer; the smallest that costs no latency is taken."""


def propose(facts: Facts) -> Proposal | NotApplicable:
    """The smallest chunk with which requests take no longer as a whole, else the largest."""
    workload, today = facts.workload, facts.deployment.chunk_tokens
    if today is not None:
        return NotApplicable(
            ReasonCode.ALREADY_APPLIED, f"a step processes at most {today:,} prompt tokens today."
        )
    if workload.load is Load.STATIC_BATCH:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            "all prompts of a static batch are prefilled before its first decode step: no decode waits for a "
            "prompt.",
            "It matters where requests come and go: ask with a concurrency.",
        )
    if facts.decode.batch <= 1:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON, "a request that is alone on its devices waits for no other prompt."
        )
    chunks = [chunk for chunk in CHUNKS if chunk < facts.prefill.query_len]
    if not chunks:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"prompts have {facts.prefill.query_len:,.0f} tokens to prefill, no more than the smallest chunk "
            f"of {CHUNKS[0]:,}.",
        )
    deployments = [replace(facts.deployment, chunk_tokens=chunk) for chunk in chunks]
    whole, *cut = (
        best_value(simulation, "e2e_latency_ms")
        for simulation in facts.simulate(
            [facts.candidate(), *(facts.candidate(deployment=deployment) for deployment in deployments)]
        )
    )
    free = (d for d, latency_ms in zip(deployments, cut, strict=True) if latency_ms < GAIN * whole)
    return Proposal(workload, next(free, deployments[-1]), at_most=Verdict.CONSIDER, untold_gain=True)


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """The pause of running decodes against the time to a first token."""
    deployment = outcome.proposal.deployment
    chunk = outcome.after.prefill
    ttft = effect_on(outcome.effects, "ttft_ms")
    reason = (
        f"running decodes wait {ms(facts.prefill.time_ms)} for each prompt of "
        f"{facts.prefill.query_len:,.0f} tokens; in chunks of at most {deployment.chunk_tokens:,} they wait "
        f"{ms(chunk.time_ms)} at a time: "
        f"{change(ttft)}; {change(outcome.deciding)}."
    )
    if outcome.verdict is Verdict.HARMFUL:
        return Explanation(ReasonCode.OVERHEAD_EXCEEDS_GAIN, reason, "Longer chunks cost less.")
    return Explanation(ReasonCode.PREFILL_SPREAD, reason, "")


TECHNIQUE = Technique(
    id="chunked-prefill",
    title="chunked prefill",
    stage=Stage.PREFILL,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="None: each prompt is computed as before, in parts.",
    requirements=("an engine that mixes prefill and decode in one step",),
    conflicts=("larger-chunk",),
    assumptions=("Chunked prefill: the chunks of a prompt are of equal size.",),
    propose=propose,
    explain=explain,
    lossless=True,
)
