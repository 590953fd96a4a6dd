"""Larger chunks of prefill: a prompt is cut into fewer steps, each of which reads the weights once.

What it does: The limit of prompt tokens in a step is doubled, once or several times, to the smallest one
with which the first token comes as soon as with any of them.

When it pays: Where chunks are so small that a step reads all weights for little arithmetic, so that a long
prompt waits for them again and again.

When it does not: Where a chunk's time is arithmetic already. Running decodes then wait for longer at a time,
and the first token comes no sooner.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.results import Effort, ReasonCode
from ridgeline_server.advisor.technique import (
    GAIN,
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Proposal,
    Technique,
)
from ridgeline_server.advisor.wording import changes, spent_on
from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.memory.activations import PREFILL_CHUNK_TOKENS
from ridgeline_server.roofline.metrics import best_value
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.wording import gib, ms

METRIC = "ttft_ms"


def propose(facts: Facts) -> Proposal | NotApplicable:
    """The smallest doubling whose TTFT is within 3% of the best one's."""
    deployment, today = facts.deployment, facts.deployment.chunk_tokens
    if today is None:
        return NotApplicable(ReasonCode.NOTHING_TO_WORK_ON, "today's deployment cuts no prompts into chunks.")
    tokens = _tokens(facts)
    if today >= tokens:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"a step takes up to {today:,} prompt tokens today, and there are no more than {tokens:,}.",
        )
    chunks: list[int] = []
    chunk = 2 * today
    while chunk <= PREFILL_CHUNK_TOKENS and (not chunks or chunks[-1] < tokens):
        chunks.append(chunk)
        chunk *= 2
    if not chunks:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"chunks of {today:,} tokens are long: engines take up to {PREFILL_CHUNK_TOKENS:,} in a step.",
        )
    deployments = [replace(deployment, chunk_tokens=each) for each in chunks]
    simulations = facts.simulate([facts.candidate(deployment=each) for each in deployments])
    times = [
        (best_value(simulation, METRIC), each)
        for each, simulation in zip(deployments, simulations, strict=True)
        if simulation.memory.fits or not facts.memory.fits
    ]
    if not times:
        memory = simulations[0].memory
        return NotApplicable(
            ReasonCode.MEMORY_LIMIT,
            f"chunks of {chunks[0]:,} tokens would take it to {gib(memory.total_bytes)} of "
            f"{gib(memory.usable_bytes)}.",
        )
    best = min(time_ms for time_ms, _ in times)
    chosen = next(each for time_ms, each in times if time_ms <= GAIN * best)
    return Proposal(facts.workload, chosen)


def _tokens(facts: Facts) -> int:
    """Prompt tokens that could share a step: those of one prompt, or of all prompts of a static batch."""
    workload = facts.workload
    cached = int(facts.deployment.prefix_hit_rate * workload.input_len)
    prompt = max(workload.input_len - cached, 1)
    return prompt if workload.load is not Load.STATIC_BATCH else prompt * workload.batch


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """What a chunk takes for its tokens, before and after, and what that does to a request."""
    before, after = facts.prefill, outcome.after.prefill
    today, then = facts.deployment.chunk_tokens, outcome.proposal.deployment.chunk_tokens
    reason = (
        f"a step of at most {today:,} prompt tokens takes {ms(before.time_ms)} ({spent_on(before)}), and one "
        f"of at most {then:,} takes {ms(after.time_ms)}: {changes(outcome, 'tpot_ms')}."
    )
    if outcome.verdict.pays:
        waits = facts.workload.load is not Load.STATIC_BATCH
        flips = f"Keep {today:,} where running decodes must not wait {ms(after.time_ms)} at a time."
        return Explanation(ReasonCode.FEWER_CHUNKS, reason, flips if waits else "")
    return Explanation(
        ReasonCode.BOUND_NOT_ADDRESSED, reason, "It pays where a step's time is not its arithmetic."
    )


TECHNIQUE = Technique(
    id="larger-chunk",
    title="larger chunks of prefill",
    stage=Stage.PREFILL,
    metric=METRIC,
    effort=Effort.FLAG,
    accuracy="None: each prompt is computed as before, in fewer parts.",
    requirements=("a deployment that cuts prompts into chunks", "decodes that may wait longer at a time"),
    conflicts=("chunked-prefill",),
    assumptions=("Chunked prefill: the chunks of a prompt are of equal size.",),
    propose=propose,
    explain=explain,
    lossless=True,
)
