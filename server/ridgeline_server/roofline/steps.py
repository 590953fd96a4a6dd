"""From loads to steps: how a deployment cuts prefills and decode into steps of one device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.operators.variables import Steps

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Loads:
    """Loads as arrays of shape (S, N), or (1, N) where all scenarios have the same: sequences, input and
    output tokens of each.
    """

    batch: Array
    input_len: Array
    output_len: Array

    @classmethod
    def of(cls, *workloads: Workload) -> Loads:
        """Some workloads, the same for all scenarios."""
        figures = np.array([(w.batch, w.input_len, w.output_len) for w in workloads], dtype=np.float64)
        return cls(*figures.T[:, None])


@dataclass(frozen=True, eq=False)
class Prefill:
    """Prefills as steps that are alike: one such step of each, and how many take as long as the whole
    prefill, the filling of a pipeline included; shape (S, N).
    """

    steps: Steps
    count: Array


def _column(figures: Iterable[float]) -> Array:
    """One figure for each scenario, shape (S, 1)."""
    return np.array(list(figures), dtype=np.float64)[:, None]


def prefill(deployments: Sequence[Deployment], sequences: Array, input_len: Array, groups: Array) -> Prefill:
    """The prefill of so many prompts on each device, in chunks and pipeline stages as the deployments have
    them; arrays of shape (S, N). The deployments share their parallelism.

    Of a prompt that is cached in part only the rest is computed, one token at least. Chunks of a prompt are
    of equal size; a chunk that has room takes several prompts.
    """
    parallel = deployments[0].parallel
    queries, together, chunks = input_len, sequences, np.ones_like(input_len)
    if any(d.prefix_hit_rate for d in deployments):
        hit = np.floor(_column(d.prefix_hit_rate for d in deployments) * input_len)
        queries = np.maximum(input_len - hit, 1.0)
    if any(d.chunk_tokens is not None for d in deployments):
        limit = _column(np.inf if d.chunk_tokens is None else d.chunk_tokens for d in deployments)
        chunks = np.maximum(np.ceil(queries / limit), 1.0)
        together = np.clip(np.floor(limit / (queries / chunks)), 1.0, sequences)
    parts = np.ceil(sequences / together)
    if parallel.pp > 1:
        parts = np.maximum(parts, np.minimum(sequences, parallel.pp))
    query_len, batch = queries / chunks, sequences / parts
    count = parts * chunks
    if parallel.pp > 1:
        count = (count + parallel.pp - 1) / parallel.pp
    return Prefill(
        Steps(
            batch=batch,
            query_len=query_len,
            keys=input_len - queries + query_len,
            span=queries - query_len,
            positions=1 / chunks,
            expert_tokens=batch * query_len * groups,
        ),
        count,
    )


def decode(
    deployments: Sequence[Deployment], sequences: Array, keys: Array, span: Array, groups: Array
) -> Steps:
    """Decode steps of so many sequences on each device, on the mean over steps that read `keys` to `keys` +
    `span` keys of each; arrays of shape (S, N). A pipeline works on as many parts of the sequences as it has
    stages; drafted tokens are verified together with the one before them. A window holds the first keys and
    the last ones, no more of them together than it says. The deployments share their parallelism.
    """
    parallel = deployments[0].parallel
    batch = np.ceil(sequences / parallel.pp) if parallel.pp > 1 else sequences
    query_len = np.ones_like(batch)
    if any(d.kv_keep_ratio != 1 for d in deployments):
        kept = _column(d.kv_keep_ratio for d in deployments)
        keys, span = np.maximum(kept * keys, 1.0), kept * span
    if any(d.kv_window is not None for d in deployments):
        keys, span = _windowed(
            keys, span, _column(np.inf if d.kv_window is None else d.kv_window for d in deployments)
        )
    if any(d.speculation is not None for d in deployments):
        drafted = _column(0 if d.speculation is None else d.speculation.tokens for d in deployments)
        query_len, keys = query_len + drafted, keys + drafted
    return Steps(
        batch=batch,
        query_len=query_len,
        keys=keys,
        span=span,
        positions=query_len,
        expert_tokens=batch * query_len * groups,
    )


def _windowed(keys: Array, span: Array, window: Array) -> tuple[Array, Array]:
    """Keys and their span within a window. Steps that fill it on their way are told by their mean, in which
    all that they cost is linear but for layers with a narrower window of their own that fills meanwhile too.
    """
    within = keys + span <= window
    most = np.minimum(keys + span, window)
    growing = np.clip(np.floor(most - keys), 0, span)
    total = (growing + 1) * np.minimum(keys, most) + growing * (growing + 1) / 2
    mean = (total + (span - growing) * most) / (span + 1)
    return np.where(within, keys, mean), np.where(within, span, 0.0)


class Attended(NamedTuple):
    """Sequences that one device attends to, and how many groups of devices attend to as many others whose
    tokens meet the same experts; arrays of one shape.
    """

    sequences: Array
    groups: Array


def attended(deployment: Deployment, batch: Array, *, in_loop: bool = False) -> Attended:
    """The share of a load that the fullest device has: of a static batch rounded up to whole sequences, in a
    loop, where requests come and go, the mean, one at least. Groups that have none are not counted.
    """
    parallel = deployment.parallel
    if in_loop:
        replica = np.maximum(batch / parallel.dp, 1.0)
        sequences = np.maximum(replica / parallel.attention_dp, 1.0)
    else:
        replica = np.ceil(batch / parallel.dp)
        sequences = np.ceil(replica / parallel.attention_dp)
    return Attended(sequences, replica / sequences)


def prompts_at_once(sequences: Array, *, in_loop: bool) -> Array:
    """Prompts that a device prefills in one go: in a loop they come one by one."""
    return np.ones_like(sequences) if in_loop else sequences


def tokens_of_steps(per_step: Array, output_len: Array) -> Array:
    """Tokens that a decode step gives each sequence on average, where it gives so many at most: no more than
    are left after the first; arrays of one shape.
    """
    fewer: Array = np.minimum(per_step, np.maximum(output_len - 1, 1))
    return fewer


def tokens_per_step(deployments: Sequence[Deployment]) -> Array:
    """Tokens that a decode step of each deployment gives a sequence at most, shape (S, 1)."""
    return _column(d.tokens_per_step for d in deployments)
