"""Plans: combinations of techniques are costed in one grid; the best in which each one counts are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from ridgeline_server.advisor.combinations import (
    Candidates,
    Combination,
    combinations_of,
    ids_of,
    rests_of,
)
from ridgeline_server.advisor.effects import MEMORY_METRIC, compare, speedup
from ridgeline_server.advisor.evidence import accuracy_loss
from ridgeline_server.advisor.plan_wording import closest_in_words, difference, interactions
from ridgeline_server.advisor.results import (
    Closest,
    Effect,
    Freedom,
    FrontPoint,
    Goal,
    LeftOut,
    Plan,
    PlanSearch,
    PlanStep,
    ReasonCode,
    Relaxation,
)
from ridgeline_server.advisor.technique import GAIN, Facts, Technique
from ridgeline_server.advisor.verdict import OBJECTIVE
from ridgeline_server.domain.workload import Slo
from ridgeline_server.roofline.metrics import metric_values
from ridgeline_server.roofline.scenario import CHANGES, Variant
from ridgeline_server.roofline.serving import Candidate, Simulation, simulate
from ridgeline_server.roofline.wording import share

PLANS = 4
"""How many plans an answer gives: the best one and the three next to it."""
FRONT_RUNNERS = 12
"""Combinations at today's load that go on to a change of the load: half of them gain most on the goal, half
have room for the largest batch.
"""
HELPS = 1.001
"""What improves nothing by this much alone is left out: a plan that makes all else ten times smaller would
not gain a hundredth by it.
"""
FRONT_POINTS = 12
"""Points of the front at most."""


@dataclass(frozen=True)
class Asked:
    """What plans are sought for: today's deployment, what it is to gain, what may change, and every technique
    that was simulated alone, by id.
    """

    facts: Facts
    goal: Goal
    freedom: Freedom
    today: Simulation
    alone: Mapping[str, Simulation]

    @property
    def ideal(self) -> bool:
        """Whether the ideal roofline decides."""
        return self.facts.scenario.profiles is None

    @property
    def metric(self) -> str:
        """The metric of the goal."""
        return OBJECTIVE[self.goal]

    @cached_property
    def values_alone(self) -> Mapping[str, Mapping[str, float]]:
        """The figures of each technique alone."""
        return {name: values_of(after, ideal=self.ideal) for name, after in self.alone.items()}

    @property
    def gains_alone(self) -> dict[str, float]:
        """What each technique gains alone on the goal's metric."""
        before, metric = self.values[self.metric], self.metric
        return {name: speedup(metric, before, after[metric]) for name, after in self.values_alone.items()}

    @cached_property
    def values(self) -> Mapping[str, float]:
        """Today's figures."""
        return values_of(self.today, ideal=self.ideal)


@dataclass(frozen=True)
class _Costed:
    """A combination, simulated at the constants' best values."""

    combination: Combination
    simulation: Simulation
    values: Mapping[str, float]

    @property
    def devices(self) -> int:
        return self.simulation.candidate.scenario.deployment.parallel.devices


def values_of(simulation: Simulation, *, ideal: bool) -> dict[str, float]:
    """Every metric of a simulation at the constants' best values, and the memory."""
    found = {name: ends[0] for name, ends in metric_values(simulation, ideal=ideal).items()}
    return found | {MEMORY_METRIC: simulation.memory.total_bytes}


def search_plans(asked: Asked, techniques: Sequence[Technique]) -> PlanSearch:
    """Costs the combinations of techniques that do not conflict, in one grid, and keeps the best.

    `techniques` come in the order of application; those that change the devices, then the load, are moved
    behind the others. A plan must fit, keep within the devices, the model's context and the accuracy budget,
    keep the limits that today's deployment keeps, and all of them when any combination does; and it must need
    each of its techniques: without it the goal's metric is over 3% worse, or the rest is no plan.
    """
    in_order = sorted(techniques, key=lambda technique: (technique.changes_load, technique.changes_devices))
    losses = {t.id: 0.0 if t.lossless else accuracy_loss(t.id, asked.facts.model) for t in in_order}
    left_out = tuple(_left_out(asked, in_order, losses))
    barred = {each.technique for each in left_out}
    helps = {t.id: _help(asked, t) for t in in_order}
    usable = [t for t in in_order if t.id not in barred and helps[t.id] > HELPS]
    costed = _costed(asked, usable, helps, {name: loss or 0.0 for name, loss in losses.items()})
    choice = _Choice(asked, costed)
    return PlanSearch(
        plans=_plans(asked, choice.kept()[:PLANS], usable, losses),
        pareto_front=_front(each for each in costed if choice.feasible(each)),
        closest=None if choice.limits_can_hold else _closest(asked, costed),
        left_out=left_out,
        plan_candidates=len(costed),
    )


def _left_out(
    asked: Asked, techniques: Iterable[Technique], losses: Mapping[str, float | None]
) -> Iterator[LeftOut]:
    """Techniques that could be applied and that the request keeps out of plans."""
    freedom = asked.freedom
    for technique in techniques:
        if technique.id not in asked.alone:
            continue
        loss = losses[technique.id]
        if technique.changes_load and not freedom.load:
            yield LeftOut(technique.id, ReasonCode.LOAD_FIXED, "it changes the load, which is to stay.")
        elif technique.changes_devices and not freedom.devices:
            yield LeftOut(
                technique.id, ReasonCode.DEVICES_FIXED, "it changes the number of devices, which is to stay."
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
    if technique.changes_load or technique.changes_devices:
        return float("inf")
    after = asked.values_alone.get(technique.id)
    if after is None:
        return 1.0
    free = asked.freedom.load or asked.freedom.devices
    slo = asked.facts.workload.slo
    relevant = {asked.metric}
    if free or slo != Slo():
        relevant |= {"ttft_ms", "tpot_ms"}
    if free or not asked.today.memory.fits:
        relevant |= {MEMORY_METRIC}
    return max(speedup(name, asked.values[name], after[name]) for name in relevant)


def _costed(
    asked: Asked, usable: Sequence[Technique], helps: Mapping[str, float], losses: Mapping[str, float]
) -> list[_Costed]:
    """Every combination within the budget at today's load, then the front-runners at other loads."""
    candidates = Candidates(asked.facts)

    def simulated(combinations: Iterable[Combination]) -> list[_Costed]:
        found = [
            (combination, candidate)
            for combination in combinations
            if (candidate := candidates.of(combination)) is not None
            and _within(asked, candidate, sum(losses[name] for name in ids_of(combination)))
        ]
        if not found:
            return []
        simulations = simulate(asked.facts.model, [c for _, c in found], (Variant.BEST,)).simulations
        return [
            _Costed(combination, simulation, values_of(simulation, ideal=asked.ideal))
            for (combination, _), simulation in zip(found, simulations, strict=True)
        ]

    loads = [technique for technique in usable if technique.changes_load]
    costed = simulated(combinations_of([t for t in usable if not t.changes_load], helps))
    if not loads:
        return costed
    chosen = [each.combination for each in _front_runners(asked, costed)]
    rests = [rest for combination in chosen for rest in rests_of(combination)]
    further = combinations_of(loads, helps)[1:]
    return costed + simulated(
        (*combination, *change) for combination in dict.fromkeys((*chosen, *rests)) for change in further
    )


def _front_runners(asked: Asked, costed: Sequence[_Costed]) -> Sequence[_Costed]:
    """The combinations that go on to a change of the load."""
    if len(costed) <= FRONT_RUNNERS:
        return costed
    metric, half = asked.metric, FRONT_RUNNERS // 2
    gaining = sorted(costed, key=lambda each: -speedup(metric, asked.values[metric], each.values[metric]))
    roomy = sorted(gaining[half:], key=lambda each: -each.simulation.memory.max_batch)
    return [*gaining[:half], *roomy[:half]]


def _within(asked: Asked, candidate: Candidate, loss: float) -> bool:
    """Whether a candidate, if not today's, keeps within the devices, the context and the accuracy budget."""
    if candidate == asked.today.candidate:
        return True
    most, longest = asked.freedom.max_devices, asked.facts.model.max_context_len
    length = candidate.workload.total_len
    return (
        (most is None or candidate.scenario.deployment.parallel.devices <= most)
        and (longest is None or length <= max(longest, asked.facts.workload.total_len))
        and loss <= asked.freedom.max_accuracy_loss
    )


class _Choice:
    """Which of the costed combinations are plans."""

    def __init__(self, asked: Asked, costed: Sequence[_Costed]) -> None:
        self._asked = asked
        self._found = {each.combination: each for each in costed}
        self._costed = costed
        self.limits_can_hold = any(
            each.simulation.memory.fits and not _missed(each.values, asked.facts.workload.slo)
            for each in costed
        )

    def feasible(self, each: _Costed) -> bool:
        """Whether a combination fits, and keeps the limits that can be kept."""
        asked = self._asked
        most = asked.freedom.max_devices
        if most is not None and each.devices > most:
            return False
        missed = _missed(each.values, asked.facts.workload.slo)
        missed_today = _missed(asked.values, asked.facts.workload.slo) if asked.today.memory.fits else missed
        may_miss = set() if self.limits_can_hold else {name for name, _ in missed_today}
        return each.simulation.memory.fits and all(name in may_miss for name, _ in missed)

    def kept(self) -> list[_Costed]:
        """The plans, best first."""
        kept = [each for each in self._costed if each.combination and self.feasible(each)]
        kept = [each for each in kept if self._needs_all(each)]
        return sorted(kept, key=lambda each: -self._gain(self._asked.values, each))

    def _needs_all(self, each: _Costed) -> bool:
        """Whether each technique of a combination counts. A rest that cannot be applied by itself, such as a
        batch that has no room, cannot replace the whole.
        """
        rests = [self._found.get(rest) for rest in ((), *rests_of(each.combination))]
        return all(
            rest is None or not self.feasible(rest) or self._gain(rest.values, each) > GAIN for rest in rests
        )

    def _gain(self, before: Mapping[str, float], after: _Costed) -> float:
        metric = self._asked.metric
        return speedup(metric, before[metric], after.values[metric])


def _missed(values: Mapping[str, float], slo: Slo) -> list[tuple[str, float]]:
    """The limits that figures miss, by metric."""
    limits = (("ttft_ms", slo.ttft_ms), ("tpot_ms", slo.tpot_ms))
    return [(name, limit) for name, limit in limits if limit is not None and values[name] > limit]


def _front(feasible: Iterable[_Costed]) -> tuple[FrontPoint, ...]:
    """The combinations than which none has a lower latency and a higher throughput per device, by latency; of
    more than FRONT_POINTS some that lie evenly among them.
    """
    points = sorted(
        (
            each.values["e2e_latency_ms"],
            -each.values["output_tokens_per_s_per_device"],
            len(each.combination),
            place,
            each,
        )
        for place, each in enumerate(feasible)
    )
    front: list[FrontPoint] = []
    for latency_ms, less_rate, _, _, each in points:
        if front and -less_rate <= front[-1].output_tokens_per_s_per_device:
            continue
        batch = each.simulation.candidate.workload.batch
        front.append(FrontPoint(ids_of(each.combination), latency_ms, -less_rate, each.devices, batch))
    if len(front) <= FRONT_POINTS:
        return tuple(front)
    last = len(front) - 1
    return tuple(front[round(place * last / (FRONT_POINTS - 1))] for place in range(FRONT_POINTS))


def _closest(asked: Asked, costed: Sequence[_Costed]) -> Closest:
    """The combination that fits and misses the limits least, by the limit that it misses most; where none
    fits, the one that lacks least memory.
    """
    slo = asked.facts.workload.slo

    def relaxations(each: _Costed) -> tuple[Relaxation, ...]:
        memory = each.simulation.memory
        if not memory.fits:
            needed, usable = memory.total_bytes, memory.usable_bytes
            return (Relaxation("usable_memory_bytes", usable, needed, needed / usable),)
        return tuple(
            Relaxation(name, limit, each.values[name], each.values[name] / limit)
            for name, limit in _missed(each.values, slo)
        )

    allowed = [each for each in costed if each.devices <= (asked.freedom.max_devices or each.devices)]
    best = min(
        allowed or costed,
        key=lambda each: (
            not each.simulation.memory.fits,
            max(relaxation.factor for relaxation in relaxations(each)),
            len(each.combination),
        ),
    )
    found, names = relaxations(best), ids_of(best.combination)
    return Closest(names, found, closest_in_words(names, found))


def _plans(
    asked: Asked, kept: Sequence[_Costed], usable: Sequence[Technique], losses: Mapping[str, float | None]
) -> tuple[Plan, ...]:
    """Plans with the intervals of what each of their steps adds."""
    steps = {each.combination: _prefixes(each.combination) for each in kept}
    simulations = _simulated(asked, [prefix for prefixes in steps.values() for prefix in prefixes])
    plans: list[Plan] = []
    for each in kept:
        chain = [(), *steps[each.combination]]
        added = tuple(
            PlanStep(after[-1].id, _effects(asked, simulations[before], simulations[after]))
            for before, after in pairwise(chain)
        )
        names = ids_of(each.combination)
        whole = simulations[each.combination]
        plan = Plan(
            techniques=names,
            effects=_effects(asked, simulations[()], whole),
            steps=added,
            workload=whole.candidate.workload,
            deployment=whole.candidate.scenario.deployment,
            memory=whole.memory,
            meets_slo=not _missed(each.values, asked.facts.workload.slo),
            accuracy_loss=sum(losses[name] or 0.0 for name in names),
            unknown_accuracy=tuple(name for name in names if losses[name] is None),
            interactions=interactions(added, asked.gains_alone, usable, asked.metric),
            difference="",
        )
        plans.append(replace(plan, difference=difference(plans[0], plan, asked.metric)) if plans else plan)
    return tuple(plans)


def _simulated(asked: Asked, combinations: Iterable[Combination]) -> dict[Combination, Simulation]:
    """Combinations with the intervals of changes, those that were simulated already as they are."""
    candidates = Candidates(asked.facts)
    found: dict[Combination, Simulation] = {(): asked.today}
    missing: dict[Combination, Candidate] = {}
    for combination in combinations:
        candidate = candidates.of(combination)
        if len(combination) == 1 and combination[0].id in asked.alone:
            found[combination] = asked.alone[combination[0].id]
        elif candidate is not None:
            missing[combination] = candidate
    if missing:
        simulations = simulate(asked.facts.model, list(missing.values()), CHANGES).simulations
        found.update(zip(missing, simulations, strict=True))
    return found


def _prefixes(combination: Combination) -> list[Combination]:
    """The combination after each of its techniques; repeats of one are one step."""
    return [
        combination[: place + 1]
        for place, technique in enumerate(combination)
        if combination[place + 1 : place + 2] != (technique,)
    ]


def _effects(asked: Asked, before: Simulation, after: Simulation) -> tuple[Effect, ...]:
    return compare(before, after, asked.facts.basis)
