"""An open loop: requests that arrive at random at a mean rate, whatever becomes of those before.

By Little's law a rate of r requests a second that take T(n) seconds each beside n others keeps n = r T(n) of
them in flight; and one that arrives at random finds on the mean as many as there are at any time (Wolff,
Poisson Arrivals See Time Averages, 1982). So an open loop is a closed one of n + 1 requests, where n is that
fixed point, but for how prompts wait for each other: at random rather than in step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_IN_FLIGHT = 65536.0
"""Requests in flight up to which a steady state is looked for."""
SEARCH_WIDTH = 24
ROUNDS = 3
"""Each round narrows the bracket of the one before by SEARCH_WIDTH: to under a thousandth."""
PRECISION = 0.002
"""Relative width at which the search for the highest rate that is served ends."""


def others_in_flight(
    latency_s: Callable[[Array, float], Array], requests_per_s: float, most: float = MOST_IN_FLIGHT
) -> float | None:
    """How many other requests a request finds at a rate; `latency_s` tells the latency beside numbers of
    others, where requests arrive at some rate. None where no number up to `most` is served as fast as
    requests arrive: then the queue grows without end.
    """
    tried = np.concatenate(([0.0], np.geomspace(0.01, most, SEARCH_WIDTH)))
    for _ in range(ROUNDS):
        steady = np.flatnonzero(requests_per_s * latency_s(tried, requests_per_s) <= tried)
        if not len(steady):
            return None
        first = int(steady[0])
        tried = np.linspace(float(tried[first - 1]), float(tried[first]), SEARCH_WIDTH)
    return float(tried[-1])


def highest_rate(
    latency_s: Callable[[Array, float], Array], refused: float, most: float = MOST_IN_FLIGHT
) -> float:
    """The highest rate under one that is not served, to PRECISION."""
    served = 0.0
    while refused - served > PRECISION * refused:
        tried = (served + refused) / 2
        if others_in_flight(latency_s, tried, most) is None:
            refused = tried
        else:
            served = tried
    return served


def random_wait_s(prompts_per_s: float, prefill_s: float) -> float:
    """Seconds that a prompt waits for prompts before it that arrived at random, all of one length: the mean
    wait of an M/D/1 queue (Pollaczek and Khinchine), whose server prefills. Without end from full use on.
    """
    used = prompts_per_s * prefill_s
    return used / (2 * (1 - used)) * prefill_s if used < 1 else float("inf")
