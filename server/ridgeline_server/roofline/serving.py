"""Whole requests of many candidates at once: their times, their memory, and how many there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.costing import Costed, Where, cost_loads, factors_of, request_constants_of
from ridgeline_server.roofline.flight import Flight, Flights, flights_of
from ridgeline_server.roofline.loops import IDEAL_REQUEST
from ridgeline_server.roofline.memory.device import Memories, Memory, memories_of
from ridgeline_server.roofline.operators.layer import Placement, Stage
from ridgeline_server.roofline.posed import Posed
from ridgeline_server.roofline.requests import Requests, StepTimes, requests_of
from ridgeline_server.roofline.scenario import LEVELS, Scenario, Variant

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A load on a scenario, to be simulated."""

    scenario: Scenario
    workload: Workload

    def __hash__(self) -> int:
        # Those of one question differ in these; equality still compares everything.
        workload = self.workload
        return hash((self.scenario, workload.batch, workload.input_len))


@dataclass(frozen=True, eq=False)
class LoadMetrics:
    """Metrics of K loads by name: arrays (V, K), NaN where a load has none."""

    arrays: Mapping[str, Array]

    @cached_property
    def lists(self) -> Mapping[str, list[list[float]]]:
        """The same as lists, one of V values for each load, whose entries are read many times faster."""
        return {name: values.T.tolist() for name, values in self.arrays.items()}


@dataclass(frozen=True, eq=False)
class SimulatedLoads:
    """K loads of one kind that were costed together, at each of V variants: `times` of shape (V, K),
    `ideal_times` and `prompt_steps` of shape (K,). Of an open loop, each at its own number of requests.
    """

    model: Model
    posed: Posed
    variants: Sequence[Variant]
    flights: Flights
    find_memories: Callable[[], Memories]
    costed: Costed
    times: StepTimes
    ideal_times: StepTimes
    prompt_steps: Array | None
    metrics: dict[bool, LoadMetrics] = field(default_factory=dict, repr=False)
    """What `metrics_of_loads` found, ideal ones under True."""

    @property
    def memories(self) -> Memories:
        """The memory of each load: of an open loop, of the requests that it has in flight."""
        return self.find_memories()

    @cached_property
    def ideal_requests(self) -> Requests:
        """A request of each load on the ideal roofline, (K,)."""
        flights = self.flights
        return requests_of(
            self.posed,
            flights.ideal_running,
            self.prompt_steps,
            self.ideal_times,
            IDEAL_REQUEST,
            waiting=flights.ideal_waiting,
        )

    @cached_property
    def requests(self) -> Requests:
        """A request of each load at each simulated variant, (V, K)."""
        flights = self.flights
        return requests_of(
            self.posed,
            flights.running,
            self.prompt_steps,
            self.times,
            request_constants_of(self.posed),
            factors_of(self.model, self.posed, self.variants),
            flights.waiting,
            self.ideal_requests,
        )


@dataclass(frozen=True, eq=False)
class Simulation:
    """One simulated candidate, at its place among the loads that were costed with it."""

    candidate: Candidate
    loads: SimulatedLoads = field(repr=False)
    place: int

    @property
    def memory(self) -> Memory:
        """The memory of the load."""
        return self.loads.memories.at(self.place)

    @cached_property
    def flight(self) -> Flight:
        """The requests of the load."""
        return self.loads.flights.at(self.place)

    @property
    def decode_s(self) -> float:
        """Seconds of a mean decode step for each token that it gives; ideal ones without profiles."""
        return float(self.loads.times.decode_s[0, self.place])


@dataclass(frozen=True)
class SimulatedGrid:
    """Candidates of one model, simulated together."""

    simulations: tuple[Simulation, ...]

    def where(self, index: int) -> Where:
        """Where a candidate was evaluated: the evaluation, and its scenario and load in it."""
        simulation = self.simulations[index]
        return simulation.loads.costed.where(simulation.place)


def simulate(
    model: Model, candidates: Sequence[Candidate], variants: Sequence[Variant] = LEVELS
) -> SimulatedGrid:
    """Simulates loads on scenarios, those that share an operator table in one vectorised evaluation.
    `variants` starts with BEST; without profiles only BEST is costed. All scenarios have profiles or none
    has.

    Raises InvalidFieldsError for a rate that is not served.
    """
    placements: dict[Scenario, Placement] = {}
    groups: dict[tuple[Placement, Load], list[int]] = {}
    for index, candidate in enumerate(candidates):
        scenario = candidate.scenario
        if scenario not in placements:
            placements[scenario] = scenario.placement(Stage.DECODE)
        groups.setdefault((placements[scenario], candidate.workload.load), []).append(index)
    simulations: dict[int, Simulation] = {}
    for members in groups.values():
        chosen = [candidates[index] for index in members]
        posed = Posed.of([each.scenario for each in chosen], [each.workload for each in chosen])
        loads = simulate_loads(model, posed, variants)
        for refusal in loads.flights.refusals.values():
            raise refusal
        for place, index in enumerate(members):
            simulations[index] = Simulation(candidates[index], loads, place)
    return SimulatedGrid(tuple(simulations[index] for index in range(len(candidates))))


def simulate_loads(model: Model, posed: Posed, variants: Sequence[Variant] = LEVELS) -> SimulatedLoads:
    """Simulates loads of one kind on scenarios of one placement. Rates that are not served are among the
    flights' refusals.
    """
    if posed.scenarios[0].profiles is None:
        variants = (Variant.BEST,)
    memories = cache(lambda: memories_of(model, posed))
    flights = flights_of(model, posed, memories, variants)
    if posed.load is Load.OPEN_LOOP:
        held = replace(posed, batch=np.ceil(flights.in_memory))
        memories = cache(lambda: memories_of(model, held))
        running = np.concatenate((flights.running, flights.ideal_running[None]))
        costed = cost_loads(model, posed, running, variants, shown=True)
        times = StepTimes._make(each if each is None else each[:-1] for each in costed.times)
        ideal = StepTimes._make(each if each is None else each[-1] for each in costed.ideal_times)
        steps = None if costed.prompt_steps is None else costed.prompt_steps[0]
    else:
        costed = cost_loads(model, posed, flights.running[0], variants, shown=True)
        shape = (len(variants), posed.count)
        times = StepTimes._make(
            each if each is None else np.broadcast_to(each, shape) for each in costed.times
        )
        ideal, steps = costed.ideal_times, costed.prompt_steps
    return SimulatedLoads(model, posed, variants, flights, memories, costed, times, ideal, steps)
