"""The tensors before and after the layers."""

from __future__ import annotations

from ridgeline_server.domain.parts.facts import Position
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor, norm, vector


def outer_tensors(reading: Reading, tied: bool) -> tuple[WeightTensor, ...]:
    """Embedding, position table, norms around the layers, lm_head."""
    family, hidden, vocab = reading.family, reading.hidden_size, reading.vocab_size
    rows = vocab + family.extra_embedding_rows
    tensors = [WeightTensor("embedding", (rows, hidden), TensorKind.TABLE, ModuleClass.EMBEDDING)]
    if family.position is Position.LEARNED and reading.position_count is not None:
        rows = reading.position_count + family.position_offset
        table = WeightTensor("position_embedding", (rows, hidden), TensorKind.TABLE, ModuleClass.EMBEDDING)
        tensors.append(table)
    if family.embedding_norm:
        tensors.extend(norm("embedding_norm", family.norm, hidden))
    if family.more_tensors is not None:
        tensors.extend(family.more_tensors(reading))
    if family.final_norm:
        tensors.extend(norm("final_norm", family.norm, hidden))
    tensors.append(
        WeightTensor("lm_head", (vocab, hidden), TensorKind.MATRIX, ModuleClass.LM_HEAD, shared=tied)
    )
    if family.lm_head_bias:
        tensors.append(vector("lm_head", vocab, ModuleClass.LM_HEAD))
    return tuple(tensors)
