"""Captured graphs (CUDA or HIP graphs): a decode step is recorded once and replayed.

What it does: The engine records the kernels of a decode step at start-up, for several batches, and replays
the record: one launch by the host in place of hundreds.

When it pays: Where the engine was told to launch each kernel by itself (eager execution) and the device is
done sooner than the host: small models, few sequences, weights in few bits, many devices, fast memory.

When it does not: Where graphs are replayed today, as engines do by themselves; at batches whose kernels run
longer than their launches take; for prefill, which is launched kernel by kernel either way; where the memory
that the records take is needed for the cache.
"""

from __future__ import annotations

from dataclasses import replace

from ridgeline_server.advisor.flips import gains_until
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
from ridgeline_server.advisor.wording import change, counted
from ridgeline_server.domain.gates import captures_graphs
from ridgeline_server.domain.speculation import Draft
from ridgeline_server.roofline.host import HOST_LAUNCH_S, kernels_of_step
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.wording import ms, share


def propose(facts: Facts) -> Proposal | NotApplicable:
    """Graphs, where kernels are launched one by one today."""
    hardware = facts.scenario.hardware
    if not captures_graphs(hardware):
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON, f"no engine is known to capture graphs on {hardware.name}."
        )
    if not facts.deployment.eager:
        return NotApplicable(
            ReasonCode.ALREADY_APPLIED,
            "decode steps are replayed as captured graphs today, as engines do unless they are told not to.",
        )
    if facts.workload.output_len == 1:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON, "a request of one output token has no decode step to capture."
        )
    if facts.scenario.profiles is None:
        return NotApplicable(
            ReasonCode.NOTHING_TO_WORK_ON,
            "the ideal roofline knows no host that launches kernels.",
            "Ask for expected times.",
            Verdict.NO_GAIN,
        )
    return Proposal(facts.workload, replace(facts.deployment, eager=False))


def explain(facts: Facts, outcome: Outcome) -> Asking[Explanation]:
    """How long the host launches a step that the device computes in less time, or in more."""
    table = operator_table(facts.model, facts.scenario.placement(Stage.DECODE))
    kernels = kernels_of_step(table)
    launching_ms = kernels * HOST_LAUNCH_S.value * 1e3
    today, replayed = facts.decode, outcome.after.decode
    waiting = 1 - replayed.time_ms / today.time_ms
    reason = (
        f"the host launches {kernels:,.0f} kernels in {ms(launching_ms)} "
        f"({HOST_LAUNCH_S.value * 1e6:.0f} us each; {HOST_LAUNCH_S.low * 1e6:.0f} to "
        f"{HOST_LAUNCH_S.high * 1e6:.0f} were seen)"
    )
    if waiting > 0:
        reason += f", and the device waits for it in {share(waiting)} of a decode step of {ms(today.time_ms)}"
    else:
        reason += f", and the device never waits for it in a decode step of {ms(today.time_ms)}"
    speculation = facts.deployment.speculation
    if speculation is not None and speculation.draft is not Draft.NGRAM:
        reason += f"; the launches of what drafts {counted(speculation.tokens, 'token')} come on top"
    reason += f": {change(outcome.deciding)}."
    gains = outcome.verdict.pays
    code = ReasonCode.LAUNCHES_SAVED if gains else ReasonCode.BOUND_NOT_ADDRESSED
    return Explanation(code, reason, (yield from gains_until(facts, outcome)))


TECHNIQUE = Technique(
    id="cuda-graphs",
    title="captured graphs",
    stage=Stage.DECODE,
    metric="tpot_ms",
    effort=Effort.FLAG,
    accuracy="None: the same kernels run.",
    requirements=("memory for the captured graphs", "kernels that the engine can capture"),
    conflicts=(),
    assumptions=(
        "Launches: a host takes as long for each kernel whatever it is, and launches while the device works.",
    ),
    propose=propose,
    explain=explain,
    lossless=True,
)
