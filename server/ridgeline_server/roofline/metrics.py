"""What a simulated load means for its requests: latencies, throughput, costs and energy."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import CostBasis
from ridgeline_server.domain.workload import Load, Slo
from ridgeline_server.roofline.requests import Requests
from ridgeline_server.roofline.results import Metric, Metrics
from ridgeline_server.roofline.serving import LoadMetrics, SimulatedLoads, Simulation

Array = NDArray[np.float64]

RATE_METRICS = frozenset({"output_tokens_per_s", "output_tokens_per_s_per_device", "total_tokens_per_s"})
"""Metrics of which more is better."""
ENERGY = "joules_per_output_token"


def metric_values(simulation: Simulation, *, ideal: bool) -> Mapping[str, tuple[float, ...]]:
    """Metrics of a load by name, one value for each simulated variant, or a single ideal one.

    Milliseconds, tokens per second, US dollars per million tokens; what a device has no price or no power
    limit for is left out.
    """
    found, place = metrics_of_loads(simulation.loads, ideal=ideal).lists, simulation.place
    return {name: tuple(values[place]) for name, values in found.items() if not isnan(values[place][0])}


def best_value(simulation: Simulation, metric: str) -> float:
    """One metric of a load at the constants' best values; on the ideal roofline where its scenario knows no
    other.
    """
    ideal = simulation.candidate.scenario.profiles is None
    return metrics_of_loads(simulation.loads, ideal=ideal).lists[metric][simulation.place][0]


def metrics_of_loads(loads: SimulatedLoads, *, ideal: bool) -> LoadMetrics:
    """The metrics of loads that were costed together; ideal ones have a single variant."""
    if ideal not in loads.metrics:
        loads.metrics[ideal] = LoadMetrics(_metrics(loads, ideal=ideal))
    return loads.metrics[ideal]


def _metrics(loads: SimulatedLoads, *, ideal: bool) -> dict[str, Array]:
    posed, flights = loads.posed, loads.flights
    found = Requests._make(each[None] for each in loads.ideal_requests) if ideal else loads.requests
    devices = posed.parallel.devices
    served_s, ideal_s = found.latency_s, loads.ideal_requests.latency_s
    if posed.load is Load.OPEN_LOOP:
        # What arrives is served, however long it takes. Those that wait for memory keep no device busy.
        rates = np.broadcast_to(posed.requests_per_s * posed.output_len, served_s.shape)
        served_s = served_s / (1 + (flights.ideal_waiting if ideal else flights.waiting))
        ideal_s = ideal_s / (1 + flights.ideal_waiting)
        in_flight = posed.requests_per_s * served_s
    else:
        rates, in_flight = flights.in_flight * posed.output_len / served_s, flights.in_flight
    # A replica that has no request waits.
    busy = np.minimum(1.0, in_flight / posed.parallel.dp)
    values = {
        "ttft_ms": found.ttft_s * 1e3,
        "tpot_ms": found.tpot_s * 1e3,
        "e2e_latency_ms": found.latency_s * 1e3,
        "output_tokens_per_s": rates,
        "output_tokens_per_s_per_device": rates / devices,
        "total_tokens_per_s": rates * posed.total_len / posed.output_len,
    }
    hardware = [scenario.hardware for scenario in posed.scenarios]
    if any(device.price_usd_per_hour is not None for device in hardware):
        price = posed.of_scenarios(lambda scenario: _or_nan(scenario.hardware.price_usd_per_hour))
        paid = price * devices / 3600 * 1e6
        values["cost_usd_per_million_output_tokens"] = paid / rates
        values["input_cost_usd_per_million_tokens"] = (
            paid * found.prefill_share / rates * posed.output_len / posed.input_len
        )
        values["output_cost_usd_per_million_tokens"] = paid * (1 - found.prefill_share) / rates
    if any(device.tdp_watts is not None for device in hardware):
        power = posed.of_scenarios(lambda scenario: _or_nan(scenario.hardware.tdp_watts))
        attained = busy * ideal_s / served_s
        values[ENERGY] = devices * power * power_share(attained) / rates
    return values


def _or_nan(figure: float | None) -> float:
    return nan if figure is None else figure


IDLE_POWER_SHARE = 0.15
"""What a board draws of its power limit while it waits. An assumption: no measurement of power is at hand."""


def power_share(attained: Array) -> Array:
    """Power over the board's limit when a share of the roofline is attained: from idle to the limit in
    proportion, an assumption.
    """
    return IDLE_POWER_SHARE + (1 - IDLE_POWER_SHARE) * attained


def missed_limits(values: Mapping[str, float], slo: Slo) -> dict[str, float]:
    """The limits in milliseconds that figures miss, by metric."""
    limits = {"ttft_ms": slo.ttft_ms, "tpot_ms": slo.tpot_ms}
    return {name: limit for name, limit in limits.items() if limit is not None and values[name] > limit}


def missed_by(simulation: Simulation, *, ideal: bool) -> dict[str, float]:
    """The limits of its load that a simulation's mean TTFT and TPOT miss, by metric."""
    values = {name: ends[0] for name, ends in metric_values(simulation, ideal=ideal).items()}
    return missed_limits(values, simulation.candidate.workload.slo)


def meets_slo(simulation: Simulation, *, ideal: bool) -> bool:
    """Whether the mean TTFT and TPOT stay within the load's limits; true when it has none."""
    return not missed_by(simulation, ideal=ideal)


class Ends(NamedTuple):
    """A metric of K loads: its value and the ends of its interval, None on the ideal roofline, and its
    ideal; arrays (K,), NaN where a load has none.
    """

    value: Array
    low: Array | None
    high: Array | None
    ideal: Array

    def at(self, place: int) -> Metric | None:
        """The metric of one load; None where it has none."""
        value = float(self.value[place])
        if isnan(value):
            return None
        if self.low is None or self.high is None:
            return Metric(value)
        return Metric(float(self.ideal[place]), value, float(self.low[place]), float(self.high[place]))


def intervals_of(loads: SimulatedLoads, basis: CostBasis) -> Mapping[str, Ends]:
    """Metrics with intervals by name, of loads that were simulated with LEVELS; no end of one is better than
    the ideal.
    """
    ideal = {name: found[0] for name, found in metrics_of_loads(loads, ideal=True).arrays.items()}
    if basis is CostBasis.IDEAL:
        return {name: Ends(value, None, None, value) for name, value in ideal.items()}
    found = metrics_of_loads(loads, ideal=False).arrays
    lows = {name: values.min(axis=0) for name, values in found.items()}
    highs = {name: values.max(axis=0) for name, values in found.items()}
    if ENERGY in found:
        # At most the board's limit is drawn all the time.
        power = loads.posed.of_scenarios(lambda scenario: _or_nan(scenario.hardware.tdp_watts))
        most = loads.posed.parallel.devices * power / lows["output_tokens_per_s"]
        highs[ENERGY] = np.maximum(highs[ENERGY], most)
    return {name: Ends(values[0], lows[name], highs[name], ideal[name]) for name, values in found.items()}


def prefill_shares(loads: SimulatedLoads, basis: CostBasis) -> Array:
    """The share of the devices' time that goes to prompts, (K,)."""
    if basis is CostBasis.IDEAL:
        return loads.ideal_requests.prefill_share
    share: Array = loads.requests.prefill_share[0]
    return share


def metrics_of(simulation: Simulation, basis: CostBasis) -> Metrics:
    """Metrics with intervals, from a simulation with LEVELS."""
    loads, place = simulation.loads, simulation.place
    found = {name: ends.at(place) for name, ends in intervals_of(loads, basis).items()}

    def always(name: str) -> Metric:
        metric = found[name]
        assert metric is not None
        return metric

    return Metrics(
        ttft_ms=always("ttft_ms"),
        tpot_ms=always("tpot_ms"),
        e2e_latency_ms=always("e2e_latency_ms"),
        output_tokens_per_s=always("output_tokens_per_s"),
        output_tokens_per_s_per_device=always("output_tokens_per_s_per_device"),
        total_tokens_per_s=always("total_tokens_per_s"),
        cost_usd_per_million_output_tokens=found.get("cost_usd_per_million_output_tokens"),
        input_cost_usd_per_million_tokens=found.get("input_cost_usd_per_million_tokens"),
        output_cost_usd_per_million_tokens=found.get("output_cost_usd_per_million_tokens"),
        joules_per_output_token=found.get(ENERGY),
        prefill_time_share=float(prefill_shares(loads, basis)[place]),
        requests_in_flight=simulation.flight.in_flight,
        requests_waiting=simulation.flight.requests_waiting,
    )
