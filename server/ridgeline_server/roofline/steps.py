"""From loads to steps: how a deployment cuts prefills and decode into steps of one device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.operators.variables import Steps

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Loads:
    """N loads as arrays of shape (N,): sequences, input and output tokens of each."""

    batch: Array
    input_len: Array
    output_len: Array

    @classmethod
    def of(cls, *workloads: Workload) -> Loads:
        """Some workloads as arrays."""
        figures = np.array([(w.batch, w.input_len, w.output_len) for w in workloads], dtype=np.float64)
        return cls(*figures.T)


@dataclass(frozen=True, eq=False)
class Prefill:
    """N prefills as steps that are alike: one such step, and how many take as long as the whole prefill, the
    filling of a pipeline included; shape (N,).
    """

    steps: Steps
    count: Array


def prefill(deployment: Deployment, sequences: Array, input_len: Array) -> Prefill:
    """The prefill of so many prompts on each device, in chunks and pipeline stages as the deployment has
    them.

    Of a prompt that is cached in part only the rest is computed, one token at least. Chunks of a prompt are
    of equal size; a chunk that has room takes several prompts.
    """
    parallel = deployment.parallel
    queries = np.maximum(input_len - np.floor(deployment.prefix_hit_rate * input_len), 1.0)
    chunks = np.ones_like(queries)
    together = sequences
    if deployment.chunk_tokens is not None:
        chunks = np.ceil(queries / deployment.chunk_tokens)
        together = np.clip(np.floor(deployment.chunk_tokens / (queries / chunks)), 1.0, sequences)
    if parallel.pp > 1:
        together = np.minimum(together, np.ceil(sequences / parallel.pp))
    groups = np.ceil(sequences / together)
    query_len, batch = queries / chunks, sequences / groups
    count = groups * chunks
    if parallel.pp > 1:
        count = (count + parallel.pp - 1) / parallel.pp
    return Prefill(
        Steps(
            batch=batch,
            query_len=query_len,
            keys=input_len - queries + query_len,
            span=queries - query_len,
            positions=1 / chunks,
            expert_tokens=batch * query_len * parallel.attention_dp,
        ),
        count,
    )


def decode(deployment: Deployment, sequences: Array, keys: Array, span: Array) -> Steps:
    """Decode steps of so many sequences on each device, on the mean over steps that read `keys` to `keys` +
    `span` keys of each. A pipeline works on as many parts of the sequences as it has stages; drafted tokens
    are verified together with the one before them.
    """
    parallel, drafted = deployment.parallel, 0
    if deployment.speculation is not None:
        drafted = deployment.speculation.tokens
    batch = np.ceil(sequences / parallel.pp)
    query_len = np.full_like(batch, 1.0 + drafted)
    kept = deployment.kv_keep_ratio
    return Steps(
        batch=batch,
        query_len=query_len,
        keys=np.maximum(kept * keys, 1.0) + drafted,
        span=kept * span,
        positions=query_len,
        expert_tokens=batch * query_len * parallel.attention_dp,
    )


def sequences_of_device(deployment: Deployment, batch: Array) -> Array:
    """Sequences of a load that one device attends to: a share of its replica's, rounded up."""
    parallel = deployment.parallel
    share: Array = np.ceil(np.ceil(batch / parallel.dp) / parallel.attention_dp)
    return share
