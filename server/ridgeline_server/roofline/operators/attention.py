"""Rows of softmax attention: MHA, GQA and MQA, with windows, chunks, gates, sinks and indexers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ridgeline_server.domain.mixers import Attention, Indexer
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor
from ridgeline_server.roofline.operators.layer import Layer, matrices
from ridgeline_server.roofline.operators.rows import Quantity, Row, Terms, Work, added, norm_terms
from ridgeline_server.roofline.operators.sharding import kv_head_share
from ridgeline_server.roofline.operators.variables import (
    ALL_KEYS,
    SEQUENCES,
    TILES,
    TOKENS,
    Count,
    Reach,
    Variable,
    View,
)

SOFTMAX_FLOPS_PER_SCORE = 5
"""Maximum, subtract, exponential, sum, divide: Table 1 of arXiv:2402.16363 prints 671M for 32 x 2048 x 2048
scores.
"""
ROPE_FLOPS_PER_ELEMENT = 3
"""x * cos + rotate(x) * sin: two products and a sum (arXiv:2104.09864, equation 34)."""
GATE_FLOPS_PER_ELEMENT = 5
"""A sigmoid (negate, exponential, add, divide) and the product with it."""

HERE = ModuleClass.ATTENTION


def attention_rows(layer: Layer, attention: Attention, tensors: Sequence[WeightTensor]) -> Iterator[Row]:
    """The rows of one attention, from its projections to its output's; none where it sees images alone."""
    if attention.is_cross:
        return
    found = matrices(tensors)
    share = kv_head_share(attention.kv_head_count, layer.placement.parallel)
    kv_heads = attention.kv_head_count * share
    q_width = attention.q_width / layer.tp
    k_width, v_width = kv_heads * attention.head_dim, kv_heads * attention.value_head_dim

    def to_cache(width: float) -> Terms:
        return {
            Quantity.KV_WRITTEN: {TOKENS: width},
            Quantity.KV_WRITTEN_VECTORS: {TOKENS: kv_heads},
        }

    keys = to_cache(k_width)
    if attention.keys_are_values:
        keys = added(keys, to_cache(v_width))

    yield from indexer_rows(layer, attention.indexer, tensors)
    held = 0.0
    for tensor in tensors:
        name = tensor.operator
        if tensor.kind is not TensorKind.MATRIX or name.startswith("indexer") or name == "o_proj":
            continue
        if name == "k_proj":
            yield layer.gemm(tensor, held, kv_heads=attention.kv_head_count, out=keys)
        elif name == "v_proj":
            yield layer.gemm(tensor, held, kv_heads=attention.kv_head_count, out=to_cache(v_width))
        elif name != "shared_out_proj":
            yield layer.gemm(tensor, held)
        if name == "q_proj":
            held = q_width
    if attention.qk_norm:
        width = q_width + (0 if attention.shares_kv else k_width)
        yield layer.row("qk_norm", added(norm_terms(width, Quantity.OUT_WIDE), layer.hold()))
    if attention.rotary_dim:
        heads = attention.head_count / layer.tp + (0 if attention.shares_kv else kv_heads)
        width = q_width + (0 if attention.shares_kv else k_width)
        yield rope_row(layer, attention.rotary_dim, heads, width)
    yield from _scores(layer, attention, kv_heads)
    if attention.output_gate:
        gated = attention.output_gate / layer.tp
        yield gate_row(layer, gated, attention.head_count * attention.value_head_dim / layer.tp)
    yield layer.gemm(found["o_proj"])
    if "shared_out_proj" in found:
        yield layer.gemm(found["shared_out_proj"])


def rope_row(layer: Layer, rotary_dim: int, heads: float, width: float) -> Row:
    """Rotary positions of `heads` heads. A fused kernel rotates q and k as it loads them
    (FlashAttention's rotary_cos and rotary_sin arguments), so that only the cosines and sines are read; else
    a pass of its own moves the `width` elements of q and k.
    """
    flops: Terms = {Quantity.FLOPS: {TOKENS: ROPE_FLOPS_PER_ELEMENT * rotary_dim * heads}}
    if layer.placement.fused:
        return layer.row("rope", added(flops, {Quantity.IN_WIDE: {TOKENS: rotary_dim}}))
    moved: Terms = {Quantity.IN_WIDE: {TOKENS: width}, Quantity.OUT_WIDE: {TOKENS: width}}
    return layer.row("rope", added(flops, moved, layer.hold()))


def gate_row(layer: Layer, gate: float, width: float) -> Row:
    """A sigmoid gate of `gate` elements on `width` outputs."""
    return layer.row(
        "attn_gate",
        added(
            {
                Quantity.FLOPS: {TOKENS: GATE_FLOPS_PER_ELEMENT * width},
                Quantity.IN_WIDE: {TOKENS: width + gate},
                Quantity.OUT_GEMM: {TOKENS: width},
            },
            layer.hold(),
        ),
        module=HERE,
    )


def view_of(attention: Attention) -> View:
    """The keys that a query of an attention sees."""
    if attention.chunk is not None:
        return View(attention.chunk, Reach.CHUNK)
    if attention.indexer is not None:
        return View(attention.indexer.top_k, Reach.CHOSEN)
    return View(attention.window) if attention.window is not None else ALL_KEYS


def kernel_counts(view: View, items: float, heads: float) -> Terms:
    """What a fused kernel counts beside FLOPs and bytes: `items` of each sequence that a decode step works
    through, and query heads.
    """
    return {
        Quantity.SERIAL: {Variable(Count.LENGTH_SHARE, view): 1.0},
        Quantity.ITEMS: {SEQUENCES: items},
        Quantity.TILES: {TILES: heads},
    }


def _scores(layer: Layer, attention: Attention, kv_heads: float) -> Iterator[Row]:
    heads = attention.head_count / layer.tp
    key, value = attention.head_dim, attention.value_head_dim
    view = view_of(attention)
    keys, pairs, scores = (Variable(count, view) for count in (Count.KEYS, Count.PAIRS, Count.SCORES))
    queries, outputs = heads * key, heads * value
    # A sink is one more score for each head of a query.
    sinks = {TOKENS: float(SOFTMAX_FLOPS_PER_SCORE * heads)} if attention.sinks else {}

    def row(name: str, terms: Terms) -> Row:
        return layer.row(name, added(terms, layer.hold()), Work.ATTENTION, HERE)

    def read(width: float, vectors: float) -> Terms:
        return {Quantity.KV_READ: {keys: width}, Quantity.KV_READ_VECTORS: {keys: vectors}}

    if layer.placement.fused:
        flops = 2 * heads * (key + value) + SOFTMAX_FLOPS_PER_SCORE * heads
        yield row(
            "attention",
            {
                Quantity.FLOPS: {pairs: flops, **sinks},
                Quantity.IN_WIDE: {TOKENS: queries},
                **read(kv_heads * (key + value), 2 * kv_heads),
                Quantity.OUT_GEMM: {TOKENS: outputs},
                **kernel_counts(view, kv_heads, heads),
            },
        )
        return
    yield row(
        "qk_matmul",
        {
            Quantity.FLOPS: {scores: 2 * heads * key},
            Quantity.IN_WIDE: {TOKENS: queries},
            **read(kv_heads * key, kv_heads),
            Quantity.OUT_WIDE: {scores: heads},
        },
    )
    softmax: Terms = {
        Quantity.FLOPS: {scores: SOFTMAX_FLOPS_PER_SCORE * heads, **sinks},
        Quantity.IN_WIDE: {scores: heads},
        Quantity.OUT_WIDE: {scores: heads},
    }
    yield layer.row("softmax", added(softmax, layer.hold()))
    yield row(
        "sv_matmul",
        {
            Quantity.FLOPS: {scores: 2 * heads * value},
            Quantity.IN_WIDE: {scores: heads},
            **read(kv_heads * value, kv_heads),
            Quantity.OUT_GEMM: {TOKENS: outputs},
        },
    )


def indexer_rows(
    layer: Layer, indexer: Indexer | None, tensors: Sequence[WeightTensor], entries_per_key: float = 1.0
) -> Iterator[Row]:
    """The projections of an indexer and its scores of all keys, on every device whole. A shared one takes
    what an earlier layer chose. It caches `entries_per_key` vectors for each key.
    """
    if indexer is None or indexer.shared:
        return
    for tensor in tensors:
        if not tensor.operator.startswith("indexer"):
            continue
        if tensor.kind is not TensorKind.MATRIX:
            continue
        cached: Terms | None = None
        if tensor.operator in ("indexer_k_proj", "indexer_compressor_kv_proj"):
            cached = {
                Quantity.KV_WRITTEN: {TOKENS: indexer.head_dim * entries_per_key},
                Quantity.KV_WRITTEN_VECTORS: {TOKENS: entries_per_key},
            }
        yield layer.gemm(tensor, out=cached)
    keys, pairs = (Variable(count, ALL_KEYS) for count in (Count.KEYS, Count.PAIRS))
    per_pair = indexer.head_count * (2 * indexer.head_dim + 2) * entries_per_key
    yield layer.row(
        "indexer_scores",
        added(
            {
                # A product with each head's query, and the sum of the heads by weight.
                Quantity.FLOPS: {pairs: per_pair},
                Quantity.IN_WIDE: {TOKENS: indexer.head_count * (indexer.head_dim + 1)},
                Quantity.KV_READ: {keys: indexer.head_dim * entries_per_key},
                Quantity.KV_READ_VECTORS: {keys: entries_per_key},
                Quantity.OUT_WIDE: {TOKENS: indexer.top_k},
            },
            layer.hold(),
        ),
        Work.ATTENTION,
        HERE,
    )
