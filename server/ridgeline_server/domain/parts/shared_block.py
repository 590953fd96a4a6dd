"""Zamba's shared transformer block: attention and MLP whose weights several layers of the model share.

The block reads the hidden state beside the embedding, so its attention is two hidden sizes wide; a matrix of
each layer's own leads what comes out to the layer's Mamba mixer (arXiv:2405.16712, arXiv:2411.15242).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ridgeline_server.domain.config.fields import shown
from ridgeline_server.domain.config.sizes import MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, MAX_MLP_WIDTH
from ridgeline_server.domain.mixers import Attention
from ridgeline_server.domain.mlps import Mlp
from ridgeline_server.domain.parts.facts import HEADS, KV_HEADS, MLP_WIDTH, Part, Schedule
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.parts.recurrent import flag
from ridgeline_server.domain.tensors import ModuleClass, WeightTensor, linear, vector

HYBRID, HYBRID_AGAIN = "hybrid", "hybrid-again"
"""A layer with a shared block; one whose block an earlier layer stores."""

RANK = ("adapter_rank", "lora_rank")
ATTENTION_ADAPTERS = ("use_shared_attention_adapter", "use_shared_attention_lora")


@dataclass(frozen=True)
class Reused:
    """As `rule` says, but of the HYBRID layers only as many store their block as `blocks_key` says."""

    rule: Schedule
    blocks_key: str = ""

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys that this rule looks at."""
        return (*self.rule.keys_read, *([self.blocks_key] if self.blocks_key else []))

    def names(self, reading: Reading) -> Sequence[str] | None:
        """HYBRID for the layers that store a block, HYBRID_AGAIN for those that use one again."""
        names = self.rule.names(reading)
        if names is None:
            return None
        blocks = reading.fields.needed_integer((self.blocks_key,), 1, MAX_LAYERS) if self.blocks_key else 1
        stored = {*[layer for layer, name in enumerate(names) if name == HYBRID][:blocks]}
        return [
            HYBRID_AGAIN if name == HYBRID and layer not in stored else name
            for layer, name in enumerate(names)
        ]


@dataclass(frozen=True)
class SharedAttention:
    """The block's attention. `adapters`: each layer adds low-rank adapters of its own, as in Zamba2."""

    adapters: bool

    def read(self, reading: Reading, name: str) -> Part:
        """The attention of the layers of this name."""
        fields, width = reading.fields, 2 * reading.hidden_size
        heads = fields.needed_integer(HEADS, 1, MAX_HEADS)
        head_dim = fields.integer(("attention_head_dim",), 1, MAX_HEAD_DIM) or max(width // heads, 1)
        said = fields.value("attention_hidden_size")
        if fields.sound and said is not None and said != width:
            fields.refuse(
                "attention_hidden_size",
                f"is {shown(said)}; modelled is {width}, two hidden sizes: a hidden state and an embedding",
            )
        if fields.sound and heads * head_dim != width:
            fields.refuse(
                "attention_head_dim" if fields.value("attention_head_dim") is not None else HEADS[0],
                f"makes {heads} heads of {head_dim}; modelled are heads that together are {width} wide",
            )
        kv_heads = fields.integer(KV_HEADS[:1], 1, MAX_HEADS) or heads
        if fields.sound and heads % kv_heads:
            fields.refuse(
                KV_HEADS[0], f"is {kv_heads}, which does not divide the {heads} query heads; give a divisor"
            )
        rotated = self.adapters and flag(reading, "use_mem_rope", default=False)
        shape = Attention(
            head_count=heads,
            kv_head_count=kv_heads,
            head_dim=head_dim,
            value_head_dim=head_dim,
            rotary_dim=head_dim if rotated else 0,
        )
        return Part(shape, tuple(self._tensors(reading, shape, again=name == HYBRID_AGAIN)))

    def _tensors(self, reading: Reading, shape: Attention, *, again: bool) -> Iterator[WeightTensor]:
        hidden, here = reading.hidden_size, ModuleClass.ATTENTION
        width, kv_width = 2 * hidden, shape.kv_head_count * shape.head_dim
        block = [
            vector("shared_norm", width, ModuleClass.NORM),
            *linear("q_proj", width, width, here),
            *linear("k_proj", kv_width, width, here),
            *linear("v_proj", kv_width, width, here),
            *linear("o_proj", hidden, width, here),
        ]
        yield from _stored(block, again=again)
        if self.adapters and _says(reading, ATTENTION_ADAPTERS):
            if reading.fields.sound and kv_width != width:
                reading.fields.refuse(
                    KV_HEADS[0], "must be the number of query heads where attention has adapters"
                )
            for part in ("q", "k", "v"):
                yield from _adapter(reading, f"{part}_adapter", width, width, here)
        yield from linear("shared_out_proj", hidden, hidden, here)


@dataclass(frozen=True)
class SharedMlp:
    """The block's MLP, and its norm."""

    adapters: bool

    def read(self, reading: Reading, name: str) -> Part:
        """The MLP of the layers of this name."""
        fields, hidden, here = reading.fields, reading.hidden_size, ModuleClass.MLP
        width = fields.needed_integer(MLP_WIDTH, 1, MAX_MLP_WIDTH)
        bias = self.adapters and flag(reading, "add_bias_linear", default=False)
        block = [
            vector("shared_norm", hidden, ModuleClass.NORM),
            *linear("gate_proj", width, hidden, here, bias=bias),
            *linear("up_proj", width, hidden, here, bias=bias),
            *linear("down_proj", hidden, width, here, bias=bias),
        ]
        own = _adapter(reading, "gate_up_adapter", 2 * width, hidden, here) if self.adapters else ()
        shape = Mlp(width, gated=True, activation=reading.activation)
        return Part(shape, (*_stored(block, again=name == HYBRID_AGAIN), *own))


def _stored(block: Iterable[WeightTensor], *, again: bool) -> Iterator[WeightTensor]:
    for tensor in block:
        yield replace(tensor, shared=True) if again else tensor


def _says(reading: Reading, keys: Sequence[str]) -> bool:
    # Both spellings are looked up, so that neither counts as unread.
    return True in [flag(reading, key, default=False) for key in keys]


def _adapter(
    reading: Reading, operator: str, rows: int, columns: int, module: ModuleClass
) -> Iterator[WeightTensor]:
    rank = reading.fields.needed_integer(RANK, 1, MAX_MLP_WIDTH)
    yield from linear(f"{operator}_a", rank, columns, module)
    yield from linear(f"{operator}_b", rows, rank, module)
