"""Both stages of a simulated candidate, told operator by operator."""

from __future__ import annotations

from functools import lru_cache
from itertools import repeat

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
)
from ridgeline_server.roofline.ridge import ridge_batch
from ridgeline_server.roofline.serving import SimulatedGrid


def describe_stages(simulated: SimulatedGrid, index: int) -> tuple[StageAnalysis, StageAnalysis]:
    """A step of the prefill and the shown decode step of one candidate."""
    evaluation, place, column = simulated.where(index)
    shown = column + evaluation.times.decode_s.shape[-1]
    return (
        _stage(simulated, index, Stage.PREFILL, evaluation, place, column),
        _stage(simulated, index, Stage.DECODE, evaluation, place, shown),
    )


def describe_step(simulated: SimulatedGrid, index: int, stage: Stage) -> StageAnalysis:
    """A step of the prefill of one candidate, or the mean of the request's own decode steps."""
    return _stage(simulated, index, stage, *simulated.where(index))


def _stage(
    simulated: SimulatedGrid, index: int, stage: Stage, evaluation: Evaluation, place: int, column: int
) -> StageAnalysis:
    """One step, a column of the costs of one scenario, with the figures of each operator."""
    deployment = simulated.simulations[index].candidate.scenario.deployment
    cost = evaluation.prefill if stage is Stage.PREFILL else evaluation.decode
    table, folded = cost.table, cost.folded
    cell = (place, slice(None), column)
    runs, predicted = folded.runs[place], cost.expected_s is not None
    flops, moved, ideal = cost.flops[cell], cost.bytes[cell], cost.ideal_s[cell]
    by_class = cost.bytes_by_class(place)[:, :, column]
    time = ideal if cost.expected_s is None else cost.expected_s[place, 0, :, column]
    overhead = 0.0 if cost.overhead_s is None else float(cost.overhead_s[place, 0, column])
    spent = runs * time
    total = float(spent.sum()) + overhead
    intensity = np.divide(flops, moved, out=np.zeros_like(flops), where=moved > 0)
    peak, bandwidth = folded.peak_flops_per_s[place], folded.bandwidth_bytes_per_s[place]
    attainable = np.minimum(intensity * bandwidth, peak)
    bound = cost.bound[cell]
    stage_flops, stage_bytes = float(runs @ flops), float(runs @ moved)
    message = cost.message_bytes(place)[:, column] if table.collectives else np.zeros_like(flops)
    figures = np.stack(
        (
            flops,
            moved,
            message,
            intensity,
            peak / bandwidth,
            ideal * 1e6,
            time * 1e6,
            spent / total,
            attainable,
        )
    )
    (row_flops, row_bytes, row_messages, row_intensity, ridge_points, ideal_us, time_us, share, rate) = (
        figures.tolist()
    )
    operators = tuple(
        map(
            OperatorAnalysis._make,
            zip(
                table.names,
                table.layer_kinds,
                runs.tolist(),
                row_flops,
                row_bytes,
                map(BytesByClass._make, by_class.T.tolist()),
                row_messages,
                row_intensity,
                ridge_points,
                [BOUND_OF[code] for code in bound.tolist()],
                ideal_us,
                time_us if predicted else repeat(None),
                share,
                _dtypes(table, deployment),
                rate,
                strict=False,
            ),
        )
    )
    shares = _bound_shares(bound, spent, overhead, total)
    steps = _at(cost, place, column)
    ideal_s, expected_s = (
        float(cost.ideal_step_s[place, column]),
        float(cost.expected_step_s[place, 0, column]),
    )
    factors = [getattr(each, stage) for each in evaluation.factors[place]]
    times_ms = [max(expected_s * factor, ideal_s) * 1e3 for factor in factors]
    return StageAnalysis(
        stage=stage,
        bound=shares[0].bound,
        ideal_time_ms=ideal_s * 1e3,
        expected_time_ms=times_ms[0] if predicted else None,
        low_time_ms=min(times_ms) if predicted else None,
        high_time_ms=max(times_ms) if predicted else None,
        step_overhead_ms=overhead * 1e3 if predicted else None,
        flops=stage_flops,
        bytes=stage_bytes,
        bytes_by_class=BytesByClass._make((runs @ by_class.T).tolist()),
        arithmetic_intensity=stage_flops / stage_bytes,
        bound_shares=shares,
        batch=_whole(steps.batch),
        query_len=_whole(steps.query_len),
        keys=_whole(steps.keys + steps.span / 2),
        ridge_batch=ridge_batch(cost, place, steps, MAX_BATCH),
        operators=operators,
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


def _bound_shares(
    bound: np.ndarray[tuple[int, ...], np.dtype[np.int8]],
    spent: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    overhead: float,
    total: float,
) -> tuple[BoundShare, ...]:
    """Time share of each bound, largest first; what a step costs beside its operators is LATENCY."""
    by_bound = np.bincount(bound, weights=spent, minlength=len(BoundCode)).tolist()
    by_bound[BoundCode.LATENCY] += overhead
    shares = [BoundShare(BOUND_OF[code], seconds / total) for code, seconds in enumerate(by_bound) if seconds]
    shares.sort(key=lambda share: -share.share)
    return tuple(shares)
