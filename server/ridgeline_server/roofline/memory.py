"""Device memory: weights, KV cache, live activations and overhead, and the largest load that fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import QUANTIZED_MODULES, Deployment
from ridgeline_server.domain.dtypes import ELEMENT_BITS, Dtype, kv_bits
from ridgeline_server.domain.efficiency import Estimate
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.mixers import Attention, CompressedAttention, LatentAttention, Mixer
from ridgeline_server.domain.model import LayerKind, Model
from ridgeline_server.domain.tensors import TensorKind, WeightTensor
from ridgeline_server.domain.workload import MAX_BATCH, MAX_LEN, Workload
from ridgeline_server.roofline.cost import live_bytes
from ridgeline_server.roofline.grid import Scenario
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.sharding import kv_head_share, stored_share
from ridgeline_server.roofline.operators.table import operator_table
from ridgeline_server.roofline.operators.variables import Steps
from ridgeline_server.roofline.steps import sequences_of_device
from ridgeline_server.roofline.wording import GIB

Array = NDArray[np.float64]

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
    """What occupies a device, the fullest one, when every sequence has its full length; bytes.

    `overhead_bytes` is what the driver and the engine take: `non_torch_bytes` outside of the tensor allocator and
    `cuda_graph_bytes`, the latter only as far as the engine counts them into its share of the device.
    `kv_pool_bytes` is what weights, activations and overhead leave. `max_concurrency` is how many sequences of
    the full length the pool of all devices holds; `engine_note` tells whose figures these are.
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
    max_context_len: int
    engine_note: str

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
    """Bytes of the weights that one device holds, the fullest one, with their scales; vectors stay in the
    compute format. Of a pipeline's stages the first has the embedding and the last lm_head; a share of the
    layers' matrices may lie in the host's memory.
    """
    parallel = deployment.parallel
    layers = 0.0
    for kind in model.layer_kinds:
        kv_heads = _kv_heads(kind)
        layers += kind.count * sum(_held(t, kv_heads, deployment) for t in kind.tensors if not t.shared)
    layers *= ceil(model.layer_count / parallel.pp) / model.layer_count
    ends = [_held(t, 1, deployment) for t in model.tensors if not t.shared]
    # A tied lm_head is a copy on the last stage; it is never larger than the embedding on the first.
    return layers + (sum(ends) if parallel.pp == 1 else max(ends))


def _held(tensor: WeightTensor, kv_heads: int, deployment: Deployment) -> float:
    """Bytes of a tensor on one device of a pipeline stage."""
    share = stored_share(tensor, kv_heads, deployment.parallel)
    if tensor.kind is TensorKind.VECTOR:
        return tensor.parameters * share * ELEMENT_BITS[deployment.compute_dtype] / 8
    offloaded = deployment.offload.weight_share if tensor.module in QUANTIZED_MODULES else 0.0
    return tensor.parameters * share * deployment.stored_bits(tensor.module) / 8 * (1 - offloaded)


def _kv_heads(kind: LayerKind) -> int:
    return next((m.kv_head_count for m in kind.mixers if isinstance(m, Attention)), 1)


class Growth(NamedTuple):
    """What a sequence adds to a device's cache: `bytes_per_token` up to `limit` tokens."""

    limit: float
    bytes_per_token: float


@dataclass(frozen=True)
class Cache:
    """The cache of one sequence on one device, the fullest: what grows with its tokens, and what does not."""

    growth: tuple[Growth, ...]
    state_bytes: float

    def bytes_at(self, length: float) -> float:
        """Bytes of a sequence of so many tokens."""
        return self.state_bytes + sum(rate * min(length, limit) for limit, rate in self.growth)


def cache_of(model: Model, deployment: Deployment) -> Cache:
    """The cache of one sequence; layers with a window keep its keys only. Key-value heads are divided over
    tensor-parallel devices as far as they go, the latents of MLA not at all.
    """
    stage = ceil(model.layer_count / deployment.parallel.pp) / model.layer_count
    held = stage * (1 - deployment.offload.kv_share)
    rates: dict[float, float] = {}
    states = 0.0
    for kind in model.layer_kinds:
        for mixer in kind.mixers:
            for limit, rate in _mixer_growth(mixer, deployment):
                rates[limit] = rates.get(limit, 0.0) + kind.count * rate * held
            for state in mixer.states:
                bits = ELEMENT_BITS[state.dtype or model.dtype]
                states += kind.count * stage * state.elements * bits / 8 / deployment.parallel.tp
    return Cache(tuple(Growth(limit, rate) for limit, rate in sorted(rates.items()) if rate), states)


def _mixer_growth(mixer: Mixer, deployment: Deployment) -> list[tuple[float, float]]:
    dtype, kept = deployment.kv_dtype, deployment.kv_keep_ratio
    match mixer:
        case Attention():
            share = kv_head_share(mixer.kv_head_count, deployment.parallel)
            indexed = mixer.indexer.kv_elements_per_token if mixer.indexer else 0
            own = mixer.kv_elements_per_token - indexed
            limit = mixer.window or mixer.chunk or inf
            return [
                (limit, kept * own * share * kv_bits(dtype, mixer.head_dim) / 8),
                *_indexer(indexed, dtype),
            ]
        case LatentAttention():
            indexed = mixer.indexer.kv_elements_per_token if mixer.indexer else 0
            own = mixer.kv_elements_per_token - indexed
            return [
                (mixer.window or inf, kept * own * kv_bits(dtype, own) / 8),
                *_indexer(indexed, dtype),
            ]
        case CompressedAttention():
            entry = kv_bits(dtype, mixer.head_dim) / 8
            return [
                (mixer.window, mixer.head_dim * entry),
                (inf, kept * mixer.compressed_elements_per_token * entry),
            ]
        case _:
            return []


def _indexer(elements: float, dtype: Dtype) -> list[tuple[float, float]]:
    """An indexer's own keys, which every device holds whole and no window limits."""
    return [(inf, elements * kv_bits(dtype, max(int(elements), 1)) / 8)] if elements else []


ACTIVATION_LOADS = 2
"""How many loads `activation_loads` gives."""


class Live(NamedTuple):
    """Live activations of one sequence, bytes: in a chunk of prefill, and in a decode step at full length."""

    prefill: float
    decode: float


def activation_loads(model: Model, deployment: Deployment, workload: Workload) -> tuple[Steps, Steps]:
    """The steps of one sequence whose live activations decide the peak: a chunk of prefill and the last
    decode step, each at today's lengths and at the model's longest context.

    At given lengths the activations of a step are proportional to its sequences, so one sequence tells all.
    """
    lengths = [(workload.input_len, workload.total_len), _lengths_at(workload, _longest_context(model))]
    return _activation_steps(deployment, lengths)


def _activation_steps(deployment: Deployment, lengths: Sequence[tuple[int, int]]) -> tuple[Steps, Steps]:
    input_len, total_len = np.array(lengths, dtype=np.float64).T
    one, nothing = np.ones_like(input_len), np.zeros_like(input_len)
    chunk = np.minimum(input_len, chunk_tokens(deployment))
    drafted = 0 if deployment.speculation is None else deployment.speculation.tokens
    return (
        Steps(one, chunk, input_len, nothing, one, chunk * deployment.parallel.attention_dp),
        Steps(one, one + drafted, total_len + drafted, nothing, one + drafted, one + drafted),
    )


def chunk_tokens(deployment: Deployment) -> int:
    """Prompt tokens that are alive at once."""
    return min(deployment.chunk_tokens or PREFILL_CHUNK_TOKENS, PREFILL_CHUNK_TOKENS)


def estimate_memory(
    model: Model, scenario: Scenario, workload: Workload, live_bytes_of_loads: Sequence[float]
) -> Memory:
    """Memory of a load on one device, given the activation peaks of its `activation_loads`, bytes."""
    hardware, deployment = scenario.hardware, scenario.deployment
    today, at_longest = Live(*live_bytes_of_loads[:2]), Live(*live_bytes_of_loads[2:])
    weights = weights_bytes(model, deployment)
    usable = usable_bytes(hardware, deployment)
    sought = _Search(
        model=model,
        scenario=scenario,
        workload=workload,
        cache=cache_of(model, deployment),
        room=usable - weights - RUNTIME_OVERHEAD_BYTES,
        sequences=float(sequences_of_device(deployment, np.array(float(workload.batch)))),
    )
    kv = sought.cache.bytes_at(workload.total_len)
    longest = _longest_context(model)
    return Memory(
        weights_bytes=weights,
        kv_cache_bytes=kv * sought.sequences,
        activations_bytes=sought.activations(workload.input_len, today),
        overhead_bytes=RUNTIME_OVERHEAD_BYTES,
        usable_bytes=usable,
        max_batch=sought.max_batch(kv, workload.input_len, today),
        max_context_len=longest if sought.holds(longest, at_longest) else sought.max_context(at_longest),
    )


def usable_bytes(hardware: Hardware, deployment: Deployment) -> float:
    """What a process may allocate on a device; an engine may be told to leave a share alone."""
    return hardware.allocatable_bytes * (deployment.memory_utilization or 1.0)


def _longest_context(model: Model) -> int:
    return model.max_context_len or MAX_LEN


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

    def together(self, input_len: int) -> float:
        """Prompts whose prefill is alive at once: several, or a part of one."""
        chunk = chunk_tokens(self.scenario.deployment)
        return chunk / min(input_len, chunk)

    def activations(self, input_len: int, live: Live) -> float:
        """Activation peak of today's sequences."""
        return max(live.prefill * min(self.sequences, self.together(input_len)), live.decode * self.sequences)

    def holds(self, context: int, live: Live) -> bool:
        """Whether today's sequences fit at a context."""
        input_len = _lengths_at(self.workload, context)[0]
        needed = self.cache.bytes_at(context) * self.sequences + self.activations(input_len, live)
        return needed <= self.room

    def max_batch(self, kv: float, input_len: int, live: Live) -> int:
        """Largest batch of all devices together whose KV cache and activations fit."""
        parallel = self.scenario.deployment.parallel
        together = self.together(input_len)
        while_filling = min(self.room / (kv + live.prefill), together)
        when_full = (self.room - live.prefill * together) / kv if kv else inf
        most = min(max(while_filling, when_full), self.room / (kv + live.decode), MAX_BATCH)
        return min(max(floor(most), 0) * parallel.attention_dp * parallel.dp, MAX_BATCH)

    def max_context(self, live_at_longest: Live) -> int:
        """Longest context that fits; the model's longest does not.

        Activations never shrink with the context. So the cache that fits beside the longest context's
        activations bounds the answer from below, and the cache that fits beside the activations found there
        from above; most often the two meet. Between them, each round evaluates SEARCH_WIDTH contexts and
        keeps the gap in which it stops fitting.
        """
        longest = _longest_context(self.model)

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
            self.scenario.deployment, [_lengths_at(self.workload, context) for context in contexts]
        )
        peaks = [
            live_bytes(
                operator_table(self.model, self.scenario.placement(stage)),
                [self.scenario],
                of_stage.as_rows(),
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
