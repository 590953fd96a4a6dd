"""What one step of a model does, operator by operator, in elements: the operator table at given steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from ridgeline_server.domain.model import Model
from ridgeline_server.domain.parallelism import ONE_DEVICE, Parallelism
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.rows import Quantity, Row
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.operators.variables import Steps, values
from tests.unit.questions import model, placement


@dataclass(frozen=True)
class Amounts:
    """What one occurrence of an operator does: FLOPs, elements moved, bytes of state."""

    row: Row
    amounts: tuple[float, ...]

    def __getitem__(self, quantity: Quantity) -> float:
        return self.amounts[quantity]

    @property
    def occurrences(self) -> float:
        return self.row.count

    @property
    def flops(self) -> float:
        return self[Quantity.FLOPS]

    @property
    def weights(self) -> float:
        return self[Quantity.WEIGHTS]

    @property
    def activations_in(self) -> float:
        return self[Quantity.IN_WIDE] + self[Quantity.IN_GEMM]

    @property
    def activations_out(self) -> float:
        return self[Quantity.OUT_WIDE] + self[Quantity.OUT_GEMM]

    @property
    def kv_read(self) -> float:
        return self[Quantity.KV_READ]

    @property
    def kv_written(self) -> float:
        return self[Quantity.KV_WRITTEN]

    @property
    def state_bytes_read(self) -> float:
        return self[Quantity.STATE_READ]

    @property
    def state_bytes_written(self) -> float:
        return self[Quantity.STATE_WRITTEN]

    @property
    def message(self) -> float:
        return self[Quantity.MESSAGE_WIDE] + self[Quantity.MESSAGE_GEMM]


@dataclass(frozen=True)
class Step:
    """All operators of one step on one device."""

    operators: tuple[Amounts, ...]

    def named(self, name: str, layer_kind: str | None = None) -> Iterator[Amounts]:
        """The operators of a name, in a layer kind or in all."""
        return (o for o in self.operators if o.row.name == name and layer_kind in (None, o.row.layer_kind))

    def operator(self, name: str, layer_kind: str | None = None) -> Amounts:
        """The one operator of a name."""
        (found,) = self.named(name, layer_kind)
        return found

    def names(self, layer_kind: str) -> list[str]:
        """The operators of a layer kind in the order of execution."""
        return [o.row.name for o in self.operators if o.row.layer_kind == layer_kind]

    def total(self, of: Callable[[Amounts], float], *names: str) -> float:
        """The sum over all layers, of all operators or of those with these names."""
        return sum(o.occurrences * of(o) for o in self.operators if not names or o.row.name in names)


@cache
def _step(which: Model, stage: Stage, figures: tuple[float, ...], parallel: Parallelism) -> Step:
    batch, query_len, keys, span, positions = figures
    table = operator_table(which, placement(stage, parallel))
    steps = Steps(
        *(
            np.array([[figure]])
            for figure in (batch, query_len, keys, span, positions, batch * query_len * parallel.attention_dp)
        )
    )
    done = (table.coefficients @ values(table.variables, steps)[0])[..., 0]
    return Step(tuple(Amounts(row, tuple(done[:, index])) for index, row in enumerate(table.rows)))


def decode(
    which: str | Model, keys: int, batch: int = 1, *, tokens: int = 1, parallel: Parallelism = ONE_DEVICE
) -> Step:
    """A decode step of `batch` sequences on each device whose queries see `keys` keys, their own included."""
    asked = model(which) if isinstance(which, str) else which
    return _step(asked, Stage.DECODE, (batch, tokens, keys, 0, tokens), parallel)


def prefill(
    which: str | Model,
    length: int,
    batch: int = 1,
    *,
    before: int = 0,
    logits: int = 1,
    parallel: Parallelism = ONE_DEVICE,
) -> Step:
    """A prefill of `batch` prompts of `length` tokens on each device, after `before` that are cached."""
    asked = model(which) if isinstance(which, str) else which
    return _step(asked, Stage.PREFILL, (batch, length, before + length, 0, logits), parallel)
