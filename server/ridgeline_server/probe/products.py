"""Products of matrices: the rate that is attained as a curve in m, the rows of the input."""

from __future__ import annotations

from collections.abc import Iterator

from ridgeline_server.domain.dtypes import ELEMENT_BITS, Dtype
from ridgeline_server.probe.backend import Backend
from ridgeline_server.probe.case import Case, InTurn, Operation
from ridgeline_server.probe.extent import Extent, copies_beyond_cache

OUTPUT_BYTES = {Dtype.INT8: 4, Dtype.FP8: 2}
"""Bytes of an element of the product where it is wider than its operands: int32 sums, bf16."""


def product_cases(
    backend: Backend, dtype: Dtype, extent: Extent, cache_bytes: int, memory_bytes: int
) -> Iterator[Case]:
    """Cases of the tiny side and of every side of square weights, the largest first, and every m.

    Weights take turns so that they come from memory, as those of a model's layers do. A size of which
    `memory_bytes` do not hold one is left out.
    """
    element_bytes = ELEMENT_BITS[dtype] / 8
    output_bytes = OUTPUT_BYTES.get(dtype, element_bytes)
    # The tiny side alone tells what a product's start costs, the largest one what the device attains.
    sides = ((extent.tiny_side, (1,)), *((side, extent.rows) for side in reversed(extent.weight_sides)))
    for side, rows in sides:
        # While one m gives way to the next, inputs and outputs of both are there; weights are drawn in fp32.
        beside = 2 * max(rows) * side * (4 + output_bytes) + 4 * side * side
        weight_bytes = int(side * side * element_bytes)
        copies = copies_beyond_cache(weight_bytes, cache_bytes, int(memory_bytes - beside))
        if copies < 1:
            continue
        weights = backend.weights(copies, side, side, dtype)
        for m in rows:
            inputs = backend.inputs(m, side, dtype)
            yield Case(
                operation=Operation.PRODUCT,
                engine=backend.engine,
                dtype=dtype,
                m=m,
                n=side,
                k=side,
                bytes=weight_bytes + m * side * (element_bytes + output_bytes),
                flops=2.0 * m * side * side,
                call=InTurn(backend.products(inputs, weights, dtype)),
            )
