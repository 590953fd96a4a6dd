"""How much of a load fits beside the weights: the most sequences, and the longest context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import MAX_LEN
from ridgeline_server.roofline.memory.activations import Live, peaks_of
from ridgeline_server.roofline.memory.residents import Cache, longest_context
from ridgeline_server.roofline.scenario import Scenario

Array = NDArray[np.float64]

SEARCH_WIDTH = 16
"""Contexts that one round of the search for the longest evaluates together."""


class Room(NamedTuple):
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

    def at(self, place: int) -> Room:
        """That of one load, arrays (1,)."""
        return Room._make(figure[place : place + 1] for figure in self)

    def _together(self, input_len: Array) -> Array:
        """Prompts whose prefill is alive at once: several, or a part of one."""
        together: Array = self.chunk / np.minimum(input_len, self.chunk)
        return together


def _fitting(room: Array, each: Array) -> Array:
    """How many sequences of `each` bytes fit in some room."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(each > 0, room / each, np.where(room >= 0, inf, 0.0))


@dataclass(frozen=True)
class ContextSearch:
    """The search for the longest context at which the sequences of one load fit: the room beside its weights,
    and the output that a request keeps where a context has room for it.
    """

    model: Model
    scenario: Scenario
    output_len: int
    cache: Cache
    room: Room

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
        peaks = peaks_of(self.model, [self.scenario], input_len[None], total_len[None])
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
