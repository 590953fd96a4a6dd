"""Data parallelism: twice as many replicas, each a whole copy of the model, divide the requests.

What it does: Every replica holds all weights and serves a part of the requests. Replicas share nothing, so
that nothing travels between them.

When it pays: For the throughput of many requests, where each replica keeps enough of them to share its
reading of the weights; where requests wait for memory or miss an SLO under load; over slow links, and between
machines that no link joins.

When it does not: For few requests, since each replica reads all weights for its part of them; for the latency
of one request, which tensor parallelism shortens; to make a model fit whose weights fill a device.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.flips import first_gaining, first_without_gain, larger_batches, smaller_batches
from ridgeline_server.advisor.results import Effort, ReasonCode
from ridgeline_server.advisor.spreading import MOST_TIMES, propose_more, spread
from ridgeline_server.advisor.technique import (
    Asking,
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Proposal,
    Technique,
)
from ridgeline_server.advisor.verdict import PER_DEVICE
from ridgeline_server.advisor.wording import changes, load_in_words, makes_it_fit
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.roofline.metrics import metric_values
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.wording import gib, ms, rate


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Twice the replicas, or as many as make the load fit."""
    today = facts.deployment.parallel
    if facts.workload.batch <= today.dp:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            f"replicas divide requests, and {_requests(facts)} leave none for another replica.",
            f"It pays from {load_in_words(facts.workload.at_batch(today.dp + 1))} on at the earliest.",
        )
    if not facts.memory.fits and not facts.memory.max_batch:
        return NotApplicable(
            ReasonCode.MEMORY_LIMIT,
            f"every replica holds the whole model and needs {gib(facts.memory.total_bytes)} of "
            f"{gib(facts.memory.usable_bytes)} a device, in which no request fits.",
            "Tensor parallelism divides the weights.",
        )
    times = [2**n for n in range(1, MOST_TIMES.bit_length())]
    return propose_more(facts, [replace(today, dp=n * today.dp) for n in times])


def explain(facts: Facts, outcome: Outcome) -> Asking[Explanation]:
    """What replicas give in all and each, against what as many devices give that divide each matrix."""
    deployment = outcome.proposal.deployment
    before, after = facts.deployment.parallel.dp, deployment.parallel.dp
    if outcome.memory.fits and not facts.memory.fits:
        return makes_it_fit(facts, outcome, f"{after:,} replicas instead of {before:,}")
    step = outcome.after.step
    held = f"{after:,} replicas instead of {before:,} share nothing, and each device has "
    held += f"{step.batch:,.4g} instead of {facts.step.batch:,.4g} sequences"
    changed = changes(outcome, PER_DEVICE, "e2e_latency_ms")
    reason = f"{held}: {changed}.{_divided_instead(facts, after // before)}"
    metric = outcome.deciding.metric
    if outcome.verdict.pays:
        loads = smaller_batches(facts.workload)
        end = yield from first_without_gain(facts, deployment, loads, metric)
        flips = ""
        if end:
            still = min((facts.workload, *loads), key=lambda load: (load.batch <= end.batch, load.batch))
            flips = f"The gain falls under 3% between {load_in_words(still)} and {end.batch:,}."
        return Explanation(ReasonCode.REPLICAS_DIVIDE_LOAD, reason, flips)
    first = yield from first_gaining(facts, deployment, larger_batches(facts.workload), metric)
    flips = f"It gains over 3% from {load_in_words(first)} on." if first else ""
    return Explanation(ReasonCode.BOUND_NOT_ADDRESSED, reason, flips)


def _requests(facts: Facts) -> str:
    count = facts.workload.batch
    return f"{count:,} at a time" if count > 1 else "one at a time"


def _divided_instead(facts: Facts, times: int) -> str:
    """What each of as many devices gives, and how long a request takes, where they divide each matrix."""
    if facts.scenario.hardware.is_whole_machine:
        return ""
    today = facts.deployment.parallel
    choices: list[Parallelism] = [replace(today, tp=times * today.tp)]
    if today.ep > 1:
        choices.append(replace(today, tp=times * today.tp, ep=times * today.ep))
    possible = [each for each in (spread(facts, p) for p in choices) if isinstance(each, Deployment)]
    if not possible:
        return ""
    (divided,) = facts.places([facts.candidate(deployment=possible[0])])
    values = metric_values(divided.simulation, ideal=facts.scenario.profiles is None)
    return (
        f" As many devices that divide each matrix instead, tp {possible[0].parallel.tp:,}, give "
        f"{rate(values[PER_DEVICE][0])} each at a latency of {ms(values['e2e_latency_ms'][0])}."
    )


TECHNIQUE = Technique(
    id="data-parallel",
    title="data parallelism",
    stage=Stage.DECODE,
    metric="output_tokens_per_s",
    effort=Effort.MORE_DEVICES,
    accuracy="None: each replica computes as before.",
    requirements=("more devices", "requests enough for every replica"),
    conflicts=("fewer-devices",),
    assumptions=("Replicas: requests are divided evenly, and what prompts share is cached in each of them.",),
    propose=propose,
    explain=explain,
    changes_devices=True,
    lossless=True,
)
