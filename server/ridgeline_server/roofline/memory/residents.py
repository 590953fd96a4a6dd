"""What lies in a device's memory all the time: its share of the weights, and the cache of each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import QUANTIZED_MODULES, Deployment
from ridgeline_server.domain.dtypes import ELEMENT_BITS, Dtype, kv_bits
from ridgeline_server.domain.mixers import Attention, CompressedAttention, LatentAttention, Mixer
from ridgeline_server.domain.model import LayerKind, Model
from ridgeline_server.domain.tensors import TensorKind, WeightTensor
from ridgeline_server.domain.workload import MAX_LEN
from ridgeline_server.roofline.operators.sharding import kv_head_share, stored_share

Array = NDArray[np.float64]


@lru_cache(maxsize=4096)
def weights_bytes(model: Model, deployment: Deployment) -> float:
    """Bytes of the weights that one device holds, the fullest one, with their scales; vectors stay in the
    compute format. Of a pipeline's stages the first has the embedding and the last lm_head; a share of the
    layers' matrices may lie in the host's memory.
    """
    parallel = deployment.parallel
    layer = [
        sum(_held(t, _kv_heads(kind), deployment) for t in kind.tensors if not t.shared)
        for kind in model.layer_kinds
    ]
    layers = max(
        sum(count * size for count, size in zip(counts, layer, strict=True))
        for counts in stage_layers(model, parallel.pp)
    )
    ends = [_held(t, 1, deployment) for t in model.tensors if not t.shared]
    # A tied lm_head is a copy on the last stage; it is never larger than the embedding on the first.
    return layers + (sum(ends) if parallel.pp == 1 else max(ends))


@lru_cache(maxsize=1024)
def stage_layers(model: Model, pp: int) -> tuple[tuple[int, ...], ...]:
    """Layers of each kind in each of `pp` stages, which take the layers in turn, as many each as it takes."""
    size = ceil(model.layer_count / pp)
    sequence, kinds = model.layer_sequence, range(len(model.layer_kinds))
    stages = [sequence[first : first + size] for first in range(0, model.layer_count, size)]
    return tuple(dict.fromkeys(tuple(stage.count(kind) for kind in kinds) for stage in stages))


def weights_of_layers(model: Model, deployment: Deployment) -> float:
    """Bytes of all layers' weights that one device would hold without pipeline stages."""
    return sum(
        kind.count * sum(_held(t, _kv_heads(kind), deployment) for t in kind.tensors if not t.shared)
        for kind in model.layer_kinds
    )


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

    def beside(self, other: Cache) -> Cache:
        """The caches of two models for the same sequence."""
        growth = sorted((*self.growth, *other.growth))
        return Cache(tuple(growth), self.state_bytes + other.state_bytes)

    def bytes_at(self, length: Array) -> Array:
        """Bytes of sequences of so many tokens."""
        grown: Array = sum(
            (rate * np.minimum(length, limit) for limit, rate in self.growth), start=0 * length
        )
        return self.state_bytes + grown


@lru_cache(maxsize=4096)
def cache_of(model: Model, deployment: Deployment) -> Cache:
    """The cache of one sequence; layers with a window keep its keys only. Key-value heads are divided over
    tensor-parallel devices as far as they go, the latents of MLA not at all. Of a sequence's keys a share is
    kept: a window, the layer's own or one over all, is full when so many are. Of a pipeline's stages it is
    the one with most to cache at the model's longest context.
    """
    stages = [
        _cache_of_stage(model, deployment, counts) for counts in stage_layers(model, deployment.parallel.pp)
    ]
    longest = np.array(float(longest_context(model)))
    return max(stages, key=lambda cache: float(cache.bytes_at(longest)))


def _cache_of_stage(model: Model, deployment: Deployment, counts: Sequence[int]) -> Cache:
    """The cache of one sequence in a stage that has so many layers of each kind."""
    kept, held = deployment.kv_keep_ratio, 1 - deployment.offload.kv_share
    window = inf if deployment.kv_window is None else deployment.kv_window
    rates: dict[float, float] = {}
    states = 0.0
    for kind, count in zip(model.layer_kinds, counts, strict=True):
        for mixer in kind.mixers:
            for limit, rate in _mixer_growth(mixer, deployment):
                tokens = min(limit, window) / kept
                rates[tokens] = rates.get(tokens, 0.0) + count * rate * held * kept
            for state in mixer.states:
                bits = ELEMENT_BITS[state.dtype or model.dtype]
                states += count * state.elements * bits / 8 / deployment.parallel.tp
    return Cache(tuple(Growth(limit, rate) for limit, rate in sorted(rates.items()) if rate), states)


def _mixer_growth(mixer: Mixer, deployment: Deployment) -> list[tuple[float, float]]:
    dtype = deployment.kv_dtype
    match mixer:
        case Attention():
            share = kv_head_share(mixer.kv_head_count, deployment.parallel)
            indexed = mixer.indexer.kv_elements_per_token if mixer.indexer else 0
            own = mixer.kv_elements_per_token - indexed
            limit = mixer.window or mixer.chunk or inf
            return [
                (limit, own * share * kv_bits(dtype, mixer.head_dim) / 8),
                *_indexer(indexed, dtype),
            ]
        case LatentAttention():
            indexed = mixer.indexer.kv_elements_per_token if mixer.indexer else 0
            own = mixer.kv_elements_per_token - indexed
            return [
                (mixer.window or inf, own * kv_bits(dtype, own) / 8),
                *_indexer(indexed, dtype),
            ]
        case CompressedAttention():
            entry = mixer.head_dim * kv_bits(dtype, mixer.head_dim) / 8
            per_token = 1 / mixer.compress_ratio if mixer.compress_ratio else 0.0
            indexed = mixer.indexer.kv_elements_per_token if mixer.indexer else 0
            return [
                (mixer.window, entry),
                (inf, entry * per_token),
                *((limit, rate * per_token) for limit, rate in _indexer(indexed, dtype)),
            ]
        case _:
            return []


def _indexer(elements: float, dtype: Dtype) -> list[tuple[float, float]]:
    """An indexer's own keys, which every device holds whole and no window limits."""
    return [(inf, elements * kv_bits(dtype, max(int(elements), 1)) / 8)] if elements else []


def longest_context(model: Model) -> int:
    """The longest context that a model is made for; where none is known, the longest that is costed."""
    return model.max_context_len or MAX_LEN
