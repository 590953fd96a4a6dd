"""Linear attention, whose memory is a matrix per head: gated delta net, KDA, lightning attention, mLSTM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ridgeline_server.domain.config.sizes import MAX_HEAD_DIM, MAX_HEADS, MAX_MLP_WIDTH
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.mixers import LinearAttention, State
from ridgeline_server.domain.mlps import Mlp
from ridgeline_server.domain.parts.facts import HEAD_DIM, HEADS, Part
from ridgeline_server.domain.parts.mlp import mlp_tensors
from ridgeline_server.domain.parts.reading import Reading
from ridgeline_server.domain.parts.recurrent import (
    MAX_KERNEL,
    convolution,
    convolution_state,
    flag,
    kernel,
    memory_dtype,
)
from ridgeline_server.domain.tensors import ModuleClass, WeightTensor, linear, vector

HERE = ModuleClass.MIXER


@dataclass(frozen=True)
class GatedDeltaNet:
    """The gated delta rule (arXiv:2412.06464) with a convolution and an output gate.

    `from_attention`: heads and head_dim that the config leaves out follow from those of attention, as in
    OLMo-Hybrid.
    """

    from_attention: bool = False

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The linear attention, whatever the name of its layers."""
        key_heads, value_heads, key_dim, value_dim = self._heads(reading)
        fields = reading.fields
        width = kernel(reading, ("linear_conv_kernel_dim",))
        if fields.sound and value_heads % key_heads:
            fields.refuse(
                "linear_num_value_heads",
                f"is {value_heads}, not a multiple of the {key_heads} key heads; give a multiple",
            )
        convolved = 2 * key_heads * key_dim + value_heads * value_dim
        shape = LinearAttention(
            states=(
                convolution_state(convolved, width),
                State("linear_attention", value_heads * key_dim * value_dim, memory_dtype(reading)),
            ),
            rule="gated-delta",
            key_head_count=key_heads,
            value_head_count=value_heads,
            key_head_dim=key_dim,
            value_head_dim=value_dim,
            conv_kernel=width,
            output_gate=value_heads * value_dim,
        )
        return Part(shape, tuple(_delta_tensors(reading.hidden_size, shape, convolved)))

    def _heads(self, reading: Reading) -> tuple[int, int, int, int]:
        fields = reading.fields
        names = ("linear_num_key_heads", "linear_num_value_heads")
        dims = ("linear_key_head_dim", "linear_value_head_dim")
        if not self.from_attention:
            key_heads, value_heads = (fields.needed_integer((key,), 1, MAX_HEADS) for key in names)
            key_dim, value_dim = (fields.needed_integer((key,), 1, MAX_HEAD_DIM) for key in dims)
            return key_heads, value_heads, key_dim, value_dim
        heads = fields.needed_integer(HEADS, 1, MAX_HEADS)
        key_heads, value_heads = (fields.integer((key,), 1, MAX_HEADS) or heads for key in names)
        key_dim = fields.integer(dims[:1], 1, MAX_HEAD_DIM) or int(0.75 * reading.hidden_size / key_heads)
        value_dim = fields.integer(dims[1:], 1, MAX_HEAD_DIM) or 2 * key_dim
        return key_heads, value_heads, max(key_dim, 1), max(value_dim, 1)


def _delta_tensors(hidden: int, shape: LinearAttention, convolved: int) -> Iterator[WeightTensor]:
    heads, value_width = shape.value_head_count, shape.output_gate
    yield from linear("linear_in_proj", convolved + value_width, hidden, HERE)
    yield from linear("linear_decay_proj", 2 * heads, hidden, HERE)
    yield from convolution("linear_conv", convolved, shape.conv_kernel, bias=False)
    for _ in ("A_log", "dt_bias"):
        yield vector("linear_attention", heads, HERE)
    yield vector("linear_norm", shape.value_head_dim, ModuleClass.NORM)
    yield from linear("linear_out_proj", hidden, value_width, HERE)


@dataclass(frozen=True)
class KimiDelta:
    """Kimi delta attention (arXiv:2510.26692): the delta rule with a decay for each channel of the keys.

    The decay and the output gate come from projections of rank head_dim, or of full rank: `decay_full_rank`
    for the former, `gate_full_rank_key` for the latter, which is of full rank in any case without such a key.
    """

    head_keys: tuple[str, ...]
    head_dim_keys: tuple[str, ...]
    kernel_keys: tuple[str, ...]
    decay_full_rank: bool = False
    gate_full_rank_key: str = ""

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The linear attention, whatever the name of its layers."""
        fields = reading.fields
        heads = fields.needed_integer(self.head_keys, 1, MAX_HEADS)
        dim = fields.needed_integer(self.head_dim_keys, 1, MAX_HEAD_DIM)
        width = fields.needed_integer(self.kernel_keys, 1, MAX_KERNEL)
        inner = heads * dim
        shape = LinearAttention(
            # vLLM keeps the matrix in fp32 whatever the format of the cache (`kda_state_dtype`).
            states=(
                convolution_state(3 * inner, width),
                State("linear_attention", heads * dim * dim, Dtype.FP32),
            ),
            rule="kimi-delta",
            key_head_count=heads,
            value_head_count=heads,
            key_head_dim=dim,
            value_head_dim=dim,
            conv_kernel=width,
            output_gate=inner,
        )
        return Part(shape, tuple(self._tensors(reading, shape, inner)))

    def _tensors(self, reading: Reading, shape: LinearAttention, inner: int) -> Iterator[WeightTensor]:
        hidden, heads, dim = reading.hidden_size, shape.value_head_count, shape.value_head_dim
        full_gate = not self.gate_full_rank_key or flag(reading, self.gate_full_rank_key, default=False)
        yield from linear("linear_in_proj", 3 * inner, hidden, HERE)
        yield from convolution("linear_conv", 3 * inner, shape.conv_kernel, bias=False)
        yield from _ranked("linear_decay", inner, hidden, None if self.decay_full_rank else dim)
        yield from linear("linear_beta_proj", heads, hidden, HERE)
        yield vector("linear_attention", heads, HERE)
        yield vector("linear_attention", inner, HERE)
        yield from _ranked("linear_gate", inner, hidden, None if full_gate else dim)
        yield vector("linear_norm", dim, ModuleClass.NORM)
        yield from linear("linear_out_proj", hidden, inner, HERE)


def _ranked(operator: str, rows: int, columns: int, rank: int | None) -> Iterator[WeightTensor]:
    """One matrix, or two of which the first goes down to a rank."""
    if rank is None:
        yield from linear(f"{operator}_proj", rows, columns, HERE)
    else:
        yield from linear(f"{operator}_a_proj", rank, columns, HERE)
        yield from linear(f"{operator}_b_proj", rows, rank, HERE)


@dataclass(frozen=True)
class Lightning:
    """Lightning attention (arXiv:2405.17381): a constant decay per head, a gate and a norm on the output.

    `qk_norm_key` says whether queries and keys are normalised, `bias_key` whether their projections have
    biases; without such a key they are not, and have none.
    """

    qk_norm_key: str = ""
    bias_key: str = ""

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The linear attention, whatever the name of its layers."""
        fields = reading.fields
        heads = fields.needed_integer(HEADS, 1, MAX_HEADS)
        dim = fields.integer(HEAD_DIM[:1], 1, MAX_HEAD_DIM)
        if dim is None:
            dim = max(reading.hidden_size // heads, 1)
            if fields.sound and reading.hidden_size % heads:
                fields.refuse("hidden_size", f"is not a multiple of the {heads} heads; give a multiple")
        shape = LinearAttention(
            states=(State("linear_attention", heads * dim * dim, memory_dtype(reading)),),
            rule="lightning",
            key_head_count=heads,
            value_head_count=heads,
            key_head_dim=dim,
            value_head_dim=dim,
            output_gate=heads * dim,
        )
        return Part(shape, tuple(self._tensors(reading, shape)))

    def _tensors(self, reading: Reading, shape: LinearAttention) -> Iterator[WeightTensor]:
        hidden, inner = reading.hidden_size, shape.output_gate
        bias = bool(self.bias_key) and flag(reading, self.bias_key, default=False)
        yield from linear("linear_in_proj", 3 * inner, hidden, HERE, bias=bias)
        if self.qk_norm_key and flag(reading, self.qk_norm_key, default=False):
            for _ in ("queries", "keys"):
                yield vector("qk_norm", shape.key_head_dim, ModuleClass.NORM)
        yield from linear("linear_gate_proj", inner, hidden, HERE)
        yield vector("linear_norm", inner, ModuleClass.NORM)
        yield from linear("linear_out_proj", hidden, inner, HERE)


@dataclass(frozen=True)
class MatrixLstm:
    """mLSTM (arXiv:2503.13427): a matrix memory with exponential gates, a normaliser and a
    stabiliser beside it.
    """

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The linear attention, whatever the name of its layers."""
        fields = reading.fields
        heads = fields.needed_integer(("num_heads",), 1, MAX_HEADS)
        qk_width = int(_widened(reading, "qk_dim_factor", 0.5))
        v_width = int(_widened(reading, "v_dim_factor", 1.0))
        for key, width in (("qk_dim_factor", qk_width), ("v_dim_factor", v_width)):
            if fields.sound and width % heads:
                fields.refuse(
                    key, f"makes {width} channels, not a multiple of the {heads} heads; give another factor"
                )
        key_dim, value_dim = max(qk_width // heads, 1), max(v_width // heads, 1)
        shape = LinearAttention(
            states=(State("linear_attention", heads * (key_dim * value_dim + key_dim + 1), Dtype.FP32),),
            rule="mlstm",
            key_head_count=heads,
            value_head_count=heads,
            key_head_dim=key_dim,
            value_head_dim=value_dim,
            output_gate=v_width,
        )
        return Part(shape, tuple(_mlstm_tensors(reading, shape, qk_width, v_width)))


def _mlstm_tensors(
    reading: Reading, shape: LinearAttention, qk_width: int, v_width: int
) -> Iterator[WeightTensor]:
    hidden = reading.hidden_size
    yield from linear("linear_in_proj", 2 * qk_width + 2 * v_width, hidden, HERE)
    yield from linear("linear_decay_proj", 2 * shape.value_head_count, hidden, HERE, bias=True)
    yield vector("linear_norm", v_width, ModuleClass.NORM)
    yield from linear("linear_out_proj", hidden, v_width, HERE)


@dataclass(frozen=True)
class XlstmMlp:
    """The gated MLP of xLSTM, whose width is a rounded multiple of the hidden size."""

    def read(self, reading: Reading, name: str) -> Part:  # noqa: ARG002
        """The MLP, whatever the name of its layers."""
        multiple = reading.fields.integer(("ffn_round_up_to_multiple_of",), 1, MAX_MLP_WIDTH) or 64
        # As the model's code rounds: by whole numbers, whatever the fraction.
        width = multiple * int((_widened(reading, "ffn_proj_factor", 2.667) + multiple - 1) // multiple)
        shape = Mlp(width, gated=True, activation=reading.activation)
        return Part(shape, tuple(mlp_tensors(reading.hidden_size, width, gated=True, bias=False)))


def _widened(reading: Reading, key: str, default: float) -> float:
    factor = reading.fields.number((key,), 1 / 64, 64)
    if factor is None:
        reading.assume(f"{key} is absent: {default:g}, transformers' default for this model_type")
    return reading.hidden_size * (factor or default)
