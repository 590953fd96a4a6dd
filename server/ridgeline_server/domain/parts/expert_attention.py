"""JetMoE's attention, whose queries and outputs are projected by experts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ridgeline_server.domain.config.sizes import MAX_EXPERTS
from ridgeline_server.domain.mixers import Attention
from ridgeline_server.domain.parts.attention import read_attention
from ridgeline_server.domain.parts.experts import COUNT, PER_TOKEN
from ridgeline_server.domain.parts.facts import Part
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor, linear, vector

HERE = ModuleClass.ATTENTION


@dataclass(frozen=True)
class ExpertAttention:
    """Each chosen expert projects queries for all key-value heads, so that there are as many query heads as
    key-value heads and chosen experts together make.
    """

    def read(self, reading: Reading, name: str) -> Part:
        """The attention of the layers of this name."""
        fields = reading.fields
        experts = fields.needed_integer(COUNT, 1, MAX_EXPERTS)
        chosen = fields.needed_integer(PER_TOKEN, 1, MAX_EXPERTS)
        shape = replace(read_attention(reading, name), expert_count=experts)
        if fields.sound and shape.head_count != chosen * shape.kv_head_count:
            fields.refuse(
                fields.key_of(reading.family.head_keys),
                f"is {shape.head_count}; give {chosen * shape.kv_head_count}, {shape.kv_head_count} for each "
                "of the chosen experts",
            )
        return Part(shape, tuple(self._tensors(reading.hidden_size, shape, chosen)))

    def _tensors(self, hidden: int, shape: Attention, chosen: int) -> Iterator[WeightTensor]:
        width = shape.kv_head_count * shape.head_dim

        def expert(operator: str, rows: int, columns: int) -> WeightTensor:
            return WeightTensor(
                operator,
                (rows, columns),
                TensorKind.MATRIX,
                HERE,
                copies=shape.expert_count,
                active_copies=min(chosen, shape.expert_count),
            )

        yield from linear("attn_router", shape.expert_count, hidden, ModuleClass.ROUTER)
        yield expert("q_proj", width, hidden)
        yield from linear("k_proj", width, hidden, HERE)
        yield from linear("v_proj", width, hidden, HERE)
        yield expert("o_proj", hidden, width)
        yield vector("o_proj", hidden, HERE)
