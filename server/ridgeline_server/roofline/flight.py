"""How many requests of a load are in flight at any time, how many of them run, how many wait for memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.costing import cost_loads, factors_of, request_constants_of
from ridgeline_server.roofline.memory import Memories
from ridgeline_server.roofline.open_loop import (
    MOST_IN_FLIGHT,
    SEARCH_WIDTH,
    highest_rates,
    others_in_flight,
)
from ridgeline_server.roofline.posed import Posed
from ridgeline_server.roofline.requests import StepTimes, requests_of
from ridgeline_server.roofline.scenario import Variant

Array = NDArray[np.float64]
Truths = NDArray[np.bool_]

FIT_ENDS = {Variant.ALL_FAST: 2, Variant.ALL_SLOW: 1}
"""Which end of how many requests fit a variant takes: of the value, the low and the high end."""
MOST_COLUMNS = 8192
"""Columns that a round of the search for a steady state costs at a stretch."""


class Flight(NamedTuple):
    """Requests of a load on all devices: `in_flight` at any time. Of a step's `running` ones one is looked
    at; for each that runs `waiting` wait for memory. Both are told at each variant; `ideal_running` run on
    the ideal roofline. With `near_limit` requests wait, or are not served, at the slow end of what is known.
    """

    in_flight: float
    running: tuple[float, ...]
    ideal_running: float
    waiting: tuple[float, ...]
    near_limit: bool = False

    @property
    def requests_waiting(self) -> float:
        """Those of `in_flight` that wait."""
        return self.in_flight * self.waiting[0] / (1 + self.waiting[0])


@dataclass(frozen=True, eq=False)
class Flights:
    """The flights of K loads: arrays (K,), or (V, K) over V variants. What is wrong with the rates that are
    not served stands in `refusals`, by their places; their other figures mean nothing.
    """

    in_flight: Array
    running: Array
    ideal_running: Array
    waiting: Array
    near_limit: Truths
    refusals: Mapping[int, InvalidFieldsError] = field(default_factory=dict)

    def at(self, place: int) -> Flight:
        """The flight of one load."""
        return Flight(
            float(self.in_flight[place]),
            tuple(self.running[:, place].tolist()),
            float(self.ideal_running[place]),
            tuple(self.waiting[:, place].tolist()),
            bool(self.near_limit[place]),
        )

    @property
    def requests_waiting(self) -> Array:
        """Those of `in_flight` that wait."""
        waiting: Array = self.in_flight * self.waiting[0] / (1 + self.waiting[0])
        return waiting


def flights_of(
    model: Model, posed: Posed, memories: Callable[[], Memories], variants: Sequence[Variant]
) -> Flights:
    """The requests of loads. Where not even the weights fit, or all start together, the answer is that of a
    device with the memory that it lacks: `memories` are only asked for where requests could wait.
    """
    batch, shape = posed.batch, (len(variants), posed.count)
    if posed.load is Load.STATIC_BATCH:
        running = np.broadcast_to(batch, shape)
        return Flights(batch, running, batch, np.zeros(shape), np.zeros(posed.count, dtype=np.bool_))
    found = memories()
    fit = np.where(found.kv_pool_bytes[0] > 0, np.maximum(found.max_batch, 1.0), np.inf)
    if posed.load is Load.OPEN_LOOP:
        return _arriving(model, posed, np.minimum(fit, MOST_IN_FLIGHT), variants)
    running = np.minimum(batch, fit)
    known = np.isfinite(found.max_concurrency[0]) & (found.max_concurrency[0] > 0) & np.isfinite(fit)
    held = np.where(known, found.max_concurrency, 1.0)
    shares = held[[FIT_ENDS.get(variant, 0) for variant in variants]] / held[0]
    ends = np.minimum(batch, np.maximum(1.0, fit * shares))
    return Flights(
        batch,
        np.broadcast_to(running, shape),
        running,
        batch / ends - 1,
        (running == batch) & (batch > ends.min(axis=0)),
    )


def _arriving(model: Model, posed: Posed, most: Array, variants: Sequence[Variant]) -> Flights:
    """Open loops of at most so many requests in flight."""
    groups = posed.groups
    parts = [
        _steady(model, posed.chosen(loads), most[loads], variants) for loads in _stretches(posed, variants)
    ]
    found = np.concatenate([known for known, _ in parts], axis=1)
    ideally = np.concatenate([ideal for _, ideal in parts])
    others = found[0]
    refused = np.flatnonzero(np.isnan(others))
    others = np.where(np.isnan(others), 1.0, others)
    return Flights(
        in_flight=others,
        running=np.where(np.isnan(found), most, found) + groups,
        ideal_running=np.where(np.isnan(ideally), others, ideally) + groups,
        waiting=np.zeros_like(found),
        near_limit=np.isnan(found).any(axis=0),
        refusals=dict(_refusals(model, posed.chosen(refused), most[refused], refused.tolist()))
        if len(refused)
        else {},
    )


def _stretches(posed: Posed, variants: Sequence[Variant]) -> list[NDArray[np.intp]]:
    """Loads that are sought for together."""
    width = max(MOST_COLUMNS // (len(variants) * (SEARCH_WIDTH + 1)), 1)
    return [np.arange(first, min(first + width, posed.count)) for first in range(0, posed.count, width)]


def _steady(model: Model, posed: Posed, most: Array, variants: Sequence[Variant]) -> tuple[Array, Array]:
    """The others in flight at each variant, (V, K), and ideally, (K,); NaN where a rate is not served."""
    rates = np.broadcast_to(posed.requests_per_s, (len(variants), posed.count))
    known = others_in_flight(_latencies(model, posed, variants), rates, most)
    bare = replace(posed, scenarios=[replace(scenario, profiles=None) for scenario in posed.scenarios])
    ideal = others_in_flight(_latencies(model, bare, (Variant.BEST,)), rates[:1], most)
    return known, ideal[0]


def _latencies(model: Model, posed: Posed, variants: Sequence[Variant]) -> Callable[[Array, Array], Array]:
    """Seconds of requests beside numbers of others (W, V, K), where they arrive at rates of shape (V, K)."""
    constants = request_constants_of(posed)
    factors = factors_of(model, posed, variants)
    groups = posed.groups

    def latency_s(others: Array, rates: Array) -> Array:
        running = others + groups
        costed = cost_loads(model, posed, running)
        times = StepTimes._make(each if each is None else each[0] for each in costed.times)
        assert times.added_prefill_s is not None
        arriving = replace(posed, requests_per_s=rates)
        found = requests_of(arriving, running, costed.prompt_steps, times, constants, factors)
        # Prompts that take all the time leave none to answer in.
        return np.where(rates / groups * times.added_prefill_s < 1, found.latency_s, np.inf)

    return latency_s


def _refusals(
    model: Model, posed: Posed, most: Array, places: Sequence[int]
) -> Iterator[tuple[int, InvalidFieldsError]]:
    """What is wrong with rates that are not served."""
    known = _latencies(model, posed, (Variant.BEST,))
    served = highest_rates(known, posed.requests_per_s[None], most)[0]
    for place, rate, fit, highest in zip(places, posed.requests_per_s, most, served, strict=True):
        held = "" if fit == MOST_IN_FLIGHT else f", with the {fit:,.0f} requests that memory holds"
        told = (
            f"is {rate:g} a second, and this deployment serves at most {highest:.3g}{held}: the queue would "
            "grow without end; give less, or more devices"
        )
        yield place, InvalidFieldsError([FieldViolation("workload.request_rate", told)])
