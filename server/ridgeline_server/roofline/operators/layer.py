"""What the rows of a layer share: its model, its part of the devices, and products with its matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ridgeline_server.domain.deployment import AttentionKernel
from ridgeline_server.domain.model import LayerKind, Model
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor
from ridgeline_server.roofline.operators.rows import (
    Collective,
    Quantity,
    Row,
    Terms,
    Work,
    add_terms,
    added,
    norm_terms,
)
from ridgeline_server.roofline.operators.sharding import Split, kv_head_share, split_of
from ridgeline_server.roofline.operators.variables import ONE, TOKENS, Count, Routing, Variable


class Stage(StrEnum):
    """A stage of a request's life."""

    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(frozen=True)
class Placement:
    """What the rows of one device depend on besides the model."""

    parallel: Parallelism
    kernel: AttentionKernel
    stage: Stage
    expert_popularity_spread: float = 0.0

    @property
    def fused(self) -> bool:
        """Whether attention is one kernel."""
        return self.kernel is AttentionKernel.FUSED


@dataclass(frozen=True)
class Layer:
    """One layer kind on one device."""

    model: Model
    kind: LayerKind
    placement: Placement

    @property
    def hidden(self) -> int:
        """The hidden size."""
        return self.model.hidden_size

    @property
    def tp(self) -> int:
        """Devices that divide a matrix."""
        return self.placement.parallel.tp

    def row(
        self,
        name: str,
        terms: Terms,
        work: Work = Work.ELEMENTWISE,
        module: ModuleClass = ModuleClass.NORM,
        depth: float = 0.0,
        *,
        joined: bool = False,
    ) -> Row:
        """A row of this kind; `depth` is that of a product."""
        joined = joined or name in JOINED
        if depth and not joined:
            terms = added(terms, product_counts(depth))
        return Row(name, self.kind.name, self.kind.count, terms, work, module, joined=joined, depth=depth)

    def gemm(
        self,
        tensor: WeightTensor,
        held: float = 0.0,
        *,
        kv_heads: int = 1,
        out: Terms | None = None,
        joined: bool = False,
    ) -> Row:
        """A product with a weight matrix (out, in) over all tokens. The residual stream and `held` further
        elements per token stay alive beside it; `out` replaces its own output; a `joined` one runs in the
        kernel of the one before it.
        """
        terms = added(self.product(tensor, kv_heads=kv_heads, out=out), self.hold(held))
        depth = self.shape(tensor, kv_heads)[1]
        return self.row(tensor.operator, terms, Work.GEMM, tensor.module, depth, joined=joined)

    def product(self, tensor: WeightTensor, *, kv_heads: int = 1, out: Terms | None = None) -> Terms:
        """The terms of a product with a matrix, or with several side by side."""
        rows, columns = self.shape(tensor, kv_heads)
        copies, chosen = float(tensor.copies), float(tensor.active_copies or tensor.copies)
        weights: dict[Variable, float] = {ONE: rows * columns * copies}
        inputs = columns * chosen
        if tensor.active_copies is not None:
            routing = Routing(tensor.copies, tensor.copies, tensor.active_copies)
            weights = {Variable(Count.EXPERTS_HIT, routing): rows * columns}
            # Experts that project in share a token; those that project out have each their own input.
            inputs = columns if split_of(tensor) is Split.COLUMN else columns * chosen
        elif split_of(tensor) is Split.BLOCKS:
            weights = {ONE: rows * columns * copies / self.tp}
            chosen, inputs = chosen / self.tp, inputs / self.tp
        return {
            Quantity.FLOPS: {TOKENS: 2 * rows * columns * chosen},
            Quantity.WEIGHTS: weights,
            Quantity.IN_GEMM: {TOKENS: inputs},
            **({Quantity.OUT_WIDE: {TOKENS: rows * chosen}} if out is None else out),
        }

    def shape(self, tensor: WeightTensor, kv_heads: int = 1) -> tuple[float, float]:
        """Outputs and inputs of a matrix that this device has."""
        rows, columns = float(tensor.shape[0]), float(tensor.shape[1])
        match split_of(tensor):
            case Split.COLUMN:
                rows /= self.tp
            case Split.ROW:
                columns /= self.tp
            case Split.KV_HEADS:
                rows *= kv_head_share(kv_heads, self.placement.parallel)
            case _:
                pass
        return rows, columns

    def hold(self, elements: float = 0.0) -> Terms:
        """The residual stream and more that stays alive, elements per token."""
        return {Quantity.HELD_WIDE: {TOKENS: self.hidden * self.model.residual_streams + elements}}

    def norm(self, name: str, module: ModuleClass, out: Quantity = Quantity.OUT_GEMM) -> Iterator[Row]:
        """A norm on the residual stream, where this kind has it."""
        if name in self.kind.norms:
            yield self.row(name, norm_terms(self.hidden, out), module=module)

    def inner_norm(self, tensor: WeightTensor, width: float) -> Row:
        """A norm within a mixer or an MLP over `width` elements of a token."""
        terms = added(norm_terms(width, Quantity.OUT_WIDE), self.hold())
        return self.row(tensor.operator, terms, module=tensor.module)

    def add(self, name: str) -> Row:
        """The sum with the residual stream."""
        return self.row(name, add_terms(float(self.hidden * self.model.residual_streams)))

    def all_reduce(self, width: float | None = None) -> Iterator[Row]:
        """The sum over tensor-parallel devices of what a row-parallel matrix gives: `width` elements of a
        token, or a hidden state.
        """
        if self.tp > 1:
            yield collective(
                "all_reduce",
                self,
                Collective.ALL_REDUCE,
                self.tp,
                {Quantity.MESSAGE_WIDE: {TOKENS: self.hidden if width is None else width}},
            )


JOINED = frozenset({"k_proj", "v_proj", "kv_a_proj", "attn_add", "mlp_add"})
"""Operators that engines run in the kernel of one before or behind them, as up_proj beside a gate:
vLLM's QKVParallelLinear, MergedColumnParallelLinear and fused_add_rms_norm, and their like in SGLang and
TensorRT-LLM.
"""
SERIAL_DEPTH = 2048.0
"""The length of a contraction from which a product's kernel is split along it."""


def product_counts(depth: float, tokens: Variable = TOKENS) -> Terms:
    """What the kernel of a product of so many `tokens` counts beside FLOPs and bytes."""
    return {
        Quantity.SERIAL: {ONE: min(depth, SERIAL_DEPTH) / SERIAL_DEPTH},
        Quantity.PASSED: {tokens: depth},
    }


def collective(
    name: str,
    layer: Layer,
    what: Collective,
    ranks: int,
    message: Terms,
    module: ModuleClass = ModuleClass.NORM,
) -> Row:
    """An exchange between devices in each layer of a kind; `module` tells the format of a message of GEMM
    inputs.
    """
    kind = layer.kind
    return Row(name, kind.name, kind.count, message, Work.COLLECTIVE, module, collective=what, ranks=ranks)


def matrices(tensors: Sequence[WeightTensor]) -> dict[str, WeightTensor]:
    """The matrices by their operators."""
    return {tensor.operator: tensor for tensor in tensors if tensor.kind is TensorKind.MATRIX}
