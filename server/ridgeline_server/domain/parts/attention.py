"""Softmax attention with separate keys and values: its shape and its tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ridgeline_server.domain.config.fields import ConfigFields
from ridgeline_server.domain.config.sizes import MAX_CONTEXT, MAX_HEAD_DIM, MAX_HEADS
from ridgeline_server.domain.mixers import Attention
from ridgeline_server.domain.parts.facts import (
    CHUNKED,
    SLIDING,
    Family,
    Gate,
    KvHeads,
    Part,
    Position,
    QkNorm,
)
from ridgeline_server.domain.parts.indexer import IndexerFacts
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.tensors import ModuleClass, WeightTensor, linear, vector

ROTARY_FRACTION = ("partial_rotary_factor", "rotary_pct", "rope_pct", "rotary_percent", "rope_percent")
HERE = ModuleClass.ATTENTION


@dataclass(frozen=True)
class OwnAttention:
    """Attention as the family's own facts have it.

    `like` is the name whose window it has, where that is not its own name. `shares_kv`: it reads the keys and
    values of an earlier layer, and has no projections for its own. `positions` false: whatever the family
    has, these layers know none. `is_cross`: it reads the keys of an image, and gates what it adds.
    """

    like: str = ""
    shares_kv: bool = False
    positions: bool = True
    is_cross: bool = False
    indexer: IndexerFacts | None = None

    def read(self, reading: Reading, name: str) -> Part:
        """The attention of the layers of this name."""
        shape = replace(
            read_attention(reading, self.like or name),
            shares_kv=self.shares_kv,
            is_cross=self.is_cross,
            indexer=None if self.indexer is None else self.indexer.read(reading, name),
        )
        if not self.positions:
            shape = replace(shape, rotary_dim=0)
        tensors = list(_tensors(reading.family, reading.hidden_size, shape))
        if self.indexer is not None and shape.indexer is not None:
            tensors.extend(self.indexer.tensors(shape.indexer, reading.hidden_size, reading.hidden_size))
        if self.is_cross:
            tensors.extend([vector("cross_gate", 1, HERE), vector("cross_gate", 1, HERE)])
        return Part(shape, tuple(tensors))


def read_attention(reading: Reading, name: str) -> Attention:
    """The numbers of attention; the window is that of SLIDING layers, the chunk that of CHUNKED ones."""
    family, fields = reading.family, reading.fields
    heads = _heads(reading)
    kv_heads = _kv_heads(reading, heads)
    head_dim = _head_dim(reading, heads)
    value_head_dim = fields.integer(family.value_head_dim_keys, 1, MAX_HEAD_DIM) or head_dim
    gates = {Gate.NONE: 0, Gate.PER_HEAD: heads, Gate.PER_ELEMENT: heads * value_head_dim}
    chunk = fields.needed_integer(("attention_chunk_size",), 1, MAX_CONTEXT) if name == CHUNKED else None
    return Attention(
        head_count=heads,
        kv_head_count=kv_heads,
        head_dim=head_dim,
        value_head_dim=value_head_dim,
        rotary_dim=_rotary_dim(reading, name, head_dim),
        window=fields.integer(family.window_keys, 1, MAX_CONTEXT) or family.window_default
        if name == SLIDING
        else None,
        chunk=chunk,
        qk_norm=family.qk_norm is not QkNorm.NONE,
        sinks=family.sinks,
        output_gate=gates[family.output_gate],
        keys_are_values=family.keys_are_values,
    )


def _heads(reading: Reading) -> int:
    family, fields = reading.family, reading.fields
    if family.heads_default is None or fields.has(family.head_keys):
        return fields.needed_integer(family.head_keys, 1, MAX_HEADS)
    reading.assume(
        f"{family.head_keys[0]} is absent: {family.heads_default} query heads in the layers that slide, as "
        "released models of this family have"
    )
    return family.heads_default


def _kv_heads(reading: Reading, heads: int) -> int:
    family, fields = reading.family, reading.fields
    if family.kv_heads is KvHeads.ONE:
        return 1
    if family.kv_heads is KvHeads.ALL:
        return heads
    if family.kv_heads is KvHeads.KEY:
        kv_heads = fields.needed_integer(family.kv_head_keys, 1, MAX_HEADS)
    else:
        kv_heads = fields.integer(family.kv_head_keys, 1, MAX_HEADS) or heads
    if fields.sound and heads % kv_heads:
        key = fields.key_of(family.kv_head_keys)
        fields.refuse(key, f"is {kv_heads}, which does not divide the {heads} query heads; give a divisor")
    return kv_heads


def _head_dim(reading: Reading, heads: int) -> int:
    family, fields = reading.family, reading.fields
    if family.needs_head_dim:
        return fields.needed_integer(family.head_dim_keys, 1, MAX_HEAD_DIM)
    head_dim = fields.integer(family.head_dim_keys, 1, MAX_HEAD_DIM)
    if head_dim is not None:
        return head_dim
    hidden = reading.hidden_size
    if fields.sound and hidden % heads:
        fields.refuse(
            "hidden_size",
            f"is {hidden}, not a multiple of the {heads} heads; give a multiple, or head_dim",
        )
    return max(hidden // heads, 1)


def _rotary_dim(reading: Reading, name: str, head_dim: int) -> int:
    family, fields = reading.family, reading.fields
    if family.position is not Position.ROTARY:
        return 0
    if fields.sound and fields.value("rotary_dim") is not None:
        return fields.integer(("rotary_dim",), 1, head_dim) or 0
    fraction = fields.number(ROTARY_FRACTION, 0, 1)
    if fraction is None:
        rope = fields.value("rope_parameters")
        of_name = rope.get(name) if isinstance(rope, Mapping) else None
        stated = of_name if isinstance(of_name, Mapping) else rope if isinstance(rope, Mapping) else {}
        inner = ConfigFields(stated).number(("partial_rotary_factor",), 0, 1)
        fraction = family.rotary_fraction if inner is None else inner
    return int(head_dim * fraction)


def _tensors(family: Family, hidden: int, shape: Attention) -> Iterator[WeightTensor]:
    kv_heads = shape.kv_head_count
    k_width, v_width = kv_heads * shape.head_dim, kv_heads * shape.value_head_dim
    out_width = shape.head_count * shape.value_head_dim
    yield from linear("q_proj", shape.q_width, hidden, HERE, bias=family.qkv_bias)
    if not shape.shares_kv:
        yield from linear("k_proj", k_width, hidden, HERE, bias=family.qkv_bias)
        if not shape.keys_are_values:
            yield from linear("v_proj", v_width, hidden, HERE, bias=family.qkv_bias)
    yield from _qk_norm(family, shape, k_width)
    if shape.output_gate:
        yield from linear("attn_gate_proj", shape.output_gate, hidden, HERE, bias=family.gate_bias)
    if shape.sinks:
        yield vector("attention", shape.head_count, HERE)
    yield from linear("o_proj", hidden, out_width, HERE, bias=family.o_bias)


def _qk_norm(family: Family, shape: Attention, k_width: int) -> Iterator[WeightTensor]:
    if family.qk_norm in (QkNorm.PER_HEAD, QkNorm.FULL_WIDTH):
        per_head = family.qk_norm is QkNorm.PER_HEAD
        sizes = (shape.head_dim, shape.head_dim) if per_head else (shape.q_width, k_width)
        for size in sizes[:1] if shape.shares_kv else sizes:
            for _ in range(2 if family.qk_norm_bias else 1):
                yield vector("qk_norm", size, ModuleClass.NORM)
