"""Device memory: weights, KV cache, live activations and overhead, and the largest load that fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, inf
from typing import NamedTuple

import numpy as np

from ridgeline_server.domain.deployment import AttentionKernel, Deployment
from ridgeline_server.domain.dtypes import ELEMENT_BITS, kv_bits
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import MAX_BATCH, MAX_LEN, Workload
from ridgeline_server.roofline.cost import live_bytes
from ridgeline_server.roofline.grid import Step
from ridgeline_server.roofline.operators import operator_table, step_basis
from ridgeline_server.roofline.supported import attention_of
from ridgeline_server.roofline.wording import GIB

PREFILL_CHUNK_TOKENS = 8192
"""Engines process at most this many prompt tokens at once, which bounds the live activations: the default of
vLLM's max_num_batched_tokens on an H100 (vllm/engine/arg_utils.py). It does not touch the time of a prefill.
"""

RUNTIME_OVERHEAD_BYTES = 1.31 * GIB
"""Driver context and libraries 0.27 GiB, captured CUDA graphs 1.04 GiB: vLLM 0.19.0 on one H100, from
start-up logs (llm-d-planner, accuracy/accuracy_report.md@875a4fd).
"""


@dataclass(frozen=True)
class Memory:
    """What occupies a device when every sequence has its full length; bytes."""

    weights_bytes: float
    kv_cache_bytes: float
    activations_bytes: float
    overhead_bytes: float
    usable_bytes: float
    max_batch: int
    max_context_len: int

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


def weights_bytes(model: Model, deployment: Deployment) -> float:
    """Bytes of all weights with their scales; vectors stay in the compute format."""
    layers, vectors = model.layer_matrix_parameters, model.vector_parameters
    rest = model.parameter_count - layers - vectors
    return (
        layers * deployment.weight_bits
        + vectors * ELEMENT_BITS[deployment.compute_dtype]
        + rest * deployment.lm_head_bits
    ) / 8


def kv_cache_bytes_per_sequence(model: Model, deployment: Deployment, length: float) -> float:
    """KV cache bytes of one sequence of `length` tokens; layers with a window keep its keys only."""
    return sum(
        kind.count
        * attention.kv_elements_per_token
        * min(length, attention.window or inf)
        * kv_bits(deployment.kv_dtype, attention.head_dim)
        / 8
        for kind in model.layer_kinds
        for attention in (attention_of(kind),)
    )


ACTIVATION_STEPS = 4
"""How many steps `activation_steps` gives."""


class Live(NamedTuple):
    """Live activations of one sequence, bytes: in a chunk of prefill, and in a decode step at full length."""

    prefill: float
    decode: float


def activation_steps(model: Model, workload: Workload) -> tuple[Step, Step, Step, Step]:
    """The steps of one sequence whose live activations decide the peak: a chunk of prefill and the last
    decode step, at today's lengths and at the model's longest context.

    At given lengths the activations of a step are proportional to its sequences, so one sequence tells all.
    """
    return (
        *_activation_steps(workload.input_len, workload.total_len),
        *_activation_steps(*_lengths_at(workload, _longest_context(model))),
    )


def _activation_steps(input_len: int, total_len: int) -> tuple[Step, Step]:
    return Step(1, min(input_len, PREFILL_CHUNK_TOKENS), input_len), Step(1, 1, total_len)


def estimate_memory(
    model: Model,
    hardware: Hardware,
    deployment: Deployment,
    workload: Workload,
    live_bytes_of_steps: Sequence[float],
) -> Memory:
    """Memory of a load, given the activation peaks of its `activation_steps`, bytes."""
    today, at_longest = Live(*live_bytes_of_steps[:2]), Live(*live_bytes_of_steps[2:])
    longest = _longest_context(model)
    weights = weights_bytes(model, deployment)
    room = hardware.allocatable_bytes - weights - RUNTIME_OVERHEAD_BYTES
    kv = kv_cache_bytes_per_sequence(model, deployment, workload.total_len)
    fits_longest = _load_bytes(model, deployment, workload, longest, at_longest) <= room
    return Memory(
        weights_bytes=weights,
        kv_cache_bytes=kv * workload.batch,
        activations_bytes=_activations(workload.batch, workload.input_len, today),
        overhead_bytes=RUNTIME_OVERHEAD_BYTES,
        usable_bytes=hardware.allocatable_bytes,
        max_batch=_max_batch(room, kv, workload.input_len, today),
        max_context_len=(
            longest if fits_longest else _max_context(model, deployment, workload, at_longest, room)
        ),
    )


def _longest_context(model: Model) -> int:
    return model.max_context_len or MAX_LEN


def _activations(batch: float, input_len: int, live: Live) -> float:
    """Activation peak of a batch, whose prompts are prefilled in chunks of several of them or part of one."""
    return max(live.prefill * min(batch, _sequences_in_chunk(input_len)), live.decode * batch)


def _sequences_in_chunk(input_len: int) -> float:
    return PREFILL_CHUNK_TOKENS / min(input_len, PREFILL_CHUNK_TOKENS)


def _max_batch(room: float, kv: float, input_len: int, live: Live) -> int:
    """Largest batch whose KV cache and activations fit in `room` bytes."""
    prefill, decode = live
    together = _sequences_in_chunk(input_len)
    while_filling = min(room / (kv + prefill), together)
    when_full = (room - prefill * together) / kv
    most = min(max(while_filling, when_full), room / (kv + decode), MAX_BATCH)
    return max(floor(most), 0)


def _lengths_at(workload: Workload, context: int) -> tuple[int, int]:
    """Input and total length of a request that fills a context, with today's output where it holds that."""
    return max(context - workload.output_len, 1), context


def _load_bytes(model: Model, deployment: Deployment, workload: Workload, context: int, live: Live) -> float:
    """KV cache and activations of today's batch at a context, bytes."""
    kv = kv_cache_bytes_per_sequence(model, deployment, context)
    return kv * workload.batch + _activations(workload.batch, _lengths_at(workload, context)[0], live)


SEARCH_WIDTH = 16
"""Contexts that one round of the search for the longest evaluates together."""


def _max_context(
    model: Model, deployment: Deployment, workload: Workload, live_at_longest: Live, room: float
) -> int:
    """Longest context of today's batch that fits in `room` bytes; the model's longest does not.

    Activations never shrink with the context. So the cache that fits beside the longest context's activations
    bounds the answer from below, and the cache that fits beside the activations found there from above; most
    often the two meet. Between them, each round evaluates SEARCH_WIDTH contexts and keeps the gap in which it
    stops fitting.
    """
    longest = _longest_context(model)

    def cached(live: Live, context: int) -> int:
        """Longest context whose cache fits beside the activations of another context."""
        activations = _activations(workload.batch, _lengths_at(workload, context)[0], live)
        return min(_max_cached(model, deployment, (room - activations) / workload.batch), longest)

    fits = cached(live_at_longest, longest)
    fails = min(cached(_live(model, deployment, workload, [max(fits, 1)])[0], max(fits, 1)) + 1, longest)
    while fails - fits > 1:
        step = max((fails - fits) // SEARCH_WIDTH, 1)
        tried = list(range(fits + step, fails, step))
        lives = _live(model, deployment, workload, tried)
        for context, live in zip(tried, lives, strict=True):
            if _load_bytes(model, deployment, workload, context, live) > room:
                fails = context
                break
            fits = context
    return fits


def _live(model: Model, deployment: Deployment, workload: Workload, contexts: Sequence[int]) -> list[Live]:
    """Live activations of one sequence at some contexts."""
    table = operator_table(model)
    steps = [step for context in contexts for step in _activation_steps(*_lengths_at(workload, context))]
    batch, query_len, keys, span = np.array(steps, dtype=np.float64).T
    ones = np.ones_like(batch)
    peaks = live_bytes(
        table,
        step_basis(table, batch, query_len, keys, span),
        ELEMENT_BITS[deployment.compute_dtype] * ones,
        ELEMENT_BITS[deployment.activation_dtype] * ones,
        table.used(ones == (deployment.attention is AttentionKernel.FUSED)),
    ).tolist()
    return [Live(*pair) for pair in zip(peaks[::2], peaks[1::2], strict=True)]


def _max_cached(model: Model, deployment: Deployment, room: float) -> int:
    """Longest sequence whose KV cache fits in `room` bytes.

    The cache grows linearly between the lengths at which a layer kind's window fills up and stops growing.
    """
    growth = sorted(
        (
            attention.window or inf,
            kind.count
            * attention.kv_elements_per_token
            * kv_bits(deployment.kv_dtype, attention.head_dim)
            / 8,
        )
        for kind in model.layer_kinds
        for attention in (attention_of(kind),)
    )
    length, slope = 0.0, sum(rate for _, rate in growth)
    for window, rate in growth:
        if slope * (window - length) > room:
            return max(floor(length + room / slope), 0)
        room -= slope * (window - length)
        length, slope = window, slope - rate
    return MAX_LEN
