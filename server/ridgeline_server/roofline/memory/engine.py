"""What a serving engine leaves of a device for the KV cache: its start-up arithmetic, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.dtypes import ELEMENT_BITS, Dtype
from ridgeline_server.domain.efficiency import Estimate
from ridgeline_server.domain.engine import BatchLimits, EngineRelease
from ridgeline_server.domain.mixers import Linear
from ridgeline_server.domain.mlps import Experts, Mlp
from ridgeline_server.domain.model import LayerKind, Model
from ridgeline_server.domain.tensors import ModuleClass, TensorKind

Array = NDArray[np.float64]

LAYERS_UNCERTAINTY = 0.1
"""Share by which the peak in the layers may be off either way. An assumption: it is a count of live tensors,
not a fit, and the one row that it decides (LLaVA-NeXT at vLLM 0.19.0) is 1.1% away.
"""


class MemoryFactors(NamedTuple):
    """What the sizes of a release are multiplied by, as measured; None where a part was not."""

    activations: Estimate | None = None
    non_torch: Estimate | None = None
    cuda_graphs: Estimate | None = None


NO_GRAPHS = Estimate(0.0, 0.0, 0.0)
AS_KNOWN = MemoryFactors()
"""Nothing was measured: the sizes are the release's own."""


@dataclass(frozen=True)
class EngineMemory:
    """How one GPU's memory is divided at start-up, bytes. `kv_pool_bytes` is negative when the rest does not
    fit. `cuda_graph_bytes` lie inside of the budget or beside it, as the release counts them.
    """

    budget_bytes: float
    activation_bytes: Estimate
    non_torch_bytes: Estimate
    cuda_graph_bytes: Estimate
    kv_pool_bytes: Estimate


def engine_memory(
    model: Model,
    release: EngineRelease,
    limits: BatchLimits,
    *,
    weights_bytes: float,
    compute_dtype: Dtype,
    device_bytes: float,
    tp: int = 1,
    pp: int = 1,
    stage_devices: int | None = None,
    utilization: float | None = None,
    captures_graphs: bool = True,
    factors: MemoryFactors = AS_KNOWN,
) -> EngineMemory:
    """Memory of the GPU that holds `weights_bytes` of a model served on tp x pp GPUs, or on stages of
    `stage_devices` that exchange with each other in other ways too.

    `device_bytes` is what the process sees in all; `utilization` None takes the release's default. The pool
    is utilization x device bytes less weights, peak of the profile run and memory outside of torch, and
    since 0.21.0 less the CUDA graphs (vllm-project/vllm@35d5cda:vllm/v1/worker/gpu_worker.py,
    determine_available_memory, and pull request 38284), or the release's share of that. Its interval
    takes the parts to be off independently of each other. An engine told not to capture graphs has none.
    `factors` multiply the release's sizes, and their ends stand in for its own.
    """
    budget = (release.memory_utilization if utilization is None else utilization) * device_bytes
    activation = _multiplied(
        activation_bytes(model, release, limits, compute_dtype=compute_dtype, tp=tp), factors.activations
    )
    non_torch = _multiplied(release.non_torch_bytes(stage_devices or tp, pp), factors.non_torch)
    graphs = _multiplied(release.cuda_graph_bytes, factors.cuda_graphs) if captures_graphs else NO_GRAPHS
    parts = (activation, non_torch, graphs) if release.counts_cuda_graphs else (activation, non_torch)
    left = budget - weights_bytes - sum(part.value for part in parts)
    share = release.kv_share_of_rest
    return EngineMemory(
        budget_bytes=budget,
        activation_bytes=activation,
        non_torch_bytes=non_torch,
        cuda_graph_bytes=graphs,
        kv_pool_bytes=Estimate(
            share * left,
            share * (left - hypot(*(part.high - part.value for part in parts))),
            share * (left + hypot(*(part.value - part.low for part in parts))),
        ),
    )


def _multiplied(size: Estimate, factor: Estimate | None) -> Estimate:
    if factor is None:
        return size
    return Estimate(*(size.value * end for end in (factor.value, factor.low, factor.high)))


def max_concurrency(kv_pool_bytes: Array, bytes_per_sequence: Array) -> Array:
    """How many sequences of `bytes_per_sequence` on one GPU KV pools hold: vLLM's "Maximum concurrency"."""
    held: Array = np.maximum(kv_pool_bytes, 0.0) / bytes_per_sequence
    return held


def activation_bytes(
    model: Model, release: EngineRelease, limits: BatchLimits, *, compute_dtype: Dtype, tp: int = 1
) -> Estimate:
    """Peak of an engine's profile run on each GPU: the wider of its two phases.

    It runs `max_batched_tokens` tokens through the layers, then samples for `max_sequences` of them while the
    last hidden states are alive. Sampling holds the logits of the whole vocabulary on every GPU, once in the
    model's format and `sampler_bytes_per_logit` more in fp32 copies.
    """
    element = ELEMENT_BITS[compute_dtype] / 8
    tokens = limits.max_batched_tokens
    layers = tokens * element * _widest_live_elements(model, tp)
    hidden = tokens * element * model.hidden_size
    logits = min(limits.max_sequences, tokens) * model.vocab_size
    copies = release.sampler_bytes_per_logit

    def peak(layers_off_by: float, copies_per_logit: float) -> float:
        return max(layers * (1 + layers_off_by), hidden + logits * (element + copies_per_logit))

    return Estimate(
        peak(0, copies.value), peak(-LAYERS_UNCERTAINTY, copies.low), peak(LAYERS_UNCERTAINTY, copies.high)
    )


def _widest_live_elements(model: Model, tp: int) -> float:
    """Most elements per token that are alive at once in a layer: hidden state, residual and a block's own."""
    widest = max(
        max(_mixer_elements(kind, tp), _mlp_elements(kind, model.hidden_size, tp))
        for kind in model.layer_kinds
    )
    return 2 * model.hidden_size * model.residual_streams + widest


def _mixer_elements(kind: LayerKind, tp: int) -> float:
    """Outputs of all projections of a layer's mixers, which stand for what is alive in the widest of them."""
    outputs = sum(
        tensor.shape[0]
        for tensor in kind.tensors
        if tensor.kind is TensorKind.MATRIX and tensor.module in (ModuleClass.ATTENTION, ModuleClass.MIXER)
    )
    return outputs / tp


def _mlp_elements(kind: LayerKind, hidden_size: int, tp: int) -> float:
    """Outputs of the matrices into an MLP and of its activation, over the MLPs that run side by side."""
    return sum((_live_elements(mlp, hidden_size, tp) for mlp in kind.mlps), 0.0)


def _live_elements(mlp: Mlp | Experts | Linear, hidden_size: int, tp: int) -> float:
    """What one MLP holds per token. An expert's input projections and its output share a buffer
    (vllm/model_executor/layers/fused_moe/fused_marlin_moe.py: intermediate_cache13).
    """
    match mlp:
        case Mlp():
            return (3 if mlp.gated else 2) * mlp.intermediate_size / tp
        case Linear():
            return mlp.width / tp
        case Experts():
            inner = mlp.intermediate_size / tp
            shared = (3 if mlp.shared_gated else 2) * mlp.shared_intermediate_size / tp
            into = (2 if mlp.gated else 1) * inner
            return mlp.experts_per_token * (max(into, mlp.latent_size or hidden_size) + inner) + shared
