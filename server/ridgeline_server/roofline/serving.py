"""Whole requests: the steps of loads, costed for many deployments at once, and the metrics they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import CostBasis, Deployment
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.cost import Cost, cost_steps, live_bytes
from ridgeline_server.roofline.drafts import draft_deployment, draft_of
from ridgeline_server.roofline.grid import LEVELS, Scenario, Variant
from ridgeline_server.roofline.memory import Memory, activation_loads, estimate_memory
from ridgeline_server.roofline.operators.layer import Placement, Stage
from ridgeline_server.roofline.operators.table import OperatorTable, operator_table
from ridgeline_server.roofline.operators.variables import Steps
from ridgeline_server.roofline.results import Metric, Metrics
from ridgeline_server.roofline.steps import Loads, decode, prefill, sequences_of_device

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
    the N mean ones, then as many that were asked to be shown.
    """

    prefill: Cost
    decode: Cost
    prefill_count: Array
    times: Times


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
    sequences = _rows(sequences_of_device(deployments[0], loads.batch), shape)
    input_len = _rows(loads.input_len, shape)
    tables = {stage: operator_table(model, scenarios[0].placement(stage)) for stage in Stage}
    # In a closed loop prompts come one by one.
    prompts = prefill(deployments, np.ones(shape) if closed_loop else sequences, input_len)
    cost = cost_steps(tables[Stage.PREFILL], scenarios, Stage.PREFILL, prompts.steps, variants)
    span = _rows(np.maximum(loads.output_len - 2, 0.0), shape)
    steps = decode(deployments, sequences, input_len + 1, span)
    if shown_keys is not None:
        keys = _rows(shown_keys, shape)
        steps = _joined(steps, decode(deployments, sequences, keys, np.zeros(shape)))
    decode_cost = cost_steps(tables[Stage.DECODE], scenarios, Stage.DECODE, steps, variants)
    width = shape[1]
    step_s, ideal_step_s = decode_cost.expected_step_s[..., :width], decode_cost.ideal_step_s[:, :width]
    if any(d.speculation is not None for d in deployments):
        drafted_s, ideal_drafted_s = _drafting(model, scenarios, sequences, input_len, span, variants)
        step_s, ideal_step_s = step_s + drafted_s, ideal_step_s + ideal_drafted_s
    added: tuple[Array | None, Array | None, Array | None] = (None, None, None)
    if closed_loop:
        running = Loads(sequences, input_len, _rows(loads.output_len, shape))
        added = _added_prefill(tables[Stage.PREFILL], scenarios, running, variants, (step_s, ideal_step_s))
    given = np.array([_tokens_per_step(d) for d in deployments])[:, None]
    times = Times(
        prefill_s=cost.expected_step_s * prompts.count[:, None],
        added_prefill_s=added[0],
        decode_s=step_s / given[:, None],
        ideal_prefill_s=cost.ideal_step_s * prompts.count,
        ideal_added_prefill_s=added[1],
        ideal_decode_s=ideal_step_s / given,
        prompt_steps=added[2],
    )
    return Evaluation(cost, decode_cost, prompts.count, times)


def _rows(figures: Array, shape: tuple[int, int]) -> Array:
    """Figures of loads, one row for each scenario."""
    return figures if figures.shape == shape else np.broadcast_to(figures, shape)


def _added_prefill(
    table: OperatorTable,
    scenarios: Sequence[Scenario],
    running: Loads,
    variants: Sequence[Variant],
    decode_step_s: tuple[Array, Array],
) -> tuple[Array, Array, Array]:
    """What one prompt adds to running decodes, expected (S, V, N) and ideal (S, N), and the steps that it
    goes through: its prefill, less what a step costs that computes next to nothing, for those of its steps
    that a decode step, of so many expected and ideal seconds, pays already.

    Where requests take fewer steps than there are others, several prompts share a step as far as chunks let
    them; and steps beyond those of the decode cost what they cost alone.
    """
    deployments = [scenario.deployment for scenario in scenarios]
    alone = prefill(deployments, np.ones_like(running.batch), running.input_len).count
    given = np.array([_tokens_per_step(d) for d in deployments])[:, None]
    stages = deployments[0].parallel.pp
    together = np.maximum(running.batch / (alone + (running.output_len - 1) / given), stages)
    prompts = prefill(deployments, together, running.input_len)
    cost = cost_steps(table, scenarios, Stage.PREFILL, prompts.steps, variants)
    one, nothing = np.ones_like(alone), np.zeros_like(alone)
    least = Steps(one, one, one, nothing, nothing, one)
    floor = cost_steps(table, scenarios, Stage.PREFILL, least, variants)
    filling = 1 - 1 / stages
    steps = (prompts.count - filling) / together
    paid = np.minimum(steps, (alone + (running.output_len - 1) / given) / running.batch)
    least_s, ideal_least_s = map(np.minimum, (floor.expected_step_s, floor.ideal_step_s), decode_step_s)
    ideal = np.maximum(cost.ideal_step_s * steps - ideal_least_s * paid, 0.0)
    expected = cost.expected_step_s * steps[:, None] - least_s * paid[:, None]
    return np.maximum(expected, ideal[:, None]), ideal, alone


def _joined(first: Steps, second: Steps) -> Steps:
    """The steps of two sets side by side."""
    pairs = zip(first.arrays, second.arrays, strict=True)
    return Steps(*(np.concatenate(pair, axis=1) for pair in pairs))


def _tokens_per_step(deployment: Deployment) -> float:
    return 1.0 if deployment.speculation is None else deployment.speculation.expected_tokens


def _drafting(
    model: Model,
    scenarios: Sequence[Scenario],
    sequences: Array,
    input_len: Array,
    span: Array,
    variants: Sequence[Variant],
) -> tuple[Array, Array]:
    """Seconds that drafting adds to a decode step: expected (S, V, N) and ideal (S, N)."""
    width = 1 if scenarios[0].profiles is None else len(variants)
    expected = np.zeros((len(scenarios), width, sequences.shape[1]))
    ideal = np.zeros(sequences.shape)
    for index, scenario in enumerate(scenarios):
        draft, speculation = draft_of(model, scenario.deployment), scenario.deployment.speculation
        if draft is None or speculation is None:
            continue
        served = replace(scenario, deployment=draft_deployment(scenario.deployment, draft))
        one = slice(index, index + 1)
        steps = decode([served.deployment], sequences[one], input_len[one] + 1, span[one])
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


@dataclass(frozen=True)
class Simulation:
    """One simulated candidate: its request times at each of `variants`, and its memory."""

    candidate: Candidate
    variants: Sequence[Variant]
    times: RequestTimes
    memory: Memory


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
        closed = candidate.workload.load is Load.CLOSED_LOOP
        groups.setdefault((candidate.scenario.placement(Stage.DECODE), closed), []).append(index)
    evaluations: list[Evaluation] = []
    where: list[tuple[int, int]] = [(0, 0)] * len(candidates)
    simulations: dict[int, Simulation] = {}
    for (_, closed), members in groups.items():
        scenarios = [candidates[i].scenario for i in members]
        workloads = [candidates[i].workload for i in members]
        figures = np.array(
            [(w.batch, w.input_len, w.output_len, w.shown_decode_keys) for w in workloads], dtype=np.float64
        ).T[..., None]
        found = evaluate(
            model, scenarios, Loads(*figures[:3]), variants, shown_keys=figures[3], closed_loop=closed
        )
        live = _live(model, scenarios, workloads)
        for place, i in enumerate(members):
            where[i] = (len(evaluations), place)
            simulations[i] = Simulation(
                candidates[i],
                variants,
                _request_times(found.times, place),
                estimate_memory(model, scenarios[place], workloads[place], live[place]),
            )
        evaluations.append(found)
    return SimulatedGrid(
        tuple(evaluations), tuple(where), tuple(simulations[i] for i in range(len(candidates)))
    )


def _request_times(times: Times, place: int) -> RequestTimes:
    added, ideal_added = times.added_prefill_s, times.ideal_added_prefill_s
    return RequestTimes(
        prefill_s=tuple(times.prefill_s[place, :, 0].tolist()),
        added_prefill_s=() if added is None else tuple(added[place, :, 0].tolist()),
        decode_s=tuple(times.decode_s[place, :, 0].tolist()),
        ideal_prefill_s=float(times.ideal_prefill_s[place, 0]),
        ideal_added_prefill_s=0.0 if ideal_added is None else float(ideal_added[place, 0]),
        ideal_decode_s=float(times.ideal_decode_s[place, 0]),
        prompt_steps=1.0 if times.prompt_steps is None else float(times.prompt_steps[place, 0]),
    )


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


RATE_METRICS = frozenset({"output_tokens_per_s", "output_tokens_per_s_per_device", "total_tokens_per_s"})
"""Metrics of which more is better."""


def metric_values(simulation: Simulation, *, ideal: bool) -> dict[str, tuple[float, ...]]:
    """Metrics of a load by name, one value for each simulated variant, or a single ideal one.

    Milliseconds, tokens per second, US dollars per million tokens; the cost is left out without a price.
    """
    times, workload = simulation.times, simulation.candidate.workload
    scenario = simulation.candidate.scenario
    figures = (
        [(times.ideal_prefill_s, times.ideal_added_prefill_s, times.ideal_decode_s)]
        if ideal
        else zip(
            times.prefill_s,
            times.added_prefill_s or (0.0,) * len(times.prefill_s),
            times.decode_s,
            strict=True,
        )
    )
    lockstep = 0.0 if ideal else LOCKSTEP_SHARE
    found = [
        _request(workload, scenario.deployment, times.prompt_steps, *request, lockstep) for request in figures
    ]
    devices = scenario.deployment.parallel.devices
    rates = [workload.batch * workload.output_len / request.latency_s for request in found]
    values = {
        "ttft_ms": tuple(request.ttft_s * 1e3 for request in found),
        "tpot_ms": tuple(request.tpot_s * 1e3 for request in found),
        "e2e_latency_ms": tuple(request.latency_s * 1e3 for request in found),
        "output_tokens_per_s": tuple(rates),
        "output_tokens_per_s_per_device": tuple(rate / devices for rate in rates),
        "total_tokens_per_s": tuple(rate * workload.total_len / workload.output_len for rate in rates),
    }
    price, power = scenario.hardware.price_usd_per_hour, scenario.hardware.tdp_watts
    if price is not None:
        paid = price * devices / 3600 * 1e6
        values["cost_usd_per_million_output_tokens"] = tuple(paid / rate for rate in rates)
        values["input_cost_usd_per_million_tokens"] = tuple(
            paid * request.prefill_share / rate * workload.output_len / workload.input_len
            for request, rate in zip(found, rates, strict=True)
        )
        values["output_cost_usd_per_million_tokens"] = tuple(
            paid * (1 - request.prefill_share) / rate for request, rate in zip(found, rates, strict=True)
        )
    if power is not None:
        least = _request(
            workload,
            scenario.deployment,
            times.prompt_steps,
            times.ideal_prefill_s,
            times.ideal_added_prefill_s,
            times.ideal_decode_s,
        ).latency_s
        values["joules_per_output_token"] = tuple(
            devices * power * power_share(least / request.latency_s) / rate
            for request, rate in zip(found, rates, strict=True)
        )
    return values


IDLE_POWER_SHARE = 0.15
"""What a board draws of its power limit while it waits. An assumption: no measurement of power is at hand."""


def power_share(attained: float) -> float:
    """Power over the board's limit when a share of the roofline is attained: from idle to the limit in
    proportion, an assumption.
    """
    return IDLE_POWER_SHARE + (1 - IDLE_POWER_SHARE) * attained


LOCKSTEP_SHARE = 0.2
"""How far the requests of a closed loop keep in step, so that prompts arrive together and wait for each
other: 1 would be all at once. Fitted by median error on the 1,785 closed-loop TTFTs of the PyPI package
aiconfigurator-core 0.12.0 (silicon_sample.csv; H100 and B200; vLLM, SGLang, TensorRT-LLM): 52% off at the
median, 79% without. Engines differ widely, from 0.1 to over 1.
"""


class Request(NamedTuple):
    """Seconds of one request; `prefill_share` is the share of the devices' time that goes to prompts."""

    ttft_s: float
    tpot_s: float
    latency_s: float
    prefill_share: float


def _request(
    workload: Workload,
    deployment: Deployment,
    prompt_steps: float,
    prefill_s: float,
    added_prefill_s: float,
    decode_s: float,
    lockstep: float = 0.0,
) -> Request:
    """A request under its load.

    A static batch: all prompts are prefilled together, which is the TTFT; each further token adds a mean
    decode step. In a closed loop decode goes on while prompts are prefilled: of the n requests of a device
    the n - 1 others each put one prefill between the output tokens of a request; its own prompt goes through
    decode steps, shares them with prompts that come at the same time, and waits, as far as requests keep in
    step, for half of the others' prompts. It meets in any case those that its steps cannot do without: in
    the time of one request a device does the prefills and decodes of all n.
    """
    further = workload.output_len - 1
    sequences = float(sequences_of_device(deployment, np.array(float(workload.batch))))
    if workload.load is Load.CLOSED_LOOP and sequences > 1:
        filling = 1 - 1 / deployment.parallel.pp
        own_s = added_prefill_s * prompt_steps / (prompt_steps - filling)
        given = _tokens_per_step(deployment)
        together = max(sequences / (prompt_steps + further / given) / deployment.parallel.pp, 1.0)
        met = max(lockstep / 2, 1 / workload.output_len) * (sequences - together)
        tpot = decode_s + (sequences - 1) * added_prefill_s / workload.output_len
        ttft = prompt_steps * given * decode_s + own_s + (together - 1 + met) * added_prefill_s
        latency = ttft + further * tpot
        return Request(ttft, tpot if further else 0.0, latency, sequences * added_prefill_s / latency)
    latency = prefill_s + further * decode_s
    return Request(prefill_s, decode_s if further else 0.0, latency, prefill_s / latency)


def meets_slo(simulation: Simulation, *, ideal: bool) -> bool:
    """Whether the mean TTFT and TPOT stay within the load's limits; true when it has none."""
    values, slo = metric_values(simulation, ideal=ideal), simulation.candidate.workload.slo
    return not (
        (slo.ttft_ms is not None and values["ttft_ms"][0] > slo.ttft_ms)
        or (slo.tpot_ms is not None and values["tpot_ms"][0] > slo.tpot_ms)
    )


def metrics_of(simulation: Simulation, basis: CostBasis) -> Metrics:
    """Metrics with intervals, from a simulation with LEVELS; no end of one is better than the ideal."""
    ideal = metric_values(simulation, ideal=True)
    if basis is CostBasis.IDEAL:
        found = {name: Metric(value) for name, (value,) in ideal.items()}
    else:
        found = {
            name: Metric(ideal[name][0], values[0], min(values), max(values))
            for name, values in metric_values(simulation, ideal=False).items()
        }
    return Metrics(
        ttft_ms=found["ttft_ms"],
        tpot_ms=found["tpot_ms"],
        e2e_latency_ms=found["e2e_latency_ms"],
        output_tokens_per_s=found["output_tokens_per_s"],
        output_tokens_per_s_per_device=found["output_tokens_per_s_per_device"],
        total_tokens_per_s=found["total_tokens_per_s"],
        cost_usd_per_million_output_tokens=found.get("cost_usd_per_million_output_tokens"),
        input_cost_usd_per_million_tokens=found.get("input_cost_usd_per_million_tokens"),
        output_cost_usd_per_million_tokens=found.get("output_cost_usd_per_million_tokens"),
        joules_per_output_token=_energy(simulation, found),
    )


def _energy(simulation: Simulation, found: Mapping[str, Metric]) -> Metric | None:
    """The energy with a high end at the board's limit all the time."""
    metric, slowest = found.get("joules_per_output_token"), found["output_tokens_per_s"].low
    power = simulation.candidate.scenario.hardware.tdp_watts
    if metric is None or metric.high is None or slowest is None or power is None:
        return metric
    devices = simulation.candidate.scenario.deployment.parallel.devices
    return metric._replace(high=max(metric.high, devices * power / slowest))
