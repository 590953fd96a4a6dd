"""The cost of every operator in many steps: FLOPs, bytes, ideal and expected time, bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.patience import check_wanted
from ridgeline_server.roofline.constants import Constants, constants_of, pass_rate_factors
from ridgeline_server.roofline.exchanges import EXCHANGES, fabric
from ridgeline_server.roofline.fold import Folded, fold
from ridgeline_server.roofline.host import launching_s
from ridgeline_server.roofline.kernels import kernel_seconds
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.rows import Quantity
from ridgeline_server.roofline.operators.table import OperatorTable
from ridgeline_server.roofline.operators.variables import Steps, values
from ridgeline_server.roofline.scenario import Scenario

Array = NDArray[np.float64]


class BoundCode(IntEnum):
    """Bounds as array entries."""

    MEMORY = 0
    COMPUTE = 1
    LATENCY = 2
    BALANCED = 3
    COMMUNICATION = 4


_LATENCY, _BALANCED = np.int8(BoundCode.LATENCY), np.int8(BoundCode.BALANCED)
LATENCY_SHARE = 0.5
"""An operator is LATENCY-bound when fixed costs are over this share of its time."""
BALANCE = 0.2
"""Memory and compute are BALANCED when they lie within this share of the larger one."""


@dataclass(frozen=True, eq=False)
class Cost:
    """Costs of R operators under S scenarios in K steps each, of one occurrence unless said otherwise.

    `flops`, `compute_s`, `memory_s`, `ideal_s` and `expected_s` have shape (S, R, K); the last is None
    without constants. Of a collective the ideal time is that of its message, and FLOPs are 0. Times of whole
    steps, (S, K): `ideal_step_s`, and `expected_step_s` with `overhead_s`, what the step costs beside its
    operators; the ideal one without constants. The host takes `launching_s` (S, 1) to launch a step whose
    kernels it launches by themselves; None where it launches none so.
    """

    table: OperatorTable
    folded: Folded
    constants: Constants | None
    steps: Steps
    variables: Array
    flops: Array
    compute_s: Array
    memory_s: Array
    host_s: Array | float
    launching_s: Array | None
    ideal_s: Array
    expected_s: Array | None
    overhead_s: Array | None
    ideal_step_s: Array
    expected_step_s: Array

    @cached_property
    def bytes(self) -> Array:
        """Bytes of one occurrence, shape (S, R, K); 0 for a collective."""
        return (self.folded.moved_bytes @ _several(self.variables))[..., : self.variables.shape[-1]]

    @cached_property
    def bound(self) -> NDArray[np.int8]:
        """The bound of each operator shape (S, R, K), as BoundCode."""
        compute, memory = self.compute_s, self.memory_s
        if self.constants is None or self.expected_s is None:
            bound = (compute > memory + self.host_s).astype(np.int8)
        else:
            compute = compute / self.constants.compute[..., None]
            memory = memory / self.constants.memory[..., None] + self.host_s
            late = self._waiting_s > LATENCY_SHARE * self.expected_s
            balanced = np.minimum(compute, memory) >= (1 - BALANCE) * np.maximum(compute, memory)
            bound = np.where(late, _LATENCY, np.where(balanced, _BALANCED, compute > memory))
        for row, _, _ in self.table.collectives:
            bound[:, row] = BoundCode.COMMUNICATION
        return bound

    @property
    def _waiting_s(self) -> Array:
        """Seconds that each operator spends on its launch and on serial work, shape (S, R, K)."""
        assert self.constants is not None
        columns = self.compute_s.shape[-1]
        serial = (self.constants.serial_s @ _several(self.variables))[..., : self.variables.shape[-1]]
        waiting = self.constants.launch_s[..., None] + serial
        return np.broadcast_to(waiting, (*waiting.shape[:-1], columns))

    def bytes_by_class(self, scenario: int) -> Array:
        """Bytes by what they hold, shape (byte classes, R, K), of one scenario."""
        moved: Array = self.folded.parts[scenario].bytes @ self.variables[scenario]
        return moved

    def message_bytes(self, scenario: int) -> Array:
        """What each device gives to a collective, shape (R, K), of one scenario."""
        given: Array = self.folded.parts[scenario].message_bytes[0] @ self.variables[scenario]
        return given


def cost_steps(
    table: OperatorTable,
    scenarios: Sequence[Scenario],
    stage: Stage,
    steps: Steps,
) -> Cost:
    """Costs every operator of a table under S scenarios, each in the K steps that are its own.

    `steps` have shape (S, K). No figure depends on another scenario or step. Without profiles only
    the ideal roofline is costed. Raises MissingProfileError when the catalog lacks a needed profile.
    """
    check_wanted()
    folded = fold(table, scenarios)
    variables = values(table.variables, steps)
    several = _several(variables)
    columns = steps.batch.shape[1]
    flops = (table.coefficients[Quantity.FLOPS] @ several)[..., :columns]
    compute = flops / folded.peak_flops_per_s[..., None]
    memory = (folded.memory_s @ several)[..., :columns]
    host: Array | float = 0.0
    if any(s.deployment.offload.is_used for s in scenarios):
        host = (folded.host_s @ several)[..., :columns]
    ideal = np.maximum(compute, memory + host)
    constants = constants_of(table, scenarios, stage)
    check_wanted()
    expected = (
        None
        if constants is None
        else _expected(constants, several, compute, memory, host, _is_one_row(steps))
    )
    if table.collectives:
        _exchange(table, folded, scenarios, variables, constants, ideal, expected)
    launching = None if constants is None else launching_s(table, scenarios, stage, folded.runs)
    ideal_step = _over_rows(folded.runs, ideal)
    overhead, expected_step = _expected_steps(folded, constants, steps, launching, expected)
    return Cost(
        table=table,
        folded=folded,
        constants=constants,
        steps=steps,
        variables=variables,
        flops=flops,
        compute_s=compute,
        memory_s=memory,
        host_s=host,
        launching_s=launching,
        ideal_s=ideal,
        expected_s=expected,
        overhead_s=overhead,
        ideal_step_s=ideal_step,
        expected_step_s=ideal_step if expected_step is None else expected_step,
    )


def _several(variables: Array) -> Array:
    """Step variables of two columns at least. For a single one BLAS adds up in another order, and a figure
    would depend in its last bit on what is costed beside it.
    """
    return variables if variables.shape[-1] > 1 else np.repeat(variables, 2, axis=-1)


def with_other_rates(cost: Cost, bandwidth_factors: Array, flops_factors: Array) -> Cost:
    """One step's cost, of shape (1, R, 1), on F devices whose memory bandwidth and FLOP/s are so many times
    today's, arrays of shape (F,): shape (1, R, F). Links stay as they are; FLOPs, bytes and step variables
    are today's.
    """
    compute, memory = cost.compute_s / flops_factors, cost.memory_s / bandwidth_factors
    ideal = np.maximum(compute, memory + cost.host_s)
    expected = None
    if cost.constants is not None:
        several, constants = _several(cost.variables), cost.constants
        serial, passed = ((each @ several)[..., :1] for each in (constants.serial_s, constants.passed_s))
        beside = serial + passed / pass_rate_factors(cost.table, bandwidth_factors)
        expected = _with_beside(constants, beside, compute, memory, cost.host_s, _is_one_row(cost.steps))
    for row, _, _ in cost.table.collectives:
        ideal[:, row] = cost.ideal_s[:, row]
        if expected is not None and cost.expected_s is not None:
            expected[:, row] = cost.expected_s[:, row]
    ideal_step = _over_rows(cost.folded.runs, ideal)
    overhead, expected_step = _expected_steps(
        cost.folded, cost.constants, cost.steps, cost.launching_s, expected
    )
    return replace(
        cost,
        compute_s=compute,
        memory_s=memory,
        ideal_s=ideal,
        expected_s=expected,
        overhead_s=overhead,
        ideal_step_s=ideal_step,
        expected_step_s=ideal_step if expected_step is None else expected_step,
    )


def _expected_steps(
    folded: Folded,
    constants: Constants | None,
    steps: Steps,
    launching: Array | None,
    expected: Array | None,
) -> tuple[Array | None, Array | None]:
    """Seconds that steps cost beside their operators and expected seconds of whole steps, each of shape (S,
    K); None without constants. Beside its operators a step costs what the engine takes, and what the
    device waits for a host that launches kernels more slowly than they run.
    """
    if constants is None or expected is None:
        return None, None
    beside = constants.step_s[..., None] + constants.sequence_s[..., None] * (steps.batch * steps.positions)
    device = _over_rows(folded.runs, expected)
    if launching is not None:
        beside = beside + np.maximum(launching - device, 0.0)
    return beside, device + beside


def _over_rows(runs: Array, seconds: Array) -> Array:
    """The sum over rows of (..., R, K) seconds times (..., R) runs, one row after the other in every column,
    so that no column depends on those beside it.
    """
    total: Array = _several(seconds * runs[..., None]).sum(axis=-2)[..., : seconds.shape[-1]]
    return total


def _expected(
    constants: Constants,
    variables: Array,
    compute: Array,
    memory: Array,
    host: Array | float,
    one_row: NDArray[np.bool_],
) -> Array:
    """Expected seconds of operators in K steps, shape (S, R, K)."""
    columns = compute.shape[-1]
    beside = (constants.beside_s @ variables)[..., :columns]
    return _with_beside(constants, beside, compute, memory, host, one_row)


def _is_one_row(steps: Steps) -> NDArray[np.bool_]:
    """Whether a step computes a single token of a single sequence, shape (S, K)."""
    alone: NDArray[np.bool_] = steps.batch * steps.query_len == 1
    return alone


def _with_beside(
    constants: Constants,
    beside: Array,
    compute: Array,
    memory: Array,
    host: Array | float,
    one_row: NDArray[np.bool_],
) -> Array:
    busy = compute / constants.compute[..., None] + constants.loop_s[..., None]
    moving = memory / constants.memory[..., None]
    if constants.one_row is not None and one_row.any():
        scale = np.where(one_row[:, None], constants.one_row[..., None], 1.0)
        busy = np.maximum(busy * scale, compute)
        moving = np.maximum(moving * scale, memory)
    if not isinstance(host, float):
        moving += host
    return kernel_seconds(busy, moving, constants.exponent[..., None], constants.launch_s[..., None] + beside)


def _exchange(
    table: OperatorTable,
    folded: Folded,
    scenarios: Sequence[Scenario],
    variables: Array,
    constants: Constants | None,
    ideal: Array,
    expected: Array | None,
) -> None:
    """Fills in the times of collectives, those of one kind and group size together."""
    joined = fabric(scenarios)
    groups = {(what, ranks) for _, what, ranks in table.collectives}
    for what, ranks in groups:
        rows = [row for row, *group in table.collectives if (what, ranks) == tuple(group)]
        message = folded.message_bytes[:, rows] @ variables
        taken = EXCHANGES[what](
            message, float(ranks), joined, None if constants is None else constants.communication
        )
        ideal[:, rows] = taken.ideal_s
        if expected is not None and constants is not None:
            expected_s = taken.expected_s * constants.communication_factor[:, None, None]
            expected[:, rows] = np.maximum(expected_s, taken.ideal_s)
