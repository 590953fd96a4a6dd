"""How many requests of a load are in flight at any time, how many of them run, how many wait for memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import floor, log10
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.costing import cost_loads, factors_of, request_constants_of
from ridgeline_server.roofline.memory.device import Memories
from ridgeline_server.roofline.open_loop import (
    MOST_IN_FLIGHT,
    SEARCH_WIDTH,
    Latencies,
    highest_rates,
    others_in_flight,
    waiting_for_slots,
)
from ridgeline_server.roofline.posed import Posed
from ridgeline_server.roofline.requests import requests_of
from ridgeline_server.roofline.scenario import Variant

Array = NDArray[np.float64]
Truths = NDArray[np.bool_]

FIT_ENDS = {Variant.ALL_FAST: 2, Variant.ALL_SLOW: 1}
"""Which end of how many requests fit a variant takes: of the value, the low and the high end."""
SEARCH_COLUMNS = 8192
"""Columns that a round of the search for a steady state costs at a stretch."""


class Flight(NamedTuple):
    """Requests of a load on all devices: `in_flight` at any time, of which `requests_waiting` wait for
    memory. Of a step's `running` ones, at each variant, one is looked at. With `near_limit` requests wait, or
    are not served, at the slow end of what is known.
    """

    in_flight: float
    requests_waiting: float
    running: tuple[float, ...]
    near_limit: bool


@dataclass(frozen=True, eq=False)
class Flights:
    """The flights of K loads: arrays (K,), or (V, K) over V variants. Memory holds `in_memory` of those in
    flight; for each that it holds `waiting` others wait, and ideally `ideal_waiting`. What is wrong with the
    rates that are not served stands in `refusals`, by their places; their other figures mean nothing.
    """

    in_flight: Array
    in_memory: Array
    running: Array
    ideal_running: Array
    waiting: Array
    ideal_waiting: Array
    near_limit: Truths
    refusals: Mapping[int, InvalidFieldsError] = field(default_factory=dict)

    def at(self, place: int) -> Flight:
        """The flight of one load."""
        return Flight(
            float(self.in_flight[place]),
            float(self.requests_waiting[place]),
            tuple(self.running[:, place].tolist()),
            bool(self.near_limit[place]),
        )

    @property
    def requests_waiting(self) -> Array:
        """Those of `in_flight` that wait."""
        waiting: Array = self.in_flight - self.in_memory
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
        none, nowhere = np.zeros(shape), np.zeros(posed.count, dtype=np.bool_)
        return Flights(batch, batch, running, batch, none, none[0], nowhere)
    found = memories()
    fit = np.where(found.kv_pool_bytes[0] > 0, np.maximum(found.max_batch, 1.0), np.inf)
    if posed.load is Load.OPEN_LOOP:
        return _arriving(model, posed, np.minimum(fit, MOST_IN_FLIGHT), variants)
    running = np.minimum(batch, fit)
    known = np.isfinite(found.max_concurrency[0]) & (found.max_concurrency[0] > 0) & np.isfinite(fit)
    held = np.where(known, found.max_concurrency, 1.0)
    shares = held[[FIT_ENDS.get(variant, 0) for variant in variants]] / held[0]
    ends = np.minimum(batch, np.maximum(1.0, fit * shares))
    waiting = batch / ends - 1
    return Flights(
        batch,
        running,
        np.broadcast_to(running, shape),
        running,
        waiting,
        waiting[0],
        (running == batch) & (batch > ends.min(axis=0)),
    )


def _arriving(model: Model, posed: Posed, most: Array, variants: Sequence[Variant]) -> Flights:
    """Open loops of at most so many requests in flight."""
    groups = posed.groups
    parts = [
        _steady(model, posed.chosen(loads), most[loads], variants) for loads in _stretches(posed, variants)
    ]
    found = np.concatenate([part.others for part in parts], axis=1)
    ideally = np.concatenate([part.ideal_others for part in parts])
    highest = np.concatenate([part.highest_rates for part in parts])
    refused = np.isnan(found[0])
    others = np.where(np.isnan(found), most, found)
    ideal_others = np.where(np.isnan(ideally), others[0], ideally)
    slots = np.maximum(most / groups, 1.0)
    waiting, ideal_waiting = (waiting_for_slots(held / most, slots) for held in (others, ideal_others))
    return Flights(
        in_flight=others[0] * (1 + waiting[0]),
        in_memory=others[0],
        running=_running(others, groups, most),
        ideal_running=_running(ideal_others, groups, most),
        waiting=waiting,
        ideal_waiting=ideal_waiting,
        near_limit=np.isnan(found).any(axis=0),
        refusals={
            place: _refusal(*(float(each[place]) for each in (posed.requests_per_s, highest, most)))
            for place in np.flatnonzero(refused).tolist()
        },
    )


def _running(others: Array, groups: int, most: Array) -> Array:
    """Requests that run where each replica runs one beside the others, as far as memory holds them."""
    return np.minimum(others + groups, np.maximum(most, groups))


def _stretches(posed: Posed, variants: Sequence[Variant]) -> list[NDArray[np.intp]]:
    """Loads that are sought for together."""
    width = max(SEARCH_COLUMNS // (len(variants) * (SEARCH_WIDTH + 1)), 1)
    return [np.arange(first, min(first + width, posed.count)) for first in range(0, posed.count, width)]


class _Steady(NamedTuple):
    """The steady states of K open loops: others in flight at each variant, (V, K), and ideally, (K,), NaN
    where a rate is not served; there the highest rate that is, elsewhere NaN, (K,).
    """

    others: Array
    ideal_others: Array
    highest_rates: Array


def _steady(model: Model, posed: Posed, most: Array, variants: Sequence[Variant]) -> _Steady:
    rates = np.broadcast_to(posed.requests_per_s, (len(variants), posed.count))
    others = others_in_flight(_latencies(model, posed, most, variants), rates, most)
    ideal = others
    if posed.scenarios[0].profiles is not None:
        bare = replace(posed, scenarios=[replace(scenario, profiles=None) for scenario in posed.scenarios])
        ideal = others_in_flight(_latencies(model, bare, most, (Variant.BEST,)), rates[:1], most)
    highest, refused = np.full(posed.count, np.nan), np.flatnonzero(np.isnan(others[0]))
    if len(refused):
        known = _latencies(model, posed.chosen(refused), most[refused], (Variant.BEST,))
        highest[refused] = highest_rates(known, most[refused][None])[0]
    return _Steady(others, ideal[0], highest)


def _latencies(model: Model, posed: Posed, most: Array, variants: Sequence[Variant]) -> Latencies:
    """Seconds of requests at each variant: beside numbers of others (W, V, K), at rates (V, K), where memory
    holds `most` (K,).
    """
    constants = request_constants_of(posed)
    factors = factors_of(model, posed, variants)
    groups = posed.groups

    def beside(others: Array) -> Callable[[Array], Array]:
        running = _running(others, groups, most)
        costed = cost_loads(model, posed, running)
        times = costed.times

        def latency_s(rates: Array) -> Array:
            assert times.added_prefill_s is not None
            arriving = replace(posed, requests_per_s=rates)
            found = requests_of(arriving, running, costed.prompt_steps, times, constants, factors)
            # Prompts that take all the time leave none to answer in.
            return np.where(rates / groups * times.added_prefill_s < 1, found.latency_s, np.inf)

        return latency_s

    return beside


def _refusal(rate: float, highest: float, most: float) -> InvalidFieldsError:
    """That a rate is not served, and which is; rounded down, so that it is."""
    requests = "1 request" if most == 1 else f"{most:,.0f} requests"
    held = "" if most == MOST_IN_FLIGHT else f", with the {requests} that memory holds"
    digits = 10.0 ** (floor(log10(highest)) - 2)
    told = (
        f"is {rate:g} a second, and this deployment serves at most {floor(highest / digits) * digits:.3g}"
        f"{held}: the queue would grow without end; give less, or more devices"
    )
    return InvalidFieldsError([FieldViolation("workload.request_rate", told)])
