"""Selective state spaces, Mamba and Mamba-2: their shapes, tensors and states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from ridgeline_server.domain.config.sizes import MAX_HEADS, MAX_MLP_WIDTH
from ridgeline_server.domain.mixers import State, StateSpace
from ridgeline_server.domain.parts.facts import Part
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.parts.recurrent import (
    convolution,
    convolution_state,
    expanded,
    flag,
    kernel,
    memory_dtype,
)
from ridgeline_server.domain.tensors import ModuleClass, TensorKind, WeightTensor, linear, vector

HERE = ModuleClass.MIXER
MAX_STATE = 1 << 16
MAX_GROUPS = 1 << 14


@dataclass(frozen=True)
class Mamba:
    """Mamba (arXiv:2312.00752, section 3.4), by the keys under which a family has its numbers.

    `inner_norms`: the time step and the two state projections are normalised, as Jamba does. `head_keys`: the
    channels fall into heads with projections of their own, as in Zamba.
    """

    inner_keys: tuple[str, ...] = ()
    expand_keys: tuple[str, ...] = ("mamba_expand",)
    state_keys: tuple[str, ...] = ("mamba_d_state",)
    kernel_keys: tuple[str, ...] = ("mamba_d_conv",)
    rank_key: str = "mamba_dt_rank"
    head_keys: tuple[str, ...] = ()
    bias_key: str = "mamba_proj_bias"
    conv_bias_key: str = "mamba_conv_bias"
    inner_norms: bool = False

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The state space, whatever the name of its layers."""
        fields = reading.fields
        inner = fields.integer(self.inner_keys, 1, MAX_MLP_WIDTH) or expanded(reading, self.expand_keys)
        state = fields.needed_integer(self.state_keys, 1, MAX_STATE)
        width = kernel(reading, self.kernel_keys)
        heads = fields.needed_integer(self.head_keys, 1, MAX_HEADS) if self.head_keys else 1
        if fields.sound and inner % heads:
            fields.refuse(
                self.head_keys[0], f"is {heads}, which does not divide the {inner} channels; give a divisor"
            )
        shape = StateSpace(
            states=(
                convolution_state(inner, width),
                State("state_space", inner * state, memory_dtype(reading)),
            ),
            inner_size=inner,
            state_size=state,
            conv_kernel=width,
            head_count=inner,
            head_dim=1,
            group_count=1,
            time_step_rank=self._rank(reading),
            version=1,
        )
        return Part(shape, tuple(self._tensors(reading, shape, heads)))

    def _rank(self, reading: Reading) -> int:
        if reading.fields.value(self.rank_key) in (None, "auto"):
            return ceil(reading.hidden_size / 16)
        return reading.fields.needed_integer((self.rank_key,), 1, MAX_MLP_WIDTH)

    def _tensors(self, reading: Reading, shape: StateSpace, heads: int) -> Iterator[WeightTensor]:
        hidden, inner = reading.hidden_size, shape.inner_size
        rank, state, head_width = shape.time_step_rank, shape.state_size, shape.inner_size // heads
        bias = flag(reading, self.bias_key, default=False)
        yield from linear("ssm_in_proj", 2 * inner, hidden, HERE, bias=bias)
        conv_bias = flag(reading, self.conv_bias_key, default=True)
        yield from convolution("ssm_conv", inner, shape.conv_kernel, bias=conv_bias)
        yield from _per_head("ssm_x_proj", rank + 2 * state, head_width, heads)
        if self.inner_norms:
            for size in (rank, state, state):
                yield vector("ssm_norm", size, ModuleClass.NORM)
        yield from _per_head("ssm_dt_proj", head_width, rank, heads)
        yield vector("ssm_dt_proj", inner, HERE)
        yield WeightTensor("ssm_scan", (inner, state), TensorKind.VECTOR, HERE)
        yield vector("ssm_scan", inner, HERE)
        yield from linear("ssm_out_proj", hidden, inner, HERE, bias=bias)


@dataclass(frozen=True)
class Mamba2:
    """Mamba-2 (arXiv:2405.21060, section 7), by the keys under which a family has its numbers.

    The channels are those of `inner_keys`, else the expanded hidden size, else heads x head_dim. `norm_key`
    says whether the output is normalised; without such a key it is.
    """

    inner_keys: tuple[str, ...] = ()
    expand_keys: tuple[str, ...] = ("mamba_expand",)
    head_keys: tuple[str, ...] = ("mamba_n_heads",)
    head_dim_keys: tuple[str, ...] = ("mamba_d_head",)
    group_keys: tuple[str, ...] = ("mamba_n_groups",)
    state_keys: tuple[str, ...] = ("mamba_d_state",)
    kernel_keys: tuple[str, ...] = ("mamba_d_conv",)
    in_bias_key: str = "mamba_proj_bias"
    out_bias_key: str = "mamba_proj_bias"
    conv_bias_key: str = "mamba_conv_bias"
    norm_key: str = ""

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The state space, whatever the name of its layers."""
        fields = reading.fields
        inner, heads, head_dim = self._channels(reading)
        groups = fields.needed_integer(self.group_keys, 1, MAX_GROUPS)
        state = fields.needed_integer(self.state_keys, 1, MAX_STATE)
        width = kernel(reading, self.kernel_keys)
        if fields.sound and heads % groups:
            fields.refuse(
                fields.key_of(self.group_keys),
                f"is {groups}, which does not divide the {heads} heads; give a divisor",
            )
        convolved = inner + 2 * groups * state
        shape = StateSpace(
            states=(
                convolution_state(convolved, width),
                State("state_space", heads * head_dim * state, memory_dtype(reading)),
            ),
            inner_size=inner,
            state_size=state,
            conv_kernel=width,
            head_count=heads,
            head_dim=head_dim,
            group_count=groups,
        )
        return Part(shape, tuple(self._tensors(reading, shape, convolved)))

    def _channels(self, reading: Reading) -> tuple[int, int, int]:
        """The channels, the heads, and the channels of a head."""
        fields = reading.fields
        inner = fields.integer(self.inner_keys, 1, MAX_MLP_WIDTH) if self.inner_keys else None
        if inner is None and self.expand_keys:
            inner = expanded(reading, self.expand_keys)
        automatic = [key for key in self.head_dim_keys if fields.value(key) == "auto"]
        given = tuple(key for key in self.head_dim_keys if key not in automatic)
        head_dim = fields.integer(given, 1, MAX_MLP_WIDTH)
        if inner is None:
            heads = fields.needed_integer(self.head_keys, 1, MAX_HEADS)
            head_dim = head_dim or fields.needed_integer(self.head_dim_keys, 1, MAX_MLP_WIDTH)
            return heads * head_dim, heads, head_dim
        if head_dim is not None and not fields.has(self.head_keys):
            heads = max(inner // head_dim, 1)
        else:
            heads = fields.needed_integer(self.head_keys, 1, MAX_HEADS)
        head_dim = head_dim or max(inner // heads, 1)
        if fields.sound and heads * head_dim != inner:
            fields.refuse(
                fields.key_of(self.head_keys),
                f"is {heads}; {heads} heads of {head_dim} channels are not the {inner} channels of the mixer",
            )
        return inner, heads, head_dim

    def _tensors(self, reading: Reading, shape: StateSpace, convolved: int) -> Iterator[WeightTensor]:
        hidden, inner, heads = reading.hidden_size, shape.inner_size, shape.head_count
        in_bias = flag(reading, self.in_bias_key, default=False)
        yield from linear("ssm_in_proj", inner + convolved + heads, hidden, HERE, bias=in_bias)
        conv_bias = not self.conv_bias_key or flag(reading, self.conv_bias_key, default=True)
        yield from convolution("ssm_conv", convolved, shape.conv_kernel, bias=conv_bias)
        for _ in ("A_log", "D", "dt_bias"):
            yield vector("ssm_scan", heads, HERE)
        if not self.norm_key or flag(reading, self.norm_key, default=False):
            yield vector("ssm_norm", inner, ModuleClass.NORM)
        out_bias = flag(reading, self.out_bias_key, default=False)
        yield from linear("ssm_out_proj", hidden, inner, HERE, bias=out_bias)


def _per_head(operator: str, rows: int, columns: int, heads: int) -> Iterator[WeightTensor]:
    yield WeightTensor(operator, (rows, columns), TensorKind.MATRIX, HERE, copies=heads)
