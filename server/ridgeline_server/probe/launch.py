"""What starting an operation costs: one that is too small to take time itself."""

from __future__ import annotations

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.backend import Backend
from ridgeline_server.probe.case import Case, Operation


def launch_case(backend: Backend, dtype: Dtype) -> Case:
    """A sum of single elements, called from Python as an eager engine calls its operations."""
    left, right, out = backend.vectors(3, 1, dtype)
    return Case(
        operation=Operation.LAUNCH,
        engine=backend.engine,
        dtype=dtype,
        m=1,
        n=1,
        k=1,
        bytes=0.0,
        flops=0.0,
        call=backend.sum(left, right, out),
    )
