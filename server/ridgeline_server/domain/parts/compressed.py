"""DeepSeek-V4's compressed attention and hyper-connections: facts and tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ridgeline_server.domain.config.sizes import (
    MAX_CONTEXT,
    MAX_HEAD_DIM,
    MAX_HEADS,
    MAX_HIDDEN_SIZE,
)
from ridgeline_server.domain.mixers import CompressedAttention, Indexer
from ridgeline_server.domain.parts.facts import Part
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor, linear, norm, vector

HERE = ModuleClass.ATTENTION
OVERLAP = 2
"""Entries of the sparse kind are made of two overlapping spans of tokens, so that their projections are twice
as wide (transformers, DeepseekV4CSACompressor).
"""


@dataclass(frozen=True)
class CompressedFacts:
    """Attention whose older keys are compressed, `ratio` tokens to one (0: dropped); `sparse` ones are picked
    by an indexer.
    """

    ratio: int
    sparse: bool = False

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The attention, whatever the name of its layers."""
        fields = reading.fields
        head_dim = fields.needed_integer(("head_dim",), 1, MAX_HEAD_DIM)
        indexer = None
        if self.sparse:
            indexer = Indexer(
                head_count=fields.needed_integer(("index_n_heads",), 1, MAX_HEADS),
                head_dim=fields.needed_integer(("index_head_dim",), 1, MAX_HEAD_DIM),
                top_k=fields.needed_integer(("index_topk",), 1, MAX_CONTEXT),
            )
        shape = CompressedAttention(
            head_count=fields.needed_integer(reading.family.head_keys, 1, MAX_HEADS),
            head_dim=head_dim,
            rotary_dim=fields.needed_integer(("qk_rope_head_dim",), 1, MAX_HEAD_DIM),
            q_lora_rank=fields.needed_integer(("q_lora_rank",), 1, MAX_HIDDEN_SIZE),
            o_lora_rank=fields.needed_integer(("o_lora_rank",), 1, MAX_HIDDEN_SIZE),
            o_group_count=fields.needed_integer(("o_groups",), 1, MAX_HEADS),
            window=fields.needed_integer(("sliding_window",), 1, MAX_CONTEXT),
            compress_ratio=self.ratio,
            indexer=indexer,
        )
        if fields.sound and shape.head_count % shape.o_group_count:
            fields.refuse(
                "o_groups",
                f"is {shape.o_group_count}, which does not divide the {shape.head_count} heads; "
                "give a divisor",
            )
        return Part(shape, tuple(self._tensors(reading, shape)))

    def _tensors(self, reading: Reading, shape: CompressedAttention) -> Iterator[WeightTensor]:
        hidden, stored = reading.hidden_size, reading.family.norm
        width, latents = shape.head_count * shape.head_dim, shape.o_group_count * shape.o_lora_rank
        yield from linear("q_a_proj", shape.q_lora_rank, hidden, HERE)
        yield from norm("q_a_norm", stored, shape.q_lora_rank)
        yield from linear("q_b_proj", width, shape.q_lora_rank, HERE)
        yield from linear("kv_a_proj", shape.head_dim, hidden, HERE)
        yield from norm("kv_a_norm", stored, shape.head_dim)
        if self.ratio:
            yield from self._compressor(reading, "compressor", shape.head_dim)
        if shape.indexer is not None:
            keys = shape.indexer
            yield from linear("indexer_q_proj", keys.head_count * keys.head_dim, shape.q_lora_rank, HERE)
            yield from self._compressor(reading, "indexer_compressor", keys.head_dim)
            yield from linear("indexer_weights_proj", keys.head_count, hidden, HERE)
        yield vector("attention", shape.head_count, HERE)
        group = width // shape.o_group_count
        yield from linear("o_a_proj", latents, max(group, 1), HERE)
        yield from linear("o_b_proj", hidden, latents, HERE)

    def _compressor(self, reading: Reading, operator: str, head_dim: int) -> Iterator[WeightTensor]:
        """Makes one entry out of `ratio` tokens: their keys, weighted by a gate and by position."""
        width = (OVERLAP if self.sparse else 1) * head_dim
        yield from linear(f"{operator}_kv_proj", width, reading.hidden_size, HERE)
        yield from linear(f"{operator}_gate_proj", width, reading.hidden_size, HERE)
        yield WeightTensor(operator, (self.ratio, width), TensorKind.VECTOR, HERE)
        yield from norm(f"{operator}_norm", reading.family.norm, head_dim)


def hyper_connections(reading: Reading) -> list[WeightTensor]:
    """What mixes the residual streams before and after attention and MLP (arXiv:2512.24880)."""
    streams = reading.fields.needed_integer(("hc_mult",), 1, 64)
    return [
        tensor
        for operator in ("attn_hyper_connection", "mlp_hyper_connection")
        for tensor in _mixing(operator, (2 + streams) * streams, streams * reading.hidden_size, scales=3)
    ]


def hyper_head(reading: Reading) -> list[WeightTensor]:
    """What makes one hidden state of the streams after the last layer."""
    streams = reading.fields.needed_integer(("hc_mult",), 1, 64)
    return list(_mixing("head_hyper_connection", streams, streams * reading.hidden_size, scales=1))


def _mixing(operator: str, rows: int, columns: int, *, scales: int) -> Iterator[WeightTensor]:
    yield from linear(operator, rows, columns, ModuleClass.NORM, bias=True)
    yield vector(operator, scales, ModuleClass.NORM)
