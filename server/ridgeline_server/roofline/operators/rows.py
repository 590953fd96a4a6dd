"""A row of the operator table: one operator of one layer kind, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto

from ridgeline_server.domain.tensors import ModuleClass
from ridgeline_server.roofline.operators.variables import TOKENS, Variable

NORM_FLOPS_PER_ELEMENT = 7
"""Square, mean, root, divide, scale...: Table 1 of arXiv:2402.16363 prints 59M for 2048 x 4096 elements."""


class Quantity(IntEnum):
    """What the coefficients of an operator count; elements unless said otherwise."""

    FLOPS = 0
    WEIGHTS = 1
    """Weights in the format of the row's module."""
    IN_WIDE = 2
    """Activations read in the compute format."""
    IN_GEMM = 3
    """Activations read in the format that enters the GEMMs of the row's module."""
    OUT_WIDE = 4
    OUT_GEMM = 5
    KV_READ = 6
    KV_READ_VECTORS = 7
    """Keys and values read, counted as vectors of one head: each has its own scale in an integer cache."""
    STATE_READ = 8
    """Recurrent state, in bytes."""
    KV_WRITTEN = 9
    KV_WRITTEN_VECTORS = 10
    STATE_WRITTEN = 11
    MESSAGE_WIDE = 12
    """What a device gives to a collective in the compute format."""
    MESSAGE_GEMM = 13
    HELD_WIDE = 14
    """Activations that stay alive beside the operator's own, for the memory peak."""
    SERIAL = 15
    """What a kernel does one after the other, in the unit of its class: see KERNEL_COUNTS."""
    ITEMS = 16
    TILES = 17
    PASSED = 18
    """Elements that an engine's kernels pass through memory beside the operator's inputs and outputs."""
    PASSED_INNER = 19


KERNEL_COUNTS = (Quantity.SERIAL, Quantity.ITEMS, Quantity.TILES, Quantity.PASSED, Quantity.PASSED_INNER)
"""What calibrated constants count beside FLOPs and bytes, by the work of a row.

             SERIAL                      ITEMS                 TILES                  PASSED    PASSED_INNER
GEMM         min(k, 2048) / 2048         -                     -                      m k       -
EXPERTS      h + i                       experts hit           -                      T e h     T e mats i
ATTENTION    keys / (keys + 512)         sequences, KV heads   tiles, query heads     -         -

k is the length of the contraction, m the tokens, T e all pairs of token and expert whose tokens the device
sees; a tile is 128 queries. docs/model.md tells what each stands for.
"""


BYTE_CLASSES = (Quantity.WEIGHTS, Quantity.IN_WIDE, Quantity.OUT_WIDE, Quantity.KV_READ, Quantity.KV_WRITTEN)
"""Where the quantities of each class of bytes begin: weights, activations in and out, KV cache read and
written. Messages follow them, and what is only held comes last.
"""


class Work(Enum):
    """What an operator does: it decides the peak rate and the calibrated constants."""

    GEMM = auto()
    EXPERTS = auto()
    ATTENTION = auto()
    ELEMENTWISE = auto()
    COLLECTIVE = auto()


class Collective(Enum):
    """What devices exchange."""

    ALL_REDUCE = auto()
    ALL_GATHER = auto()
    REDUCE_SCATTER = auto()
    ALL_TO_ALL = auto()
    POINT_TO_POINT = auto()


Terms = dict[Quantity, dict[Variable, float]]


@dataclass(frozen=True)
class Row:
    """One operator: a step runs it `count` times. `ranks` devices take part in a collective.

    A `joined` one runs in the kernel of the row before it, so that it is not launched: engines compute
    queries, keys and values in one product, and add to the residual stream in the norm that follows. `depth`
    is the length of a product's contraction.
    """

    name: str
    layer_kind: str
    count: float
    terms: Terms
    work: Work = Work.ELEMENTWISE
    module: ModuleClass = ModuleClass.NORM
    collective: Collective | None = None
    ranks: int = 1
    in_layers: bool = field(default=True)
    joined: bool = False
    depth: float = 0.0


def added(*parts: Terms) -> Terms:
    """The terms of several pieces of work that one operator does."""
    total: Terms = {}
    for part in parts:
        for quantity, terms in part.items():
            into = total.setdefault(quantity, {})
            for variable, coefficient in terms.items():
                into[variable] = into.get(variable, 0.0) + coefficient
    return total


def norm_terms(width: float, out: Quantity) -> Terms:
    """A norm over `width` elements of each token."""
    return {
        Quantity.FLOPS: {TOKENS: NORM_FLOPS_PER_ELEMENT * width},
        Quantity.IN_WIDE: {TOKENS: width},
        out: {TOKENS: width},
    }


def add_terms(width: float) -> Terms:
    """The sum of two tensors of `width` elements of each token."""
    return {
        Quantity.FLOPS: {TOKENS: width},
        Quantity.IN_WIDE: {TOKENS: 2 * width},
        Quantity.OUT_WIDE: {TOKENS: width},
    }
