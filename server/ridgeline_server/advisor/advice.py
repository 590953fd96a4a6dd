"""Advice: every technique is judged against today's deployment, and the best are combined into plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ridgeline_server.advisor.asking import answered, side_by_side
from ridgeline_server.advisor.assumed import NOTHING_STATED, Assumed
from ridgeline_server.advisor.effects import compare, effect_on
from ridgeline_server.advisor.evidence import accuracy_evidence, accuracy_losses, evidence_for, model_class
from ridgeline_server.advisor.launching.launches import launches_of, switches_of
from ridgeline_server.advisor.launching.switches import lacking
from ridgeline_server.advisor.nearby import nearest_published
from ridgeline_server.advisor.plan_candidates import Asked
from ridgeline_server.advisor.plans import search_plans
from ridgeline_server.advisor.registry import all_techniques
from ridgeline_server.advisor.results import (
    NO_FREEDOM,
    AccuracyRisk,
    Advice,
    Effect,
    Freedom,
    Goal,
    PlanSearch,
    PublishedCase,
    Recommendation,
    Verdict,
)
from ridgeline_server.advisor.technique import (
    GAIN,
    Asking,
    Explanation,
    Facts,
    NotApplicable,
    Outcome,
    Place,
    Proposal,
    Technique,
    Unstated,
    facts_of,
)
from ridgeline_server.advisor.verdict import OBJECTIVE, judge, limited, serves
from ridgeline_server.domain.deployment import CostBasis, Deployment
from ridgeline_server.domain.efficiency import OF_ENGINES, ProfileSet
from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.analysis import describe
from ridgeline_server.roofline.results import Analysis
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.serving import Candidate, Simulation, simulate
from ridgeline_server.roofline.wording import gib

_ORDER = tuple(Verdict)


def recommend(
    model: Model,
    hardware: Hardware,
    workload: Workload,
    deployment: Deployment,
    profiles: ProfileSet,
    basis: CostBasis,
    goal: Goal = Goal.LATENCY,
    freedom: Freedom = NO_FREEDOM,
    *,
    assumed: Assumed = NOTHING_STATED,
    techniques: Sequence[Technique] | None = None,
) -> Advice:
    """Judges every technique, or those that are given, and searches plans of them. What takes training is
    never more than considered, and enters no plan; nor is what may change the model's answers where nothing
    is published on that, unless `freedom` says so.

    Raises InvalidFieldsError for the goal COST on a device without a price, MissingProfileError on the
    expected basis when the catalog lacks a needed profile.
    """
    check_goal(goal, hardware)
    scenario = Scenario(hardware, deployment, profiles if basis is CostBasis.EXPECTED else None)
    simulated_today = simulate(model, [Candidate(scenario, workload)])
    baseline = describe(model, simulated_today, 0, basis)
    facts = facts_of(model, simulated_today, 0, assumed, goal, freedom)
    techniques = all_techniques() if techniques is None else techniques
    proposals = [technique.propose(facts) for technique in techniques]
    variants = {
        technique.id: proposal
        for technique, proposal in zip(techniques, proposals, strict=True)
        if isinstance(proposal, Proposal)
    }
    today, places = _simulated(facts, variants)
    judging = [
        _judging(technique, facts, proposal, today, places.get(technique.id))
        for technique, proposal in zip(techniques, proposals, strict=True)
    ]
    recommendations = answered(facts, side_by_side(*judging))
    recommendations.sort(key=lambda recommendation: _rank(recommendation, goal))
    by_id = {technique.id: technique for technique in techniques}
    simulated = {name: place.simulation for name, place in places.items()}
    search = search_plans(
        Asked(facts, goal, freedom, today, variants, simulated),
        [by_id[r.technique] for r in recommendations if not r.effort.is_training],
    )
    plans = [replace(plan, launches=launches_of(model, hardware, plan)) for plan in search.plans]
    return Advice(
        baseline=baseline,
        goal=goal,
        recommendations=tuple(recommendations),
        **vars(replace(search, plans=tuple(plans))),
        assumptions=(*_assumptions(baseline), *_of_plans(search)),
        simulated_deployments=1 + len(places) + search.plan_candidates,
    )


def check_goal(goal: Goal, hardware: Hardware) -> None:
    """Raises InvalidFieldsError for the goal COST on a device without a price."""
    if goal is Goal.COST and hardware.price_usd_per_hour is None:
        raise InvalidFieldsError(
            [
                FieldViolation(
                    "goal",
                    f"is COST, but {hardware.name} has no price; give hardware.overrides.price_usd_per_hour, "
                    "or ask for THROUGHPUT, which ranks the same on one device",
                )
            ]
        )


def judge_one(technique: Technique, facts: Facts) -> Recommendation:
    """One technique, judged as among all of them."""
    proposal = technique.propose(facts)
    today, places = _simulated(facts, {technique.id: proposal} if isinstance(proposal, Proposal) else {})
    place = places.get(technique.id)
    return answered(facts, _judging(technique, facts, proposal, today, place))


def _simulated(facts: Facts, proposals: Mapping[str, Proposal]) -> tuple[Simulation, dict[str, Place]]:
    """Today's deployment and what is proposed, simulated at the constants' best values: in one grid for each
    model.
    """
    by_model: dict[Model, list[str]] = {}
    for name, proposal in proposals.items():
        by_model.setdefault(proposal.model or facts.model, []).append(name)
    own = by_model.pop(facts.model, [])
    today, *after = facts.places([facts.candidate(), *(facts.proposed(proposals[name]) for name in own)])
    places = dict(zip(own, after, strict=True))
    for model, names in by_model.items():
        other = replace(facts, model=model, place=None)
        places |= zip(names, other.places([facts.proposed(proposals[name]) for name in names]), strict=True)
    return today.simulation, places


def _rank(recommendation: Recommendation, goal: Goal) -> tuple[int, float, str]:
    """Best verdict first, then the largest gain on the goal."""
    gain = effect_on(recommendation.effects, OBJECTIVE[goal]).speedup if recommendation.effects else 0.0
    return _ORDER.index(recommendation.verdict), -gain, recommendation.technique


def _judging(
    technique: Technique,
    facts: Facts,
    proposal: Proposal | NotApplicable | Unstated,
    before: Simulation,
    place: Place | None,
) -> Asking[Recommendation]:
    """The judgement of a technique; `place` is where what it proposes was simulated."""
    if isinstance(proposal, Unstated):
        proposal = yield from proposal.needed(facts)
    if place is None or isinstance(proposal, NotApplicable):
        assert isinstance(proposal, NotApplicable)  # proposals have a place
        return _not_applicable(technique, facts, proposal)
    after = place.simulation
    effects = compare(before, after, facts.basis)
    hardware = proposal.hardware or facts.scenario.hardware
    metric = _deciding_metric(proposal.metric or technique.metric, before)
    judged = judge(before, after, effects, metric, facts.goal)
    trains, lacked = technique.effort.is_training, lacking(facts.engine, technique.id, hardware)
    accuracy = _accuracy(technique, facts.model)
    known = technique.lossless or facts.freedom.unknown_accuracy or accuracy.largest_relative_loss is not None
    verdict = limited(judged, proposal, trains, bool(lacked), not known)
    found = facts_of(proposal.model or facts.model, *place)
    outcome = Outcome(proposal, verdict, effect_on(effects, metric), effects, found)
    explanation = technique.explain(facts, outcome)
    if not isinstance(explanation, Explanation):
        explanation = yield from explanation
    return Recommendation(
        technique=technique.id,
        title=technique.title,
        verdict=verdict,
        stage=technique.stage,
        reason_code=explanation.reason_code,
        reason="".join(
            (
                explanation.reason,
                _room(verdict, before, after),
                _unsure(verdict, outcome.deciding),
                f" {lacked}" if lacked and verdict.pays else "",
                _unknown(accuracy) if not known and judged is Verdict.APPLY and not trains else "",
            )
        ),
        flips_when=explanation.flips_when,
        effects=effects,
        workload=proposal.workload,
        deployment=proposal.deployment,
        memory=after.memory,
        accuracy=accuracy,
        effort=technique.effort,
        requirements=_requirements(technique, proposal),
        conflicts=technique.conflicts,
        assumptions=technique.assumptions,
        metric=metric,
        nearest_published=_nearest(technique, facts, metric),
        switches=switches_of(
            technique.id,
            proposal.model or facts.model,
            hardware,
            proposal.workload,
            proposal.deployment,
        ),
        knobs=explanation.knobs,
        changes_load=technique.changes_load,
        changes_devices=technique.changes_devices,
    )


def _deciding_metric(metric: str, before: Simulation) -> str:
    """The metric that decides where today's load leaves the technique's own out of account."""
    if metric == "tpot_ms" and before.candidate.workload.output_len == 1:
        # A request of one token has no decode step that could get faster; its TTFT decides.
        return "ttft_ms"
    if metric == "tpot_ms" and before.flight.requests_waiting:
        # Where more requests then run at once, each of their tokens takes longer and all of them end sooner.
        return "e2e_latency_ms"
    return metric


def _requirements(technique: Technique, proposal: Proposal) -> tuple[str, ...]:
    """What a technique needs, the id of another device or model first."""
    other = proposal.hardware or proposal.model
    if other is None:
        return technique.requirements
    kind = "device" if proposal.hardware is not None else "model"
    return (f"{kind} {other.id or other.name}", *technique.requirements)


def _room(verdict: Verdict, before: Simulation, after: Simulation) -> str:
    """That a change which would pay does not fit."""
    if not verdict.pays or serves(after, like=before):
        return ""
    memory = after.memory
    return f" It does not fit: {gib(memory.total_bytes)} of {gib(memory.usable_bytes)}."


def _unsure(verdict: Verdict, deciding: Effect) -> str:
    """That a gain is within what measured changes scatter by."""
    if verdict is not Verdict.CONSIDER or not deciding.low <= GAIN < deciding.speedup:
        return ""
    return f" Measured changes scatter: it may be as little as {deciding.low:.2f}x."


def _unknown(accuracy: AccuracyRisk) -> str:
    """That nobody published what a change that would pay does to the model's answers."""
    return (
        f" Nothing is published on what it does to the answers of {accuracy.model_class}: measure that "
        "first, or allow unknown accuracy."
    )


def _not_applicable(technique: Technique, facts: Facts, refusal: NotApplicable) -> Recommendation:
    return Recommendation(
        technique=technique.id,
        title=technique.title,
        verdict=refusal.verdict,
        stage=technique.stage,
        reason_code=refusal.reason_code,
        reason=refusal.reason,
        flips_when=refusal.flips_when,
        effects=(),
        workload=None,
        deployment=None,
        memory=None,
        accuracy=_accuracy(technique, facts.model),
        effort=technique.effort,
        requirements=technique.requirements,
        conflicts=technique.conflicts,
        assumptions=(),
        metric="",
        nearest_published=_nearest(technique, facts, technique.metric),
        knobs=refusal.knobs,
        changes_load=technique.changes_load,
        changes_devices=technique.changes_devices,
    )


def _accuracy(technique: Technique, model: Model) -> AccuracyRisk:
    evidence, losses = evidence_for(technique.id, model), accuracy_losses(technique.id, model)
    return AccuracyRisk(
        summary=technique.accuracy,
        lossless=technique.lossless,
        model_class=model_class(model),
        typical_relative_loss=None if losses is None else losses.typical,
        largest_relative_loss=None if losses is None else losses.largest,
        evidence=evidence,
        other_evidence_count=len(accuracy_evidence(technique.id)) - len(evidence),
    )


def _nearest(technique: Technique, facts: Facts, metric: str) -> PublishedCase | None:
    scenario = facts.scenario
    devices = scenario.deployment.parallel.devices
    return nearest_published(technique.id, facts.model, scenario.hardware, facts.workload, metric, devices)


def _of_plans(search: PlanSearch) -> Iterator[str]:
    """What plans take for granted of accuracy, where one of them has several losses."""
    if any(len(plan.techniques) > 1 and plan.accuracy_loss for plan in search.plans):
        yield "What the techniques of a plan lose in accuracy is taken to add up."
    unknown = dict.fromkeys(name for plan in search.plans for name in plan.unknown_accuracy)
    if unknown:
        yield f"Nobody's figures tell what {', '.join(unknown)} cost in accuracy: plans count nothing for it."


def _assumptions(baseline: Analysis) -> Iterator[str]:
    workload, hardware = baseline.workload, baseline.hardware
    lengths = f"{workload.input_len:,} input and {workload.output_len:,} output tokens"
    if workload.load is Load.CLOSED_LOOP:
        yield (
            f"Closed loop of {workload.batch:,}: so many requests of {lengths} are in flight at any time; "
            "TTFT is that of one of them."
        )
    else:
        yield (
            f"Static batch of {workload.batch:,}: all requests have {lengths} and start together; TTFT is "
            "the prefill of all prompts."
        )
    memory = baseline.memory
    yield f"Driver and engine take {gib(memory.overhead_bytes)} of memory; {memory.engine_note}."
    if hardware.usable_memory_bytes is None:
        yield (
            f"{hardware.name} was not measured: {gib(hardware.allocatable_bytes)} of "
            f"{gib(hardware.memory_bytes)} are taken as usable."
        )
    if baseline.profiles:
        kernels = [used for used in baseline.profiles if used.operator_class not in OF_ENGINES]
        evidence = sum({used.profile.id: used.profile.evidence_count for used in kernels}.values())
        levels = ", ".join(dict.fromkeys(used.level for used in kernels))
        yield (
            f"Kernels use {levels} efficiency profiles, fitted on {evidence:,} timings; what engines add is "
            "fitted on published measurements. The interval of a change was fitted to published pairs of "
            "before and after; that of a time is what measured times were off."
        )
        unmeasured = [used.operator_class for used in kernels if not used.profile.evidence_count]
        if unmeasured:
            classes = ", ".join(dict.fromkeys(unmeasured))
            yield f"The constants of {classes} costs are assumptions without measurements."
    else:
        yield "Ideal roofline: no launch costs, every peak of the data sheet attained."
