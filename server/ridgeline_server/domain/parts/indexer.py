"""Indexers, which choose the keys that sparse attention reads: facts and tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ridgeline_server.domain.config.sizes import MAX_CONTEXT, MAX_HEAD_DIM, MAX_HEADS
from ridgeline_server.domain.mixers import Indexer
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.tensors import ModuleClass, Norm, WeightTensor, linear, norm

HERE = ModuleClass.ATTENTION


@dataclass(frozen=True)
class IndexerFacts:
    """Keys of an indexer's sizes, and of what it has."""

    head_keys: tuple[str, ...] = ("index_n_heads",)
    head_dim_keys: tuple[str, ...] = ("index_head_dim",)
    top_k_keys: tuple[str, ...] = ("index_topk",)
    block_keys: tuple[str, ...] = ()
    """The tokens of a block, where whole blocks are chosen."""
    shared_names: tuple[str, ...] = ()
    """Names of layers that take the choice of the layer before."""
    weighted: bool = True
    """Heads are weighted by a projection of the hidden state."""
    norms: tuple[Norm, ...] = (Norm.LAYER,)
    """Norms over one head, of the key and of the query in that order."""

    def read(self, reading: Reading, name: str) -> Indexer:
        """The indexer of the layers of a name."""
        fields = reading.fields
        block = fields.integer(self.block_keys, 1, MAX_CONTEXT) or 1
        return Indexer(
            head_count=fields.needed_integer(self.head_keys, 1, MAX_HEADS),
            head_dim=fields.needed_integer(self.head_dim_keys, 1, MAX_HEAD_DIM),
            top_k=fields.needed_integer(self.top_k_keys, 1, MAX_CONTEXT) * block,
            shared=name in self.shared_names,
        )

    def tensors(self, shape: Indexer, hidden: int, query_width: int) -> Iterator[WeightTensor]:
        """Its tensors; queries are projected from `query_width` elements."""
        if shape.shared:
            return
        yield from linear("indexer_q_proj", shape.head_count * shape.head_dim, query_width, HERE)
        yield from linear("indexer_k_proj", shape.head_dim, hidden, HERE)
        for stored in self.norms:
            yield from norm("indexer_norm", stored, shape.head_dim)
        if self.weighted:
            yield from linear("indexer_weights_proj", shape.head_count, hidden, HERE)
