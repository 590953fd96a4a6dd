"""The operator table: what every operator of one step reads, writes and computes, as coefficients.

One step processes `query_len` tokens of each of `batch` sequences, which then hold `keys` keys each; prefill
and decode are the same table at different steps. Every quantity of an operator is linear in a few step
variables (the basis), so the table of a model is one constant array and a grid of steps is costed by one
matrix product.

Basis, per step: ONE; TOKENS = batch * query_len; SEQUENCES = batch; and for every layer kind, whose queries
see at most `window` keys,
  KEYS   = batch * keys that any query of the step sees,
  SCORES = batch * query_len * the same keys (what unfused attention materialises),
  PAIRS  = batch * (query, key) pairs that the causal mask leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.model import LayerKind, Model
from ridgeline_server.domain.tensors import TensorKind, WeightTensor
from ridgeline_server.roofline.supported import attention_of, check_supported, mlp_of

NORM_FLOPS_PER_ELEMENT = 7
"""Square, mean, root, divide, scale...: Table 1 of arXiv:2402.16363 prints 59M for 2048 x 4096 elements."""
SOFTMAX_FLOPS_PER_SCORE = 5
"""Maximum, subtract, exponential, sum, divide: Table 1 prints 671M for 32 x 2048 x 2048 scores."""
ROPE_FLOPS_PER_ELEMENT = 3
"""x * cos + rotate(x) * sin: two products and a sum (arXiv:2104.09864, equation 34)."""
ACTIVATION_FLOPS_PER_ELEMENT: Mapping[str, int] = {"silu": 5, "gelu": 8, "relu": 1}
"""Our count. SiLU: negate, exp, add, divide, multiply. GELU by tanh: two products for x^3, a scaled sum (2),
a scale, tanh, a sum, a product. The operator is memory-bound by two orders of magnitude, so this decides
nothing.
"""
OTHER_ACTIVATION_FLOPS = 8

ONE, TOKENS, SEQUENCES, FIRST_KIND = 0, 1, 2, 3
KEYS, SCORES, PAIRS, PER_KIND = 0, 1, 2, 3


class Quantity(IntEnum):
    """What the coefficients of an operator count; elements unless said otherwise."""

    FLOPS = 0
    LAYER_WEIGHTS = 1
    """Weights in the deployment's weight format."""
    HEAD_WEIGHTS = 2
    """Weights in the lm_head format: lm_head and the embedding."""
    IN_WIDE = 3
    """Activations read in the compute format."""
    IN_GEMM = 4
    """Activations read in the format that enters the weight GEMMs."""
    OUT_WIDE = 5
    OUT_GEMM = 6
    KV_READ = 7
    KV_READ_VECTORS = 8
    """Keys and values read, counted as vectors of one head: each has its own scale in an integer cache."""
    KV_WRITTEN = 9
    KV_WRITTEN_VECTORS = 10
    HELD_WIDE = 11
    """Activations that stay alive beside the operator's own, for the memory peak."""


class PeakClass(IntEnum):
    """Which peak rate an operator computes at."""

    LAYER_GEMM = 0
    WIDE = 1


class CostClass(IntEnum):
    """Which calibrated constants an operator takes."""

    LAYER_GEMM = 0
    HEAD_GEMM = 1
    ATTENTION = 2
    ELEMENTWISE = 3


class Kernel(IntEnum):
    """Which attention kernel an operator belongs to."""

    ANY = 0
    FUSED = 1
    UNFUSED = 2


@dataclass(frozen=True)
class OperatorTable:
    """All operators of one step of a model, in the order of execution; R rows.

    `coefficients` has shape (quantities, R, basis); `count` is how often a step runs each row.
    """

    names: tuple[str, ...]
    layer_kinds: tuple[str, ...]
    windows: tuple[int | None, ...]
    count: NDArray[np.float64]
    peak_class: NDArray[np.intp]
    cost_class: NDArray[np.intp]
    kernel: NDArray[np.intp]
    coefficients: NDArray[np.float64]

    @cached_property
    def live(self) -> NDArray[np.float64]:
        """Coefficients of the elements alive while an operator runs: its inputs and outputs and what is held
        beside them, in the compute format and in the format of the GEMMs' inputs; shape (2, R, basis).
        """
        wide = (Quantity.IN_WIDE, Quantity.OUT_WIDE, Quantity.HELD_WIDE)
        gemm = (Quantity.IN_GEMM, Quantity.OUT_GEMM)
        return np.stack([self.coefficients[list(group)].sum(axis=0) for group in (wide, gemm)])

    def used(self, fused: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which operators run under which attention kernel: (R, P) for `fused` of shape (P,)."""
        kernel = self.kernel[:, None]
        used: NDArray[np.bool_] = (kernel == Kernel.ANY) | ((kernel == Kernel.FUSED) == fused)
        return used

    @cached_property
    def layer_gemms(self) -> NDArray[np.float64]:
        """Coefficients of all products with the layers' weights in a step together: (quantities, basis)."""
        rows = self.cost_class == CostClass.LAYER_GEMM
        total: NDArray[np.float64] = self.count[rows] @ self.coefficients[:, rows]
        return total


def step_basis(
    table: OperatorTable,
    batch: NDArray[np.float64],
    query_len: NDArray[np.float64],
    keys: NDArray[np.float64],
    span: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Basis of P steps, shape (basis, P). The arguments have shape (P,); the queries are the last of the
    keys.

    A step with a `span` is the mean of the decode steps at keys, keys + 1, ... keys + span.
    """
    rows = [np.ones_like(batch), batch * query_len, batch]
    before = keys - query_len
    for window in table.windows:
        if window is None:
            seen = keys + span / 2
            pairs = query_len * (seen - query_len) + query_len * (query_len + 1) / 2
        else:
            limit = window + query_len - 1
            widening = np.clip(limit - keys, 0, span)
            total = (widening + 1) * np.minimum(keys, limit) + widening * (widening + 1) / 2
            seen = (total + (span - widening) * limit) / (span + 1)
            growing = np.clip(window - before, 0, query_len)
            pairs = growing * before + growing * (growing + 1) / 2 + (query_len - growing) * window
            pairs = np.where(span > 0, seen, pairs)
        rows += [batch * seen, batch * query_len * seen, batch * pairs]
    return np.stack(rows)


FEW_KINDS = 4


def operator_table(model: Model) -> OperatorTable:
    """The operator table of a model. Matrix shapes come from its weight tensors, so that what is read is what
    the parameter count sums.

    Raises UnsupportedArchitectureError for a model with parts that the table has no operators for.
    """
    # A table's size is quadratic in the kinds of layers: 0.1 MB for four, 20 MB for as many as are costed.
    return (_small_table if len(model.layer_kinds) <= FEW_KINDS else _large_table)(model)


def _table(model: Model) -> OperatorTable:
    check_supported(model)
    rows = list(_rows(model))
    basis = FIRST_KIND + PER_KIND * len(model.layer_kinds)
    coefficients = np.zeros((len(Quantity), len(rows), basis))
    for r, row in enumerate(rows):
        for quantity, terms in row.terms.items():
            for variable, coefficient in terms.items():
                coefficients[quantity, r, variable] = coefficient
    coefficients.setflags(write=False)
    return OperatorTable(
        names=tuple(row.name for row in rows),
        layer_kinds=tuple(row.layer_kind for row in rows),
        windows=tuple(attention_of(kind).window for kind in model.layer_kinds),
        count=np.array([row.count for row in rows], dtype=np.float64),
        peak_class=np.array([row.peak_class for row in rows], dtype=np.intp),
        cost_class=np.array([row.cost_class for row in rows], dtype=np.intp),
        kernel=np.array([row.kernel for row in rows], dtype=np.intp),
        coefficients=coefficients,
    )


_small_table, _large_table = lru_cache(maxsize=1024)(_table), lru_cache(maxsize=16)(_table)

Terms = dict[Quantity, dict[int, float]]


@dataclass(frozen=True)
class _Row:
    name: str
    layer_kind: str
    count: int
    terms: Terms
    peak_class: PeakClass = PeakClass.WIDE
    cost_class: CostClass = CostClass.ELEMENTWISE
    kernel: Kernel = Kernel.ANY


def _rows(model: Model) -> Iterator[_Row]:
    outer = {t.operator: t for t in model.tensors if t.kind is not TensorKind.VECTOR}
    hidden = model.hidden_size
    tables = [t for t in model.tensors if t.kind is TensorKind.TABLE]
    yield _Row(
        "embedding",
        "",
        1,
        {
            Quantity.HEAD_WEIGHTS: {TOKENS: hidden * len(tables)},
            Quantity.OUT_WIDE: {TOKENS: hidden},
            Quantity.FLOPS: {TOKENS: hidden * (len(tables) - 1)},
        },
    )
    if any(t.operator == "embedding_norm" for t in model.tensors):
        yield _Row("embedding_norm", "", 1, _norm(hidden, Quantity.OUT_WIDE))
    for index, kind in enumerate(model.layer_kinds):
        yield from _LayerRows(model, kind, FIRST_KIND + PER_KIND * index).rows()
    yield _Row("final_norm", "", 1, _norm(hidden, Quantity.OUT_WIDE))
    head = outer["lm_head"]
    vocab, width = head.shape
    yield _Row(
        "lm_head",
        "",
        1,
        {
            Quantity.FLOPS: {SEQUENCES: 2 * vocab * width},
            Quantity.HEAD_WEIGHTS: {ONE: vocab * width},
            Quantity.IN_WIDE: {SEQUENCES: width},
            Quantity.OUT_WIDE: {SEQUENCES: vocab},
        },
        PeakClass.WIDE,
        CostClass.HEAD_GEMM,
    )


def _norm(width: int, out: Quantity) -> Terms:
    return {
        Quantity.FLOPS: {TOKENS: NORM_FLOPS_PER_ELEMENT * width},
        Quantity.IN_WIDE: {TOKENS: width},
        out: {TOKENS: width},
    }


@dataclass
class _LayerRows:
    """The rows of one layer kind; `first` is the index of its own basis variables."""

    model: Model
    kind: LayerKind
    first: int
    matrices: dict[str, WeightTensor] = field(init=False)

    def __post_init__(self) -> None:
        self.matrices = {t.operator: t for t in self.kind.tensors if t.kind is TensorKind.MATRIX}
        self.keys = self.first + KEYS
        self.scores = self.first + SCORES
        self.pairs = self.first + PAIRS
        self.hidden = self.model.hidden_size
        self.attention, self.mlp = attention_of(self.kind), mlp_of(self.kind)
        self.q_width = self.attention.q_width
        self.k_width = self.attention.kv_head_count * self.attention.head_dim

    def rows(self) -> Iterator[_Row]:
        yield from self._attention_input()
        yield from self._scores()
        yield from self._attention_output()
        yield from self._feed_forward()

    def _row(self, name: str, terms: Terms, kernel: Kernel = Kernel.ANY) -> _Row:
        return _Row(name, self.kind.name, self.kind.count, terms, kernel=kernel)

    def _gemm(self, name: str, held: int, *, to_cache: bool = False) -> _Row:
        """A product with a weight matrix (out, in) over all tokens; `held` elements per token stay alive
        beside it.
        """
        out, width = self.matrices[name].shape
        terms: Terms = {
            Quantity.FLOPS: {TOKENS: 2 * out * width},
            Quantity.LAYER_WEIGHTS: {ONE: out * width},
            Quantity.IN_GEMM: {TOKENS: width},
            Quantity.HELD_WIDE: {TOKENS: held},
        }
        if to_cache:
            terms[Quantity.KV_WRITTEN] = {TOKENS: out}
            terms[Quantity.KV_WRITTEN_VECTORS] = {TOKENS: self.attention.kv_head_count}
        else:
            terms[Quantity.OUT_WIDE] = {TOKENS: out}
        return _Row(name, self.kind.name, self.kind.count, terms, PeakClass.LAYER_GEMM, CostClass.LAYER_GEMM)

    def _norm(self, name: str, out: Quantity) -> Iterator[_Row]:
        if name in self.kind.norms:
            yield self._row(name, _norm(self.hidden, out))

    def _add(self, name: str) -> _Row:
        return self._row(
            name,
            {
                Quantity.FLOPS: {TOKENS: self.hidden},
                Quantity.IN_WIDE: {TOKENS: 2 * self.hidden},
                Quantity.OUT_WIDE: {TOKENS: self.hidden},
            },
        )

    def _attention_input(self) -> Iterator[_Row]:
        yield from self._norm("attn_norm", Quantity.OUT_GEMM)
        yield self._gemm("q_proj", self.hidden)
        yield self._gemm("k_proj", self.hidden + self.q_width, to_cache=True)
        yield self._gemm("v_proj", self.hidden + self.q_width, to_cache=True)
        width = self.q_width + self.k_width
        if self.attention.qk_norm:
            yield self._row(
                "qk_norm", {**_norm(width, Quantity.OUT_WIDE), Quantity.HELD_WIDE: {TOKENS: self.hidden}}
            )
        if self.attention.rotary_dim:
            rotated = self.attention.rotary_dim * (self.attention.head_count + self.attention.kv_head_count)
            flops = {TOKENS: float(ROPE_FLOPS_PER_ELEMENT * rotated)}
            # A fused attention kernel rotates q and k as it loads them (FlashAttention's
            # rotary_cos/rotary_sin
            # arguments), so that only the cosines and sines are read; else a pass of its own moves q and k.
            yield self._row(
                "rope",
                {Quantity.FLOPS: flops, Quantity.IN_WIDE: {TOKENS: self.attention.rotary_dim}},
                Kernel.FUSED,
            )
            yield self._row(
                "rope",
                {
                    Quantity.FLOPS: flops,
                    Quantity.IN_WIDE: {TOKENS: width},
                    Quantity.OUT_WIDE: {TOKENS: width},
                    Quantity.HELD_WIDE: {TOKENS: self.hidden},
                },
                Kernel.UNFUSED,
            )

    def _scores(self) -> Iterator[_Row]:
        heads, head_dim = self.attention.head_count, self.attention.head_dim
        kv_heads = self.attention.kv_head_count
        held = {TOKENS: float(self.hidden)}
        product = 2 * heads * head_dim

        def attention_row(name: str, terms: Terms, kernel: Kernel) -> _Row:
            return _Row(
                name, self.kind.name, self.kind.count, terms, PeakClass.WIDE, CostClass.ATTENTION, kernel
            )

        yield attention_row(
            "attention",
            {
                Quantity.FLOPS: {self.pairs: 2 * product + SOFTMAX_FLOPS_PER_SCORE * heads},
                Quantity.IN_WIDE: {TOKENS: self.q_width},
                Quantity.KV_READ: {self.keys: 2 * self.k_width},
                Quantity.KV_READ_VECTORS: {self.keys: 2 * kv_heads},
                Quantity.OUT_GEMM: {TOKENS: self.q_width},
                Quantity.HELD_WIDE: held,
            },
            Kernel.FUSED,
        )
        half_read: Terms = {
            Quantity.FLOPS: {self.scores: product},
            Quantity.KV_READ: {self.keys: self.k_width},
            Quantity.KV_READ_VECTORS: {self.keys: kv_heads},
            Quantity.HELD_WIDE: held,
        }
        yield attention_row(
            "qk_matmul",
            {
                **half_read,
                Quantity.IN_WIDE: {TOKENS: self.q_width},
                Quantity.OUT_WIDE: {self.scores: heads},
            },
            Kernel.UNFUSED,
        )
        yield self._row(
            "softmax",
            {
                Quantity.FLOPS: {self.scores: SOFTMAX_FLOPS_PER_SCORE * heads},
                Quantity.IN_WIDE: {self.scores: heads},
                Quantity.OUT_WIDE: {self.scores: heads},
                Quantity.HELD_WIDE: held,
            },
            Kernel.UNFUSED,
        )
        yield attention_row(
            "sv_matmul",
            {
                **half_read,
                Quantity.IN_WIDE: {self.scores: heads},
                Quantity.OUT_GEMM: {TOKENS: self.q_width},
            },
            Kernel.UNFUSED,
        )

    def _attention_output(self) -> Iterator[_Row]:
        yield self._gemm("o_proj", self.hidden)
        yield from self._norm("attn_post_norm", Quantity.OUT_WIDE)
        yield self._add("attn_add")

    def _feed_forward(self) -> Iterator[_Row]:
        width = self.mlp.intermediate_size
        flops = ACTIVATION_FLOPS_PER_ELEMENT.get(self.mlp.activation, OTHER_ACTIVATION_FLOPS)
        yield from self._norm("mlp_norm", Quantity.OUT_GEMM)
        if self.mlp.gated:
            yield self._gemm("gate_proj", self.hidden)
            yield self._gemm("up_proj", self.hidden + width)
        else:
            yield self._gemm("up_proj", self.hidden)
        inputs = 2 if self.mlp.gated else 1
        yield self._row(
            "mlp_act",
            {
                Quantity.FLOPS: {TOKENS: (flops + inputs - 1) * width},
                Quantity.IN_WIDE: {TOKENS: inputs * width},
                Quantity.OUT_GEMM: {TOKENS: width},
                Quantity.HELD_WIDE: {TOKENS: self.hidden},
            },
        )
        yield self._gemm("down_proj", self.hidden)
        yield from self._norm("mlp_post_norm", Quantity.OUT_WIDE)
        yield self._add("mlp_add")
