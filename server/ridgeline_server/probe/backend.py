"""What a library of arrays must do to be probed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.case import Call


class Backend(Protocol):
    """A library on a device. An operation that it does not have for a dtype raises one of `errors`, at the
    latest when the call is made.
    """

    engine: str
    version: str
    product_dtypes: tuple[Dtype, ...]
    vector_dtypes: tuple[Dtype, ...]
    errors: tuple[type[Exception], ...]

    def weights(self, copies: int, rows: int, columns: int, dtype: Dtype) -> Sequence[Any]:
        """`copies` matrices of rows x columns in memory of their own, laid out as `products` takes them."""

    def inputs(self, rows: int, columns: int, dtype: Dtype) -> Any:
        """A matrix of rows x columns to multiply with weights."""

    def products(self, inputs: Any, weights: Sequence[Any], dtype: Dtype) -> Sequence[Call]:
        """Inputs (m x k) times each of the weights (k x n)."""

    def vectors(self, copies: int, elements: int, dtype: Dtype) -> Sequence[Any]:
        """`copies` vectors in memory of their own."""

    def sum(self, left: Any, right: Any, out: Any) -> Call:
        """The element-wise sum of two vectors into a third."""

    def read(self, vector: Any) -> Call:
        """Read a vector once, on all threads."""

    def copy(self, source: Any, target: Any) -> Call:
        """Read one vector and write another."""
