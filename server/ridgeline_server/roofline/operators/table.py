"""The operator table: all rows of one step of a model on one device, as one array of coefficients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.errors import UnsupportedArchitectureError
from ridgeline_server.domain.mixers import (
    Attention,
    CompressedAttention,
    LatentAttention,
    Linear,
    Mixer,
)
from ridgeline_server.domain.mlps import Experts, Mlp
from ridgeline_server.domain.model import LayerKind, Model
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor
from ridgeline_server.roofline.operators.attention import attention_rows
from ridgeline_server.roofline.operators.feed_forward import expert_rows, mlp_rows
from ridgeline_server.roofline.operators.latent import compressed_rows, latent_rows
from ridgeline_server.roofline.operators.layer import Layer, Placement, Stage
from ridgeline_server.roofline.operators.outer import head_rows, input_rows
from ridgeline_server.roofline.operators.recurrent import linear_rows, recurrent_rows
from ridgeline_server.roofline.operators.rows import Collective, Quantity, Row, Work
from ridgeline_server.roofline.operators.variables import Variable

Array = NDArray[np.float64]

MODULES = tuple(ModuleClass)
MODULE_INDEX = {module: index for index, module in enumerate(MODULES)}


CLASSES = (*MODULES, Work.EXPERTS, Work.ATTENTION, Work.ELEMENTWISE)
"""What has calibrated constants of its own: GEMMs by their module's formats, experts, attention, the rest."""
_CLASS_INDEX = {cls: index for index, cls in enumerate(CLASSES)}


@dataclass(frozen=True, eq=False)
class OperatorTable:
    """All operators of one step of a model on one device, in the order of execution; R rows, B variables.

    `coefficients` has shape (quantities, R, B), `count` (R,) is how often a step runs each row, `module` (R,)
    the index of the module whose formats it has, and the `rows` tell the rest. Of shape (R,), too, are
    `in_layers` and masks of the rows by their `work`.
    """

    rows: tuple[Row, ...]
    variables: tuple[Variable, ...]
    coefficients: Array
    count: Array
    module: NDArray[np.intp]
    in_layers: NDArray[np.bool_]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Operator names."""
        return tuple(row.name for row in self.rows)

    @cached_property
    def layer_kinds(self) -> tuple[str, ...]:
        """The layer kind of each row; empty outside of the layers."""
        return tuple(row.layer_kind for row in self.rows)

    def is_work(self, *works: Work) -> NDArray[np.bool_]:
        """Which rows do some kind of work."""
        return np.array([row.work in works for row in self.rows], dtype=np.bool_)

    @cached_property
    def multiplies(self) -> NDArray[np.bool_]:
        """Rows whose rate is that of their module's GEMMs; the others compute in the wide format."""
        return self.is_work(Work.GEMM, Work.EXPERTS)

    @cached_property
    def cost_class(self) -> NDArray[np.intp]:
        """The index in CLASSES of each row; collectives, which have constants of another kind, get any."""
        other = _CLASS_INDEX[Work.ELEMENTWISE]
        return np.array(
            [_CLASS_INDEX.get(row.module if row.work is Work.GEMM else row.work, other) for row in self.rows],
            dtype=np.intp,
        )

    @cached_property
    def cost_classes_used(self) -> tuple[int, ...]:
        """The indices in CLASSES that some row has, in their order of first use."""
        return tuple(dict.fromkeys(self.cost_class[~self.is_work(Work.COLLECTIVE)].tolist()))

    @cached_property
    def live(self) -> tuple[Array, Array]:
        """Elements alive while each row runs, in the compute format and in that of its module's GEMM inputs:
        inputs, outputs and what is held beside them; shape (R, B).
        """
        wide = [Quantity.IN_WIDE, Quantity.OUT_WIDE, Quantity.HELD_WIDE]
        gemm = [Quantity.IN_GEMM, Quantity.OUT_GEMM]
        return self.coefficients[wide].sum(axis=0), self.coefficients[gemm].sum(axis=0)

    @cached_property
    def launches(self) -> Array:
        """1 for rows that are kernels of their own, 0 for those that run in another's; shape (R,)."""
        return np.array([0.0 if row.joined else 1.0 for row in self.rows])

    @cached_property
    def depth(self) -> Array:
        """Thousands of elements that a kernel of its own contracts, shape (R,)."""
        return np.array([0.0 if row.joined else row.depth / 1000 for row in self.rows])

    @cached_property
    def has_experts(self) -> bool:
        """Whether any row is a mixture of experts."""
        return bool(self.is_work(Work.EXPERTS).any())

    @cached_property
    def collectives(self) -> tuple[tuple[int, Collective, int], ...]:
        """Row, kind and number of devices of each exchange."""
        return tuple(
            (index, row.collective, row.ranks)
            for index, row in enumerate(self.rows)
            if row.collective is not None
        )

    @cached_property
    def layer_gemms(self) -> NDArray[np.bool_]:
        """Products with the layers' weights."""
        return self.multiplies & self.in_layers


FEW_KINDS = 8
MAX_KINDS = 64
"""Kinds of layers that are costed: the operator table may grow with their square. Of published models OpenELM
has most, 36.
"""


def operator_table(model: Model, placement: Placement) -> OperatorTable:
    """The operator table of a model. Matrix shapes come from its weight tensors, so that what is read is what
    the parameter count sums. Raises UnsupportedArchitectureError for a model of more than MAX_KINDS kinds of
    layers.
    """
    return (_small_table if len(model.layer_kinds) <= FEW_KINDS else _large_table)(model, placement)


def _table(model: Model, placement: Placement) -> OperatorTable:
    if len(model.layer_kinds) > MAX_KINDS:
        raise UnsupportedArchitectureError(
            f"{model.name} has {len(model.layer_kinds)} kinds of layers; models of up to {MAX_KINDS} kinds "
            "are costed"
        )
    rows = tuple(_rows(model, placement))
    if placement.stage is Stage.PREFILL:
        # Most models do the same in both stages: one table then serves both.
        decode = operator_table(model, replace(placement, stage=Stage.DECODE))
        if decode.rows == rows:
            return decode
    variables = tuple(
        dict.fromkeys(variable for row in rows for terms in row.terms.values() for variable in terms)
    )
    index = {variable: number for number, variable in enumerate(variables)}
    coefficients = np.zeros((len(Quantity), len(rows), len(variables)))
    for r, row in enumerate(rows):
        for quantity, terms in row.terms.items():
            for variable, coefficient in terms.items():
                coefficients[quantity, r, index[variable]] = coefficient
    coefficients.setflags(write=False)
    return OperatorTable(
        rows=rows,
        variables=variables,
        coefficients=coefficients,
        count=np.array([row.count for row in rows], dtype=np.float64),
        module=np.array([MODULE_INDEX[row.module] for row in rows], dtype=np.intp),
        in_layers=np.array([row.in_layers for row in rows], dtype=np.bool_),
    )


_small_table, _large_table = lru_cache(maxsize=1024)(_table), lru_cache(maxsize=32)(_table)


def _rows(model: Model, placement: Placement) -> Iterator[Row]:
    yield from input_rows(model, placement)
    for kind in model.layer_kinds:
        yield from _layer_rows(Layer(model, kind, placement))
    yield from head_rows(model, placement)


def _layer_rows(layer: Layer) -> Iterator[Row]:
    kind = layer.kind
    if all(isinstance(mixer, Attention) and mixer.is_cross for mixer in kind.mixers) and kind.mixers:
        return  # Without an image such a layer passes its input on.
    mixing, feeding = _parted(kind)
    if kind.mixers:
        module = mixing[0].module if mixing else ModuleClass.ATTENTION
        yield from layer.norm("attn_norm", module)
        for mixer, tensors in _shares(kind.mixers, mixing):
            yield from _mixer_rows(layer, mixer, tensors)
        # A parallel layer sums what mixer and MLP give once, behind both.
        if not (kind.parallel and kind.mlps):
            yield from layer.all_reduce()
        yield from layer.norm("attn_post_norm", ModuleClass.NORM, Quantity.OUT_WIDE)
        yield layer.add("attn_add")
    if kind.mlps:
        module = feeding[0].module if feeding else ModuleClass.MLP
        yield from layer.norm("mlp_norm", ModuleClass.EXPERTS if module is ModuleClass.ROUTER else module)
        for mlp in kind.mlps:
            yield from _mlp_rows(layer, mlp, feeding)
        yield from layer.all_reduce()
        yield from layer.norm("mlp_post_norm", ModuleClass.NORM, Quantity.OUT_WIDE)
        yield layer.add("mlp_add")
    for tensor in kind.tensors:
        if tensor.kind is TensorKind.MATRIX and tensor.module is ModuleClass.NORM:
            yield layer.gemm(tensor)


_MIXING = (ModuleClass.ATTENTION, ModuleClass.MIXER)
_FEEDING = (ModuleClass.MLP, ModuleClass.EXPERTS, ModuleClass.SHARED_EXPERT)
_INNER_NORMS = ("q_a_norm", "kv_a_norm", "ssm_norm", "linear_norm", "recurrent_norm")


def _parted(kind: LayerKind) -> tuple[list[WeightTensor], list[WeightTensor]]:
    """The tensors of a layer's mixers and those of its MLPs."""
    mixing, feeding = [], []
    for tensor in kind.tensors:
        if tensor.module in _MIXING or tensor.operator in (*_INNER_NORMS, "attn_router"):
            mixing.append(tensor)
        elif tensor.module in _FEEDING or tensor.operator == "moe_router":
            feeding.append(tensor)
    return mixing, feeding


def _shares(
    mixers: Sequence[Mixer], tensors: Sequence[WeightTensor]
) -> Iterator[tuple[Mixer, list[WeightTensor]]]:
    """Each mixer with the tensors that are its own: attention's, or those of the recurrent one beside it."""
    for mixer in mixers:
        if len(mixers) == 1:
            yield mixer, list(tensors)
        else:
            attends = isinstance(mixer, Attention | LatentAttention | CompressedAttention)
            yield (
                mixer,
                [
                    t
                    for t in tensors
                    if attends
                    == (t.module is ModuleClass.ATTENTION or t.operator in ("q_a_norm", "kv_a_norm"))
                ],
            )


def _mixer_rows(layer: Layer, mixer: Mixer, tensors: Sequence[WeightTensor]) -> Iterator[Row]:
    match mixer:
        case Attention():
            return attention_rows(layer, mixer, tensors)
        case LatentAttention():
            return latent_rows(layer, mixer, tensors)
        case CompressedAttention():
            return compressed_rows(layer, mixer, tensors)
        case Linear():
            return linear_rows(layer, mixer, tensors)
        case _:
            return recurrent_rows(layer, mixer, tensors)


def _mlp_rows(layer: Layer, mlp: Mlp | Experts | Linear, tensors: Sequence[WeightTensor]) -> Iterator[Row]:
    match mlp:
        case Experts():
            return expert_rows(layer, mlp, [t for t in tensors if t.module is not ModuleClass.MLP])
        case Mlp():
            return mlp_rows(layer, mlp, [t for t in tensors if t.module is ModuleClass.MLP])
        case Linear():
            return linear_rows(layer, mlp, [t for t in tensors if t.module is ModuleClass.MLP])
