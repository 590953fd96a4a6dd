"""Short convolutions and gated linear recurrences: their shapes, tensors and states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ridgeline_server.domain.config.fields import shown
from ridgeline_server.domain.config.sizes import MAX_HEADS, MAX_MLP_WIDTH
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.mixers import Recurrence, ShortConvolution, State
from ridgeline_server.domain.mlps import Mlp
from ridgeline_server.domain.parts.facts import HEADS, Part
from ridgeline_server.domain.parts.mlp import mlp_tensors
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.parts.recurrent import convolution, convolution_state, flag, kernel
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor, linear, vector

HERE = ModuleClass.MIXER


@dataclass(frozen=True)
class GatedConvolution:
    """LFM2's mixer: a convolution of the hidden size between two gates (arXiv:2511.23404)."""

    kernel_keys: tuple[str, ...] = ("conv_L_cache",)
    bias_key: str = "conv_bias"

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The convolution, whatever the name of its layers."""
        fields, hidden = reading.fields, reading.hidden_size
        width = kernel(reading, self.kernel_keys, default=3)
        for key in ("conv_dim", "conv_dim_out", "block_dim"):
            said = fields.value(key)
            if said is not None and said != hidden and fields.sound:
                fields.refuse(key, f"is {shown(said)}; modelled is the hidden size, {hidden}")
        bias = flag(reading, self.bias_key, default=False)
        shape = ShortConvolution(
            states=(convolution_state(hidden, width),), channels=hidden, conv_kernel=width
        )
        tensors = (
            *linear("conv_in_proj", 3 * hidden, hidden, HERE, bias=bias),
            *convolution("short_conv", hidden, width, bias=bias),
            *linear("conv_out_proj", hidden, hidden, HERE, bias=bias),
        )
        return Part(shape, tensors)


@dataclass(frozen=True)
class Lfm2Mlp:
    """LFM2's MLP: as wide as the config says, or two thirds of it rounded up (block_auto_adjust_ff_dim)."""

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The MLP, whatever the name of its layers."""
        fields = reading.fields
        keys = ("block_ff_dim", "intermediate_size")
        width = fields.needed_integer((fields.key_of(keys),), 1, MAX_MLP_WIDTH)
        if flag(reading, "block_auto_adjust_ff_dim", default=True):
            factor = fields.number(("block_ffn_dim_multiplier",), 1 / 64, 64)
            multiple = fields.needed_integer(("block_multiple_of",), 1, MAX_MLP_WIDTH)
            width = int((1 if factor is None else factor) * int(2 * width / 3))
            width = multiple * max(-(-width // multiple), 1)
        shape = Mlp(width, gated=True, activation=reading.activation)
        return Part(shape, tuple(mlp_tensors(reading.hidden_size, width, gated=True, bias=False)))


@dataclass(frozen=True)
class RealGatedLru:
    """RecurrentGemma's mixer: a convolution and an RG-LRU, whose gates are block-diagonal, on one of two
    branches (arXiv:2402.19427, section 2.4). transformers keeps its state in fp32.
    """

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The recurrence, whatever the name of its layers."""
        fields = reading.fields
        channels = fields.integer(("lru_width",), 1, MAX_MLP_WIDTH) or reading.hidden_size
        heads = fields.needed_integer(HEADS, 1, MAX_HEADS)
        width = kernel(reading, ("conv1d_width",))
        if fields.sound and channels % heads:
            fields.refuse("lru_width", f"is {channels}, not a multiple of the {heads} heads; give a multiple")
        shape = Recurrence(
            states=(convolution_state(channels, width), State("recurrence", channels, Dtype.FP32)),
            width=channels,
            head_count=heads,
            conv_kernel=width,
        )
        return Part(shape, tuple(_lru_tensors(reading.hidden_size, shape)))


def _lru_tensors(hidden: int, shape: Recurrence) -> Iterator[WeightTensor]:
    channels, block = shape.width, shape.width // shape.head_count
    yield from linear("recurrent_in_proj", 2 * channels, hidden, HERE, bias=True)
    yield from convolution("recurrent_conv", channels, shape.conv_kernel, bias=True)
    gates = 2 * shape.head_count
    yield WeightTensor("recurrent_gates", (block, block), TensorKind.MATRIX, HERE, copies=gates)
    yield vector("recurrent_gates", 2 * channels, HERE)
    yield vector("recurrence", channels, HERE)
    yield from linear("recurrent_out_proj", hidden, channels, HERE, bias=True)
