"""Plans: every combination of techniques is simulated, and the best in which each one counts are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ridgeline_server.advisor.effects import compare, effect_on
from ridgeline_server.advisor.results import Effect, Goal, Plan, PlanStep
from ridgeline_server.advisor.technique import GAIN, Facts, Proposal, Technique, facts_of
from ridgeline_server.advisor.verdict import OBJECTIVE
from ridgeline_server.roofline.metrics import meets_slo
from ridgeline_server.roofline.scenario import CHANGES
from ridgeline_server.roofline.serving import Candidate, Simulation, simulate

PLANS = 3
"""How many plans an answer gives."""


@dataclass(frozen=True)
class PlanSearch:
    """The plans of a question, best first, and how many deployments were simulated to find them."""

    plans: tuple[Plan, ...]
    simulated: int


@dataclass(frozen=True)
class _Combination:
    techniques: tuple[Technique, ...]
    candidate: Candidate

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(technique.id for technique in self.techniques)


def search_plans(
    facts: Facts, techniques: Sequence[Technique], goal: Goal, *, allow_load_change: bool
) -> PlanSearch:
    """Simulates all combinations of techniques that do not conflict, in one grid, and keeps the best.

    `techniques` come in the order of application; those that change the load are moved behind the others. A
    plan must fit, must keep the limits when any combination does, and must need each of its techniques:
    without it the goal's metric is over 3% worse, or the rest no longer fits or keeps the limits.
    """
    usable = [t for t in techniques if t.in_plans and (allow_load_change or not t.changes_load)]
    usable.sort(key=lambda technique: technique.changes_load)
    combinations_ = list(_combinations(facts, usable))
    simulated = simulate(facts.model, [c.candidate for c in combinations_], CHANGES).simulations
    found = dict(zip((frozenset(c.ids) for c in combinations_), simulated, strict=True))
    today = found[frozenset()]
    basis, ideal = facts.basis, facts.scenario.profiles is None
    metric = OBJECTIVE[goal]
    limits_can_hold = any(s.memory.fits and meets_slo(s, ideal=ideal) for s in simulated)

    def feasible(simulation: Simulation) -> bool:
        return simulation.memory.fits and (meets_slo(simulation, ideal=ideal) or not limits_can_hold)

    def gain(before: Simulation, after: Simulation) -> float:
        return effect_on(compare(before, after, basis), metric).speedup

    def needs_all(combination: _Combination) -> bool:
        whole = found[frozenset(combination.ids)]
        # A rest that cannot be applied by itself, such as a batch that has no room, cannot replace the whole.
        rests = (found.get(frozenset(combination.ids) - {name}) for name in combination.ids)
        return all(rest is None or not feasible(rest) or gain(rest, whole) > GAIN for rest in rests)

    kept = [c for c in combinations_ if c.techniques and feasible(found[frozenset(c.ids)]) and needs_all(c)]
    kept.sort(key=lambda c: -gain(today, found[frozenset(c.ids)]))
    return PlanSearch(
        tuple(_plan(c, found, facts, ideal=ideal) for c in kept[:PLANS]),
        len(combinations_),
    )


def _combinations(
    facts: Facts, techniques: Sequence[Technique], chosen: tuple[Technique, ...] = ()
) -> Iterator[_Combination]:
    """Every set of techniques without a conflict that can be applied in turn, the empty one first.

    `facts` tell of the deployment with those already `chosen`; each technique proposes on what they left.
    """
    if not chosen:
        yield _Combination((), facts.candidate())
    taken = {technique.id for technique in chosen}
    for index, technique in enumerate(techniques):
        proposal = None if taken & set(technique.conflicts) else technique.propose(facts)
        if isinstance(proposal, Proposal):
            combination = _Combination(
                (*chosen, technique), facts.candidate(proposal.workload, proposal.deployment)
            )
            yield combination
            rest = techniques[index + 1 :]
            if rest:
                simulated = simulate(facts.model, [combination.candidate])
                after = facts_of(facts.model, simulated, 0, facts.assumed)
                yield from _combinations(after, rest, combination.techniques)


def _plan(
    combination: _Combination, found: dict[frozenset[str], Simulation], facts: Facts, *, ideal: bool
) -> Plan:
    basis = facts.basis
    whole = found[frozenset(combination.ids)]
    steps: list[PlanStep] = []
    for index, name in enumerate(combination.ids):
        before, after = frozenset(combination.ids[:index]), frozenset(combination.ids[: index + 1])
        effects: tuple[Effect, ...] = compare(found[before], found[after], basis)
        steps.append(PlanStep(name, effects))
    return Plan(
        techniques=combination.ids,
        effects=compare(found[frozenset()], whole, basis),
        steps=tuple(steps),
        workload=whole.candidate.workload,
        deployment=whole.candidate.scenario.deployment,
        memory=whole.memory,
        meets_slo=meets_slo(whole, ideal=ideal),
    )
