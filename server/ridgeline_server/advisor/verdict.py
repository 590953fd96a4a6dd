"""The verdict on a simulated change, from its effects alone."""

from __future__ import annotations

from ridgeline_server.advisor.changes import Interval
from ridgeline_server.advisor.effects import MEMORY_METRIC, effect_on
from ridgeline_server.advisor.results import Effect, Goal, Verdict
from ridgeline_server.advisor.technique import GAIN, Proposal
from ridgeline_server.roofline.metrics import meets_slo
from ridgeline_server.roofline.serving import Simulation

OBJECTIVE = {
    Goal.LATENCY: "e2e_latency_ms",
    Goal.THROUGHPUT: "output_tokens_per_s",
    Goal.COST: "cost_usd_per_million_output_tokens",
    Goal.MEMORY: MEMORY_METRIC,
}
"""The metric that each goal improves."""
PER_DEVICE = "output_tokens_per_s_per_device"


def verdict_of(change: Interval) -> Verdict:
    """The verdict on a change by its own effect alone."""
    if change.speedup < 1 / GAIN:
        return Verdict.HARMFUL
    if change.speedup <= GAIN:
        return Verdict.NO_GAIN
    return Verdict.CONSIDER if change.low <= GAIN else Verdict.APPLY


def judge(
    before: Simulation, after: Simulation, effects: tuple[Effect, ...], metric: str, goal: Goal
) -> Verdict:
    """Judges a change by its effect on the technique's own metric.

    APPLY needs the low end of the gain above GAIN, the goal unharmed, and no limit broken that held before. A
    change that turns a deployment which does not fit into one that does is applied whatever else it does,
    unless it does so by a smaller load. The goal of throughput is that of all devices and of each of them.
    """
    same_load = before.candidate.workload == after.candidate.workload
    if same_load and after.memory.fits and not before.memory.fits:
        return Verdict.APPLY
    deciding = effect_on(effects, metric)
    verdict = verdict_of(Interval(deciding.speedup, deciding.low, deciding.high))
    if verdict is not Verdict.APPLY:
        return verdict
    objectives = (OBJECTIVE[goal], PER_DEVICE) if goal is Goal.THROUGHPUT else (OBJECTIVE[goal],)
    harms_goal = any(effect_on(effects, objective).speedup < 1 / GAIN for objective in objectives)
    ideal = before.candidate.scenario.profiles is None
    breaks_limit = (before.memory.fits and not after.memory.fits) or (
        meets_slo(before, ideal=ideal) and not meets_slo(after, ideal=ideal)
    )
    return Verdict.CONSIDER if harms_goal or breaks_limit or not after.memory.fits else Verdict.APPLY


def limited(verdict: Verdict, proposal: Proposal) -> Verdict:
    """The verdict within what a proposal lets it be."""
    if verdict is Verdict.NO_GAIN and proposal.untold_gain:
        return Verdict.CONSIDER
    if verdict is Verdict.APPLY:
        return proposal.best_verdict
    return verdict
