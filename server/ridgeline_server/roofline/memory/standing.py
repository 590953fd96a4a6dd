"""What a deployment keeps of a device's memory whatever its load: weights, driver and engine."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import chain
from math import nan
from typing import NamedTuple

from ridgeline_server.domain.efficiency import EfficiencyProfile, Estimate, FurtherConstant
from ridgeline_server.domain.gates import captures_graphs
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.roofline.constants import engine_memory_profile
from ridgeline_server.roofline.drafts import draft_deployment, draft_of
from ridgeline_server.roofline.memory.engine import AS_KNOWN, MemoryFactors, engine_memory
from ridgeline_server.roofline.memory.residents import Cache, cache_of, weights_bytes, weights_of_layers
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.wording import GIB

CUDA_GRAPH_BYTES = 1.04 * GIB
"""Captured CUDA graphs: the mean of vLLM 0.19.0 on one H100, from start-up logs (llm-d-planner,
accuracy/accuracy_report.md@875a4fd).
"""
NON_TORCH_BYTES = Estimate(0.27 * GIB, 0.13 * GIB, 0.6 * GIB)
"""Driver context and libraries on one device, from the same logs; 0.13 GiB in earlier releases."""
NON_TORCH_BYTES_BESIDE_OTHERS = Estimate(2.08 * GIB, 0.55 * GIB, 2.2 * GIB)
"""The same with communication buffers for two devices or more (2.17 GiB at four)."""


def non_torch_bytes(parallel: Parallelism) -> Estimate:
    """What driver and libraries take of a device when no engine is stated."""
    return NON_TORCH_BYTES if parallel.stage_devices == 1 else NON_TORCH_BYTES_BESIDE_OTHERS


class Standing(NamedTuple):
    """What a scenario has in memory whatever its load: weights, the cache of a sequence, the reserved."""

    weights_bytes: float
    cache: Cache
    taken: Reserved

    @property
    def figures(self) -> tuple[float, ...]:
        """Weights, what is usable, and of overhead, memory outside of torch, CUDA graphs, reserved
        activations and pool the value, the low and the high end each; NaN where the load decides.
        """
        taken = self.taken
        parts = (taken.overhead, taken.non_torch, taken.cuda_graphs, taken.activations, taken.pool)
        ends = [(nan,) * 3 if part is None else (part.value, part.low, part.high) for part in parts]
        return (self.weights_bytes, taken.usable_bytes, *chain.from_iterable(ends))


@lru_cache(maxsize=1024)
def standing_of(model: Model, scenario: Scenario, *_names: str) -> Standing:
    """Equal devices may differ in maker and name, which the figures' note tells: the names key the cache."""
    deployment = scenario.deployment
    weights = weights_bytes(model, deployment)
    cache = cache_of(model, deployment)
    draft = draft_of(model, deployment)
    if draft is not None:
        served = draft_deployment(deployment, draft)
        if deployment.speculation is not None and deployment.speculation.model is not None:
            weights += weights_bytes(draft, served)
        else:
            weights += weights_of_layers(draft, served)
        cache = cache.beside(cache_of(draft, served))
    return Standing(weights, cache, _reserved(model, scenario, weights))


class Reserved(NamedTuple):
    """What driver and engine take; `activations` and `pool` None: what the load leaves."""

    usable_bytes: float
    activations: Estimate | None
    overhead: Estimate
    pool: Estimate | None
    non_torch: Estimate
    cuda_graphs: Estimate
    note: str


def _reserved(model: Model, scenario: Scenario, weights: float) -> Reserved:
    hardware, deployment = scenario.hardware, scenario.deployment
    parallel, match = deployment.parallel, deployment.engine
    if match is None:
        graphs = CUDA_GRAPH_BYTES if captures_graphs(hardware) and not deployment.eager else 0.0
        non_torch = non_torch_bytes(parallel)
        overhead = Estimate(*(part + graphs for part in (non_torch.value, non_torch.low, non_torch.high)))
        usable = hardware.allocatable_bytes * (deployment.memory_utilization or 1.0)
        what = "driver, libraries and CUDA graphs" if graphs else "driver and libraries"
        note = f"no engine is stated: {what} as measured of vLLM 0.19.0 on an H100"
        return Reserved(usable, None, overhead, None, non_torch, _exactly(graphs), note)
    measured = engine_memory_profile(scenario)
    release = match.release
    limits = release.limits_on(hardware.allocatable_bytes, hardware.name)
    if deployment.chunk_tokens is not None:
        limits = replace(limits, max_batched_tokens=deployment.chunk_tokens)
    found = engine_memory(
        model,
        release,
        limits,
        weights_bytes=weights,
        compute_dtype=deployment.compute_dtype,
        device_bytes=hardware.allocatable_bytes,
        tp=parallel.tp,
        pp=parallel.pp,
        stage_devices=parallel.stage_devices,
        utilization=deployment.memory_utilization,
        captures_graphs=not deployment.eager,
        factors=AS_KNOWN if measured is None else _factors(measured.profile),
    )
    overhead = found.non_torch_bytes
    if release.counts_cuda_graphs:
        overhead = Estimate(
            overhead.value + found.cuda_graph_bytes.value,
            overhead.low + found.cuda_graph_bytes.low,
            overhead.high + found.cuda_graph_bytes.high,
        )
    return Reserved(
        found.budget_bytes,
        found.activation_bytes,
        overhead,
        found.kv_pool_bytes,
        found.non_torch_bytes,
        found.cuda_graph_bytes,
        match.note if measured is None else f"{match.note}; {_measured(measured.profile)}",
    )


_PARTS = {
    FurtherConstant.ACTIVATION_FACTOR: "activation peak",
    FurtherConstant.NON_TORCH_FACTOR: "memory outside of torch",
    FurtherConstant.CUDA_GRAPH_FACTOR: "CUDA graphs",
}
"""The parts that measured rows correct, in the order of MemoryFactors."""


def _factors(profile: EfficiencyProfile) -> MemoryFactors:
    """A profile's factors; a part that it does not state keeps the release's size and range."""
    return MemoryFactors(*(profile.further.get(name) for name in _PARTS))


def _measured(profile: EfficiencyProfile) -> str:
    """Which parts rest on measured rows, in words."""
    *others, last = [part for name, part in _PARTS.items() if name in profile.further] or ["no part"]
    told = f"{', '.join(others)} and {last}" if others else last
    count = profile.evidence_count
    rows, say = ("1 measured row", "says") if count == 1 else (f"{count:,} measured rows", "say")
    release = f" {profile.since_version}" if profile.since_version else ""
    return f"{told} as {rows} of {profile.engine}{release} on {profile.hardware_id} {say}"


def _exactly(value: float) -> Estimate:
    return Estimate(value, value, value)
