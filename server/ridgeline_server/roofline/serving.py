"""Whole requests: the steps of loads, costed for many deployments at once, and what they hold in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.efficiency import Estimate, FurtherConstant, OperatorClass
from ridgeline_server.domain.errors import MissingProfileError
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.closed_loop import IDEAL_REQUEST, RequestConstants, added_prefill
from ridgeline_server.roofline.constants import (
    FACTOR_ENDS,
    end_of,
    request_profile,
    time_factor,
)
from ridgeline_server.roofline.cost import Cost, cost_steps, live_bytes
from ridgeline_server.roofline.drafts import draft_deployment, draft_of
from ridgeline_server.roofline.memory import Memory, activation_loads, estimate_memory
from ridgeline_server.roofline.open_loop import others_in_flight
from ridgeline_server.roofline.operators.layer import Placement, Stage
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.operators.variables import Steps
from ridgeline_server.roofline.requests import TimeFactors, request_of
from ridgeline_server.roofline.scenario import LEVELS, Scenario, Variant
from ridgeline_server.roofline.steps import Attended, Loads, attended, decode, prefill, tokens_of_steps

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A load on a scenario, to be simulated."""

    scenario: Scenario
    workload: Workload


@dataclass(frozen=True, eq=False)
class Times:
    """Seconds of N loads under S scenarios: the prefill of all prompts of a device, what one prompt adds to
    running decodes, and a mean decode step divided by the tokens that it gives; shape (S, V, N) over V
    variants, and (S, N) for the ideal ones. `prompt_steps` (S, N) are those that one prompt goes through.
    """

    prefill_s: Array
    added_prefill_s: Array | None
    decode_s: Array
    ideal_prefill_s: Array
    ideal_added_prefill_s: Array | None
    ideal_decode_s: Array
    prompt_steps: Array | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """N loads under S scenarios whose operators are the same: costs of one prefill step, and of decode steps:
    the N mean ones, then as many that were asked to be shown. `factors` has those of each scenario at each
    variant, which `times` leave out. Costs are those of the variants that differ in more than these.
    """

    prefill: Cost
    decode: Cost
    prefill_count: Array
    times: Times
    factors: Sequence[Sequence[TimeFactors]]


def evaluate(
    model: Model,
    scenarios: Sequence[Scenario],
    loads: Loads,
    variants: Sequence[Variant] = LEVELS,
    *,
    shown_keys: Array | None = None,
    closed_loop: bool = False,
) -> Evaluation:
    """Costs N loads under S scenarios in one evaluation.

    The scenarios share parallelism and attention kernel, hence an operator table, and all or none has
    profiles. `shown_keys`, of the loads' shape, names a further decode step for each load. In a closed loop
    the prefill is that of one prompt, and what it adds to running decodes is costed too.
    """
    deployments = [scenario.deployment for scenario in scenarios]
    shape = (len(scenarios), loads.batch.shape[1])
    sequences, groups = (
        _rows(figure, shape) for figure in attended(deployments[0], loads.batch, closed_loop=closed_loop)
    )
    input_len = _rows(loads.input_len, shape)
    tables = {stage: operator_table(model, scenarios[0].placement(stage)) for stage in Stage}
    # Ranges of whole times cost nothing: factors alone tell these variants from the best one.
    costed = tuple(variant for variant in variants if variant not in FACTOR_ENDS)
    at = [costed.index(variant) if variant in costed else 0 for variant in variants]
    # In a closed loop prompts come one by one.
    prompts = prefill(deployments, np.ones(shape) if closed_loop else sequences, input_len, groups)
    cost = cost_steps(tables[Stage.PREFILL], scenarios, Stage.PREFILL, prompts.steps, costed)
    span = _rows(np.maximum(loads.output_len - 2, 0.0), shape)
    steps = decode(deployments, sequences, input_len + 1, span, groups)
    if shown_keys is not None:
        keys = _rows(shown_keys, shape)
        steps = _joined(steps, decode(deployments, sequences, keys, np.zeros(shape), groups))
    decode_cost = cost_steps(tables[Stage.DECODE], scenarios, Stage.DECODE, steps, costed)
    width = shape[1]
    step_s, ideal_step_s = decode_cost.expected_step_s[..., :width], decode_cost.ideal_step_s[:, :width]
    if any(d.speculation is not None for d in deployments):
        drafted_s, ideal_drafted_s = _drafting(
            model, scenarios, Attended(sequences, groups), input_len, span, costed
        )
        step_s, ideal_step_s = step_s + drafted_s, ideal_step_s + ideal_drafted_s
    added: tuple[Array | None, Array | None, Array | None] = (None, None, None)
    if closed_loop:
        running = Loads(sequences, input_len, _rows(loads.output_len, shape))
        added = added_prefill(
            tables[Stage.PREFILL], scenarios, running, groups, costed, (step_s, ideal_step_s)
        )
    given = tokens_of_steps(deployments, loads.output_len)
    times = Times(
        prefill_s=(cost.expected_step_s * prompts.count[:, None])[:, at],
        added_prefill_s=None if added[0] is None else added[0][:, at],
        decode_s=(step_s / given[:, None])[:, at],
        ideal_prefill_s=cost.ideal_step_s * prompts.count,
        ideal_added_prefill_s=added[1],
        ideal_decode_s=ideal_step_s / given,
        prompt_steps=added[2],
    )
    factors = [_time_factors(model, scenario, variants, closed_loop=closed_loop) for scenario in scenarios]
    return Evaluation(cost, decode_cost, prompts.count, times, factors)


def _time_factors(
    model: Model, scenario: Scenario, variants: Sequence[Variant], *, closed_loop: bool
) -> list[TimeFactors]:
    """What whole times are multiplied by at each variant."""
    if scenario.profiles is None:
        return [TimeFactors()]
    first_token = OperatorClass.FIRST_TOKEN_TIME if closed_loop else OperatorClass.PREFILL_TIME
    classes = (OperatorClass.PREFILL_TIME, OperatorClass.DECODE_TIME, first_token)
    found = [_factor(model, scenario, operator_class, variants) for operator_class in classes]
    return [TimeFactors(*(end_of(each, FACTOR_ENDS, variant) for each in found)) for variant in variants]


def _factor(
    model: Model, scenario: Scenario, operator_class: OperatorClass, variants: Sequence[Variant]
) -> Estimate:
    """Raises MissingProfileError where a range is asked for and the catalog has none."""
    used = time_factor(scenario, model, operator_class)
    if used is not None:
        return used.profile.constant(FurtherConstant.TIME_FACTOR)
    if not FACTOR_ENDS.keys().isdisjoint(variants):
        raise MissingProfileError(operator_class)
    return ONE


ONE = Estimate(1.0, 1.0, 1.0)


def _rows(figures: Array, shape: tuple[int, int]) -> Array:
    """Figures of loads, one row for each scenario."""
    return figures if figures.shape == shape else np.broadcast_to(figures, shape)


def _joined(first: Steps, second: Steps) -> Steps:
    """The steps of two sets side by side."""
    pairs = zip(first.arrays, second.arrays, strict=True)
    return Steps(*(np.concatenate(pair, axis=1) for pair in pairs))


def _drafting(
    model: Model,
    scenarios: Sequence[Scenario],
    running: Attended,
    input_len: Array,
    span: Array,
    variants: Sequence[Variant],
) -> tuple[Array, Array]:
    """Seconds that drafting adds to a decode step: expected (S, V, N) and ideal (S, N)."""
    width = 1 if scenarios[0].profiles is None else len(variants)
    expected = np.zeros((len(scenarios), width, span.shape[1]))
    ideal = np.zeros(span.shape)
    for index, scenario in enumerate(scenarios):
        draft, speculation = draft_of(model, scenario.deployment), scenario.deployment.speculation
        if draft is None or speculation is None:
            continue
        served = replace(scenario, deployment=draft_deployment(scenario.deployment, draft))
        one = slice(index, index + 1)
        steps = decode(
            [served.deployment], running.sequences[one], input_len[one] + 1, span[one], running.groups[one]
        )
        table = operator_table(draft, served.placement(Stage.DECODE))
        cost = cost_steps(table, [served], Stage.DECODE, steps, variants)
        expected[index] = speculation.tokens * cost.expected_step_s[0]
        ideal[index] = speculation.tokens * cost.ideal_step_s[0]
    return expected, ideal


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
    """One simulated candidate: its request times at each of `variants`, its memory, the requests that are in
    flight at any time and those of them that run, and what its engine adds to the steps of a request.
    `waiting` has, for each variant, the requests that wait for each that runs.
    """

    candidate: Candidate
    variants: Sequence[Variant]
    times: RequestTimes
    memory: Memory
    in_flight: float
    running: float
    waiting: Sequence[float]
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
    groups: dict[tuple[Placement, bool], list[int]] = {}
    for index, candidate in enumerate(candidates):
        closed = candidate.workload.load is not Load.STATIC_BATCH
        groups.setdefault((candidate.scenario.placement(Stage.DECODE), closed), []).append(index)
    evaluations: list[Evaluation] = []
    where: list[tuple[int, int]] = [(0, 0)] * len(candidates)
    simulations: dict[int, Simulation] = {}
    for (_, closed), members in groups.items():
        scenarios = [candidates[i].scenario for i in members]
        workloads = [candidates[i].workload for i in members]
        in_flight = [
            _in_flight(model, scenario, workload)
            for scenario, workload in zip(scenarios, workloads, strict=True)
        ]
        held = [
            replace(w, batch=ceil(n)) if w.load is Load.OPEN_LOOP else w
            for n, w in zip(in_flight, workloads, strict=True)
        ]
        live = _live(model, scenarios, held)
        memories = [estimate_memory(model, *each) for each in zip(scenarios, held, live, strict=True)]
        running = [
            _running(n, w, memory.max_concurrency.value)
            for n, w, memory in zip(in_flight, workloads, memories, strict=True)
        ]
        figures = np.array(
            [
                (n, w.input_len, w.output_len, w.shown_decode_keys)
                for n, w in zip(running, workloads, strict=True)
            ],
            dtype=np.float64,
        ).T[..., None]
        found = evaluate(
            model, scenarios, Loads(*figures[:3]), variants, shown_keys=figures[3], closed_loop=closed
        )
        for place, i in enumerate(members):
            where[i] = (len(evaluations), place)
            simulations[i] = Simulation(
                candidates[i],
                variants,
                _request_times(found, place),
                memories[place],
                in_flight[place],
                running[place],
                _waiting(in_flight[place], workloads[place], memories[place].max_concurrency, variants),
                _request_constants(scenarios[place]),
            )
        evaluations.append(found)
    return SimulatedGrid(
        tuple(evaluations), tuple(where), tuple(simulations[i] for i in range(len(candidates)))
    )


def _running(in_flight: float, workload: Workload, fit: float) -> float:
    """Requests of a closed loop that run at any time: as many as fit. Where not even one fits, or all were to
    start together, the answer is that of a device with the memory that it lacks.
    """
    return min(in_flight, fit) if workload.load is Load.CLOSED_LOOP and fit >= 1 else in_flight


def _waiting(
    in_flight: float, workload: Workload, fit: Estimate, variants: Sequence[Variant]
) -> tuple[float, ...]:
    """Requests that wait for each that runs, at each variant: the more fit, the fewer."""
    if fit.value < 1:
        return (0.0,) * len(variants)
    running = [_running(in_flight, workload, max(1.0, end_of(fit, _FIT_ENDS, v))) for v in variants]
    return tuple(in_flight / n - 1 for n in running)


_FIT_ENDS = {Variant.ALL_FAST: "high", Variant.ALL_SLOW: "low"}


def _in_flight(model: Model, scenario: Scenario, workload: Workload) -> float:
    """Requests in flight at any time, the one that is looked at included; of a static batch its own."""
    if workload.load is not Load.OPEN_LOOP or workload.request_rate is None:
        return float(workload.batch)
    constants = _request_constants(scenario)
    parallel = scenario.deployment.parallel
    groups = parallel.dp * parallel.attention_dp

    def latency_s(others: Array, rate: float) -> Array:
        arriving = replace(workload, request_rate=rate)
        shape = np.ones((1, len(others)))
        loads = Loads(others[None] + groups, workload.input_len * shape, workload.output_len * shape)
        times = evaluate(model, [scenario], loads, (Variant.BEST,), closed_loop=True).times
        assert times.added_prefill_s is not None
        assert times.prompt_steps is not None
        columns = zip(
            loads.batch[0].tolist(),
            times.prompt_steps[0].tolist(),
            times.prefill_s[0, 0].tolist(),
            times.added_prefill_s[0, 0].tolist(),
            times.decode_s[0, 0].tolist(),
            strict=True,
        )
        return np.array(
            [request_of(arriving, scenario.deployment, *column, constants).latency_s for column in columns]
        )

    return others_in_flight(latency_s, workload.request_rate) + groups


def _request_constants(scenario: Scenario) -> RequestConstants:
    used = request_profile(scenario)
    if used is None:
        return IDEAL_REQUEST
    profile = used.profile
    steps, lockstep, interference = (
        profile.constant(name).value
        for name in (
            FurtherConstant.FIRST_TOKEN_STEPS,
            FurtherConstant.LOCKSTEP_SHARE,
            FurtherConstant.INTERFERENCE,
        )
    )
    return RequestConstants(profile.launch_time_us.value * 1e-6, steps, lockstep, interference)


def _request_times(found: Evaluation, place: int) -> RequestTimes:
    times = found.times
    added, ideal_added = times.added_prefill_s, times.ideal_added_prefill_s
    return RequestTimes(
        prefill_s=tuple(times.prefill_s[place, :, 0].tolist()),
        added_prefill_s=() if added is None else tuple(added[place, :, 0].tolist()),
        decode_s=tuple(times.decode_s[place, :, 0].tolist()),
        ideal_prefill_s=float(times.ideal_prefill_s[place, 0]),
        ideal_added_prefill_s=0.0 if ideal_added is None else float(ideal_added[place, 0]),
        ideal_decode_s=float(times.ideal_decode_s[place, 0]),
        prompt_steps=1.0 if times.prompt_steps is None else float(times.prompt_steps[place, 0]),
        factors=found.factors[place],
    )


def memory_of(model: Model, scenario: Scenario, workload: Workload) -> Memory:
    """The memory of a load, without its times."""
    (live,) = _live(model, [scenario], [workload])
    return estimate_memory(model, scenario, workload, live)


def _live(model: Model, scenarios: Sequence[Scenario], workloads: Sequence[Workload]) -> list[list[float]]:
    """Activation peaks of the loads that decide each scenario's memory, bytes."""
    steps = activation_loads(model, [s.deployment for s in scenarios], workloads)
    tables = [operator_table(model, scenarios[0].placement(stage)) for stage in Stage]
    if tables[0] is tables[1]:
        peaks = live_bytes(tables[0], scenarios, _joined(*steps))
    else:
        found = [live_bytes(table, scenarios, of) for table, of in zip(tables, steps, strict=True)]
        peaks = np.concatenate(found, axis=1)
    return [[peak[0], peak[2], peak[1], peak[3]] for peak in peaks.tolist()]
