"""Model: one dense decoder-only LLM architecture, as the weight tensors that its operators read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from math import prod

from ridgeline_server.domain.dtypes import Dtype


class TensorKind(StrEnum):
    """How an operator reads a tensor."""

    MATRIX = "matrix"
    """Streamed whole each time the operator runs."""
    TABLE = "table"
    """One row is gathered per token."""
    VECTOR = "vector"
    """A bias or a norm's gain: kept on the chip; counted as memory, not as traffic, as in Table 1 of
    arXiv:2402.16363.
    """


@dataclass(frozen=True)
class WeightTensor:
    """One weight tensor and the operator that reads it. A matrix has shape (out, in).

    `shared` marks a second reader of a tensor that is stored once, as lm_head is with tied embeddings.
    """

    operator: str
    shape: tuple[int, ...]
    kind: TensorKind
    shared: bool = False

    @property
    def parameters(self) -> int:
        """Elements that the checkpoint stores for it."""
        return 0 if self.shared else prod(self.shape)


@dataclass(frozen=True)
class LayerKind:
    """`count` identical decoder layers.

    `window` is the number of keys a query sees at most, itself included (None: all). `norms` names the norm
    operators in use, out of attn_norm, qk_norm, attn_post_norm, mlp_norm, mlp_post_norm. `parallel` layers
    feed attention and MLP from one normalised input. `tensors` holds those of one layer.
    """

    name: str
    count: int
    head_count: int
    kv_head_count: int
    head_dim: int
    rotary_dim: int
    intermediate_size: int
    gated: bool
    activation: str
    norms: tuple[str, ...]
    tensors: tuple[WeightTensor, ...]
    window: int | None = None
    parallel: bool = False

    @property
    def kv_width(self) -> int:
        """Elements that one token adds to the KV cache of one layer, keys and values together."""
        return 2 * self.kv_head_count * self.head_dim


@dataclass(frozen=True)
class Model:
    """One architecture. `tensors` are those outside of the layers: embedding, position_embedding,
    embedding_norm, final_norm, lm_head.

    `dtype` is the wide format of the checkpoint; `weight_dtype`, `weight_group_size` and `activation_dtype`
    tell the layers' own formats, which differ from it in a quantised checkpoint.
    """

    id: str
    family: str
    hidden_size: int
    vocab_size: int
    layer_kinds: tuple[LayerKind, ...]
    tensors: tuple[WeightTensor, ...]
    max_context_len: int | None
    dtype: Dtype
    weight_dtype: Dtype
    weight_group_size: int = 0
    activation_dtype: Dtype | None = None
    assumptions: tuple[str, ...] = ()
    not_modelled: tuple[str, ...] = ()
    display_name: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """Name for messages."""
        return self.display_name or self.id or f"a {self.family} model"

    @property
    def quantized(self) -> bool:
        """Whether the checkpoint stores its layers in fewer bits than it computes in."""
        return self.weight_dtype is not self.dtype

    @cached_property
    def layer_count(self) -> int:
        """Decoder layers."""
        return sum(kind.count for kind in self.layer_kinds)

    @cached_property
    def parameter_count(self) -> int:
        """Weights in all: the sum over the tensors that the operators read."""
        layers = sum(kind.count * sum(t.parameters for t in kind.tensors) for kind in self.layer_kinds)
        return layers + sum(t.parameters for t in self.tensors)

    @property
    def active_parameter_count(self) -> int:
        """Weights that one token uses."""
        return self.parameter_count

    @property
    def expert_count(self) -> int:
        """Experts of a layer."""
        return 0

    @cached_property
    def layer_matrix_parameters(self) -> int:
        """Weights of the matrices inside of the layers."""
        return sum(
            kind.count * sum(t.parameters for t in kind.tensors if t.kind is TensorKind.MATRIX)
            for kind in self.layer_kinds
        )

    @cached_property
    def vector_parameters(self) -> int:
        """Biases and norm gains, in the layers and outside."""
        layers = sum(
            kind.count * sum(t.parameters for t in kind.tensors if t.kind is TensorKind.VECTOR)
            for kind in self.layer_kinds
        )
        return layers + sum(t.parameters for t in self.tensors if t.kind is TensorKind.VECTOR)

    @cached_property
    def kv_elements_per_token(self) -> int:
        """Elements that one token adds to the KV cache over all layers, windows not yet full."""
        return sum(kind.count * kind.kv_width for kind in self.layer_kinds)
