"""The verdict on a simulated change: from its effects and the limits, then from what is known of it."""

from __future__ import annotations

from ridgeline_server.advisor.changes import Interval
from ridgeline_server.advisor.effects import MEMORY_METRIC, effect_on
from ridgeline_server.advisor.results import Effect, Goal, Verdict
from ridgeline_server.advisor.technique import GAIN, Proposal
from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.metrics import missed_by
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
    broken = missed_by(after, ideal=ideal).keys() - missed_by(before, ideal=ideal).keys()
    fits = serves(after, like=before)
    return Verdict.APPLY if fits and not harms_goal and not broken else Verdict.CONSIDER


def serves(simulation: Simulation, *, like: Simulation) -> bool:
    """Whether all requests are served: at once, or one after the other where those of today wait too."""
    if simulation.memory.fits:
        return True
    loop = simulation.candidate.workload.load is not Load.STATIC_BATCH
    return loop and not like.memory.fits and simulation.memory.max_batch >= 1


def limited(verdict: Verdict, proposal: Proposal, *doubts: bool) -> Verdict:
    """The verdict within what its proposal lets it be, and no better than considered where there is doubt."""
    if verdict is Verdict.NO_GAIN and proposal.untold_gain:
        return Verdict.CONSIDER
    if verdict is not Verdict.APPLY:
        return verdict
    return Verdict.CONSIDER if any(doubts) and proposal.at_most is Verdict.APPLY else proposal.at_most
