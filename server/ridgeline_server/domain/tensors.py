"""Weight tensors: what a model stores, by the operator that reads it and the module that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import prod


class TensorKind(StrEnum):
    """How an operator reads a tensor."""

    MATRIX = "matrix"
    """Streamed whole each time the operator runs."""
    TABLE = "table"
    """One row is gathered per token."""
    VECTOR = "vector"
    """A bias, a norm's gain or another small parameter: kept on the chip; counted as memory, not as traffic,
    as in Table 1 of arXiv:2402.16363.
    """


class ModuleClass(StrEnum):
    """What a tensor belongs to, as far as quantisation schemes tell modules apart."""

    ATTENTION = "attention"
    MIXER = "mixer"
    """State-space and linear-attention layers, short convolutions."""
    MLP = "mlp"
    EXPERTS = "experts"
    SHARED_EXPERT = "shared_expert"
    ROUTER = "router"
    EMBEDDING = "embedding"
    LM_HEAD = "lm_head"
    NORM = "norms"


@dataclass(frozen=True)
class WeightTensor:
    """One weight tensor and the operator that reads it. A matrix has shape (out, in).

    `shared` marks a second reader of a tensor that is stored once, as lm_head is with tied embeddings.
    `copies` tensors of this shape lie side by side, one for each expert; one token uses `active_copies` of
    them (None: all).
    """

    operator: str
    shape: tuple[int, ...]
    kind: TensorKind
    module: ModuleClass
    shared: bool = False
    copies: int = 1
    active_copies: int | None = None

    @property
    def parameters(self) -> int:
        """Elements that the checkpoint stores for it."""
        return 0 if self.shared else self.copies * prod(self.shape)

    @property
    def active_parameters(self) -> int:
        """Elements of it that one token uses; a shared tensor counts where it is stored."""
        if self.shared:
            return 0
        return (self.copies if self.active_copies is None else self.active_copies) * prod(self.shape)


class Norm(StrEnum):
    """What a norm stores."""

    RMS = "RMSNorm: a gain"
    LAYER = "LayerNorm: a gain and a bias"
    LAYER_WITHOUT_BIAS = "LayerNorm: a gain"
    NON_PARAMETRIC = "LayerNorm: nothing"


_NORM_VECTORS = {Norm.RMS: 1, Norm.LAYER: 2, Norm.LAYER_WITHOUT_BIAS: 1, Norm.NON_PARAMETRIC: 0}


def norm(operator: str, stored: Norm, size: int) -> Iterator[WeightTensor]:
    """The vectors of one norm over `size` elements."""
    for _ in range(_NORM_VECTORS[stored]):
        yield vector(operator, size, ModuleClass.NORM)


def vector(operator: str, size: int, module: ModuleClass) -> WeightTensor:
    """A bias, or a parameter for each head or channel."""
    return WeightTensor(operator, (size,), TensorKind.VECTOR, module)


def linear(
    operator: str, rows: int, columns: int, module: ModuleClass, *, bias: bool = False
) -> Iterator[WeightTensor]:
    """A matrix (out, in), and its bias."""
    yield WeightTensor(operator, (rows, columns), TensorKind.MATRIX, module)
    if bias:
        yield vector(operator, rows, module)
