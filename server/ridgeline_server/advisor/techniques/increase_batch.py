"""A larger batch: more sequences share each reading of the weights, up to the knee, the memory or the SLO.

What it does: More requests run at once, and each decode step reads the weights once for all of them. The
largest batch is proposed that fits, keeps the SLO and lies before the knee, from which one more doubling adds
under 10% throughput.

When it pays: Where throughput or cost counts and steps wait for weight bytes: on an H100 the knee of
Llama-3.1-8B with 1,000 input and 128 output tokens is batch 117, which gives 23.8x the throughput of batch 1
for 2.3x the TPOT.

When it does not: Where latency counts: each request waits for the others' steps and prompts. Past the knee,
where arithmetic or the KV cache holds the time. Where the memory is full: fewer bits for weights or KV cache
make room. Where there are no more requests.
"""

from __future__ import annotations

from collections.abc import Sequence

from ridgeline_server.advisor.effects import effect_on
from ridgeline_server.advisor.flips import LARGEST_BATCH
from ridgeline_server.advisor.limits import MOST_BETWEEN, largest_keeping
from ridgeline_server.advisor.results import Effort, ReasonCode, Verdict
from ridgeline_server.advisor.technique import Explanation, Facts, NotApplicable, Outcome, Proposal, Technique
from ridgeline_server.advisor.wording import change, factor, load_in_words, sequences
from ridgeline_server.domain.workload import Slo
from ridgeline_server.roofline.metrics import best_value, meets_slo
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.wording import gib, rate

KNEE_GAIN = 1.10
"""The knee is the batch from which one more doubling adds under 10% throughput."""
STEPS_PER_DOUBLING = 8


def propose(facts: Facts) -> Proposal | NotApplicable:
    """The largest batch before the knee that fits and keeps the SLO, whichever limit comes first."""
    workload, memory = facts.workload, facts.memory
    if memory.max_batch <= workload.batch:
        return NotApplicable(
            ReasonCode.MEMORY_LIMIT,
            f"the largest batch of {workload.total_len:,} tokens that fits is {memory.max_batch:,} "
            f"({gib(memory.usable_bytes)}), and the batch is {workload.batch:,}.",
            "Fewer bits for weights or KV cache make room for more.",
        )
    batches = _ladder(workload.batch, memory.max_batch)
    # The knee is looked for in doublings that need not fit: it tells whether a batch pays, not if it runs.
    simulated = sorted({*batches, *(2 * b for b in batches)})
    loads = [facts.candidate(workload.at_batch(b)) for b in simulated]
    simulations = dict(zip(simulated, facts.simulate(loads), strict=True))
    ideal = facts.scenario.profiles is None
    rates = {b: best_value(load, "output_tokens_per_s") for b, load in simulations.items()}
    knee = next((b for b in batches if rates[2 * b] < KNEE_GAIN * rates[b]), None)
    limited = workload.slo != Slo()
    within = [not limited or meets_slo(simulations[b], ideal=ideal) for b in batches]
    slo_limit = _slo_limit(facts, batches, within)
    if slo_limit is not None and slo_limit <= workload.batch:
        return _slo_reached(facts, holds=slo_limit == workload.batch)
    if knee == workload.batch:
        return NotApplicable(
            ReasonCode.KNEE_REACHED,
            f"throughput has passed its knee: from {load_in_words(workload)} to {2 * workload.batch:,} it "
            f"grows from {rate(rates[workload.batch])} to {rate(rates[2 * workload.batch])}, under 10%.",
            verdict=Verdict.NO_GAIN,
        )
    limits = [
        (memory.max_batch, ReasonCode.MEMORY_LIMIT, f"is what memory holds ({gib(memory.usable_bytes)})"),
        (batches[-1], ReasonCode.WEIGHTS_SHARED_BY_BATCH, "is the largest that is looked at"),
    ]
    if slo_limit is not None:
        limits.append((slo_limit, ReasonCode.SLO_LIMIT, "is the largest that keeps the SLO"))
    if knee is not None:
        limits.append(
            (knee, ReasonCode.KNEE_REACHED, "is the knee: one more doubling adds under 10% throughput")
        )
    batch, code, what = min(limits, key=lambda limit: limit[0])
    load = workload.at_batch(batch)
    return Proposal(load, facts.deployment, code, f"{load_in_words(load)} {what}")


def _slo_limit(facts: Facts, batches: Sequence[int], within: Sequence[bool]) -> int | None:
    """The largest batch that keeps the SLO; 0 when today's breaks it, None when none of them does."""
    if all(within):
        return None
    first_broken = within.index(False)
    if first_broken == 0:
        return 0
    low, high = batches[first_broken - 1], batches[first_broken]
    between = range(low + 1, high, max((high - low) // MOST_BETWEEN, 1))
    ideal = facts.scenario.profiles is None
    simulations = facts.simulate([facts.candidate(facts.workload.at_batch(b)) for b in (low, *between)])
    return max(s.candidate.workload.batch for s in simulations if meets_slo(s, ideal=ideal))


def _slo_reached(facts: Facts, *, holds: bool) -> NotApplicable:
    today = load_in_words(facts.workload)
    if holds:
        return NotApplicable(
            ReasonCode.SLO_LIMIT,
            f"{today} is the largest that keeps the SLO.",
            "A looser SLO, or anything that shortens a step, allows a larger batch.",
        )
    keeping = largest_keeping(facts)
    return NotApplicable(
        ReasonCode.SLO_LIMIT,
        f"the SLO is broken at {today} already; a larger one lengthens every step.",
        f"It holds at {load_in_words(facts.workload.at_batch(keeping))}."
        if keeping
        else "No smaller batch keeps it either.",
    )


def _ladder(start: int, limit: int) -> list[int]:
    """Batches from `start` to `limit` in steps of an eighth of a doubling, each whole doubling among them."""
    limit = min(limit, max(LARGEST_BATCH, start))
    doublings = [start * 2**i for i in range((limit // start).bit_length())]
    between = [round(d * 2 ** (i / STEPS_PER_DOUBLING)) for d in doublings for i in range(STEPS_PER_DOUBLING)]
    return sorted({b for b in (*doublings, *between, limit) if b <= limit})


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """Throughput gained against latency lost, and the limit that came first."""
    decode = facts.decode
    effect = outcome.deciding
    ttft, tpot = effect_on(outcome.effects, "ttft_ms"), effect_on(outcome.effects, "tpot_ms")
    ridge = (
        f"the ridge batch of its weight GEMMs is {decode.ridge_batch:,}"
        if decode.ridge_batch
        else "its weight GEMMs never turn compute-bound"
    )
    reason = (
        f"decode reads all weights for {sequences(facts, decode)} ({ridge}); {outcome.proposal.note}: "
        f"throughput goes from {rate(effect.before)} to {rate(effect.after)} ({factor(effect)}); "
        f"{change(ttft)}; {change(tpot)}."
    )
    flips = {
        ReasonCode.MEMORY_LIMIT: "Fewer bits for weights or KV cache make room for a larger batch.",
        ReasonCode.SLO_LIMIT: "A looser SLO, or anything that shortens a step, allows a larger batch.",
    }
    code = outcome.proposal.reason_code or ReasonCode.WEIGHTS_SHARED_BY_BATCH
    gained = outcome.verdict.pays
    return Explanation(ReasonCode.WEIGHTS_SHARED_BY_BATCH if gained else code, reason, flips.get(code, ""))


TECHNIQUE = Technique(
    id="increase-batch",
    title="larger batch",
    stage=Stage.DECODE,
    metric="output_tokens_per_s",
    effort=Effort.FLAG,
    accuracy="None: each sequence is computed as before.",
    requirements=("enough concurrent requests to fill the batch",),
    conflicts=("smaller-batch",),
    assumptions=("Batch: all requests of a batch start together and have the same lengths.",),
    propose=propose,
    explain=explain,
    changes_load=True,
    lossless=True,
)
