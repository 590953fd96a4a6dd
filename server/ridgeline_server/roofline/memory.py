"""Device memory: weights, KV cache, live activations and overhead, and the largest load that fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import floor, inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.efficiency import EfficiencyProfile, Estimate, FurtherConstant
from ridgeline_server.domain.gates import captures_graphs
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import MAX_BATCH, MAX_LEN, Workload
from ridgeline_server.roofline.constants import engine_memory_profile
from ridgeline_server.roofline.cost import live_bytes
from ridgeline_server.roofline.drafts import draft_deployment, draft_of
from ridgeline_server.roofline.engine_memory import (
    AS_KNOWN,
    MemoryFactors,
    engine_memory,
    max_concurrency,
)
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.operators.variables import Steps
from ridgeline_server.roofline.residents import (
    Cache,
    cache_of,
    longest_context,
    weights_bytes,
    weights_of_layers,
)
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.steps import attended
from ridgeline_server.roofline.wording import GIB

Array = NDArray[np.float64]

PREFILL_CHUNK_TOKENS = 8192
"""Engines process at most this many prompt tokens at once, which bounds the live activations: the default of
vLLM's max_num_batched_tokens on an H100 (vllm/engine/arg_utils.py). It does not touch the time of a prefill.
"""

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


class Overheads(NamedTuple):
    """What an engine takes beside weights and cache, bytes, with its ranges."""

    activations: Estimate
    non_torch: Estimate
    cuda_graphs: Estimate


@dataclass(frozen=True)
class Memory:
    """What occupies a device, the fullest one, when every sequence has its full length; bytes.

    `overhead_bytes` is what the driver and the engine take: `non_torch_bytes` outside of the tensor allocator
    and `cuda_graph_bytes`, the latter only as far as the engine counts them into its share of the device.
    `kv_pool_bytes` is what weights, activations and overhead leave. `max_concurrency` is how many sequences
    of the full length the pool of all devices holds; `engine_note` tells whose figures these are. `ranges`
    are those of activations, `non_torch_bytes` and `cuda_graph_bytes`.
    """

    weights_bytes: float
    kv_cache_bytes: float
    activations_bytes: float
    overhead_bytes: float
    non_torch_bytes: float
    cuda_graph_bytes: float
    usable_bytes: float
    kv_pool_bytes: Estimate
    max_concurrency: Estimate
    max_batch: int
    engine_note: str
    ranges: Overheads
    contexts: ContextSearch = field(compare=False, repr=False)

    @cached_property
    def max_context_len(self) -> int:
        """The longest context at which today's sequences fit. It is searched for when it is asked for: most
        simulated loads are compared by their times alone.
        """
        return self.contexts.longest()

    @property
    def total_bytes(self) -> float:
        """All parts together."""
        return self.weights_bytes + self.kv_cache_bytes + self.activations_bytes + self.overhead_bytes

    @property
    def headroom_bytes(self) -> float:
        """What is left; negative when it does not fit."""
        return self.usable_bytes - self.total_bytes

    @property
    def fits(self) -> bool:
        """Whether everything fits."""
        return self.headroom_bytes >= 0


@dataclass(frozen=True)
class ContextSearch:
    """What the longest context that fits is searched with: the room, and activations at the longest."""

    search: _Search
    at_longest: Live

    def longest(self) -> int:
        """The longest context at which today's sequences fit."""
        context = longest_context(self.search.model)
        if self.search.holds(context, self.at_longest):
            return context
        return self.search.max_context(self.at_longest)


class Live(NamedTuple):
    """Live activations of one sequence, bytes: in a chunk of prefill, and in a decode step at full length."""

    prefill: float
    decode: float


def activation_loads(
    model: Model, deployments: Sequence[Deployment], workloads: Sequence[Workload]
) -> tuple[Steps, Steps]:
    """The steps of one sequence whose live activations decide the peak, of S deployments: a chunk of prefill
    and the last decode step, each at today's lengths and at the model's longest context; shape (S, 2).

    At given lengths the activations of a step are proportional to its sequences, so one sequence tells all.
    """
    longest = longest_context(model)
    lengths = [((w.input_len, w.total_len), _lengths_at(w, longest)) for w in workloads]
    return _activation_steps(deployments, lengths)


def _activation_steps(
    deployments: Sequence[Deployment], lengths: Sequence[Sequence[tuple[int, int]]]
) -> tuple[Steps, Steps]:
    input_len, total_len = np.moveaxis(np.array(lengths, dtype=np.float64), -1, 0)
    one, nothing = np.ones_like(input_len), np.zeros_like(input_len)
    limits = np.array([chunk_tokens(d) for d in deployments], dtype=np.float64)[:, None]
    chunk = np.minimum(input_len, limits)
    drafted = np.array([0 if d.speculation is None else d.speculation.tokens for d in deployments])[:, None]
    verified, groups = one + drafted, deployments[0].parallel.attention_dp
    return (
        Steps(one, chunk, input_len, nothing, one, chunk * groups),
        Steps(one, verified, total_len + drafted, nothing, verified, verified * groups),
    )


def chunk_tokens(deployment: Deployment) -> int:
    """Prompt tokens that are alive at once."""
    return min(deployment.chunk_tokens or PREFILL_CHUNK_TOKENS, PREFILL_CHUNK_TOKENS)


def estimate_memory(
    model: Model, scenario: Scenario, workload: Workload, live_bytes_of_loads: Sequence[float]
) -> Memory:
    """Memory of a load on one device, given the activation peaks of its `activation_loads`, bytes.

    A stated engine reserves what its start-up does, whatever the load; else the load's own activations count.
    Where the scenario's profiles tell what this engine was measured to take on this device, the sizes of its
    release are multiplied by that. Without profiles, on the ideal roofline, nothing measured counts; nor does
    it without an engine, for another engine, or on another device.
    """
    deployment = scenario.deployment
    today, at_longest = Live(*live_bytes_of_loads[:2]), Live(*live_bytes_of_loads[2:])
    weights, cache, taken = _standing(model, scenario, scenario.hardware.vendor, scenario.hardware.name)
    sequences = float(attended(deployment, np.array(float(workload.batch))).sequences)
    kv = cache.bytes_at(workload.total_len)
    sought = _Search(
        model=model,
        scenario=scenario,
        workload=workload,
        cache=cache,
        room=taken.usable_bytes - weights - taken.overhead.value
        if taken.pool is None or taken.activations is None
        else taken.pool.value + taken.activations.value,
        sequences=sequences,
        reserved=None if taken.activations is None else taken.activations.value,
    )
    activations = taken.activations or _exactly(sought.activations(workload.input_len, today))
    pool = taken.pool or Estimate(
        *(taken.usable_bytes - weights - part - activations.value for part in _ends(taken.overhead))
    )
    held = deployment.parallel.attention_dp * deployment.parallel.dp
    return Memory(
        weights_bytes=weights,
        kv_cache_bytes=kv * sequences,
        activations_bytes=activations.value,
        overhead_bytes=taken.overhead.value,
        non_torch_bytes=taken.non_torch.value,
        cuda_graph_bytes=taken.cuda_graphs.value,
        usable_bytes=taken.usable_bytes,
        kv_pool_bytes=pool,
        max_concurrency=_times(max_concurrency(pool, kv), held) if kv else _unlimited(pool),
        max_batch=sought.max_batch(kv, workload.input_len, today),
        engine_note=taken.note,
        ranges=Overheads(activations, taken.non_torch, taken.cuda_graphs),
        contexts=ContextSearch(sought, at_longest),
    )


class _Standing(NamedTuple):
    """What a scenario has in memory whatever its load: weights, the cache of a sequence, the reserved."""

    weights_bytes: float
    cache: Cache
    taken: _Reserved


@lru_cache(maxsize=1024)
def _standing(model: Model, scenario: Scenario, *_names: str) -> _Standing:
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
    return _Standing(weights, cache, _reserved(model, scenario, weights))


class _Reserved(NamedTuple):
    """What driver and engine take; `activations` and `pool` None: what the load leaves."""

    usable_bytes: float
    activations: Estimate | None
    overhead: Estimate
    pool: Estimate | None
    non_torch: Estimate
    cuda_graphs: Estimate
    note: str


def _reserved(model: Model, scenario: Scenario, weights: float) -> _Reserved:
    hardware, deployment = scenario.hardware, scenario.deployment
    parallel, match = deployment.parallel, deployment.engine
    if match is None:
        graphs = CUDA_GRAPH_BYTES if captures_graphs(hardware) and not deployment.eager else 0.0
        non_torch = non_torch_bytes(parallel)
        overhead = Estimate(*(part + graphs for part in (non_torch.value, non_torch.low, non_torch.high)))
        usable = hardware.allocatable_bytes * (deployment.memory_utilization or 1.0)
        what = "driver, libraries and CUDA graphs" if graphs else "driver and libraries"
        note = f"no engine is stated: {what} as measured of vLLM 0.19.0 on an H100"
        return _Reserved(usable, None, overhead, None, non_torch, _exactly(graphs), note)
    measured = engine_memory_profile(scenario)
    release = match.release
    found = engine_memory(
        model,
        release,
        release.limits_on(hardware.allocatable_bytes, hardware.name),
        weights_bytes=weights,
        compute_dtype=deployment.compute_dtype,
        device_bytes=hardware.allocatable_bytes,
        tp=parallel.tp,
        pp=parallel.pp,
        stage_devices=parallel.stage_devices,
        utilisation=deployment.memory_utilization,
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
    return _Reserved(
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


def _ends(taken: Estimate) -> tuple[float, float, float]:
    """What is taken at the value, the low and the high end of what is left."""
    return taken.value, taken.high, taken.low


def _exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


def _unlimited(pool: Estimate) -> Estimate:
    """Sequences that take nothing of a pool: any number, unless there is none."""
    return Estimate(*(MAX_BATCH if end >= 0 else 0 for end in (pool.value, pool.low, pool.high)))


def _fitting(room: float, each: float) -> float:
    """How many sequences of `each` bytes fit in some room."""
    if each:
        return room / each
    return inf if room >= 0 else 0.0


def _times(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(estimate.value * factor, estimate.low * factor, estimate.high * factor)


def _lengths_at(workload: Workload, context: int) -> tuple[int, int]:
    """Input and total length of a request that fills a context, with today's output where it holds that."""
    return max(context - workload.output_len, 1), context


SEARCH_WIDTH = 16
"""Contexts that one round of the search for the longest evaluates together."""


@dataclass(frozen=True)
class _Search:
    """The largest load in `room` bytes beside the weights of a device that has so many `sequences` today."""

    model: Model
    scenario: Scenario
    workload: Workload
    cache: Cache
    room: float
    sequences: float
    reserved: float | None

    def together(self, input_len: int) -> float:
        """Prompts whose prefill is alive at once: several, or a part of one."""
        chunk = chunk_tokens(self.scenario.deployment)
        return chunk / min(input_len, chunk)

    def activations(self, input_len: int, live: Live) -> float:
        """Activation peak of today's sequences, or what the engine reserved for any."""
        if self.reserved is not None:
            return self.reserved
        return max(live.prefill * min(self.sequences, self.together(input_len)), live.decode * self.sequences)

    def holds(self, context: int, live: Live) -> bool:
        """Whether today's sequences fit at a context."""
        input_len = _lengths_at(self.workload, context)[0]
        needed = self.cache.bytes_at(context) * self.sequences + self.activations(input_len, live)
        return needed <= self.room

    def max_batch(self, kv: float, input_len: int, live: Live) -> int:
        """Largest batch of all devices together whose KV cache and activations fit."""
        if self.reserved is not None:
            return self._of_all_devices(_fitting(self.room - self.reserved, kv))
        together = self.together(input_len)
        while_filling = min(self.room / (kv + live.prefill), together)
        when_full = _fitting(self.room - live.prefill * together, kv)
        return self._of_all_devices(min(max(while_filling, when_full), self.room / (kv + live.decode)))

    def _of_all_devices(self, most: float) -> int:
        """What all devices hold, where one holds `most` sequences."""
        parallel = self.scenario.deployment.parallel
        return min(max(floor(min(most, MAX_BATCH)), 0) * parallel.attention_dp * parallel.dp, MAX_BATCH)

    def max_context(self, live_at_longest: Live) -> int:
        """Longest context that fits; the model's longest does not.

        Activations never shrink with the context. So the cache that fits beside the longest context's
        activations bounds the answer from below, and the cache that fits beside the activations found there
        from above; most often the two meet. Between them, each round evaluates SEARCH_WIDTH contexts and
        keeps the gap in which it stops fitting.
        """
        longest = longest_context(self.model)

        def cached(live: Live, context: int) -> int:
            """Longest context whose cache fits beside the activations of another context."""
            activations = self.activations(_lengths_at(self.workload, context)[0], live)
            return min(self._max_cached((self.room - activations) / self.sequences), longest)

        fits = cached(live_at_longest, longest)
        fails = min(cached(self._live([max(fits, 1)])[0], max(fits, 1)) + 1, longest)
        while fails - fits > 1:
            step = max((fails - fits) // SEARCH_WIDTH, 1)
            tried = list(range(fits + step, fails, step))
            for context, live in zip(tried, self._live(tried), strict=True):
                if not self.holds(context, live):
                    fails = context
                    break
                fits = context
        return fits

    def _live(self, contexts: Sequence[int]) -> list[Live]:
        """Live activations of one sequence at some contexts."""
        steps = _activation_steps(
            [self.scenario.deployment], [[_lengths_at(self.workload, context) for context in contexts]]
        )
        peaks = [
            live_bytes(
                operator_table(self.model, self.scenario.placement(stage)),
                [self.scenario],
                of_stage,
            )[0]
            for stage, of_stage in zip(Stage, steps, strict=True)
        ]
        return [Live(float(prefill), float(decode)) for prefill, decode in zip(*peaks, strict=True)]

    def _max_cached(self, room: float) -> int:
        """Longest sequence whose cache fits in `room` bytes.

        The cache grows linearly between the lengths at which a layer kind's window fills up and stops
        growing.
        """
        room -= self.cache.state_bytes
        if room < 0:
            return 0
        length, slope = 0.0, sum(rate for _, rate in self.cache.growth)
        for limit, rate in self.cache.growth:
            if slope * (limit - length) > room:
                return max(floor(length + room / slope), 0)
            room -= slope * (limit - length)
            length, slope = limit, slope - rate
        return MAX_LEN
