"""An open loop: requests that arrive at random at a mean rate, whatever becomes of those before.

By Little's law a rate of r requests a second that take T(n) seconds each beside n others keeps n = r T(n) of
them in flight; and one that arrives at random finds on the mean as many as there are at any time (Wolff,
Poisson Arrivals See Time Averages, 1982). So an open loop is a closed one of n + 1 requests, where n is that
fixed point, but for how prompts wait for each other: at random rather than in step. Memory has slots for so
many of them: no more run in a step, and who finds all of them taken waits for one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_IN_FLIGHT = 65536.0
"""Requests in flight up to which a steady state is looked for."""
SEARCH_WIDTH = 24
ROUNDS = 3
"""Each round narrows the bracket of the one before by SEARCH_WIDTH: to under a thousandth."""
MOST_USED = 0.998
"""Share of the slots up to which the wait for one is told: how many are taken is found to a thousandth."""
PRECISION = 0.002
"""Relative width at which the search for the highest rate that is served ends."""


Latencies: TypeAlias = Callable[[Array], Callable[[Array], Array]]
"""Costs requests beside numbers of others, of shape (W, *shape); then, where requests arrive at rates of that
shape, their latencies in seconds, of the shape of the numbers.
"""


def _bracketing(most: Array) -> Array:
    """Numbers of others up to `most` (*shape) that a search begins with, (SEARCH_WIDTH + 1, *shape)."""
    return np.concatenate((np.zeros((1, *most.shape)), np.geomspace(0.01, most, SEARCH_WIDTH)))


def others_in_flight(latencies: Latencies, requests_per_s: Array, most: Array) -> Array:
    """How many other requests a request finds at rates, of one shape with them. NaN where no number up to
    `most` is served as fast as requests arrive: then the queue grows without end.
    """
    tried = _bracketing(np.broadcast_to(most, requests_per_s.shape))
    found = np.full(requests_per_s.shape, np.nan)
    for _ in range(ROUNDS):
        steady = requests_per_s * latencies(tried)(requests_per_s) <= tried
        first = np.maximum(steady.argmax(axis=0), 1)[None]
        served = steady.any(axis=0)
        below, above = (np.take_along_axis(tried, each, axis=0)[0] for each in (first - 1, first))
        found = np.where(served, above, np.nan)
        tried = np.linspace(below, above, SEARCH_WIDTH)
    return found


def highest_rates(latencies: Latencies, most: Array) -> Array:
    """The highest rates that are served with up to `most` others, to PRECISION, by the numbers that
    `others_in_flight` tries first: these alone decide whether a rate is served.
    """
    tried = _bracketing(most)
    at = latencies(tried)
    served = np.zeros_like(most)
    refused = (tried / at(served)).max(axis=0) * (1 + PRECISION)
    while (refused - served > PRECISION * refused).any():
        rates = (served + refused) / 2
        is_served = (rates * at(rates) <= tried).any(axis=0)
        served, refused = np.where(is_served, rates, served), np.where(is_served, refused, rates)
    return served


def waiting_for_slots(used: Array, slots: Array) -> Array:
    """How many requests wait for one of so many slots, for each that has one, where a share `used` of them is
    taken on the mean: the queue of an M/D/c server, rho^sqrt(2 (c + 1)) / (2 (1 - rho)) over the c rho in
    service (Sakasegawa, An approximation formula Lq = a rho^b / (1 - rho), Annals of the Institute of
    Statistical Mathematics 29, 1977; half of it where all take equally long).
    """
    used = np.minimum(used, MOST_USED)
    waiting: Array = used ** (np.sqrt(2 * (slots + 1)) - 1) / (2 * slots * (1 - used))
    return waiting


def random_wait_s(prompts_per_s: Array, prefill_s: Array) -> Array:
    """Seconds that a prompt waits for prompts before it that arrived at random, all of one length: the mean
    wait of an M/D/1 queue (Pollaczek and Khinchine), whose server prefills. Without end from full use on.
    """
    used = np.minimum(prompts_per_s * prefill_s, 1.0)
    with np.errstate(divide="ignore"):
        waited: Array = used / (2 * (1 - used)) * prefill_s
    return waited
