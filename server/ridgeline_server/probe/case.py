"""One thing to time, and what it computes and moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ridgeline_server.domain.dtypes import Dtype

Call = Callable[[], object]


class Operation(StrEnum):
    """What is timed.

    PRODUCT: m rows times a k x n matrix of weights. READ: a large array is read. COPY: one is read, another
    written. ELEMENTWISE: two vectors are added into a third. LAUNCH: an operation too small to take time
    itself; GRAPH_LAUNCH: k of them inside of a captured CUDA graph. PREFILL_ATTENTION: causal, of m queries
    over n keys of one sequence; DECODE_ATTENTION: of one query in each of m sequences over n keys. Both have
    k elements a head, and as many key-value heads as heads.
    """

    PRODUCT = "product"
    READ = "read"
    COPY = "copy"
    ELEMENTWISE = "elementwise"
    LAUNCH = "launch"
    GRAPH_LAUNCH = "graph_launch"
    PREFILL_ATTENTION = "prefill_attention"
    DECODE_ATTENTION = "decode_attention"


@dataclass(frozen=True)
class Case:
    """A call with its shape, `bytes` that it moves to and from memory, and `flops` that it computes."""

    operation: Operation
    engine: str
    dtype: Dtype
    m: int
    n: int
    k: int
    bytes: float
    flops: float
    call: Call

    @property
    def label(self) -> str:
        """Name for messages."""
        return f"{self.operation} {self.dtype} {self.m} x {self.k} x {self.n} by {self.engine}"


class InTurn:
    """A call that makes the next one of several calls, over and over."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = tuple(calls)
        self._next = 0

    def __call__(self) -> object:
        call = self._calls[self._next]
        self._next = (self._next + 1) % len(self._calls)
        return call()
