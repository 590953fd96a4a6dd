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


def others_in_flight(latency_s: Callable[[Array, Array], Array], requests_per_s: Array, most: Array) -> Array:
    """How many other requests a request finds at rates; `latency_s` tells the latencies beside numbers of
    others, of shape (SEARCH_WIDTH or one more, *shape), where requests arrive at rates of that shape. NaN
    where no number up to `most` is served as fast as requests arrive: then the queue grows without end.
    """
    most = np.broadcast_to(most, requests_per_s.shape)
    tried = np.concatenate((np.zeros((1, *most.shape)), np.geomspace(0.01, most, SEARCH_WIDTH)))
    found = np.full(requests_per_s.shape, np.nan)
    for _ in range(ROUNDS):
        steady = requests_per_s * latency_s(tried, requests_per_s) <= tried
        first = np.maximum(steady.argmax(axis=0), 1)[None]
        served = steady.any(axis=0)
        below, above = (np.take_along_axis(tried, each, axis=0)[0] for each in (first - 1, first))
        found = np.where(served, above, np.nan)
        tried = np.linspace(below, above, SEARCH_WIDTH)
    return found


def highest_rates(latency_s: Callable[[Array, Array], Array], refused: Array, most: Array) -> Array:
    """The highest rates under ones that are not served, to PRECISION."""
    served, refused = np.zeros_like(refused), refused.copy()
    while (wide := refused - served > PRECISION * refused).any():
        tried = (served + refused) / 2
        is_served = np.isfinite(others_in_flight(latency_s, tried, most))
        served = np.where(wide & is_served, tried, served)
        refused = np.where(wide & ~is_served, tried, refused)
    return served


def random_wait_s(prompts_per_s: Array, prefill_s: Array) -> Array:
    """Seconds that a prompt waits for prompts before it that arrived at random, all of one length: the mean
    wait of an M/D/1 queue (Pollaczek and Khinchine), whose server prefills. Without end from full use on.
    """
    used = np.minimum(prompts_per_s * prefill_s, 1.0)
    with np.errstate(divide="ignore"):
        waited: Array = used / (2 * (1 - used)) * prefill_s
    return waited
