"""The ridge batch: from which the products with the layers' weights, taken together, are compute-bound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.roofline.cost import Cost
from ridgeline_server.roofline.operators.variables import ONE, TOKENS, Steps, values

Array = NDArray[np.float64]

SEARCH_WIDTH = 32
"""Batches that one round of the search evaluates together."""


def ridge_batch(cost: Cost, scenario: int, step: Steps, limit: int) -> int | None:
    """The smallest batch of one device from which the layers' weight GEMMs take more time to compute than to
    move their bytes on the datasheet roofline, at a step's query length and keys; None where no batch up to
    `limit` does.

    `step` has shape (1, 1). Where FLOPs and activation bytes grow with the tokens T while the weights' bytes
    stay, the crossing F T / P = (W + A T) / BW gives T directly; experts, of which more are read the more
    tokens there are, take a search.
    """
    table, surplus = cost.table, cost.folded.parts[scenario].gemm_surplus_s
    used = [variable for variable, weight in zip(table.variables, surplus, strict=True) if weight]
    if set(used) <= {ONE, TOKENS}:
        by_variable = dict(zip(table.variables, surplus.tolist(), strict=True))
        gain = by_variable.get(TOKENS, 0.0) * float(step.query_len[0, 0])
        if gain <= 0:
            return None
        batch = max(int(np.ceil(-by_variable.get(ONE, 0.0) / gain)), 1)
        return batch if batch <= limit else None

    def computes(batches: Array) -> NDArray[np.bool_]:
        grown = batches[None] / step.batch
        at = replace(step, batch=batches[None], expert_tokens=step.expert_tokens * grown)
        at = Steps(*(np.broadcast_to(figure, (1, len(batches))) for figure in at.arrays))
        found: NDArray[np.bool_] = (surplus @ values(table.variables, at)[0]) >= 0
        return found

    low, high = 0, limit
    tried = np.unique(np.rint(np.geomspace(1, limit, SEARCH_WIDTH)))
    while True:
        reached = np.flatnonzero(computes(tried))
        if not len(reached):
            if high == limit and low == 0:
                return None
            low = int(tried[-1])
        else:
            high = int(tried[reached[0]])
            low = int(tried[reached[0] - 1]) if reached[0] else low
        if high - low <= 1:
            return high
        tried = np.unique(np.rint(np.linspace(low + 1, high - 1, min(SEARCH_WIDTH, high - low - 1))))
