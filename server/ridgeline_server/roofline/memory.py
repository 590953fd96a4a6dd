"""Device memory: weights, KV cache, live activations and overhead, and the largest load that fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain
from math import floor, inf, nan
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
from ridgeline_server.roofline.operators.variables import Steps, joined
from ridgeline_server.roofline.posed import Posed
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


class Live(NamedTuple):
    """Live activations of one sequence, bytes: in a chunk of prefill, and in a decode step at full length."""

    prefill: Array
    decode: Array


def chunk_tokens(deployment: Deployment) -> int:
    """Prompt tokens that are alive at once."""
    return min(deployment.chunk_tokens or PREFILL_CHUNK_TOKENS, PREFILL_CHUNK_TOKENS)


class _Room(NamedTuple):
    """What decides how much of a load fits, of K loads: arrays (K,). `room_bytes` are left beside the weights
    of a device that has so many `sequences`; `chunk` prompt tokens are alive at once; `reserved_bytes` an
    engine keeps for activations, NaN where the load's own count.
    """

    room_bytes: Array
    sequences: Array
    chunk: Array
    reserved_bytes: Array

    def activations(self, input_len: Array, live: Live) -> Array:
        """Activation peak of the sequences, or what the engine reserved for any."""
        prompts = np.minimum(self.sequences, self._together(input_len))
        own = np.maximum(live.prefill * prompts, live.decode * self.sequences)
        return np.where(np.isnan(self.reserved_bytes), own, self.reserved_bytes)

    def most_sequences(self, kv: Array, input_len: Array, live: Live) -> Array:
        """Most sequences whose KV cache, of `kv` bytes each, and activations fit."""
        room, together = self.room_bytes, self._together(input_len)
        with np.errstate(divide="ignore", invalid="ignore"):
            while_filling = np.minimum(room / (kv + live.prefill), together)
            when_full = _fitting(room - live.prefill * together, kv)
            own = np.minimum(np.maximum(while_filling, when_full), room / (kv + live.decode))
        of_engine = _fitting(room - self.reserved_bytes, kv)
        return np.where(np.isnan(self.reserved_bytes), own, of_engine)

    def at(self, place: int) -> _Room:
        """That of one load, arrays (1,)."""
        return _Room._make(figure[place : place + 1] for figure in self)

    def _together(self, input_len: Array) -> Array:
        """Prompts whose prefill is alive at once: several, or a part of one."""
        together: Array = self.chunk / np.minimum(input_len, self.chunk)
        return together


def _fitting(room: Array, each: Array) -> Array:
    """How many sequences of `each` bytes fit in some room."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(each > 0, room / each, np.where(room >= 0, inf, 0.0))


@dataclass(frozen=True, eq=False)
class Memories:
    """What K loads take of a device's memory, as Memory tells of one: arrays (K,), and (3, K) of those that
    have a value, a low and a high end.
    """

    weights_bytes: Array
    kv_cache_bytes: Array
    activations_bytes: Array
    overhead_bytes: Array
    non_torch_bytes: Array
    cuda_graph_bytes: Array
    usable_bytes: Array
    kv_pool_bytes: Array
    max_concurrency: Array
    max_batch: Array
    searches: Callable[[int], ContextSearch]
    notes: Callable[[int], str]

    @property
    def total_bytes(self) -> Array:
        """All parts together."""
        held: Array = self.weights_bytes + self.kv_cache_bytes + self.activations_bytes[0]
        return held + self.overhead_bytes

    @property
    def fits(self) -> NDArray[np.bool_]:
        """Whether everything fits."""
        fits: NDArray[np.bool_] = self.usable_bytes - self.total_bytes >= 0
        return fits

    def at(self, place: int) -> Memory:
        """The memory of one load."""
        if place not in self._told:
            self._told[place] = self._at(place)
        return self._told[place]

    @cached_property
    def _told(self) -> dict[int, Memory]:
        return {}

    def _at(self, place: int) -> Memory:
        activations, non_torch, graphs, pool, most = (
            Estimate(*ends[:, place].tolist())
            for ends in (
                self.activations_bytes,
                self.non_torch_bytes,
                self.cuda_graph_bytes,
                self.kv_pool_bytes,
                self.max_concurrency,
            )
        )
        return Memory(
            weights_bytes=float(self.weights_bytes[place]),
            kv_cache_bytes=float(self.kv_cache_bytes[place]),
            activations_bytes=activations.value,
            overhead_bytes=float(self.overhead_bytes[place]),
            non_torch_bytes=non_torch.value,
            cuda_graph_bytes=graphs.value,
            usable_bytes=float(self.usable_bytes[place]),
            kv_pool_bytes=pool,
            max_concurrency=most,
            max_batch=int(self.max_batch[place]),
            engine_note=self.notes(place),
            ranges=Overheads(activations, non_torch, graphs),
            contexts=self.searches(place),
        )


def memories_of(model: Model, posed: Posed) -> Memories:
    """What each load takes of the fullest device, and how many requests all devices together hold.

    A stated engine reserves what its start-up does, whatever the load; else the load's own activations count.
    Where the scenario's profiles tell what this engine was measured to take on this device, the sizes of its
    release are multiplied by that. Without profiles, on the ideal roofline, nothing measured counts; nor does
    it without an engine, for another engine, or on another device.
    """
    standing = [_standing(model, s, s.hardware.vendor, s.hardware.name) for s in posed.scenarios]
    figures = np.array([each.figures for each in standing]).T[:, posed.on]
    weights, usable = figures[:2]
    overhead, non_torch, graphs, reserved, pool = figures[2:].reshape(5, 3, -1)
    groups = posed.groups
    sequences = attended(posed.deployment, posed.batch).sequences
    live = _live(model, posed)
    kv = _cached(standing, posed)
    room = _Room(
        np.where(np.isnan(pool[0]), usable - weights - overhead[0], pool[0] + reserved[0]),
        sequences,
        posed.of_scenarios(lambda scenario: chunk_tokens(scenario.deployment)),
        reserved[0],
    )
    own = room.activations(posed.input_len, live)
    activations = np.where(np.isnan(reserved), own, reserved)
    # What is taken at the value, the low and the high end of what is left.
    left = usable - weights - overhead[[0, 2, 1]] - activations[0]
    pool = np.where(np.isnan(pool), left, pool)
    with np.errstate(divide="ignore", invalid="ignore"):
        held = max_concurrency(pool, kv) * groups
    unlimited = np.where(pool >= 0, float(MAX_BATCH), 0.0)
    most = np.minimum(room.most_sequences(kv, posed.input_len, live), MAX_BATCH)

    def search(place: int) -> ContextSearch:
        on = int(posed.on[place])
        return ContextSearch(
            model,
            posed.scenarios[on],
            int(posed.output_len[place]),
            standing[on].cache,
            room.at(place),
        )

    return Memories(
        weights_bytes=weights,
        kv_cache_bytes=kv * sequences,
        activations_bytes=activations,
        overhead_bytes=overhead[0],
        non_torch_bytes=non_torch,
        cuda_graph_bytes=graphs,
        usable_bytes=usable,
        kv_pool_bytes=pool,
        max_concurrency=np.where(kv > 0, held, unlimited),
        max_batch=np.minimum(np.maximum(np.floor(most), 0.0) * groups, MAX_BATCH),
        searches=search,
        notes=lambda place: standing[int(posed.on[place])].taken.note,
    )


def memory_of(model: Model, scenario: Scenario, workload: Workload) -> Memory:
    """The memory of a load, without its times."""
    return memories_of(model, Posed.of([scenario], [workload])).at(0)


def _cached(standing: Sequence[_Standing], posed: Posed) -> Array:
    """Bytes of the cache of one sequence of each load at its full length, shape (K,)."""
    caches = [each.cache for each in standing]
    kinds = list(dict.fromkeys(caches))
    total_len = posed.total_len
    if len(kinds) == 1:
        return kinds[0].bytes_at(total_len)
    kind = np.array([kinds.index(cache) for cache in caches])[posed.on]
    each = np.stack([cache.bytes_at(total_len) for cache in kinds])
    found: Array = each[kind, np.arange(posed.count)]
    return found


def _live(model: Model, posed: Posed) -> Live:
    """Live activations of one sequence of each load, in a chunk of prefill and in the last decode step.

    At given lengths the activations of a step are proportional to its sequences, so one sequence tells all.
    """
    peaks = [
        _peaks(model, layout.scenarios, layout.laid(posed.input_len), layout.laid(posed.total_len))
        for layout in posed.layouts
    ]
    return Live(*(posed.read(of_stage) for of_stage in zip(*peaks, strict=True)))


def _peaks(
    model: Model, scenarios: Sequence[Scenario], input_len: Array, total_len: Array
) -> Sequence[Array]:
    """Live activations of one sequence of each scenario, in a chunk of prefill and in the last decode step at
    lengths of shape (S, L): two arrays of that shape.
    """
    steps = _activation_steps([scenario.deployment for scenario in scenarios], input_len, total_len)
    tables = [operator_table(model, scenarios[0].placement(stage)) for stage in Stage]
    if tables[0] is tables[1]:
        width, peaks = input_len.shape[1], live_bytes(tables[0], scenarios, joined(*steps))
        return peaks[:, :width], peaks[:, width:]
    return [live_bytes(table, scenarios, of_stage) for table, of_stage in zip(tables, steps, strict=True)]


def _activation_steps(
    deployments: Sequence[Deployment], input_len: Array, total_len: Array
) -> tuple[Steps, Steps]:
    """The steps of one sequence whose live activations decide the peak, of S deployments: a chunk of prefill
    and the last decode step at lengths of shape (S, L).
    """
    one, nothing = np.ones_like(input_len), np.zeros_like(input_len)
    groups = deployments[0].parallel.attention_dp
    limits = np.array([chunk_tokens(d) for d in deployments], dtype=np.float64)[:, None]
    chunk = np.minimum(input_len, limits)
    drafted = np.array([0 if d.speculation is None else d.speculation.tokens for d in deployments])[:, None]
    verified = one + drafted
    return (
        Steps(one, chunk, input_len, nothing, one, chunk * groups),
        Steps(one, verified, total_len + drafted, nothing, verified, verified * groups),
    )


class _Standing(NamedTuple):
    """What a scenario has in memory whatever its load: weights, the cache of a sequence, the reserved."""

    weights_bytes: float
    cache: Cache
    taken: _Reserved

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


def _exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


SEARCH_WIDTH = 16
"""Contexts that one round of the search for the longest evaluates together."""


@dataclass(frozen=True)
class ContextSearch:
    """The search for the longest context at which the sequences of one load fit: the room beside its weights,
    and the output that a request keeps where a context has room for it.
    """

    model: Model
    scenario: Scenario
    output_len: int
    cache: Cache
    room: _Room

    def longest(self) -> int:
        """The longest context at which today's sequences fit.

        Activations never shrink with the context. So the cache that fits beside the longest context's
        activations bounds the answer from below, and the cache that fits beside the activations found there
        from above; most often the two meet. Between them, each round evaluates SEARCH_WIDTH contexts and
        keeps the gap in which it stops fitting.
        """
        longest = longest_context(self.model)
        at_longest = self._activations([longest])
        if self._holds([longest], at_longest)[0]:
            return longest
        fits = min(self._cached_beside(at_longest), longest)
        fails = min(self._cached_beside(self._activations([max(fits, 1)])) + 1, longest)
        while fails - fits > 1:
            step = max((fails - fits) // SEARCH_WIDTH, 1)
            tried = list(range(fits + step, fails, step))
            for context, holds in zip(tried, self._holds(tried, self._activations(tried)), strict=True):
                if not holds:
                    fails = context
                    break
                fits = context
        return fits

    def _activations(self, contexts: Sequence[int]) -> Array:
        """Activation peaks of today's sequences at some contexts, bytes."""
        total_len = np.array(contexts, dtype=np.float64)
        # Today's output where a context holds that.
        input_len = np.maximum(total_len - self.output_len, 1.0)
        peaks = _peaks(self.model, [self.scenario], input_len[None], total_len[None])
        return self.room.activations(input_len, Live(*(peak[0] for peak in peaks)))

    def _holds(self, contexts: Sequence[int], activations: Array) -> NDArray[np.bool_]:
        """Whether today's sequences fit at contexts."""
        cached = self.cache.bytes_at(np.array(contexts, dtype=np.float64))
        holds: NDArray[np.bool_] = cached * self.room.sequences + activations <= self.room.room_bytes
        return holds

    def _cached_beside(self, activations: Array) -> int:
        """The longest sequence whose cache fits beside the activations of another context."""
        return self._max_cached(float((self.room.room_bytes - activations)[0] / self.room.sequences[0]))

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
