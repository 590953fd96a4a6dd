"""Rows of latent attention (MLA) and of DeepSeek-V4's compressed attention: one cached head for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ridgeline_server.domain.mixers import CompressedAttention, LatentAttention
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor
from ridgeline_server.roofline.operators.attention import (
    HERE,
    SOFTMAX_FLOPS_PER_SCORE,
    gate_row,
    indexer_rows,
    kernel_counts,
    rope_row,
)
from ridgeline_server.roofline.operators.layer import Layer, Stage, matrices
from ridgeline_server.roofline.operators.rows import Quantity, Row, Terms, Work, added
from ridgeline_server.roofline.operators.variables import ALL_KEYS, TOKENS, Count, Reach, Variable, View


def latent_rows(layer: Layer, attention: LatentAttention, tensors: Sequence[WeightTensor]) -> Iterator[Row]:
    """The rows of MLA (arXiv:2405.04434, section 2.1). Prefill widens the latents of all keys to keys and
    values of every head; decode absorbs the widening into queries and outputs, and attends to the latents
    themselves. So do both where an indexer picks keys: kernels gather latents, which all heads share
    (arXiv:2512.02556, section 2.1), whatever an engine does with prompts of no more keys than are picked.
    """
    found = matrices(tensors)
    heads = attention.head_count / layer.tp
    latent, rotary = attention.kv_lora_rank, attention.qk_rope_head_dim
    absorbed = layer.placement.stage is Stage.DECODE or attention.indexer is not None
    view = _view(attention)
    keys, pairs = Variable(Count.KEYS, view), Variable(Count.PAIRS, view)
    cached: Terms = {
        Quantity.KV_WRITTEN: {TOKENS: latent + rotary},
        Quantity.KV_WRITTEN_VECTORS: {TOKENS: 1.0},
    }
    yield from _projections(layer, tensors, cached)
    yield rope_row(layer, rotary, heads + 1, heads * attention.head_dim + rotary)
    yield from indexer_rows(layer, attention.indexer, tensors)
    widening = layer.product(found["kv_b_proj"])
    if absorbed:
        # W_UK on the queries and W_UV on the outputs: together the work of the matrix for each new token.
        key, value = latent + rotary, latent
        moved: Terms = {
            Quantity.IN_GEMM: {TOKENS: heads * (attention.qk_nope_head_dim + latent)},
            Quantity.OUT_WIDE: {TOKENS: heads * (latent + attention.v_head_dim)},
        }
        yield layer.row(
            "kv_b_proj", added({**widening, **moved}, layer.hold()), Work.GEMM, HERE, float(latent)
        )
        read: Terms = {Quantity.KV_READ: {keys: latent + rotary}, Quantity.KV_READ_VECTORS: {keys: 1.0}}
    else:
        key, value = attention.head_dim, attention.v_head_dim
        widened = heads * (attention.qk_nope_head_dim + attention.v_head_dim)
        seen = Variable(Count.KEYS, ALL_KEYS)
        terms: Terms = {
            Quantity.FLOPS: {seen: widening[Quantity.FLOPS][TOKENS]},
            Quantity.WEIGHTS: widening[Quantity.WEIGHTS],
            Quantity.KV_READ: {seen: latent},
            Quantity.KV_READ_VECTORS: {seen: 1.0},
            Quantity.OUT_WIDE: {seen: widened},
        }
        yield layer.row("kv_b_proj", added(terms, layer.hold()), Work.GEMM, HERE, float(latent))
        read = {Quantity.IN_WIDE: {keys: widened}, Quantity.KV_READ: {keys: rotary}}
    yield layer.row(
        "attention",
        added(
            {
                Quantity.FLOPS: {pairs: heads * (2 * (key + value) + SOFTMAX_FLOPS_PER_SCORE)},
                Quantity.IN_WIDE: {TOKENS: heads * key},
                Quantity.OUT_GEMM: {TOKENS: heads * value},
                **kernel_counts(view, heads / HEADS_OF_ITEM if absorbed else heads, heads),
            },
            read,
            layer.hold(),
        ),
        Work.ATTENTION,
        HERE,
    )
    if attention.output_gate:
        yield gate_row(layer, attention.output_gate / layer.tp, heads * attention.v_head_dim)
    yield layer.gemm(found["o_proj"])


HEADS_OF_ITEM = 64
"""Heads that attend to one latent together, in one item of a decode kernel (FlashMLA's tile)."""


def _view(attention: LatentAttention) -> View:
    if attention.indexer is not None:
        return View(attention.indexer.top_k, Reach.CHOSEN)
    return View(attention.window) if attention.window is not None else ALL_KEYS


def _projections(layer: Layer, tensors: Sequence[WeightTensor], cached: Terms) -> Iterator[Row]:
    """Queries and latents from the hidden state, with the norms between low and full rank."""
    for tensor in tensors:
        name = tensor.operator
        if name.startswith(("indexer", "compressor", "o_")) or name == "kv_b_proj":
            continue
        if tensor.kind is TensorKind.VECTOR:
            if tensor.module is ModuleClass.NORM:
                yield layer.inner_norm(tensor, tensor.shape[0])
        else:
            yield layer.gemm(tensor, out=cached if name == "kv_a_proj" else None)


def compressed_rows(
    layer: Layer, attention: CompressedAttention, tensors: Sequence[WeightTensor]
) -> Iterator[Row]:
    """The rows of attention to the last tokens and to compressed entries of those before, in one kernel."""
    found = matrices(tensors)
    heads, width = attention.head_count / layer.tp, attention.head_dim
    cached: Terms = {Quantity.KV_WRITTEN: {TOKENS: width}, Quantity.KV_WRITTEN_VECTORS: {TOKENS: 1.0}}
    yield from _projections(layer, tensors, cached)
    yield rope_row(layer, attention.rotary_dim, heads + 1, (heads + 1) * width)
    per_key = 1 / attention.compress_ratio if attention.compress_ratio else 0.0
    entry: Terms = {
        Quantity.KV_WRITTEN: {TOKENS: width * per_key},
        Quantity.KV_WRITTEN_VECTORS: {TOKENS: per_key},
    }
    for name in ("compressor_kv_proj", "compressor_gate_proj"):
        if name in found:
            yield layer.gemm(found[name], out=entry if name == "compressor_kv_proj" else None)
    yield from indexer_rows(layer, attention.indexer, tensors, per_key)
    views: list[tuple[View, float]] = [(View(attention.window), 1.0)]
    if per_key:
        chosen = attention.indexer.top_k * attention.compress_ratio if attention.indexer else None
        views.append((ALL_KEYS if chosen is None else View(chosen, Reach.CHOSEN), per_key))
    per_pair = heads * (4 * width + SOFTMAX_FLOPS_PER_SCORE)
    seen: Terms = added(
        *(
            {
                Quantity.FLOPS: {Variable(Count.PAIRS, view): per_pair * entries},
                Quantity.KV_READ: {Variable(Count.KEYS, view): width * entries},
                Quantity.KV_READ_VECTORS: {Variable(Count.KEYS, view): entries},
            }
            for view, entries in views
        )
    )
    moved: Terms = {Quantity.IN_WIDE: {TOKENS: heads * width}, Quantity.OUT_GEMM: {TOKENS: heads * width}}
    yield layer.row("attention", added(seen, moved, layer.hold()), Work.ATTENTION, HERE)
    # Each group's matrix takes the heads of its group, so that together they read all.
    grouped = {**layer.product(found["o_a_proj"]), Quantity.IN_GEMM: {TOKENS: heads * width}}
    yield layer.row("o_a_proj", added(grouped, layer.hold()), Work.GEMM, HERE)
    yield layer.gemm(found["o_b_proj"])
