"""Whole requests of many candidates at once: their times, their memory, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.closed_loop import IDEAL_REQUEST, RequestConstants, request_constants
from ridgeline_server.roofline.cost import live_bytes
from ridgeline_server.roofline.evaluation import Evaluation, evaluate, joined
from ridgeline_server.roofline.flight import Flight, flight_of
from ridgeline_server.roofline.memory import Memory, activation_loads, estimate_memory
from ridgeline_server.roofline.operators.layer import Placement, Stage
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.requests import TimeFactors
from ridgeline_server.roofline.scenario import LEVELS, Scenario, Variant
from ridgeline_server.roofline.steps import Loads

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A load on a scenario, to be simulated."""

    scenario: Scenario
    workload: Workload


class RequestTimes(NamedTuple):
    """Seconds of one load: prefill of all prompts, what one prompt adds to running decodes, and a mean decode
    step for each token that it gives; at each simulated variant, and ideally. One prompt goes through
    `prompt_steps` steps.
    """

    prefill_s: tuple[float, ...]
    added_prefill_s: tuple[float, ...]
    decode_s: tuple[float, ...]
    ideal_prefill_s: float
    ideal_added_prefill_s: float
    ideal_decode_s: float
    prompt_steps: float = 1.0
    factors: Sequence[TimeFactors] = (TimeFactors(),)


@dataclass(frozen=True)
class Simulation:
    """One simulated candidate: its request times at each of `variants`, its memory, how many requests there
    are, and what its engine adds to the steps of a request.
    """

    candidate: Candidate
    variants: Sequence[Variant]
    times: RequestTimes
    memory: Memory
    flight: Flight
    request: RequestConstants = IDEAL_REQUEST


@dataclass(frozen=True)
class SimulatedGrid:
    """Candidates of one model, simulated together; `where` tells each one's evaluation and place in it."""

    evaluations: tuple[Evaluation, ...]
    where: tuple[tuple[int, int], ...]
    simulations: tuple[Simulation, ...]

    def evaluation(self, index: int) -> tuple[Evaluation, int]:
        """The evaluation that holds a candidate, and the candidate's place among its scenarios."""
        group, place = self.where[index]
        return self.evaluations[group], place


def simulate(
    model: Model, candidates: Sequence[Candidate], variants: Sequence[Variant] = LEVELS
) -> SimulatedGrid:
    """Simulates loads on scenarios, those that share an operator table in one vectorised evaluation.
    `variants` starts with BEST; without profiles only BEST is costed. All scenarios have profiles or none
    has.
    """
    if candidates[0].scenario.profiles is None:
        variants = (Variant.BEST,)
    groups: dict[tuple[Placement, Load], list[int]] = {}
    for index, candidate in enumerate(candidates):
        key = candidate.scenario.placement(Stage.DECODE), candidate.workload.load
        groups.setdefault(key, []).append(index)
    evaluations: list[Evaluation] = []
    where: list[tuple[int, int]] = [(0, 0)] * len(candidates)
    simulations: dict[int, Simulation] = {}
    for (_, load), members in groups.items():
        scenarios = [candidates[i].scenario for i in members]
        workloads = [candidates[i].workload for i in members]
        memories = _memories(model, scenarios, workloads)
        flights = [
            flight_of(model, *each, variants) for each in zip(scenarios, workloads, memories, strict=True)
        ]
        if load is Load.OPEN_LOOP:
            held = [replace(w, batch=ceil(f.in_flight)) for w, f in zip(workloads, flights, strict=True)]
            memories = _memories(model, scenarios, held)
        running = [_columns(flight, load) for flight in flights]
        loads, shown = _loads(workloads, running)
        closed = load is not Load.STATIC_BATCH
        found = evaluate(model, scenarios, loads, variants, shown_keys=shown, closed_loop=closed)
        for place, i in enumerate(members):
            where[i] = (len(evaluations), place)
            simulations[i] = Simulation(
                candidates[i],
                variants,
                _request_times(found, place, load),
                memories[place],
                flights[place],
                request_constants(scenarios[place]),
            )
        evaluations.append(found)
    return SimulatedGrid(
        tuple(evaluations), tuple(where), tuple(simulations[i] for i in range(len(candidates)))
    )


def _columns(flight: Flight, load: Load) -> tuple[float, ...]:
    """The numbers of running requests that are costed: of an open loop those of each variant, and the ideal
    one.
    """
    return (*flight.running, flight.ideal_running) if load is Load.OPEN_LOOP else flight.running[:1]


def _loads(workloads: Sequence[Workload], running: Sequence[Sequence[float]]) -> tuple[Loads, Array]:
    """N loads of each of S workloads, by the requests that run, and the keys of the steps that are shown."""
    batch = np.array(running, dtype=np.float64)
    input_len, output_len, keys = (
        np.array([figures], dtype=np.float64).T * np.ones_like(batch)
        for figures in zip(
            *((w.input_len, w.output_len, w.shown_decode_keys) for w in workloads), strict=True
        )
    )
    return Loads(batch, input_len, output_len), keys


def _request_times(found: Evaluation, place: int, load: Load) -> RequestTimes:
    times, factors = found.times, found.factors[place]
    variants = range(len(factors))
    column = variants if load is Load.OPEN_LOOP else [0] * len(factors)
    ideal = -1 if load is Load.OPEN_LOOP else 0
    added, ideal_added = times.added_prefill_s, times.ideal_added_prefill_s

    def at_variants(figures: Array) -> tuple[float, ...]:
        return tuple(float(figures[place, v, n]) for v, n in zip(variants, column, strict=True))

    return RequestTimes(
        prefill_s=at_variants(times.prefill_s),
        added_prefill_s=() if added is None else at_variants(added),
        decode_s=at_variants(times.decode_s),
        ideal_prefill_s=float(times.ideal_prefill_s[place, ideal]),
        ideal_added_prefill_s=0.0 if ideal_added is None else float(ideal_added[place, ideal]),
        ideal_decode_s=float(times.ideal_decode_s[place, ideal]),
        prompt_steps=1.0 if times.prompt_steps is None else float(times.prompt_steps[place, 0]),
        factors=factors,
    )


def _memories(model: Model, scenarios: Sequence[Scenario], workloads: Sequence[Workload]) -> list[Memory]:
    live = _live(model, scenarios, workloads)
    return [estimate_memory(model, *each) for each in zip(scenarios, workloads, live, strict=True)]


def memory_of(model: Model, scenario: Scenario, workload: Workload) -> Memory:
    """The memory of a load, without its times."""
    return _memories(model, [scenario], [workload])[0]


def _live(model: Model, scenarios: Sequence[Scenario], workloads: Sequence[Workload]) -> list[list[float]]:
    """Activation peaks of the loads that decide each scenario's memory, bytes."""
    steps = activation_loads(model, [s.deployment for s in scenarios], workloads)
    tables = [operator_table(model, scenarios[0].placement(stage)) for stage in Stage]
    if tables[0] is tables[1]:
        peaks = live_bytes(tables[0], scenarios, joined(*steps))
    else:
        found = [live_bytes(table, scenarios, of) for table, of in zip(tables, steps, strict=True)]
        peaks = np.concatenate(found, axis=1)
    return [[peak[0], peak[2], peak[1], peak[3]] for peak in peaks.tolist()]
