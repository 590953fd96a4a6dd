"""Probes to test with."""

from __future__ import annotations

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.case import Operation
from ridgeline_server.probe.machine import Gpu, Processor
from ridgeline_server.probe.report import Probe, Timing

PROCESSOR = Processor(
    name="Some CPU", vendor="AMD", cores=2, instruction_sets=("avx2",), cache_bytes=2**25, memory_bytes=2**34
)
GPU = Gpu(index=0, name="Some GPU", memory_bytes=2**36, cache_bytes=2**26, capability="9.0")


def timing(
    wall_us: float = 100.0,
    *,
    operation: Operation = Operation.PRODUCT,
    engine: str = "numpy",
    dtype: Dtype = Dtype.FP32,
    flops: float = 1e6,
    moved: float = 1e5,
    cpu_us: float | None = None,
    spread: float = 0.01,
    disturbed: bool = False,
) -> Timing:
    return Timing(
        operation, engine, dtype, 1, 1, 1, moved, flops, wall_us, cpu_us or wall_us, spread, disturbed
    )


def probe(*timings: Timing, threads: int = 2, gpu: Gpu | None = None) -> Probe:
    return Probe(PROCESSOR, gpu, threads, thorough=False, libraries=("numpy 2.4",), timings=timings)
