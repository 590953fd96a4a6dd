"""Probes a device: goes through the cases, times each, and says what it skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ridgeline_server.domain.dtypes import SIXTEEN_BIT, Dtype
from ridgeline_server.probe.attention import attention_cases
from ridgeline_server.probe.backend import Backend
from ridgeline_server.probe.bandwidth import elementwise_cases, stream_cases
from ridgeline_server.probe.case import Case
from ridgeline_server.probe.clock import Clock, CpuStopwatch, Policy, Stopwatch, SystemClock
from ridgeline_server.probe.cuda import CudaStopwatch, graph_launch_case
from ridgeline_server.probe.extent import MEMORY_SHARE, Extent, extent_for
from ridgeline_server.probe.launch import launch_case
from ridgeline_server.probe.machine import Gpu, gpus, processor
from ridgeline_server.probe.numpy_backend import NumpyBackend
from ridgeline_server.probe.products import product_cases
from ridgeline_server.probe.report import Probe, Skipped, Timing
from ridgeline_server.probe.torch_backend import TorchBackend, import_torch

SLOW_CALL_US = 1e6
"""What takes longer ends its curve: larger cases would take the probe's whole time."""

QUICK = Policy(rounds=7, measurement_s=0.2, retries=1)
THOROUGH = Policy(rounds=15, measurement_s=2.0, retries=3)


LEAST_CASES = 2
"""Cases of a group that are timed however long they take: a read and a copy decide the bandwidth."""


@dataclass(frozen=True)
class Group:
    """Cases of one kind, made when their turn comes; a group's memory is free before the next one's."""

    label: str
    cases: Callable[[], Iterator[Case]]
    errors: tuple[type[Exception], ...]


Told = Callable[[int, int, str], None]
"""Hears, as a group of cases begins, how many groups are done, how many there are, and its label."""


def probe_machine(
    threads: int | None = None,
    thorough: bool = False,
    gpu: bool | None = None,
    told: Told = lambda _done, _count, _label: None,
) -> Probe:
    """Probes the first GPU that torch sees (`gpu` True), the processor with `threads` threads, all of its
    cores by default (False), or the GPU where there is one (None).

    BLAS takes its threads from the environment when it is loaded, so that a caller who wants another number
    than the cores', or a process that stays small, asks `child.probe_in_child`.
    Raises ValueError for threads or a GPU that the machine does not have.
    """
    torch = import_torch()
    cpu = processor()
    threads = cpu.cores if threads is None else threads
    if not 1 <= threads <= cpu.cores:
        raise ValueError(f"threads is {threads}; this process may use 1 to {cpu.cores} cores")
    found = gpus(torch) if gpu is not False else ()
    device = found[0] if found else None
    if gpu and device is None:
        seen = "torch sees none" if torch is not None else "torch, which would, is not installed"
        raise ValueError(f"no GPU can be measured on this machine: {seen}")
    clock = SystemClock()
    policy = THOROUGH if thorough else QUICK
    extent = extent_for(device is not None, thorough)
    stopwatch: Stopwatch
    backends: list[Backend]
    if device is not None:
        name = f"cuda:{device.index}"
        stopwatch = CudaStopwatch(torch, name, clock, policy)
        backends = [TorchBackend(torch, name, threads)]
        groups = groups_of_gpu(torch, backends[0], device, extent)
    else:
        stopwatch = CpuStopwatch(threads, clock, policy)
        backends = [NumpyBackend(threads)]
        if torch is not None:
            backends.append(TorchBackend(torch, "cpu", threads))
        groups = groups_of(backends, extent, cpu.cache_bytes, int(cpu.memory_bytes * MEMORY_SHARE))
    timings, skipped = time_groups(list(groups), stopwatch, clock, extent.deadline_s, told)
    return Probe(
        processor=cpu,
        gpu=device,
        threads=threads,
        thorough=thorough,
        libraries=tuple(f"{backend.engine} {backend.version}" for backend in backends),
        timings=timings,
        skipped=skipped,
    )


def groups_of(
    backends: Sequence[Backend], extent: Extent, cache_bytes: int, memory_bytes: int
) -> Iterator[Group]:
    """The groups of the backends, what decides the answers first: launch, bandwidth, products, the rest."""
    for backend in backends:
        yield _launches(backend)
        yield _streams(backend, cache_bytes, memory_bytes)
    for backend in backends:
        for dtype in backend.product_dtypes:
            yield _products(backend, dtype, extent, cache_bytes, memory_bytes)
    for backend in backends:
        for dtype in backend.vector_dtypes:
            yield _elementwise(backend, dtype, extent, cache_bytes, memory_bytes)
        if isinstance(backend, TorchBackend):
            for dtype in (Dtype.FP32, Dtype.BF16):
                yield _attention(backend, dtype, extent, cache_bytes, memory_bytes)


def groups_of_gpu(torch: Any, backend: Backend, gpu: Gpu, extent: Extent) -> Iterator[Group]:
    """Those of the backend, and launches inside of a captured graph."""
    name = f"cuda:{gpu.index}"
    dtype = SIXTEEN_BIT[0]
    yield Group(
        "launches in a CUDA graph",
        lambda: iter((graph_launch_case(torch, backend, dtype, name),)),
        backend.errors,
    )
    yield from groups_of((backend,), extent, gpu.cache_bytes, int(gpu.memory_bytes * MEMORY_SHARE))


def time_groups(
    groups: Sequence[Group],
    stopwatch: Stopwatch,
    clock: Clock,
    deadline_s: float,
    told: Told = lambda _done, _count, _label: None,
) -> tuple[tuple[Timing, ...], tuple[Skipped, ...]]:
    """The timings of all cases, and the cases or groups that were left out with the reason: the device
    cannot, a smaller one took over SLOW_CALL_US, or time was over.

    All groups together have `deadline_s` seconds. Each may take an equal share of what those before it left,
    so that a busy machine thins every curve and loses none.
    """
    end = clock.wall_s() + deadline_s
    timings: list[Timing] = []
    skipped: list[Skipped] = []
    for index, group in enumerate(groups):
        told(index, len(groups), group.label)
        now = clock.wall_s()
        if now >= end:
            skipped.append(Skipped(group.label, f"the probe's {deadline_s:.0f} s were over"))
            continue
        share_ends = now + (end - now) / (len(groups) - index)
        try:
            _time_group(group, stopwatch, clock, share_ends, timings, skipped)
        except group.errors as error:
            skipped.append(Skipped(group.label, _reason(error)))
    return tuple(timings), tuple(skipped)


def _time_group(
    group: Group,
    stopwatch: Stopwatch,
    clock: Clock,
    share_ends: float,
    timings: list[Timing],
    skipped: list[Skipped],
) -> None:
    slow: Case | None = None
    for number, case in enumerate(group.cases(), start=1):
        if number > LEAST_CASES and clock.wall_s() > share_ends:
            skipped.append(Skipped(group.label, f"from {case.label} on: its share of the time was over"))
            return
        if slow is not None and case.n == slow.n and case.m > slow.m:
            skipped.append(Skipped(case.label, f"{slow.label} took over a second"))
            continue
        timing = _time(case, group.errors, stopwatch, skipped)
        if timing is not None:
            timings.append(timing)
            if timing.wall_us > SLOW_CALL_US:
                slow = case


def _time(
    case: Case, errors: tuple[type[Exception], ...], stopwatch: Stopwatch, skipped: list[Skipped]
) -> Timing | None:
    try:
        sample = stopwatch.measure(case.call)
    except errors as error:
        skipped.append(Skipped(case.label, _reason(error)))
        return None
    return Timing(
        operation=case.operation,
        engine=case.engine,
        dtype=case.dtype,
        m=case.m,
        n=case.n,
        k=case.k,
        bytes=case.bytes,
        flops=case.flops,
        wall_us=sample.wall_us,
        cpu_us=sample.cpu_us,
        spread=sample.spread,
        disturbed=sample.disturbed,
    )


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _launches(backend: Backend) -> Group:
    dtype = backend.vector_dtypes[0]
    return Group(
        f"launches by {backend.engine}", lambda: iter((launch_case(backend, dtype),)), backend.errors
    )


def _streams(backend: Backend, cache_bytes: int, memory_bytes: int) -> Group:
    dtype = backend.vector_dtypes[0]
    return Group(
        f"bandwidth by {backend.engine}",
        lambda: stream_cases(backend, dtype, cache_bytes, memory_bytes),
        backend.errors,
    )


def _products(backend: Backend, dtype: Dtype, extent: Extent, cache_bytes: int, memory_bytes: int) -> Group:
    return Group(
        f"{dtype} products by {backend.engine}",
        lambda: product_cases(backend, dtype, extent, cache_bytes, memory_bytes),
        backend.errors,
    )


def _elementwise(
    backend: Backend, dtype: Dtype, extent: Extent, cache_bytes: int, memory_bytes: int
) -> Group:
    return Group(
        f"{dtype} element-wise operations by {backend.engine}",
        lambda: elementwise_cases(backend, dtype, extent, cache_bytes, memory_bytes),
        backend.errors,
    )


def _attention(
    backend: TorchBackend, dtype: Dtype, extent: Extent, cache_bytes: int, memory_bytes: int
) -> Group:
    return Group(
        f"{dtype} attention by {backend.engine}",
        lambda: attention_cases(backend, dtype, extent, cache_bytes, memory_bytes),
        backend.errors,
    )
