"""Rows of mixers whose memory does not grow: state spaces, linear attention, convolutions, recurrences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from ridgeline_server.domain.dtypes import ELEMENT_BITS
from ridgeline_server.domain.mixers import (
    Linear,
    LinearAttention,
    Recurrence,
    ShortConvolution,
    State,
    StateSpace,
)
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor
from ridgeline_server.roofline.operators.layer import Layer
from ridgeline_server.roofline.operators.rows import Quantity, Row, added
from ridgeline_server.roofline.operators.variables import SEQUENCES, TOKENS

Recurrent = StateSpace | LinearAttention | ShortConvolution | Recurrence

SCAN_FLOPS_PER_STATE_ELEMENT: Mapping[int, int] = MappingProxyType({1: 7, 2: 5})
"""h <- a h + (dt B) x is two products and a sum, y += C h a product and a sum; Mamba's `a` is the exponential
of a product for each element (arXiv:2312.00752, algorithm 2), Mamba-2's one scalar for each head
(arXiv:2405.21060).
"""
RULE_FLOPS_PER_STATE_ELEMENT: Mapping[str, int] = MappingProxyType({"gated-delta": 7, "kimi-delta": 7})
"""Delta rules: a decay (1), what the memory has for the key (2), the outer product that corrects it (2), the
query's product (2) (arXiv:2412.06464, equation 10).
"""
OTHER_RULE_FLOPS_PER_STATE_ELEMENT = 5
"""A decay, an outer product and the query's product (arXiv:2401.04658)."""
GATES_FLOPS_PER_CHANNEL = 12
"""RG-LRU: two sigmoids (4 each), an exponential, and h <- a h + sqrt(1 - a^2) (i x) (arXiv:2402.19427)."""

SUMMED = "ssm_x_proj"
"""Mamba's time steps and state projections, from the channels of all devices."""

_NAMES = {
    StateSpace: "ssm_scan",
    LinearAttention: "linear_attention",
    ShortConvolution: "short_conv",
    Recurrence: "recurrence",
}


def recurrent_rows(layer: Layer, mixer: Recurrent, tensors: Sequence[WeightTensor]) -> Iterator[Row]:
    """The projections in, the convolution and the update of the state, and the projection out.

    Prefill is counted with the work of the recurrence too: chunked scans trade more FLOPs for fewer steps,
    and what they keep between chunks stays on the chip.
    """
    *inner, last = [t for t in tensors if t.kind is TensorKind.MATRIX or t.module is ModuleClass.NORM]
    while last.kind is not TensorKind.MATRIX:
        last = inner.pop()
    for tensor in inner:
        if tensor.kind is TensorKind.MATRIX:
            yield layer.gemm(tensor)
        if tensor.operator == SUMMED:
            # Sums over all channels, which every device needs whole.
            yield from layer.all_reduce(tensor.copies * tensor.shape[0])
    yield _update(layer, mixer)
    for tensor in inner:
        if tensor.kind is TensorKind.VECTOR:
            yield layer.inner_norm(tensor, _norm_width(layer, mixer, tensor))
    yield layer.gemm(last)


def _norm_width(layer: Layer, mixer: Recurrent, tensor: WeightTensor) -> float:
    """Elements of a token that a norm covers on a device: the gains of linear attention's are those of one
    head, and those of Mamba's are on what was summed over all channels.
    """
    if isinstance(mixer, LinearAttention):
        return mixer.value_head_count * mixer.value_head_dim / layer.tp
    if isinstance(mixer, StateSpace) and mixer.version == 1:
        return tensor.shape[0]
    return tensor.shape[0] / layer.tp


def linear_rows(layer: Layer, mixer: Linear, tensors: Sequence[WeightTensor]) -> Iterator[Row]:  # noqa: ARG001
    """One matrix in place of a mixer or an MLP."""
    for tensor in tensors:
        if tensor.kind is TensorKind.MATRIX:
            yield layer.gemm(tensor)


def _update(layer: Layer, mixer: Recurrent) -> Row:
    flops, width_in, width_out = _work(mixer)
    state = sum(_bytes(layer, state) for state in mixer.states) / layer.tp
    return layer.row(
        _NAMES[type(mixer)],
        added(
            {
                Quantity.FLOPS: {TOKENS: flops / layer.tp},
                Quantity.IN_WIDE: {TOKENS: width_in / layer.tp},
                Quantity.OUT_GEMM: {TOKENS: width_out / layer.tp},
                Quantity.STATE_READ: {SEQUENCES: state},
                Quantity.STATE_WRITTEN: {SEQUENCES: state},
            },
            layer.hold(),
        ),
        module=ModuleClass.MIXER,
    )


def _bytes(layer: Layer, state: State) -> float:
    return state.elements * ELEMENT_BITS[state.dtype or layer.model.dtype] / 8


def _work(mixer: Recurrent) -> tuple[float, float, float]:
    """FLOPs, elements read and elements written of one token."""
    match mixer:
        case StateSpace():
            channels = mixer.inner_size + 2 * mixer.group_count * mixer.state_size
            scan = SCAN_FLOPS_PER_STATE_ELEMENT[mixer.version] * mixer.inner_size * mixer.state_size
            convolution = 2 * mixer.conv_kernel * (channels if mixer.version == 2 else mixer.inner_size)
            return scan + convolution, channels + mixer.inner_size, mixer.inner_size
        case LinearAttention():
            keys = 2 * mixer.key_head_count * mixer.key_head_dim
            values = mixer.value_head_count * mixer.value_head_dim
            state = mixer.value_head_count * mixer.key_head_dim * mixer.value_head_dim
            per_element = RULE_FLOPS_PER_STATE_ELEMENT.get(mixer.rule, OTHER_RULE_FLOPS_PER_STATE_ELEMENT)
            convolution = 2 * mixer.conv_kernel * (keys + values)
            return per_element * state + convolution, keys + values + mixer.output_gate, values
        case ShortConvolution():
            return (2 * mixer.conv_kernel + 2) * mixer.channels, 3 * mixer.channels, mixer.channels
        case Recurrence():
            per_channel = 2 * mixer.conv_kernel + GATES_FLOPS_PER_CHANNEL
            return per_channel * mixer.width, 4 * mixer.width, mixer.width
