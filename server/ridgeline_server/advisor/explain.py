"""One technique explained: its judgement, and the step that it addresses before and after."""

from __future__ import annotations

from ridgeline_server.advisor.advice import check_goal, judge_one
from ridgeline_server.advisor.assumed import NOTHING_STATED, Assumed
from ridgeline_server.advisor.results import ExplainedTechnique, Goal
from ridgeline_server.advisor.technique import Facts, Technique, facts_of
from ridgeline_server.domain.deployment import CostBasis, Deployment
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.analysis import describe
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.results import StageAnalysis
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.serving import Candidate, simulate


def explain(
    technique: Technique,
    model: Model,
    hardware: Hardware,
    workload: Workload,
    deployment: Deployment,
    profiles: ProfileSet,
    basis: CostBasis,
    goal: Goal = Goal.LATENCY,
    assumed: Assumed = NOTHING_STATED,
) -> ExplainedTechnique:
    """Judges a technique and describes its step on today's deployment and on the one that it proposes.

    Raises what `recommend` does.
    """
    check_goal(goal, hardware)
    scenario = Scenario(hardware, deployment, profiles if basis is CostBasis.EXPECTED else None)
    today = simulate(model, [Candidate(scenario, workload)])
    facts = facts_of(model, today, 0, assumed, goal)
    judged = judge_one(technique, facts)
    after = None
    if judged.deployment is not None:
        changed = simulate(model, [facts.candidate(judged.workload, judged.deployment)])
        after = _addressed(technique, facts_of(model, changed, 0))
    return ExplainedTechnique(describe(model, today, 0, basis), judged, _addressed(technique, facts), after)


def _addressed(technique: Technique, facts: Facts) -> StageAnalysis:
    return facts.described(Stage.PREFILL if technique.stage is Stage.PREFILL else facts.step.stage)
