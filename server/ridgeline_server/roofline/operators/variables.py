"""Step variables: what the FLOPs and bytes of an operator are linear in, and their values for given steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.roofline.experts import busiest_rank_share, distinct_experts

Array = NDArray[np.float64]


class Reach(Enum):
    """Which keys before it a query of a limited view sees."""

    NEAREST = auto()
    """The last `limit`, itself included: a sliding window."""
    CHUNK = auto()
    """Those of its own chunk of `limit`. A decode step is costed at a full chunk, which it never exceeds. The
    keys that a step reads are counted as those of a window, which are no fewer.
    """
    CHOSEN = auto()
    """Any `limit` of them, which an indexer picks for each query."""


class View(NamedTuple):
    """The keys that a query sees: all before it, or `limit` of them."""

    limit: int | None = None
    reach: Reach = Reach.NEAREST


ALL_KEYS = View()


class Routing(NamedTuple):
    """How tokens meet experts: each makes `per_token` of `choices`, `expert_count` of which are experts, in
    equal shares on `ranks` devices; `popularity_spread` is the coefficient of variation of their popularity.
    """

    expert_count: int
    choices: int
    per_token: int
    ranks: int = 1
    popularity_spread: float = 0.0


class Count(Enum):
    """What a variable counts, for one device and step."""

    ONE = auto()
    TOKENS = auto()
    SEQUENCES = auto()
    POSITIONS = auto()
    """Positions whose logits are computed: one of each sequence, all drafted ones when they are verified."""
    KEYS = auto()
    """Keys of all sequences that any query of the step sees."""
    SCORES = auto()
    """Queries times those keys: what unfused attention materialises."""
    PAIRS = auto()
    """(query, key) pairs that mask and view leave."""
    EXPERTS_HIT = auto()
    """Distinct experts of this device that some token of the step chose."""
    EXPERT_TOKENS = auto()
    """(token, expert) pairs on the busiest device."""
    LENGTH_SHARE = auto()
    """Keys of one sequence over themselves and LENGTH_SCALE: how near a walk over them is to its longest."""
    TILES = auto()
    """Tiles of TILE_QUERIES queries of all sequences."""


LENGTH_SCALE = 512.0
"""Keys at which half of a decode kernel's serial work is reached; longer sequences are split over processors.
Fitted on the decode kernels of docs/kernels.md.
"""
TILE_QUERIES = 128.0
"""Queries of one tile of a prefill kernel (FlashAttention and its successors)."""


class Variable(NamedTuple):
    """A step variable; `of` tells the view or the routing of those that have one."""

    what: Count
    of: View | Routing | None = None


ONE = Variable(Count.ONE)
TOKENS = Variable(Count.TOKENS)
SEQUENCES = Variable(Count.SEQUENCES)
POSITIONS = Variable(Count.POSITIONS)
TILES = Variable(Count.TILES)


@dataclass(frozen=True)
class Steps:
    """Steps of one device as arrays of shape (S, K).

    A step processes `query_len` tokens of each of `batch` sequences, which then hold `keys` keys each, and
    computes logits at `positions` of each. With a `span` it stands for the mean of the steps whose keys go
    from `keys` to `keys` + `span`: decode steps one token apart, or chunks of a prefill `query_len` apart.
    `expert_tokens` are those of all devices that share the experts.
    """

    batch: Array
    query_len: Array
    keys: Array
    span: Array
    positions: Array
    expert_tokens: Array

    @property
    def arrays(self) -> tuple[Array, ...]:
        """All arrays, in the order of the fields."""
        return self.batch, self.query_len, self.keys, self.span, self.positions, self.expert_tokens

    @property
    def decodes(self) -> NDArray[np.bool_]:
        """Which are decode steps: they compute the logits of all their tokens."""
        every: NDArray[np.bool_] = self.positions >= self.query_len
        return every


def joined(first: Steps, second: Steps) -> Steps:
    """The steps of two sets side by side."""
    pairs = zip(first.arrays, second.arrays, strict=True)
    return Steps(*(np.concatenate(pair, axis=1) for pair in pairs))


def values(variables: Sequence[Variable], steps: Steps) -> Array:
    """The variables' values, shape (S, variables, K) for steps of shape (S, K)."""
    scenarios, columns = steps.batch.shape
    found = np.empty((scenarios, len(variables), columns))
    seen: dict[View, Array] = {}
    for index, (what, of) in enumerate(variables):
        found[:, index] = _value(what, of, steps, seen)
    return found


def _value(count: Count, of: View | Routing | None, steps: Steps, seen: dict[View, Array]) -> Array | float:
    if isinstance(of, View):
        if count is Count.PAIRS:
            return steps.batch * _pairs(of, steps)
        if of not in seen:
            seen[of] = _seen(of, steps)
        if count is Count.LENGTH_SHARE:
            return seen[of] / (seen[of] + LENGTH_SCALE)
        return steps.batch * seen[of] * (steps.query_len if count is Count.SCORES else 1.0)
    if isinstance(of, Routing):
        return _experts(count, of, steps)
    match count:
        case Count.ONE:
            return 1.0
        case Count.TOKENS:
            return steps.batch * steps.query_len
        case Count.SEQUENCES:
            return steps.batch
        case Count.POSITIONS:
            return steps.batch * steps.positions
        case Count.TILES:
            return steps.batch * np.ceil(steps.query_len / TILE_QUERIES)
        case _:
            raise ValueError(f"{count} needs a view or a routing")


def _seen(view: View, steps: Steps) -> Array:
    """Keys of one sequence that any query of the step sees, on the mean over its span."""
    if view.limit is None:
        return steps.keys + steps.span / 2
    limit = steps.query_len * view.limit
    if view.reach is not Reach.CHOSEN:
        limit = steps.query_len - 1 + view.limit
    apart = np.where(steps.decodes, 1.0, steps.query_len)
    later = steps.span / apart
    growing = np.clip(np.floor((limit - steps.keys) / apart), 0, later)
    total = (growing + 1) * np.minimum(steps.keys, limit) + apart * growing * (growing + 1) / 2
    mean: Array = (total + (later - growing) * limit) / (later + 1)
    return mean


def _pairs(view: View, steps: Steps) -> Array:
    """(query, key) pairs of one sequence, on the mean over its span: the queries of all its steps follow one
    another.
    """
    before, queries = steps.keys - steps.query_len, steps.query_len + steps.span
    share = steps.query_len / (steps.query_len + steps.span)
    if view.limit is None:
        return steps.query_len * (before + (queries + 1) / 2)
    if view.reach is Reach.CHUNK:
        limit = float(view.limit)
        chunked = _within_chunks(before + queries, limit) - _within_chunks(before, limit)
        # A decode step is costed at a full chunk, so that a longer context never costs less.
        full = _limited(before, queries, limit)
        return share * np.where(steps.decodes, full, chunked)
    return share * _limited(before, queries, float(view.limit))


def _limited(before: Array, queries: Array, limit: float) -> Array:
    """Sum over `queries` that follow `before` keys of the keys each sees, at most `limit`."""
    growing = np.clip(limit - before, 0, queries)
    total: Array = growing * before + growing * (growing + 1) / 2 + (queries - growing) * limit
    return total


def _within_chunks(length: Array, chunk: float) -> Array:
    """Sum over the first `length` queries of the keys of its own chunk that each sees."""
    rest = length % chunk
    total: Array = (length - rest) * (chunk + 1) / 2 + rest * (rest + 1) / 2
    return total


def _experts(count: Count, routing: Routing, steps: Steps) -> Array:
    tokens = steps.expert_tokens
    real = routing.expert_count / routing.choices
    if count is Count.EXPERTS_HIT:
        return distinct_experts(tokens, routing.choices, routing.per_token) * (real / routing.ranks)
    pairs = tokens * (routing.per_token * real / routing.ranks)
    if routing.ranks == 1:
        return pairs
    return pairs * busiest_rank_share(
        tokens, routing.choices, routing.per_token, routing.ranks, routing.popularity_spread
    )
