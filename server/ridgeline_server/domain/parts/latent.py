"""Multi-head latent attention: facts, shape and tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ridgeline_server.domain.config.sizes import MAX_HEAD_DIM, MAX_HEADS, MAX_HIDDEN_SIZE
from ridgeline_server.domain.mixers import LatentAttention
from ridgeline_server.domain.parts.facts import Gate, Part
from ridgeline_server.domain.parts.indexer import IndexerFacts
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.tensors import ModuleClass, Norm, WeightTensor, linear, norm

HERE = ModuleClass.ATTENTION


@dataclass(frozen=True)
class LatentFacts:
    """What a config does not say about latent attention. The defaults are those of DeepSeek-V3.

    Biases: `attention_bias` puts one on every projection into a latent and on the output.
    """

    v_head_dim_is_even_share: bool = False
    """An absent v_head_dim is hidden_size over the heads."""
    output_gate: Gate = Gate.NONE
    output_gate_key: str = ""
    """The key that says whether there is such a gate."""
    indexer: IndexerFacts | None = None

    def read(self, reading: Reading, name: str) -> Part:
        """The latent attention of the layers of this name."""
        fields = reading.fields
        heads = fields.needed_integer(reading.family.head_keys, 1, MAX_HEADS)
        q_lora = fields.integer(("q_lora_rank",), 1, MAX_HIDDEN_SIZE)
        if not fields.states("q_lora_rank"):
            reading.assume("q_lora_rank is absent: queries taken to have no latent of their own, as if null")
        v_head_dim = fields.integer(("v_head_dim",), 1, MAX_HEAD_DIM)
        if v_head_dim is None and self.v_head_dim_is_even_share:
            v_head_dim = max(reading.hidden_size // heads, 1)
            reading.assume(f"v_head_dim is absent: {v_head_dim}, hidden_size over the heads, its default")
        gated = fields.boolean(self.output_gate_key) is True if self.output_gate_key else True
        shape = LatentAttention(
            head_count=heads,
            q_lora_rank=q_lora,
            kv_lora_rank=fields.needed_integer(("kv_lora_rank",), 1, MAX_HIDDEN_SIZE),
            qk_nope_head_dim=fields.needed_integer(("qk_nope_head_dim",), 1, MAX_HEAD_DIM),
            qk_rope_head_dim=fields.needed_integer(("qk_rope_head_dim",), 1, MAX_HEAD_DIM),
            v_head_dim=v_head_dim or fields.needed_integer(("v_head_dim",), 1, MAX_HEAD_DIM),
            output_gate=self._gate(heads, v_head_dim or 1) if gated else 0,
            indexer=None if self.indexer is None else self.indexer.read(reading, name),
        )
        bias = fields.boolean("attention_bias") is True
        return Part(shape, tuple(self._tensors(reading, shape, bias)))

    def _gate(self, heads: int, v_head_dim: int) -> int:
        return {Gate.NONE: 0, Gate.PER_HEAD: heads, Gate.PER_ELEMENT: heads * v_head_dim}[self.output_gate]

    def _tensors(self, reading: Reading, shape: LatentAttention, bias: bool) -> Iterator[WeightTensor]:
        hidden, heads, stored = reading.hidden_size, shape.head_count, reading.family.norm
        if shape.q_lora_rank is None:
            yield from linear("q_proj", heads * shape.head_dim, hidden, HERE)
        else:
            yield from linear("q_a_proj", shape.q_lora_rank, hidden, HERE, bias=bias)
            yield from norm("q_a_norm", stored, shape.q_lora_rank)
            yield from linear("q_b_proj", heads * shape.head_dim, shape.q_lora_rank, HERE)
        latent = shape.kv_lora_rank
        yield from linear("kv_a_proj", latent + shape.qk_rope_head_dim, hidden, HERE, bias=bias)
        yield from norm("kv_a_norm", stored, latent)
        yield from linear("kv_b_proj", heads * (shape.qk_nope_head_dim + shape.v_head_dim), latent, HERE)
        if self.indexer is not None and shape.indexer is not None:
            yield from self.indexer.tensors(shape.indexer, hidden, shape.q_lora_rank or hidden)
        if shape.output_gate:
            yield from linear("attn_gate_proj", shape.output_gate, hidden, HERE)
        yield from linear("o_proj", hidden, heads * shape.v_head_dim, HERE, bias=bias)


DSA = IndexerFacts(norms=(Norm.LAYER,))
"""The lightning indexer of DeepSeek-V3.2 (arXiv:2512.02556, section 2.1)."""
