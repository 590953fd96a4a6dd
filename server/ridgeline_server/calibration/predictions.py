"""Predictions of measured rows: each row's question answered by the estimator, in the row's own metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from types import MappingProxyType

from ridgeline_server.calibration.questions import MeasuredQuestion, Names, UnansweredError, question_of
from ridgeline_server.domain.deployment import CostBasis
from ridgeline_server.domain.efficiency import ProfileLevel, ProfileSet
from ridgeline_server.domain.engine import EngineSet
from ridgeline_server.domain.measurement import MeasuredMetric, Measurement, Phase
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.metrics import metrics_of
from ridgeline_server.roofline.results import Metric, Metrics
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.serving import Candidate, Simulation, memory_of, simulate
from ridgeline_server.roofline.wording import GIB

WIDEST_ANSWER = 3.0
"""High over low from which an interval says too little to count as an answer."""


@dataclass(frozen=True)
class Prediction:
    """A measured row beside what is predicted, both in the unit of the row's metric.

    Without an answer `predicted`, `low`, `high`, `ideal` and `level` are None and `unanswered_reason` tells
    why.
    """

    measurement: Measurement
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    ideal: float | None = None
    level: ProfileLevel | None = None
    assumptions: tuple[str, ...] = ()
    unanswered_reason: str = ""

    @property
    def ratio(self) -> float | None:
        """Predicted over measured."""
        return None if self.predicted is None else self.predicted / self.measurement.value

    @property
    def holds(self) -> bool | None:
        """Whether the measured value lies within low and high."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.measurement.value <= self.high


def predict(
    measurements: Sequence[Measurement], names: Names, engines: EngineSet, profiles: ProfileSet
) -> Iterator[Prediction]:
    """The prediction of each measurement, in their order. All rows of a model are simulated together."""
    answers: dict[int, Prediction] = {}
    by_model: dict[Model, list[tuple[int, MeasuredQuestion]]] = {}
    for index, measurement in enumerate(measurements):
        try:
            question = question_of(measurement, names, engines)
        except UnansweredError as error:
            answers[index] = Prediction(measurement, unanswered_reason=str(error))
        else:
            by_model.setdefault(question.model, []).append((index, question))
    for model, asked in by_model.items():
        indices, questions = zip(*asked, strict=True)
        answers.update(zip(indices, _of_model(model, questions, profiles), strict=True))
    for index in range(len(measurements)):
        yield answers[index]


def _of_model(
    model: Model, questions: Sequence[MeasuredQuestion], profiles: ProfileSet
) -> Iterator[Prediction]:
    candidates = [_candidate(question, profiles) for question in questions]
    grid = simulate(model, candidates)
    for question, simulation in zip(questions, grid.simulations, strict=True):
        try:
            yield _prediction(question, simulation)
        except UnansweredError as error:
            yield Prediction(
                question.measurement, assumptions=question.assumptions, unanswered_reason=str(error)
            )


def _candidate(question: MeasuredQuestion, profiles: ProfileSet) -> Candidate:
    """The question's scenario and load. A run that keeps as many requests in flight as fit is a closed loop of
    so many.
    """
    scenario = Scenario(question.hardware, question.deployment, profiles)
    workload = question.workload
    if question.measurement.phase is Phase.OFFLINE_MAX:
        if question.measurement.concurrency is None:
            most = memory_of(question.model, scenario, workload).max_concurrency.value
            workload = replace(workload, batch=max(1, floor(most)))
        workload = replace(workload, load=Load.CLOSED_LOOP)
    return Candidate(scenario, workload)


def _prediction(question: MeasuredQuestion, simulation: Simulation) -> Prediction:
    row = question.measurement
    figure = _FIGURES.get(row.phase, {}).get(row.metric) or _FIGURES_OF_REQUESTS.get(row.metric)
    if figure is None:
        raise UnansweredError(f"metric: a {row.phase} row has no {row.metric} that is predicted")
    if row.metric is MeasuredMetric.MEMORY_GIB:
        total = simulation.memory.total_bytes / GIB
        found = Metric(total, total, total, total)
    else:
        found = figure(metrics_of(simulation, CostBasis.EXPECTED), simulation)
    assert found.expected is not None
    assert found.low is not None
    assert found.high is not None
    if found.high > WIDEST_ANSWER * found.low:
        raise UnansweredError(
            f"the interval from {found.low:.4g} to {found.high:.4g} is wider than {WIDEST_ANSWER:g} times"
        )
    return Prediction(
        row, found.expected, found.low, found.high, found.ideal, simulation.level, question.assumptions
    )


Figure = Callable[[Metrics, Simulation], Metric]


def _rate(latency_ms: Metric, per_ms: float) -> Metric:
    """Tokens per second of `per_ms` thousands of tokens that take a latency."""
    low, high, expected = latency_ms.high, latency_ms.low, latency_ms.expected
    assert low is not None
    assert high is not None
    assert expected is not None
    return Metric(per_ms / latency_ms.ideal, per_ms / expected, per_ms / low, per_ms / high)


def _decoded(metrics: Metrics, simulation: Simulation) -> Metric:
    """Tokens per second of decode steps alone."""
    return _rate(metrics.tpot_ms, simulation.candidate.workload.batch * 1e3)


def _decoded_per_device(metrics: Metrics, simulation: Simulation) -> Metric:
    parallel = simulation.candidate.scenario.deployment.parallel
    return _rate(metrics.tpot_ms, simulation.candidate.workload.batch * 1e3 / parallel.devices)


def _prefilled(metrics: Metrics, simulation: Simulation) -> Metric:
    """Prompt tokens per second of a prefill."""
    workload = simulation.candidate.workload
    return _rate(metrics.ttft_ms, workload.batch * workload.input_len * 1e3)


_FIGURES_OF_REQUESTS: Mapping[MeasuredMetric, Figure] = MappingProxyType(
    {
        MeasuredMetric.TTFT_MS: lambda metrics, _: metrics.ttft_ms,
        MeasuredMetric.TPOT_MS: lambda metrics, _: metrics.tpot_ms,
        MeasuredMetric.ITL_MS: lambda metrics, _: metrics.tpot_ms,
        MeasuredMetric.E2E_LATENCY_MS: lambda metrics, _: metrics.e2e_latency_ms,
        MeasuredMetric.PREFILL_MS: lambda metrics, _: metrics.ttft_ms,
        MeasuredMetric.DECODE_STEP_MS: lambda metrics, _: metrics.tpot_ms,
        MeasuredMetric.OUTPUT_TOK_S_TOTAL: lambda metrics, _: metrics.output_tokens_per_s,
        MeasuredMetric.OUTPUT_TOK_S_PER_GPU: lambda metrics, _: metrics.output_tokens_per_s_per_device,
        MeasuredMetric.TOTAL_TOK_S: lambda metrics, _: metrics.total_tokens_per_s,
    }
)
"""Which figure of a load is meant by a metric."""

_FIGURES: Mapping[Phase, Mapping[MeasuredMetric, Figure]] = MappingProxyType(
    {
        Phase.PREFILL: {MeasuredMetric.TOTAL_TOK_S: _prefilled},
        Phase.DECODE: {
            MeasuredMetric.OUTPUT_TOK_S_TOTAL: _decoded,
            MeasuredMetric.OUTPUT_TOK_S_PER_GPU: _decoded_per_device,
            MeasuredMetric.TOTAL_TOK_S: _decoded,
        },
    }
)
"""Which figure is meant where a phase was run alone."""
