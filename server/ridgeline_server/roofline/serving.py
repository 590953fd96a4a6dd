"""Whole requests of many candidates at once: their times, their memory, and how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.model import Model
from ridgeline_server.domain.patience import while_wanted
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.closed_loop import IDEAL_REQUEST, RequestConstants, request_constants
from ridgeline_server.roofline.cost import live_bytes
from ridgeline_server.roofline.evaluation import Evaluation, Times, evaluate, joined
from ridgeline_server.roofline.flight import Flight, all_together, flight_of, needs_memory
from ridgeline_server.roofline.memory import Memory, activation_loads, estimate_memory
from ridgeline_server.roofline.operators.layer import Placement, Stage
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.requests import NO_FACTORS, Request, TimeFactors, request_of
from ridgeline_server.roofline.scenario import LEVELS, Scenario, Variant
from ridgeline_server.roofline.steps import Loads

Array = NDArray[np.float64]
MOST_LOADS = 512
"""Loads of an evaluation up to which rows are filled up to the longest one: that costs less than another
evaluation.
"""


@dataclass(frozen=True)
class Candidate:
    """A load on a scenario, to be simulated."""

    scenario: Scenario
    workload: Workload

    def __hash__(self) -> int:
        # Those of one question differ in these; equality still compares everything.
        workload = self.workload
        return hash((self.scenario, workload.batch, workload.input_len))


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
    """One simulated candidate: its request times at each of `variants`, how many requests there are, its
    memory among those of others, and what its engine adds to the steps of a request.
    """

    candidate: Candidate
    variants: Sequence[Variant]
    times: RequestTimes
    flight: Flight
    memories: Memories = field(compare=False, repr=False)
    place: int
    request: RequestConstants = IDEAL_REQUEST
    metrics: dict[bool, Mapping[str, tuple[float, ...]]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """What `metric_values` found, ideal ones under True: a simulation is compared with many others."""

    @property
    def memory(self) -> Memory:
        """The memory of the load."""
        return self.memories.found[self.place]

    @cached_property
    def ideal_request(self) -> Request:
        """A request of the load on the ideal roofline."""
        times, flight = self.times, self.flight
        figures = times.ideal_prefill_s, times.ideal_added_prefill_s, times.ideal_decode_s
        return self._request(
            flight.ideal_running, figures, IDEAL_REQUEST, NO_FACTORS, flight.waiting[0], None
        )

    @cached_property
    def requests(self) -> Sequence[Request]:
        """A request of the load at each simulated variant."""
        times, flight = self.times, self.flight
        added = times.added_prefill_s or (0.0,) * len(times.prefill_s)
        figures = zip(times.prefill_s, added, times.decode_s, strict=True)
        return [
            self._request(running, each, self.request, factor, waiting, self.ideal_request)
            for running, each, factor, waiting in zip(
                flight.running, figures, times.factors, flight.waiting, strict=True
            )
        ]

    def _request(
        self,
        running: float,
        figures: tuple[float, float, float],
        constants: RequestConstants,
        factors: TimeFactors,
        waiting: float,
        least: Request | None,
    ) -> Request:
        return request_of(
            self.candidate.workload,
            self.candidate.scenario.deployment,
            running,
            self.times.prompt_steps,
            *figures,
            constants,
            factors,
            waiting,
            least,
        )


@dataclass(frozen=True, eq=False)
class Memories:
    """The memories of candidates of one placement: found all together, when the first is asked for."""

    model: Model
    candidates: Sequence[Candidate]

    @cached_property
    def found(self) -> Sequence[Memory]:
        """The memory of each candidate."""
        scenarios = [candidate.scenario for candidate in self.candidates]
        return _memories(self.model, scenarios, [candidate.workload for candidate in self.candidates])


class Where(NamedTuple):
    """A candidate's place: an evaluation, a scenario and a load of it."""

    group: int
    row: int
    column: int


@dataclass(frozen=True)
class SimulatedGrid:
    """Candidates of one model, simulated together; `where` tells each one's evaluation and place in it."""

    evaluations: tuple[Evaluation, ...]
    where: tuple[Where, ...]
    simulations: tuple[Simulation, ...]

    def evaluation(self, index: int) -> tuple[Evaluation, int, int]:
        """The evaluation that holds a candidate, and the candidate's scenario and load in it."""
        group, row, column = self.where[index]
        return self.evaluations[group], row, column


def simulate(
    model: Model, candidates: Sequence[Candidate], variants: Sequence[Variant] = LEVELS
) -> SimulatedGrid:
    """Simulates loads on scenarios, those that share an operator table in one vectorised evaluation.
    `variants` starts with BEST; without profiles only BEST is costed. All scenarios have profiles or none
    has.
    """
    if candidates[0].scenario.profiles is None:
        variants = (Variant.BEST,)
    placements = {scenario: scenario.placement(Stage.DECODE) for scenario in {c.scenario for c in candidates}}
    groups: dict[tuple[Placement, Load], list[int]] = {}
    for index, candidate in enumerate(candidates):
        key = placements[candidate.scenario], candidate.workload.load
        groups.setdefault(key, []).append(index)
    evaluations: list[Evaluation] = []
    placed: dict[int, Where] = {}
    simulations: dict[int, Simulation] = {}
    for (_, load), members in groups.items():
        chosen = [candidates[i] for i in members]
        memories = Memories(model, chosen)
        if needs_memory(load, variants):
            flights = [
                flight_of(model, each.scenario, each.workload, memory, variants)
                for each, memory in while_wanted(zip(chosen, memories.found, strict=True))
            ]
        else:
            flights = [all_together(each.workload, variants) for each in chosen]
        if load is Load.OPEN_LOOP:
            held = [
                Candidate(each.scenario, replace(each.workload, batch=ceil(flight.in_flight)))
                for each, flight in zip(chosen, flights, strict=True)
            ]
            memories = Memories(model, held)
        workloads, columns = [each.workload for each in chosen], [_columns(each, load) for each in flights]
        for rows in [[[place] for place in range(len(chosen))]] if load is Load.OPEN_LOOP else _rows(chosen):
            loads, shown = _loads(_even(rows), workloads, columns)
            scenarios = [chosen[places[0]].scenario for places in rows]
            closed = load is not Load.STATIC_BATCH
            found = evaluate(model, scenarios, loads, variants, shown_keys=shown, closed_loop=closed)
            times = _listed(found.times)
            for row, places in enumerate(rows):
                request = request_constants(scenarios[row])
                for column, place in enumerate(places):
                    placed[members[place]] = Where(len(evaluations), row, column)
                    simulations[members[place]] = Simulation(
                        chosen[place],
                        variants,
                        _request_times(times, found.factors[row], row, column, load),
                        flights[place],
                        memories,
                        place,
                        request,
                    )
            evaluations.append(found)
    order = range(len(candidates))
    return SimulatedGrid(
        tuple(evaluations), tuple(placed[i] for i in order), tuple(simulations[i] for i in order)
    )


def _rows(candidates: Sequence[Candidate]) -> list[list[list[int]]]:
    """The places of candidates by scenario, one row for each; where many loads would have to be filled in,
    only rows of about the same length together.
    """
    rows: dict[Scenario, list[int]] = {}
    for place, candidate in enumerate(candidates):
        rows.setdefault(candidate.scenario, []).append(place)
    longest = max(map(len, rows.values()))
    if len(rows) * longest <= MOST_LOADS:
        return [list(rows.values())]
    alike: dict[int, list[list[int]]] = {}
    for places in rows.values():
        alike.setdefault(len(places).bit_length(), []).append(places)
    return list(alike.values())


def _even(rows: Sequence[list[int]]) -> list[list[int]]:
    """Rows made equally long, the last place of the shorter ones again and again."""
    longest = max(map(len, rows))
    return [places + places[-1:] * (longest - len(places)) for places in rows]


def _columns(flight: Flight, load: Load) -> tuple[float, ...]:
    """The numbers of running requests that are costed: of an open loop those of each variant, and the ideal
    one.
    """
    return (*flight.running, flight.ideal_running) if load is Load.OPEN_LOOP else flight.running[:1]


def _loads(
    rows: Sequence[Sequence[int]], workloads: Sequence[Workload], running: Sequence[Sequence[float]]
) -> tuple[Loads, Array]:
    """The loads of each row, by the requests that run, and the keys of the steps that are shown."""
    batch = np.array([[n for place in places for n in running[place]] for places in rows], dtype=np.float64)
    input_len, output_len, keys = (
        np.array([[figures[place] for place in places] for places in rows], dtype=np.float64)
        for figures in zip(
            *((w.input_len, w.output_len, w.shown_decode_keys) for w in workloads), strict=True
        )
    )
    if input_len.shape != batch.shape:
        # An open loop's one load runs as several numbers of requests.
        input_len, output_len, keys = (each * np.ones_like(batch) for each in (input_len, output_len, keys))
    return Loads(batch, input_len, output_len), keys


class _Listed(NamedTuple):
    """Times as nested lists, whose entries are read many times faster than those of arrays."""

    prefill_s: list[list[list[float]]]
    added_prefill_s: list[list[list[float]]] | None
    decode_s: list[list[list[float]]]
    ideal_prefill_s: list[list[float]]
    ideal_added_prefill_s: list[list[float]] | None
    ideal_decode_s: list[list[float]]
    prompt_steps: list[list[float]] | None


def _listed(times: Times) -> _Listed:
    added, ideal_added, steps = times.added_prefill_s, times.ideal_added_prefill_s, times.prompt_steps
    return _Listed(
        prefill_s=times.prefill_s.tolist(),
        added_prefill_s=None if added is None else added.tolist(),
        decode_s=times.decode_s.tolist(),
        ideal_prefill_s=times.ideal_prefill_s.tolist(),
        ideal_added_prefill_s=None if ideal_added is None else ideal_added.tolist(),
        ideal_decode_s=times.ideal_decode_s.tolist(),
        prompt_steps=None if steps is None else steps.tolist(),
    )


def _request_times(
    times: _Listed, factors: Sequence[TimeFactors], row: int, column: int, load: Load
) -> RequestTimes:
    count = len(factors)
    columns = list(range(count)) if load is Load.OPEN_LOOP else [column] * count
    ideal = -1 if load is Load.OPEN_LOOP else column

    def at_variants(figures: list[list[list[float]]]) -> tuple[float, ...]:
        return tuple([figures[row][v][n] for v, n in enumerate(columns)])

    added, ideal_added, steps = times.added_prefill_s, times.ideal_added_prefill_s, times.prompt_steps
    return RequestTimes(
        prefill_s=at_variants(times.prefill_s),
        added_prefill_s=() if added is None else at_variants(added),
        decode_s=at_variants(times.decode_s),
        ideal_prefill_s=times.ideal_prefill_s[row][ideal],
        ideal_added_prefill_s=0.0 if ideal_added is None else ideal_added[row][ideal],
        ideal_decode_s=times.ideal_decode_s[row][ideal],
        prompt_steps=1.0 if steps is None else steps[row][columns[0]],
        factors=factors,
    )


def _memories(model: Model, scenarios: Sequence[Scenario], workloads: Sequence[Workload]) -> list[Memory]:
    live = _live(model, scenarios, workloads)
    of_each = zip(scenarios, workloads, live, strict=True)
    return [estimate_memory(model, *each) for each in while_wanted(of_each)]


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
