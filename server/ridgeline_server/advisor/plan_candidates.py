"""Candidates of plans: combinations of techniques, costed in one grid at the constants' best values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ridgeline_server.advisor.combinations import (
    Candidates,
    Combination,
    combinations_of,
    ids_of,
    rests_of,
)
from ridgeline_server.advisor.effects import MEMORY_METRIC, speedup
from ridgeline_server.advisor.results import Freedom, Goal
from ridgeline_server.advisor.technique import Facts, Proposal, Technique
from ridgeline_server.advisor.verdict import OBJECTIVE
from ridgeline_server.domain.patience import while_wanted
from ridgeline_server.roofline.metrics import metric_values
from ridgeline_server.roofline.serving import Candidate, Simulation

HARDWARE_RUNNERS = 6
"""Combinations that go on to another device: each costs all devices that may be taken anew."""
DEVICE_RUNNERS = 24
"""Combinations on today's number of devices that go on to a change of it: half of them gain most on the goal,
half have room for the largest batch.
"""
LOAD_RUNNERS = 12
"""As many go on to a change of the load."""


@dataclass(frozen=True)
class Asked:
    """What plans are sought for: today's deployment, what it is to gain, what may change, and every technique
    that could be applied, by id: what it proposed, and its simulation alone.
    """

    facts: Facts
    goal: Goal
    freedom: Freedom
    today: Simulation
    proposals: Mapping[str, Proposal]
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

    @cached_property
    def values(self) -> Mapping[str, float]:
        """Today's figures."""
        return values_of(self.today, ideal=self.ideal)


@dataclass(frozen=True)
class Costed:
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


def cost_combinations(
    asked: Asked, usable: Sequence[Technique], helps: Mapping[str, float], losses: Mapping[str, float]
) -> list[Costed]:
    """Every combination within the budget on today's devices at today's load, then front-runners on devices
    of another kind, on more or fewer of them, and at other loads.
    """
    candidates = Candidates(asked.facts, asked.freedom.max_devices)

    def simulated(combinations: Iterable[Combination]) -> list[Costed]:
        found = [
            (combination, candidate)
            for combination in while_wanted(combinations)
            if (candidate := candidates.of(combination)) is not None
            and _within(asked, candidate, sum(losses[name] for name in ids_of(combination)))
        ]
        return cost(asked, found)

    loads = [technique for technique in usable if technique.changes_load]
    devices = [technique for technique in usable if technique.changes_devices]
    hardware = [technique for technique in usable if technique.changes_hardware]
    others = [technique for technique in usable if technique not in (*loads, *devices, *hardware)]
    costed = simulated(combinations_of(others, helps))
    stages = ((hardware, HARDWARE_RUNNERS), (devices, DEVICE_RUNNERS), (loads, LOAD_RUNNERS))
    for changes, most in stages:
        further = combinations_of(changes, helps)[1:]
        chosen = [each.combination for each in _front_runners(asked, costed, most)] if further else []
        rests = [rest for combination in chosen for rest in rests_of(combination)]
        costed += simulated(
            (*combination, *change) for combination in dict.fromkeys((*chosen, *rests)) for change in further
        )
    return costed


def _front_runners(asked: Asked, costed: Sequence[Costed], most: int) -> Sequence[Costed]:
    """The combinations that go on to a change of the devices or of the load."""
    if len(costed) <= most:
        return costed
    metric, half = asked.metric, most // 2
    gaining = sorted(costed, key=lambda each: -speedup(metric, asked.values[metric], each.values[metric]))
    roomy = sorted(gaining[half:], key=lambda each: -each.simulation.memory.max_batch)
    return [*gaining[:half], *roomy[:half]]


def _within(asked: Asked, candidate: Candidate, loss: float) -> bool:
    """Whether a candidate, if not today's, keeps within the devices, the context and the accuracy budget. Of
    today's devices there may be too many: a further technique may need fewer.
    """
    if candidate == asked.today.candidate:
        return True
    most, longest = asked.freedom.max_devices, asked.facts.model.max_context_len
    length = candidate.workload.total_len
    devices, today = (c.scenario.deployment.parallel.devices for c in (candidate, asked.today.candidate))
    return (
        (most is None or devices <= max(most, today))
        and (longest is None or length <= max(longest, asked.facts.workload.total_len))
        and loss <= asked.freedom.max_accuracy_loss
    )


def cost_between(asked: Asked, costed: Sequence[Costed]) -> list[Costed]:
    """Changes of the load taken in part, at every doubling up to the whole, which may be too slow."""
    today = asked.facts.workload.batch
    found = [
        (each.combination, Candidate(candidate.scenario, candidate.workload.at_batch(batch)))
        for each in costed
        for candidate in (each.simulation.candidate,)
        for batch in (today << i for i in range(1, (candidate.workload.batch // today).bit_length()))
        if batch < candidate.workload.batch
    ]
    return cost(asked, found)


def cost(asked: Asked, found: Sequence[tuple[Combination, Candidate]]) -> list[Costed]:
    """Candidates at the constants' best values, in one grid."""
    if not found:
        return []
    simulations = [place.simulation for place in asked.facts.places([candidate for _, candidate in found])]
    return [
        Costed(combination, simulation, values_of(simulation, ideal=asked.ideal))
        for (combination, _), simulation in while_wanted(zip(found, simulations, strict=True))
    ]
