"""What holds most of the time of whole steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.roofline.cost import BoundCode, Cost

Codes = NDArray[np.intp]


def leading_bounds(cost: Cost) -> Codes:
    """The bound that holds most of each step's time, as BoundCode, shape (S, K); what a step costs
    beside its operators is LATENCY.
    """
    time = cost.ideal_s if cost.expected_s is None else cost.expected_s
    spent = cost.folded.runs[..., None] * time
    held = np.stack([np.where(cost.bound == code, spent, 0.0).sum(axis=1) for code in range(len(BoundCode))])
    if cost.overhead_s is not None:
        held[BoundCode.LATENCY] += cost.overhead_s
    codes: Codes = held.argmax(axis=0)
    return codes
