"""Predictions of measured rows: each row's question answered by the estimator, in the row's own metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor, inf
from types import MappingProxyType

from ridgeline_server.calibration.questions import MeasuredQuestion, Names, UnansweredError, question_of
from ridgeline_server.domain.efficiency import OperatorClass, ProfileLevel, ProfileSet
from ridgeline_server.domain.engine import EngineSet
from ridgeline_server.domain.measurement import MEMORY_PARTS, MeasuredMetric, Measurement, Phase
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.patience import while_wanted
from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.constants import engine_memory_profile, time_factor, used_profiles
from ridgeline_server.roofline.memory.device import Memory, memory_of
from ridgeline_server.roofline.metrics import metric_values
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.scenario import LEVELS, Scenario, Variant
from ridgeline_server.roofline.serving import Candidate, Simulation, simulate
from ridgeline_server.roofline.wording import GIB

WIDEST_ANSWER = 3.0
"""High over low from which an interval says too little to count as an answer. Parts of memory are answered
all the same: they are small beside a device.
"""
WIDEST_RANGE = 2.95
"""High over low of the widest range of a time that calibrating makes. It leaves an answer under
`WIDEST_ANSWER`, whatever else its interval holds.
"""
LEAST_PART_GIB = 0.01
"""What logs tell of a part at the least; the low end of a part that may be none."""


@dataclass(frozen=True)
class Prediction:
    """A measured row beside what is predicted, both in the unit of the row's metric.

    Without an answer `predicted`, `ideal` and `level` are None and `unanswered_reason` tells why; `low` and
    `high` are then set only where they lie too far apart. `model_class` is "dense" or "experts", empty for
    a model that is not known.
    """

    measurement: Measurement
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    ideal: float | None = None
    level: ProfileLevel | None = None
    model_class: str = ""
    assumptions: tuple[str, ...] = ()
    unanswered_reason: str = ""

    @property
    def ratio(self) -> float | None:
        """Predicted over measured."""
        return None if self.predicted is None else self.predicted / self.measurement.value

    @property
    def holds(self) -> bool | None:
        """Whether the measured value lies within low and high."""
        if self.predicted is None or self.low is None or self.high is None:
            return None
        return self.low <= self.measurement.value <= self.high


def predict(
    measurements: Sequence[Measurement],
    names: Names,
    engines: EngineSet,
    profiles: ProfileSet,
    *,
    widest: float = WIDEST_ANSWER,
) -> Iterator[Prediction]:
    """The prediction of each measurement, in their order. All rows of a model are simulated together. A row
    whose interval is wider than `widest`, high over low, is not answered.
    """
    answers: dict[int, Prediction] = {}
    asked: list[tuple[int, MeasuredQuestion]] = []
    for index, measurement in while_wanted(enumerate(measurements)):
        try:
            asked.append((index, question_of(measurement, names, engines)))
        except UnansweredError as error:
            answers[index] = Prediction(measurement, unanswered_reason=str(error))
    questions = [question for _, question in asked]
    answered = zip(asked, simulated(questions, profiles), strict=True)
    for (index, question), simulation in while_wanted(answered):
        answers[index] = _prediction(question, simulation, widest)
    for index in range(len(measurements)):
        yield answers[index]


def simulated(
    questions: Sequence[MeasuredQuestion], profiles: ProfileSet, variants: Sequence[Variant] = LEVELS
) -> list[Simulation]:
    """The simulation of each question, in their order."""
    by_model: dict[Model, list[int]] = {}
    for index, question in enumerate(questions):
        by_model.setdefault(question.model, []).append(index)
    found: dict[int, Simulation] = {}
    for model, indices in by_model.items():
        candidates = [_candidate(questions[index], profiles) for index in indices]
        found.update(zip(indices, simulate(model, candidates, variants).simulations, strict=True))
    return [found[index] for index in range(len(questions))]


def _candidate(question: MeasuredQuestion, profiles: ProfileSet) -> Candidate:
    """The question's scenario and load. A run that keeps as many requests in flight as fit is a closed loop
    of so many.
    """
    scenario = Scenario(question.hardware, question.deployment, profiles)
    workload = question.workload
    if question.measurement.phase is Phase.OFFLINE_MAX:
        if question.measurement.concurrency is None:
            most = memory_of(question.model, scenario, workload).max_concurrency.value
            workload = replace(workload, batch=max(1, floor(most)))
        workload = replace(workload, load=Load.CLOSED_LOOP)
    return Candidate(scenario, workload)


def _prediction(question: MeasuredQuestion, simulation: Simulation, widest: float) -> Prediction:
    row = question.measurement
    found = Prediction(
        row,
        model_class="dense" if question.model.experts is None else "experts",
        assumptions=question.assumptions,
    )
    try:
        predicted, *ends = figures(question, simulation)
        (ideal,) = figures(question, simulation, ideal=True)
    except UnansweredError as error:
        return replace(found, unanswered_reason=str(error))
    low, high = min((predicted, *ends)), max((predicted, *ends))
    if row.metric in MEMORY_PARTS:
        if predicted <= 0:
            reason = f"metric: no {row.metric} is predicted of this engine on this device"
            return replace(found, unanswered_reason=reason)
        low, widest = min(max(low, LEAST_PART_GIB), predicted), inf
    if not 0 < low <= high < inf:
        return replace(
            found, unanswered_reason=f"metric: this load has no {row.metric} over 0, as a single token's"
        )
    if high > widest * low:
        return replace(
            found,
            low=low,
            high=high,
            unanswered_reason=f"the interval is wider than {widest:g} times, high over low: it would say too "
            "little",
        )
    if row.metric in MEMORY_PARTS:
        used = engine_memory_profile(simulation.candidate.scenario)
        level = ProfileLevel.GENERIC if used is None else used.level
    else:
        level = level_of(question.model, simulation)
    return replace(found, predicted=predicted, low=low, high=high, ideal=ideal, level=level)


LEVELS_OF_PROFILES = tuple(ProfileLevel)
_DECISIVE = (OperatorClass.GEMM, OperatorClass.MOE)


def level_of(model: Model, simulation: Simulation) -> ProfileLevel:
    """How well the constants of a prediction fit its question: that of the times that were measured in this
    setting, else the least specific of those of the products with weights.
    """
    scenario = simulation.candidate.scenario
    factor = time_factor(scenario, model, OperatorClass.DECODE_TIME)
    if factor is not None and factor.level is ProfileLevel.SETTING:
        return ProfileLevel.SETTING
    tables = [(stage, operator_table(model, scenario.placement(stage))) for stage in Stage]
    levels = [u.level for u in used_profiles(scenario, tables) if u.operator_class in _DECISIVE]
    return max(levels, key=LEVELS_OF_PROFILES.index)


def figures(question: MeasuredQuestion, simulation: Simulation, *, ideal: bool = False) -> tuple[float, ...]:
    """The question's metric in its own unit, at each simulated variant, or the ideal one alone. Raises
    UnansweredError for a metric that the row's phase does not have.
    """
    row = question.measurement
    if row.metric is MeasuredMetric.MEMORY_GIB or row.metric in MEMORY_PARTS:
        memory = simulation.memory
        if ideal:
            candidate = simulation.candidate
            bare = replace(candidate.scenario, profiles=None)
            memory = memory_of(question.model, bare, candidate.workload)
            return _memory(row.metric, memory)[:1]
        return _memory(row.metric, memory)
    name = _ALONE.get((row.phase, row.metric)) or _OF_REQUESTS.get(row.metric)
    if name is None or row.phase is Phase.MEMORY:
        raise UnansweredError(f"metric: rows of {row.phase} have no {row.metric} that is predicted")
    values = metric_values(simulation, ideal=ideal)
    return values[name] if isinstance(name, str) else name(values, simulation)


def _memory(metric: MeasuredMetric, memory: Memory) -> tuple[float, ...]:
    """A figure of memory in GiB, with its ends where it has a range."""
    match metric:
        case MeasuredMetric.ACTIVATIONS_GIB:
            found = memory.ranges.activations
        case MeasuredMetric.NON_TORCH_GIB:
            found = memory.ranges.non_torch
        case MeasuredMetric.CUDA_GRAPH_GIB:
            found = memory.ranges.cuda_graphs
        case MeasuredMetric.KV_POOL_GIB:
            found = memory.kv_pool_bytes
        case MeasuredMetric.WEIGHTS_GIB:
            return (memory.weights_bytes / GIB,)
        case _:
            return (memory.total_bytes / GIB,)
    return tuple(end / GIB for end in (found.value, found.low, found.high))


Figure = Callable[[Mapping[str, tuple[float, ...]], Simulation], tuple[float, ...]]


def _decoded(values: Mapping[str, tuple[float, ...]], simulation: Simulation) -> tuple[float, ...]:
    """Tokens per second of decode steps alone."""
    return tuple(simulation.candidate.workload.batch * 1e3 / tpot for tpot in values["tpot_ms"])


def _decoded_per_device(values: Mapping[str, tuple[float, ...]], simulation: Simulation) -> tuple[float, ...]:
    devices = simulation.candidate.scenario.deployment.parallel.devices
    return tuple(rate / devices for rate in _decoded(values, simulation))


def _prefilled(values: Mapping[str, tuple[float, ...]], simulation: Simulation) -> tuple[float, ...]:
    """Prompt tokens per second of a prefill."""
    workload = simulation.candidate.workload
    return tuple(workload.batch * workload.input_len * 1e3 / ttft for ttft in values["ttft_ms"])


_OF_REQUESTS: Mapping[MeasuredMetric, str] = MappingProxyType(
    {
        MeasuredMetric.TTFT_MS: "ttft_ms",
        MeasuredMetric.TPOT_MS: "tpot_ms",
        MeasuredMetric.ITL_MS: "tpot_ms",
        MeasuredMetric.E2E_LATENCY_MS: "e2e_latency_ms",
        MeasuredMetric.PREFILL_MS: "ttft_ms",
        MeasuredMetric.DECODE_STEP_MS: "tpot_ms",
        MeasuredMetric.OUTPUT_TOK_S_TOTAL: "output_tokens_per_s",
        MeasuredMetric.OUTPUT_TOK_S_PER_GPU: "output_tokens_per_s_per_device",
        MeasuredMetric.TOTAL_TOK_S: "total_tokens_per_s",
    }
)
"""Which figure of a load is meant by a metric."""

_ALONE: Mapping[tuple[Phase, MeasuredMetric], Figure] = MappingProxyType(
    {
        (Phase.PREFILL, MeasuredMetric.TOTAL_TOK_S): _prefilled,
        (Phase.DECODE, MeasuredMetric.OUTPUT_TOK_S_TOTAL): _decoded,
        (Phase.DECODE, MeasuredMetric.OUTPUT_TOK_S_PER_GPU): _decoded_per_device,
        (Phase.DECODE, MeasuredMetric.TOTAL_TOK_S): _decoded,
    }
)
"""Which figure is meant where a stage was run alone."""
