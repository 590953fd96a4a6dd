"""A smaller batch: fewer requests at once, until they fit and the SLO holds.

What it does: The largest load is proposed that fits and keeps the limits for TTFT and TPOT. Requests above it
have to wait in front, or go to further replicas.

When it pays: Where a batch does not fit; where the SLO is missed today because requests share steps with too
many others, or wait for memory.

When it does not: Where the load fits and the SLO, if there is one, holds; where even a single request misses
it, so that only shorter steps help. It costs throughput: whatever shortens a step and keeps the load is worth
a look first.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.limits import largest_keeping
from ridgeline_server.advisor.results import Effort, ReasonCode
from ridgeline_server.advisor.technique import Explanation, Facts, NotApplicable, Outcome, Proposal, Technique
from ridgeline_server.advisor.verdict import serves
from ridgeline_server.advisor.wording import LABELS, changes, load_in_words, makes_it_fit, slo_in_words
from ridgeline_server.domain.workload import Load, Slo
from ridgeline_server.roofline.metrics import meets_slo, metric_values
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.wording import gib, ms


def propose(facts: Facts) -> Proposal | NotApplicable:
    """The largest load below today's that fits and keeps the SLO. Requests in a loop wait for memory."""
    workload = facts.workload
    today = facts.places([facts.candidate()])[0].simulation
    if serves(today, like=today) and meets_slo(today, ideal=facts.scenario.profiles is None):
        holds = ", and no SLO is stated" if workload.slo == Slo() else " and keeps the SLO"
        return NotApplicable(ReasonCode.NOTHING_TO_WORK_ON, f"today's load is served{holds}.")
    batch = largest_keeping(facts)
    if batch is None:
        return _unreachable(facts)
    return Proposal(workload.at_batch(batch), facts.deployment, untold_gain=True)


def _unreachable(facts: Facts) -> NotApplicable:
    """That a single request does not fit, or misses the SLO and by how much."""
    if facts.memory.max_batch < 1:
        return NotApplicable(
            ReasonCode.MEMORY_LIMIT,
            f"not even one request fits in {gib(facts.memory.usable_bytes)}.",
            "Fewer bits for the weights or more devices make room.",
        )
    single = facts.places([facts.candidate(facts.workload.at_batch(1))])[0].simulation
    values = metric_values(single, ideal=facts.scenario.profiles is None)
    reached = " and ".join(f"{LABELS[name]} {ms(values[name][0])}" for name in _limited(facts.workload.slo))
    return NotApplicable(
        ReasonCode.SLO_LIMIT,
        f"no smaller load keeps the SLO ({slo_in_words(facts.workload.slo)}): "
        f"a single request has {reached}.",
        "Anything that shortens a step helps, or a looser SLO.",
    )


def _limited(slo: Slo) -> list[str]:
    """The metrics that have a limit."""
    limits = {"ttft_ms": slo.ttft_ms, "tpot_ms": slo.tpot_ms}
    return [name for name, limit in limits.items() if limit is not None]


def explain(facts: Facts, outcome: Outcome) -> Explanation:
    """The limits, and what keeping them does to latencies and throughput."""
    load, slo = outcome.proposal.workload, facts.workload.slo
    if facts.workload.load is Load.STATIC_BATCH and not facts.memory.fits:
        return replace(
            makes_it_fit(facts, outcome, load_in_words(load)),
            flips_when="Fewer bits for weights or KV cache make room for a larger load.",
        )
    changed = changes(outcome, *_limited(slo), "output_tokens_per_s")
    return Explanation(
        ReasonCode.SLO_LIMIT,
        f"the SLO ({slo_in_words(slo)}) is missed at {load_in_words(facts.workload)}, and "
        f"{load.batch:,} is the most that keeps it: {changed}.",
        "A looser SLO, or anything that shortens a step, allows a larger load.",
    )


TECHNIQUE = Technique(
    id="smaller-batch",
    title="smaller batch",
    stage=Stage.DECODE,
    metric="e2e_latency_ms",
    effort=Effort.FLAG,
    accuracy="None: each sequence is computed as before.",
    requirements=(
        "a load that does not fit, or misses its SLO",
        "somewhere for the other requests to wait or to go",
    ),
    conflicts=("increase-batch",),
    assumptions=(),
    propose=propose,
    explain=explain,
    changes_load=True,
    lossless=True,
)
