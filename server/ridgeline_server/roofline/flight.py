"""How many requests of a load are in flight at any time, how many of them run, how many wait for memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.efficiency import Estimate
from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.closed_loop import request_constants
from ridgeline_server.roofline.constants import end_of
from ridgeline_server.roofline.evaluation import evaluate
from ridgeline_server.roofline.memory import Memory
from ridgeline_server.roofline.open_loop import MOST_IN_FLIGHT, highest_rate, others_in_flight
from ridgeline_server.roofline.requests import request_of
from ridgeline_server.roofline.scenario import Scenario, Variant
from ridgeline_server.roofline.steps import Loads

Array = NDArray[np.float64]

FIT_ENDS = {Variant.ALL_FAST: "high", Variant.ALL_SLOW: "low"}
"""Which end of how many requests fit a variant takes."""


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


def needs_memory(load: Load, variants: Sequence[Variant]) -> bool:
    """Whether a flight depends on what memory holds. Sequences that start together never wait for it, except
    at the ends of what is known to fit.
    """
    return load is not Load.STATIC_BATCH or not FIT_ENDS.keys().isdisjoint(variants)


def all_together(workload: Workload, variants: Sequence[Variant]) -> Flight:
    """The requests of a load of which none waits."""
    number = float(workload.batch)
    return Flight(number, (number,) * len(variants), number, (0.0,) * len(variants))


def flight_of(
    model: Model, scenario: Scenario, workload: Workload, memory: Memory, variants: Sequence[Variant]
) -> Flight:
    """The requests of a load. Where not even the weights fit, or all start together, the answer is that of a
    device with the memory that it lacks. Raises InvalidFieldsError for a rate that is not served.
    """
    fit = float(max(memory.max_batch, 1)) if memory.kv_pool_bytes.value > 0 else float("inf")
    if workload.load is Load.OPEN_LOOP and workload.request_rate is not None:
        return _arriving(model, scenario, workload, min(fit, MOST_IN_FLIGHT), variants)
    number = float(workload.batch)
    if workload.load is Load.STATIC_BATCH:
        fit = float("inf")
    running = min(number, fit)
    ends = [min(number, max(1.0, fit * _share(memory.max_concurrency, variant))) for variant in variants]
    waiting = tuple(number / end - 1 for end in ends)
    return Flight(
        number, (running,) * len(variants), running, waiting, near_limit=running == number > min(ends)
    )


def _share(fit: Estimate, variant: Variant) -> float:
    """The end of how many fit that a variant takes, over the best figure."""
    return end_of(fit, FIT_ENDS, variant) / fit.value if isfinite(fit.value) and fit.value > 0 else 1.0


def _arriving(
    model: Model, scenario: Scenario, workload: Workload, most: float, variants: Sequence[Variant]
) -> Flight:
    """An open loop of at most so many requests in flight."""
    rate = workload.request_rate or 0.0
    groups = scenario.deployment.parallel.dp * scenario.deployment.parallel.attention_dp
    known = _latencies(model, scenario, workload, Variant.BEST)
    others = others_in_flight(known, rate, most)
    if others is None:
        held = "" if most == MOST_IN_FLIGHT else f", with the {most:,.0f} requests that memory holds"
        raise InvalidFieldsError(
            [
                FieldViolation(
                    "workload.request_rate",
                    f"is {rate:g} a second, and this deployment serves at most "
                    f"{highest_rate(known, rate, most):.3g}{held}: the queue would grow without end; give "
                    "less, or more devices",
                )
            ]
        )
    found = [
        others
        if variant not in FIT_ENDS
        else others_in_flight(_latencies(model, scenario, workload, variant), rate, most)
        for variant in variants
    ]
    ideally = others_in_flight(
        _latencies(model, replace(scenario, profiles=None), workload, Variant.BEST), rate, most
    )
    return Flight(
        in_flight=others,
        running=tuple((most if each is None else each) + groups for each in found),
        ideal_running=(others if ideally is None else ideally) + groups,
        waiting=(0.0,) * len(variants),
        near_limit=None in found,
    )


def _latencies(
    model: Model, scenario: Scenario, workload: Workload, variant: Variant
) -> Callable[[Array, float], Array]:
    """Seconds of a request beside numbers of others, where requests arrive at some rate."""
    constants = request_constants(scenario)
    groups = scenario.deployment.parallel.dp * scenario.deployment.parallel.attention_dp
    variants = (Variant.BEST, variant) if scenario.profiles is not None else (Variant.BEST,)

    def latency_s(others: Array, rate: float) -> Array:
        arriving = replace(workload, request_rate=rate)
        shape = np.ones((1, len(others)))
        loads = Loads(others[None] + groups, workload.input_len * shape, workload.output_len * shape)
        found = evaluate(model, [scenario], loads, variants, closed_loop=True)
        times, factors = found.times, found.factors[0][-1]
        assert times.added_prefill_s is not None
        assert times.prompt_steps is not None
        columns = zip(
            loads.batch[0].tolist(),
            times.prompt_steps[0].tolist(),
            times.prefill_s[0, 0].tolist(),
            times.added_prefill_s[0, 0].tolist(),
            times.decode_s[0, 0].tolist(),
            strict=True,
        )
        return np.array(
            [
                request_of(arriving, scenario.deployment, *column, constants, factors).latency_s
                for column in columns
            ]
        )

    return latency_s
