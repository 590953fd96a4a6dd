"""Memory bandwidth: large arrays read, copied, and added element by element."""

from __future__ import annotations

from collections.abc import Iterator

from ridgeline_server.domain.dtypes import ELEMENT_BITS, Dtype
from ridgeline_server.probe.backend import Backend
from ridgeline_server.probe.case import Case, InTurn, Operation
from ridgeline_server.probe.extent import BEYOND_CACHE, Extent, copies_beyond_cache


def stream_cases(backend: Backend, dtype: Dtype, cache_bytes: int, memory_bytes: int) -> Iterator[Case]:
    """A read and a copy of an array beyond the cache; a product with one row streams its weights, too."""
    element_bytes = ELEMENT_BITS[dtype] / 8
    elements = int(min(2 * BEYOND_CACHE * cache_bytes, memory_bytes / 2) / element_bytes)
    source, target = backend.vectors(2, elements, dtype)
    for operation, call, passes in (
        (Operation.READ, backend.read(source), 1),
        (Operation.COPY, backend.copy(source, target), 2),
    ):
        yield Case(
            operation=operation,
            engine=backend.engine,
            dtype=dtype,
            m=1,
            n=elements,
            k=1,
            bytes=passes * elements * element_bytes,
            flops=0.0,
            call=call,
        )


def elementwise_cases(
    backend: Backend, dtype: Dtype, extent: Extent, cache_bytes: int, memory_bytes: int
) -> Iterator[Case]:
    """Sums of two vectors, for each length; vectors take turns so that they come from memory."""
    element_bytes = ELEMENT_BITS[dtype] / 8
    for elements in extent.vector_elements:
        moved = 3 * elements * element_bytes
        copies = copies_beyond_cache(int(moved), cache_bytes, memory_bytes)
        if copies < 1:
            continue
        vectors = backend.vectors(3 * copies, elements, dtype)
        calls = [backend.sum(*vectors[first : first + 3]) for first in range(0, 3 * copies, 3)]
        yield Case(
            operation=Operation.ELEMENTWISE,
            engine=backend.engine,
            dtype=dtype,
            m=1,
            n=elements,
            k=1,
            bytes=moved,
            flops=float(elements),
            call=InTurn(calls),
        )
