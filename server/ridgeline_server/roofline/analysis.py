"""The analysis of one model on its devices under one load: one candidate, and what to say first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil

from ridgeline_server.domain.deployment import CostBasis, Deployment
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import OperatorClass, ProfileSet
from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.domain.gates import check_parallelism
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.speculation import Draft
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.constants import (
    UsedProfile,
    engine_memory_profile,
    request_profile,
    time_factor,
    used_profiles,
)
from ridgeline_server.roofline.flips import find_flips
from ridgeline_server.roofline.memory.device import Memory, memory_of
from ridgeline_server.roofline.metrics import metrics_of
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.results import Analysis, Metrics, Notice, NoticeCode
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.serving import Candidate, SimulatedGrid, Simulation, simulate
from ridgeline_server.roofline.stages import describe_stages
from ridgeline_server.roofline.unmodelled import not_modelled
from ridgeline_server.roofline.wording import GIB, ms


def analyze(
    model: Model,
    hardware: Hardware,
    workload: Workload,
    deployment: Deployment,
    profiles: ProfileSet,
    basis: CostBasis,
    *,
    with_flips: bool = False,
) -> Analysis:
    """Analyses both stages operator by operator, the request's metrics and the memory; `with_flips` also what
    would make another bound hold most of each stage, which takes further evaluations.

    Raises MissingProfileError on the expected basis when the catalog lacks a needed profile.
    """
    scenario = Scenario(hardware, deployment, profiles if basis is CostBasis.EXPECTED else None)
    simulated = simulate(model, [Candidate(scenario, workload)])
    found = describe(model, simulated, 0, basis)
    if not with_flips:
        return found
    (simulation,) = simulated.simulations
    stages = tuple(replace(stage, flips=find_flips(model, simulation, stage.stage)) for stage in found.stages)
    return replace(found, stages=stages)


def describe(model: Model, simulated: SimulatedGrid, index: int, basis: CostBasis) -> Analysis:
    """The analysis of one simulated candidate. It was simulated with LEVELS."""
    simulation = simulated.simulations[index]
    candidate = simulation.candidate
    workload, scenario = candidate.workload, candidate.scenario
    metrics = metrics_of(simulation, basis)
    return Analysis(
        model=model,
        hardware=scenario.hardware,
        workload=workload,
        deployment=scenario.deployment,
        basis=basis,
        notices=tuple(_notices(model, simulation, metrics)),
        stages=describe_stages(simulated, index),
        metrics=metrics,
        memory=simulation.memory,
        profiles=(
            *used_profiles(
                scenario, [(stage, operator_table(model, scenario.placement(stage))) for stage in Stage]
            ),
            *_of_requests(model, scenario, workload),
        ),
        not_modelled=() if scenario.profiles is None else not_modelled(model, scenario.deployment, workload),
    )


def _of_requests(model: Model, scenario: Scenario, workload: Workload) -> Iterator[UsedProfile]:
    """The profiles of whole times, of requests beside others, and of the engine's memory, where the catalog
    has them.
    """
    found = [time_factor(scenario, model, c) for c in (OperatorClass.PREFILL_TIME, OperatorClass.DECODE_TIME)]
    if workload.load.is_loop:
        first_token = time_factor(scenario, model, OperatorClass.FIRST_TOKEN_TIME)
        found += [request_profile(scenario), first_token]
    found.append(engine_memory_profile(scenario))
    yield from (used for used in found if used is not None)


_FLOAT_UNITS = {
    Dtype.FP8: {Dtype.FP8},
    Dtype.NVFP4: {Dtype.FP4, Dtype.NVFP4},
    Dtype.MXFP4: {Dtype.FP4, Dtype.MXFP4},
}
"""Low-bit floats, which are made for units of their own, and the units that compute in them."""


def _notices(model: Model, simulation: Simulation, metrics: Metrics) -> Iterator[Notice]:
    candidate, memory = simulation.candidate, simulation.memory
    scenario, workload = candidate.scenario, candidate.workload
    hardware, deployment = scenario.hardware, scenario.deployment
    if not memory.fits:
        yield Notice(NoticeCode.DOES_NOT_FIT, _does_not_fit(model, candidate, metrics, memory))
    if simulation.flight.near_limit:
        yield Notice(NoticeCode.NEAR_LIMIT, _near_limit(workload, memory))
    context = model.max_context_len
    if context is not None and workload.total_len > context:
        yield Notice(
            NoticeCode.CONTEXT_EXCEEDED,
            f"{workload.input_len:,} input and {workload.output_len:,} output tokens make "
            f"{workload.total_len:,}, over {model.name}'s context of {context:,}: the answers are "
            f"extrapolations. Shorten the request by {workload.total_len - context:,} tokens or take a "
            "model with a longer context.",
        )
    for label, metric, limit in (
        ("TTFT", metrics.ttft_ms, workload.slo.ttft_ms),
        ("TPOT", metrics.tpot_ms, workload.slo.tpot_ms),
    ):
        if limit is not None and metric.value > limit:
            yield Notice(
                NoticeCode.SLO_MISSED,
                f"mean {label} is {ms(metric.value)}, over the limit of {ms(limit)} by "
                f"{ms(metric.value - limit)}.",
            )
    if workload.shown_decode_keys > workload.total_len:
        yield Notice(
            NoticeCode.DECODE_KEYS_BEYOND_REQUEST,
            f"the shown decode step reads {workload.shown_decode_keys:,} keys, but a request holds "
            f"{workload.total_len:,} at most.",
        )
    for what, dtype in (("weights", deployment.weight_dtype), ("KV cache", deployment.kv_dtype)):
        if dtype in _FLOAT_UNITS and not _FLOAT_UNITS[dtype] & set(hardware.peak_flops_per_s):
            yield Notice(
                NoticeCode.STORAGE_ONLY_DTYPE,
                f"{hardware.lack_of(dtype, _FLOAT_UNITS[dtype])}: the {what} are taken to be stored in "
                f"{dtype} and widened to {deployment.compute_dtype} by the kernels that read them, which the "
                "engine must have.",
            )
    for text in model.assumptions:
        yield Notice(NoticeCode.MODEL_ASSUMPTION, text)
    heads_draft = deployment.speculation is not None and deployment.speculation.draft is Draft.HEADS
    for text in model.not_modelled:
        if not (heads_draft and "multi-token-prediction" in text):
            yield Notice(NoticeCode.NOT_MODELLED, f"not modelled: {text}")


MOST_DEVICES = 64
"""Devices of a replica up to which a tensor-parallel way out is looked for: eight boards of eight."""


def _does_not_fit(model: Model, candidate: Candidate, metrics: Metrics, memory: Memory) -> str:
    hardware, number = candidate.scenario.hardware, ceil(metrics.requests_in_flight)
    kind = candidate.workload.load
    load = {Load.STATIC_BATCH: "batch", Load.CLOSED_LOOP: "concurrency"}.get(kind, "number of requests")
    what = f"{load} {number:,} does" if kind is not Load.OPEN_LOOP else f"{number:,} requests in flight do"
    degree = _fitting_tp(model, candidate)
    fits = f" It fits with tp {degree}." if degree else ""
    way_out = (
        f"The largest {load} of these lengths that fits is {memory.max_batch:,}.{fits}"
        if memory.max_batch
        else f"Not even one sequence of these lengths fits: take fewer bits, or more memory.{fits}"
    )
    parts = ", ".join(
        f"{label} {size / GIB:,.1f}"
        for label, size in (
            ("weights", memory.weights_bytes),
            ("KV cache", memory.kv_cache_bytes),
            ("activations", memory.activations_bytes),
            ("overhead", memory.overhead_bytes),
        )
    )
    missing = -memory.headroom_bytes / GIB
    where = hardware.name
    if not candidate.scenario.deployment.parallel.is_single:
        where = f"each of {candidate.scenario.deployment.parallel.devices} x {hardware.name}"
    return (
        f"{what} not fit on {where} by {missing:,.1f} GiB: {parts} GiB need "
        f"{memory.total_bytes / GIB:,.1f} of {memory.usable_bytes / GIB:,.1f} GiB. {_queue(metrics)}{way_out}"
    )


def _near_limit(workload: Workload, memory: Memory) -> str:
    if workload.request_rate is not None:
        return (
            f"{workload.request_rate:g} requests a second are near the highest rate that is served: at the "
            "slow end of what is known they are not, and the high ends of times are those of the most "
            "requests that a device can have."
        )
    fewest = max(1, int(memory.max_batch * memory.max_concurrency.low / memory.max_concurrency.value))
    return (
        f"concurrency {workload.batch:,} is near what memory holds: {memory.max_batch:,} requests, and "
        f"{fewest:,} at the low end of what is known. The high ends of TTFT and latency have the wait of the "
        "others."
    )


def _queue(metrics: Metrics) -> str:
    if not metrics.requests_waiting:
        return ""
    waiting = f"{metrics.requests_waiting:,.0f}"
    running = f"{metrics.requests_in_flight - metrics.requests_waiting:,.0f}"
    run = "1 request runs" if running == "1" else f"{running} requests run"
    wait = "1 waits" if waiting == "1" else f"{waiting} wait"
    return f"At any time {run} and {wait} for memory, which is in their TTFT. "


def _fits(model: Model, candidate: Candidate) -> bool:
    """Whether a load fits; how many requests an open loop has in flight takes a simulation."""
    if candidate.workload.load is not Load.OPEN_LOOP:
        return memory_of(model, candidate.scenario, candidate.workload).fits
    try:
        (simulation,) = simulate(model, [candidate]).simulations
    except InvalidFieldsError:
        return False
    return simulation.memory.fits


def _fitting_tp(model: Model, candidate: Candidate) -> int | None:
    """The smallest tensor-parallel degree over today's, doubling it, at which a load fits; None where none
    does.
    """
    scenario = candidate.scenario
    parallel = scenario.deployment.parallel
    wider = [
        replace(parallel, tp=parallel.tp * factor)
        for factor in (2**i for i in range(1, MOST_DEVICES.bit_length()))
        if parallel.replica_devices * factor <= MOST_DEVICES
    ]
    for each in wider:
        if any(check_parallelism(model, each)):
            continue
        wider_scenario = replace(scenario, deployment=replace(scenario.deployment, parallel=each))
        if _fits(model, Candidate(wider_scenario, candidate.workload)):
            return each.tp
    return None
