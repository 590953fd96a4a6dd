"""What a simulated load means for its requests: latencies, throughput, costs and energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ridgeline_server.domain.deployment import CostBasis
from ridgeline_server.domain.workload import Slo, Workload
from ridgeline_server.roofline.requests import Request
from ridgeline_server.roofline.results import Metric, Metrics
from ridgeline_server.roofline.serving import Simulation

RATE_METRICS = frozenset({"output_tokens_per_s", "output_tokens_per_s_per_device", "total_tokens_per_s"})
"""Metrics of which more is better."""


def metric_values(simulation: Simulation, *, ideal: bool) -> Mapping[str, tuple[float, ...]]:
    """Metrics of a load by name, one value for each simulated variant, or a single ideal one.

    Milliseconds, tokens per second, US dollars per million tokens; the cost is left out without a price.
    """
    if ideal not in simulation.metrics:
        simulation.metrics[ideal] = _metric_values(simulation, ideal=ideal)
    return simulation.metrics[ideal]


def best_value(simulation: Simulation, metric: str) -> float:
    """One metric of a load at the constants' best values; on the ideal roofline where its scenario knows no
    other.
    """
    ideal = simulation.candidate.scenario.profiles is None
    of_request = OF_REQUEST.get(metric)
    if of_request is None or ideal in simulation.metrics:
        return metric_values(simulation, ideal=ideal)[metric][0]
    return of_request(simulation.ideal_request if ideal else simulation.requests[0])


OF_REQUEST: Mapping[str, Callable[[Request], float]] = {
    "ttft_ms": lambda request: request.ttft_s * 1e3,
    "tpot_ms": lambda request: request.tpot_s * 1e3,
    "e2e_latency_ms": lambda request: request.latency_s * 1e3,
}
"""Metrics that one request tells by itself."""


def _metric_values(simulation: Simulation, *, ideal: bool) -> dict[str, tuple[float, ...]]:
    workload, scenario = simulation.candidate.workload, simulation.candidate.scenario
    found = (simulation.ideal_request,) if ideal else simulation.requests
    devices = scenario.deployment.parallel.devices
    rates = [simulation.flight.in_flight * workload.output_len / request.latency_s for request in found]
    if workload.request_rate is not None:
        # What arrives is served, however long it takes.
        rates = [workload.request_rate * workload.output_len] * len(found)
    values = {
        **{name: tuple([of(request) for request in found]) for name, of in OF_REQUEST.items()},
        "output_tokens_per_s": tuple(rates),
        "output_tokens_per_s_per_device": tuple([rate / devices for rate in rates]),
        "total_tokens_per_s": tuple([rate * workload.total_len / workload.output_len for rate in rates]),
    }
    price, power = scenario.hardware.price_usd_per_hour, scenario.hardware.tdp_watts
    if price is not None:
        paid = price * devices / 3600 * 1e6
        values["cost_usd_per_million_output_tokens"] = tuple(paid / rate for rate in rates)
        values["input_cost_usd_per_million_tokens"] = tuple(
            paid * request.prefill_share / rate * workload.output_len / workload.input_len
            for request, rate in zip(found, rates, strict=True)
        )
        values["output_cost_usd_per_million_tokens"] = tuple(
            paid * (1 - request.prefill_share) / rate for request, rate in zip(found, rates, strict=True)
        )
    if power is not None:
        least = simulation.ideal_request.latency_s
        values["joules_per_output_token"] = tuple(
            [
                devices * power * power_share(_busy(workload, request) * least / request.latency_s) / rate
                for request, rate in zip(found, rates, strict=True)
            ]
        )
    return values


def _busy(workload: Workload, request: Request) -> float:
    """The share of the time in which a device has anything to do: where requests seldom arrive, little."""
    return 1.0 if workload.request_rate is None else min(1.0, workload.request_rate * request.latency_s)


IDLE_POWER_SHARE = 0.15
"""What a board draws of its power limit while it waits. An assumption: no measurement of power is at hand."""


def power_share(attained: float) -> float:
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


def metrics_of(simulation: Simulation, basis: CostBasis) -> Metrics:
    """Metrics with intervals, from a simulation with LEVELS; no end of one is better than the ideal."""
    ideal = metric_values(simulation, ideal=True)
    if basis is CostBasis.IDEAL:
        found = {name: Metric(value) for name, (value,) in ideal.items()}
    else:
        found = {
            name: Metric(ideal[name][0], values[0], min(values), max(values))
            for name, values in metric_values(simulation, ideal=False).items()
        }
    request = simulation.ideal_request if basis is CostBasis.IDEAL else simulation.requests[0]
    return Metrics(
        ttft_ms=found["ttft_ms"],
        tpot_ms=found["tpot_ms"],
        e2e_latency_ms=found["e2e_latency_ms"],
        output_tokens_per_s=found["output_tokens_per_s"],
        output_tokens_per_s_per_device=found["output_tokens_per_s_per_device"],
        total_tokens_per_s=found["total_tokens_per_s"],
        cost_usd_per_million_output_tokens=found.get("cost_usd_per_million_output_tokens"),
        input_cost_usd_per_million_tokens=found.get("input_cost_usd_per_million_tokens"),
        output_cost_usd_per_million_tokens=found.get("output_cost_usd_per_million_tokens"),
        joules_per_output_token=_energy(simulation, found),
        prefill_time_share=request.prefill_share,
        requests_in_flight=simulation.flight.in_flight,
        requests_waiting=simulation.flight.requests_waiting,
    )


def _energy(simulation: Simulation, found: Mapping[str, Metric]) -> Metric | None:
    """The energy with a high end at the board's limit all the time."""
    metric, slowest = found.get("joules_per_output_token"), found["output_tokens_per_s"].low
    power = simulation.candidate.scenario.hardware.tdp_watts
    if metric is None or metric.high is None or slowest is None or power is None:
        return metric
    devices = simulation.candidate.scenario.deployment.parallel.devices
    return metric._replace(high=max(metric.high, devices * power / slowest))
