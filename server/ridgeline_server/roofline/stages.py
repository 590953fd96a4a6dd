"""Both stages of a simulated candidate, told operator by operator."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.workload import MAX_BATCH
from ridgeline_server.roofline.cost import BoundCode, Cost
from ridgeline_server.roofline.evaluation import Evaluation
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.rows import Row
from ridgeline_server.roofline.operators.table import OperatorTable
from ridgeline_server.roofline.operators.variables import Steps
from ridgeline_server.roofline.results import (
    BOUND_OF,
    BoundShare,
    BytesByClass,
    OperatorAnalysis,
    StageAnalysis,
    StepFigures,
)
from ridgeline_server.roofline.ridge import ridge_batch
from ridgeline_server.roofline.serving import SimulatedGrid

Array = NDArray[np.float64]


def describe_stages(simulated: SimulatedGrid, index: int) -> tuple[StageAnalysis, StageAnalysis]:
    """A step of the prefill and the shown decode step of one candidate."""
    evaluation, _, column = simulated.where(index)
    shown = column + evaluation.mean_steps
    return (
        _analysis(_Step.of(simulated, index, Stage.PREFILL)),
        _analysis(_Step.of(simulated, index, Stage.DECODE)._replace(column=shown)),
    )


def describe_step(simulated: SimulatedGrid, index: int, stage: Stage) -> StageAnalysis:
    """A step of the prefill of one candidate, or the mean of the request's own decode steps."""
    return _analysis(_Step.of(simulated, index, stage))


def figures_of_step(simulated: SimulatedGrid, index: int, stage: Stage) -> StepFigures:
    """The same step as `describe_step` has, as a whole."""
    step = _Step.of(simulated, index, stage)
    return _figures(step, step.spending)


class _Spending(NamedTuple):
    """Figures of a step's operators, arrays of shape (R,), `by_class` of (byte classes, R): FLOPs and bytes
    of one occurrence, its time on the answer's basis, the time of all occurrences, and their bound. The step
    takes `total_s`, of which `overhead_s` beside its operators.
    """

    flops: Array
    bytes: Array
    by_class: Array
    time_s: Array
    spent_s: Array
    bound: NDArray[np.int8]
    overhead_s: float
    total_s: float


class _Step(NamedTuple):
    """One step: a column of the costs of one scenario."""

    stage: Stage
    deployment: Deployment
    evaluation: Evaluation
    place: int
    column: int

    @classmethod
    def of(cls, simulated: SimulatedGrid, index: int, stage: Stage) -> _Step:
        """A candidate's step of a stage."""
        deployment = simulated.simulations[index].candidate.scenario.deployment
        return cls(stage, deployment, *simulated.where(index))

    @property
    def cost(self) -> Cost:
        """The costs that hold it."""
        return self.evaluation.prefill if self.stage is Stage.PREFILL else self.evaluation.decode

    @property
    def spending(self) -> _Spending:
        """What its operators move and take."""
        cost, place, column = self.cost, self.place, self.column
        cell = (place, slice(None), column)
        time = cost.ideal_s[cell] if cost.expected_s is None else cost.expected_s[cell]
        overhead = 0.0 if cost.overhead_s is None else float(cost.overhead_s[place, column])
        spent = cost.folded.parts[place].runs[0] * time
        return _Spending(
            flops=cost.flops[cell],
            bytes=cost.bytes[cell],
            by_class=cost.bytes_by_class(place)[:, :, column],
            time_s=time,
            spent_s=spent,
            bound=cost.bound[cell],
            overhead_s=overhead,
            total_s=float(spent.sum()) + overhead,
        )


def _analysis(step: _Step) -> StageAnalysis:
    spending = step.spending
    figures = _figures(step, spending)
    return StageAnalysis(
        **{each.name: getattr(figures, each.name) for each in fields(StepFigures)},
        operators=_operators(step, spending),
    )


def _operators(step: _Step, spending: _Spending) -> tuple[OperatorAnalysis, ...]:
    """Every operator of a step."""
    cost, place, column = step.cost, step.place, step.column
    table, folded = cost.table, cost.folded.parts[place]
    flops, moved = spending.flops, spending.bytes
    intensity = np.divide(flops, moved, out=np.zeros_like(flops), where=moved > 0)
    peak, bandwidth = folded.peak_flops_per_s[0], folded.bandwidth_bytes_per_s
    message = cost.message_bytes(place)[:, column] if table.collectives else np.zeros_like(flops)
    figures = np.stack(
        (
            flops,
            moved,
            message,
            intensity,
            peak / bandwidth,
            cost.ideal_s[place, :, column] * 1e6,
            spending.time_s * 1e6,
            spending.spent_s / spending.total_s,
            np.minimum(intensity * bandwidth, peak),
        )
    )
    (row_flops, row_bytes, row_messages, row_intensity, ridge_points, ideal_us, time_us, share, rate) = (
        figures.tolist()
    )
    return tuple(
        map(
            OperatorAnalysis._make,
            zip(
                table.names,
                table.layer_kinds,
                folded.runs[0].tolist(),
                row_flops,
                row_bytes,
                map(BytesByClass._make, spending.by_class.T.tolist()),
                row_messages,
                row_intensity,
                ridge_points,
                [BOUND_OF[code] for code in spending.bound.tolist()],
                ideal_us,
                repeat(None) if cost.expected_s is None else time_us,
                share,
                _dtypes(table, step.deployment),
                rate,
                strict=False,
            ),
        )
    )


def _figures(step: _Step, spending: _Spending) -> StepFigures:
    """A step as a whole."""
    cost, place, column = step.cost, step.place, step.column
    runs, predicted = cost.folded.parts[place].runs[0], cost.expected_s is not None
    flops, moved = float(runs @ spending.flops), float(runs @ spending.bytes)
    shares = _bound_shares(spending)
    steps = _at(cost, place, column)
    ideal_s, expected_s = (
        float(cost.ideal_step_s[place, column]),
        float(cost.expected_step_s[place, column]),
    )
    factors = [
        float(each.prefill if step.stage is Stage.PREFILL else each.decode)
        for each in step.evaluation.factors[place]
    ]
    times_ms = [max(expected_s * factor, ideal_s) * 1e3 for factor in factors]
    return StepFigures(
        stage=step.stage,
        bound=shares[0].bound,
        ideal_time_ms=ideal_s * 1e3,
        expected_time_ms=times_ms[0] if predicted else None,
        low_time_ms=min(times_ms) if predicted else None,
        high_time_ms=max(times_ms) if predicted else None,
        step_overhead_ms=spending.overhead_s * 1e3 if predicted else None,
        flops=flops,
        bytes=moved,
        bytes_by_class=BytesByClass._make((runs @ spending.by_class.T).tolist()),
        arithmetic_intensity=flops / moved,
        bound_shares=shares,
        batch=_whole(steps.batch),
        query_len=_whole(steps.query_len),
        keys=_whole(steps.keys + steps.span / 2),
        ridge_batch=ridge_batch(cost, place, steps, MAX_BATCH),
    )


def _at(cost: Cost, place: int, column: int) -> Steps:
    """One step of many, shape (1, 1)."""
    return Steps(*(figure[place : place + 1, column : column + 1] for figure in cost.steps.arrays))


def _whole(figure: NDArray[np.float64]) -> float:
    """The one entry of an array, as a whole number where it is one."""
    value = float(figure[0, 0])
    return int(value) if value.is_integer() else value


@lru_cache(maxsize=512)
def _dtypes(table: OperatorTable, deployment: Deployment) -> tuple[Dtype, ...]:
    """The format that each operator computes in."""

    def of(row: Row, *, multiplies: bool) -> Dtype:
        return deployment.gemm_dtype_of(row.module) if multiplies else deployment.compute_dtype

    return tuple(
        of(row, multiplies=multiplies)
        for row, multiplies in zip(table.rows, table.multiplies.tolist(), strict=True)
    )


def _bound_shares(spending: _Spending) -> tuple[BoundShare, ...]:
    """Time share of each bound, largest first; what a step costs beside its operators is LATENCY."""
    seconds_of = np.bincount(spending.bound, weights=spending.spent_s, minlength=len(BoundCode)).tolist()
    seconds_of[BoundCode.LATENCY] += spending.overhead_s
    shares = [
        BoundShare(BOUND_OF[code], seconds / spending.total_s)
        for code, seconds in enumerate(seconds_of)
        if seconds
    ]
    shares.sort(key=lambda share: -share.share)
    return tuple(shares)
