"""Plans: of all combinations of techniques the best in which each one counts, and what was left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, dropwhile, pairwise

from ridgeline_server.advisor.combinations import Candidates, Combination, ids_of
from ridgeline_server.advisor.effects import MEMORY_METRIC, compare, speedup
from ridgeline_server.advisor.evidence import accuracy_loss
from ridgeline_server.advisor.launching.switches import lacking
from ridgeline_server.advisor.plan_candidates import Asked, Costed, cost_between, cost_combinations, values_of
from ridgeline_server.advisor.plan_choice import Choice, closest_to_limits, pareto_front
from ridgeline_server.advisor.plan_wording import StepGain, difference, interactions, moved, step_title
from ridgeline_server.advisor.results import Effect, LeftOut, Plan, PlanSearch, PlanStep, ReasonCode, Verdict
from ridgeline_server.advisor.technique import Technique
from ridgeline_server.advisor.wording import counted, load_in_words
from ridgeline_server.domain.workload import Slo
from ridgeline_server.roofline.metrics import missed_limits
from ridgeline_server.roofline.serving import Candidate, Simulation
from ridgeline_server.roofline.wording import share

PLANS = 4
"""How many plans an answer gives: the best one and the three next to it."""
HELPS = 1.001
"""What improves nothing by this much alone is left out: a plan that makes all else ten times smaller would
not gain a hundredth by it.
"""


def search_plans(asked: Asked, techniques: Sequence[Technique]) -> PlanSearch:
    """Costs the combinations of techniques that do not conflict, in one grid, and keeps the best.

    `techniques` come in the order of application; those that are only considered, which others may make
    needless, then those that change the kind of devices, their number, the load, are moved behind the others.
    A plan must fit,
    keep within the devices, the model's context and the accuracy budget, keep the limits that today's
    deployment keeps, and all of them when any combination does; and it must need each of its techniques:
    without it the goal's metric is over 3% worse, or the rest is no plan.
    """
    in_order = sorted(techniques, key=lambda technique: _place(asked, technique))
    losses = {t.id: 0.0 if t.lossless else accuracy_loss(t.id, asked.facts.model) for t in in_order}
    barred = {each.technique: each for each in _barred(asked, in_order, losses)}
    helps = {t.id: _help(asked, t) for t in in_order}
    usable = [t for t in in_order if t.id not in barred and helps[t.id] > HELPS]
    costed = cost_combinations(asked, usable, helps, {name: loss or 0.0 for name, loss in losses.items()})
    between = cost_between(asked, costed)
    choice = Choice(asked, costed)
    return PlanSearch(
        plans=_plans(asked, costed, choice.kept(losses)[:PLANS], usable, losses),
        pareto_front=pareto_front(each for each in (*costed, *between) if choice.feasible(each)),
        closest=None if choice.limits_can_hold else closest_to_limits(asked, costed),
        left_out=tuple(each for each in barred.values() if each.technique in asked.alone),
        plan_candidates=len(costed) + len(between),
    )


def _place(asked: Asked, technique: Technique) -> tuple[bool, bool, bool, bool]:
    """Where a technique stands in the order of application."""
    proposal = asked.proposals.get(technique.id)
    considered = proposal is not None and proposal.at_most is not Verdict.APPLY
    return technique.changes_load, technique.changes_devices, technique.changes_hardware, considered


def _barred(
    asked: Asked, techniques: Iterable[Technique], losses: Mapping[str, float | None]
) -> Iterator[LeftOut]:
    """Techniques that the request keeps out of plans, whether they can be applied today or after others."""
    freedom, facts = asked.freedom, asked.facts
    for technique in techniques:
        loss, proposal = losses[technique.id], asked.proposals.get(technique.id)
        lack = lacking(facts.engine, technique.id, facts.scenario.hardware)
        if proposal is not None and proposal.assumed:
            yield LeftOut(
                technique.id,
                ReasonCode.FIGURE_NOT_STATED,
                f"it rests on {proposal.assumed}, which the request does not state.",
            )
        elif lack:
            yield LeftOut(technique.id, ReasonCode.ENGINE_LACKS_IT, lack)
        elif technique.changes_load and not freedom.load:
            yield LeftOut(technique.id, ReasonCode.LOAD_FIXED, "the load is to stay.")
        elif technique.changes_devices and not freedom.devices:
            yield LeftOut(technique.id, ReasonCode.DEVICES_FIXED, "the number of devices is to stay.")
        elif technique.changes_hardware and freedom.hardware is None:
            yield LeftOut(technique.id, ReasonCode.HARDWARE_FIXED, "the device is to stay.")
        elif technique.changes_model:
            yield LeftOut(
                technique.id,
                ReasonCode.MODEL_FIXED,
                "plans keep the model; ask about the other one by its name for plans on it.",
            )
        elif loss is None and not freedom.unknown_accuracy:
            yield LeftOut(
                technique.id,
                ReasonCode.ACCURACY_UNKNOWN,
                "the catalog has no figure of what it costs in accuracy.",
            )
        elif loss is not None and loss > freedom.max_accuracy_loss:
            yield LeftOut(
                technique.id,
                ReasonCode.ACCURACY_OVER_BUDGET,
                f"it was found to lose {share(loss)} of benchmark scores, over the budget of "
                f"{share(freedom.max_accuracy_loss)}.",
            )


def _help(asked: Asked, technique: Technique) -> float:
    """How many times better a technique alone makes what matters most to the question; a change of load or
    devices may become possible, or worth it, by others alone, and always counts.
    """
    if technique.changes_load or technique.changes_devices or technique.changes_hardware:
        return float("inf")
    after = asked.values_alone.get(technique.id)
    if after is None:
        return 1.0
    free = asked.freedom.load or asked.freedom.devices or asked.freedom.hardware is not None
    slo = asked.facts.workload.slo
    relevant = {asked.metric}
    if free or slo != Slo():
        relevant |= {"ttft_ms", "tpot_ms"}
    if free or not asked.today.memory.fits:
        relevant |= {MEMORY_METRIC}
    gains = [speedup(name, asked.values[name], after[name]) for name in relevant]
    if free:
        # What is next to nothing at today's load may be much of a larger one.
        rooms = [simulation.memory.max_batch for simulation in (asked.today, asked.alone[technique.id])]
        gains.append(rooms[1] / max(rooms[0], 1))
    return max(gains)


def _plans(
    asked: Asked,
    costed: Sequence[Costed],
    kept: Sequence[Costed],
    usable: Sequence[Technique],
    losses: Mapping[str, float | None],
) -> tuple[Plan, ...]:
    """Plans with what each of their steps adds."""
    steps = {each.combination: _prefixes(each.combination) for each in kept}
    known = {(): asked.today} | {each.combination: each.simulation for each in costed}
    prefixes = list(chain.from_iterable(steps.values()))
    simulations = _simulated(asked, known, [*prefixes, *map(_alone, prefixes)])
    plans: list[Plan] = []
    for each in kept:
        stations = list(pairwise([(), *steps[each.combination]]))
        added = tuple(
            _step(asked, after[-1], simulations[before], simulations[after]) for before, after in stations
        )
        gains = [
            (
                after[-1].id,
                _gain(asked, after[-1], simulations.get(()), simulations.get(_alone(after))),
                _gain(asked, after[-1], simulations[before], simulations[after]),
            )
            for before, after in stations
        ]
        names = ids_of(each.combination)
        whole = simulations[each.combination]
        used = whole.candidate.scenario.hardware
        hardware = None if used == asked.facts.scenario.hardware else used
        plan = Plan(
            techniques=names,
            effects=_effects(asked, simulations[()], whole),
            steps=added,
            workload=whole.candidate.workload,
            deployment=whole.candidate.scenario.deployment,
            memory=whole.memory,
            meets_slo=not missed_limits(each.values, asked.facts.workload.slo),
            accuracy_loss=sum(losses[name] or 0.0 for name in names),
            unknown_accuracy=tuple(name for name in names if losses[name] is None),
            interactions=(
                *moved(asked.facts.scenario.hardware, hardware),
                *interactions(gains, usable),
            ),
            difference="",
            hardware=hardware,
        )
        plans.append(replace(plan, difference=difference(plans[0], plan, asked.metric)) if plans else plan)
    return tuple(plans)


def _step(asked: Asked, technique: Technique, before: Simulation, after: Simulation) -> PlanStep:
    title = step_title(technique, before.candidate, after.candidate)
    return PlanStep(technique.id, _effects(asked, before, after), title)


def _simulated(
    asked: Asked, known: Mapping[Combination, Simulation], combinations: Iterable[Combination]
) -> dict[Combination, Simulation]:
    """Combinations simulated, those that are known as they are: a step of a plan need not be one itself."""
    candidates = Candidates(asked.facts)
    found = dict(known)
    missing: dict[Combination, Candidate] = {}
    for combination in combinations:
        candidate = None if combination in known else candidates.of(combination)
        if candidate is not None:
            missing[combination] = candidate
    if missing:
        simulations = [place.simulation for place in asked.facts.places(list(missing.values()))]
        found.update(zip(missing, simulations, strict=True))
    return found


def _prefixes(combination: Combination) -> list[Combination]:
    """The combination after each of its techniques; repeats of one are one step."""
    return [
        combination[: place + 1]
        for place, technique in enumerate(combination)
        if combination[place + 1 : place + 2] != (technique,)
    ]


def _alone(combination: Combination) -> Combination:
    """The last technique of a combination by itself, as often as it ends the combination."""
    rest = tuple(dropwhile(lambda technique: technique == combination[-1], reversed(combination)))
    return combination[len(rest) :]


def _gain(
    asked: Asked, technique: Technique, before: Simulation | None, after: Simulation | None
) -> StepGain | None:
    """What a step gains on the goal's metric, and to what it changes the devices or the load."""
    if before is None or after is None:
        return None
    values = [values_of(side, ideal=asked.ideal)[asked.metric] for side in (before, after)]
    changed = ""
    if technique.changes_load:
        changed = f"to {load_in_words(after.candidate.workload)}"
    elif technique.changes_devices:
        old, new = (side.candidate.scenario.deployment.parallel.devices for side in (before, after))
        changed = f"from {counted(old, 'device')} to {new:,}"
    return StepGain(speedup(asked.metric, *values), changed)


def _effects(asked: Asked, before: Simulation, after: Simulation) -> tuple[Effect, ...]:
    return compare(before, after, asked.facts.basis)
