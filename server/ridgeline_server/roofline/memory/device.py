"""Device memory: weights, KV cache, live activations and overhead, and the largest load that fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.efficiency import Estimate
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import MAX_BATCH, Workload
from ridgeline_server.roofline.memory.activations import chunk_tokens, live_of
from ridgeline_server.roofline.memory.engine import max_concurrency
from ridgeline_server.roofline.memory.fitting import ContextSearch, Room
from ridgeline_server.roofline.memory.standing import Standing, standing_of
from ridgeline_server.roofline.posed import Posed
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.steps import attended

Array = NDArray[np.float64]


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
    standing = [standing_of(model, s, s.hardware.vendor, s.hardware.name) for s in posed.scenarios]
    figures = np.array([each.figures for each in standing]).T[:, posed.on]
    weights, usable = figures[:2]
    overhead, non_torch, graphs, reserved, pool = figures[2:].reshape(5, 3, -1)
    groups = posed.groups
    sequences = attended(posed.deployment, posed.batch).sequences
    live = live_of(model, posed)
    kv = _cached(standing, posed)
    room = Room(
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


def _cached(standing: Sequence[Standing], posed: Posed) -> Array:
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
