"""Times the cases of one engine in turn, round after round, with products of the probe among them."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from benchmarks.engines.shapes import BY_NAME, Shape
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.clock import SystemClock, spread_of
from ridgeline_server.probe.extent import CPU_QUICK, MEMORY_SHARE
from ridgeline_server.probe.machine import processor
from ridgeline_server.probe.numpy_backend import NumpyBackend
from ridgeline_server.probe.products import product_cases

ROUNDS = 10
FEWEST_ROUNDS = 3
CASE_S = 6.0
"""A case that has taken this long, and FEWEST_ROUNDS, leaves the rounds that are left to the others."""

ROUND_S = 0.05
"""A round repeats a shorter case until it takes this long."""

Step = Callable[[], object]


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class EngineCase:
    """One thing that an engine does: a prefill of `tokens`, or a decode step that reads `tokens` keys of each
    of `batch` sequences. `prepare` and `tidy` are not timed.
    """

    phase: str
    tokens: int
    batch: int
    call: Step
    prepare: Step = _nothing
    tidy: Step = _nothing


@dataclass
class Times:
    """Seconds of a case's rounds."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    queued_s: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Measured:
    """A case's medians in milliseconds; `spread` is that of the figure that counts, the CPU time of one
    thread or the wall time of several; `queued_share` is the median time that threads waited for a core, as a
    share of the wall time; `probe_*` are medians of fp32 products by NumPy in the same rounds: of 256 rows,
    and of one row.
    """

    phase: str
    tokens: int
    batch: int
    wall_ms: float
    cpu_ms: float
    spread: float
    queued_share: float
    rounds: int
    probe_gflop_per_s: float
    probe_gb_per_s: float


@dataclass(frozen=True)
class Options:
    """What a runner measures."""

    shape: Shape
    weight_format: str
    cache_format: str
    threads: int
    prompts: tuple[int, ...]
    contexts: tuple[int, ...]
    batches: tuple[int, ...]


def options() -> Options:
    """The runner's command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=BY_NAME, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--cache", default="f16")
    parser.add_argument("--threads", type=int, default=1)
    for name in ("prompts", "contexts", "batches"):
        parser.add_argument(f"--{name}", type=int, nargs="*", default=[])
    given = parser.parse_args()
    return Options(
        shape=BY_NAME[given.shape],
        weight_format=given.weights,
        cache_format=given.cache,
        threads=given.threads,
        prompts=tuple(given.prompts),
        contexts=tuple(given.contexts),
        batches=tuple(given.batches),
    )


def measure(cases: Sequence[EngineCase], threads: int) -> list[Measured]:
    """Every case once to warm up, then in turn for ROUNDS rounds or what CASE_S leaves of them."""
    clock = SystemClock()
    cpu = processor()
    extent = replace(CPU_QUICK, weight_sides=(2048,), rows=(1, 256))
    memory = int(cpu.memory_bytes * MEMORY_SHARE)
    _, row, rows = product_cases(NumpyBackend(threads), Dtype.FP32, extent, cpu.cache_bytes, memory)
    everything = (*cases, *(EngineCase("probe", 0, case.m, case.call) for case in (row, rows)))
    times = {id(case): Times() for case in everything}

    def once(case: EngineCase, found: Times, repeats: int) -> None:
        spent = np.zeros(3)
        for _ in range(repeats):
            case.prepare()
            before = np.array((clock.queued_s(), clock.cpu_s(), clock.wall_s()))
            case.call()
            after = (clock.wall_s(), clock.cpu_s(), clock.queued_s())
            spent += np.array(after[::-1]) - before
            case.tidy()
        for kept, value in zip((found.queued_s, found.cpu_s, found.wall_s), spent / repeats, strict=True):
            kept.append(float(value))

    repeats = {}
    for case in everything:
        warm = Times()
        once(case, warm, 1)
        if warm.wall_s[0] < ROUND_S:
            once(case, warm, 1)
        repeats[id(case)] = math.ceil(ROUND_S / warm.wall_s[-1])
    for _ in range(ROUNDS):
        for case in everything:
            found = times[id(case)]
            if len(found.wall_s) < FEWEST_ROUNDS or sum(found.wall_s) < CASE_S:
                once(case, found, repeats[id(case)])

    def seconds(case: EngineCase) -> list[float]:
        return times[id(case)].cpu_s if threads == 1 else times[id(case)].wall_s

    one_row, many_rows = (float(np.median(seconds(case))) for case in everything[-2:])
    return [
        Measured(
            phase=case.phase,
            tokens=case.tokens,
            batch=case.batch,
            wall_ms=float(np.median(times[id(case)].wall_s)) * 1e3,
            cpu_ms=float(np.median(times[id(case)].cpu_s)) * 1e3,
            spread=spread_of(np.array(seconds(case))),
            queued_share=float(np.median(np.divide(times[id(case)].queued_s, times[id(case)].wall_s))),
            rounds=len(times[id(case)].wall_s),
            probe_gflop_per_s=rows.flops / many_rows / 1e9,
            probe_gb_per_s=row.bytes / one_row / 1e9,
        )
        for case in cases
    ]


def reply(engine: str, version: str, measured: Iterable[Measured]) -> None:
    """Print what a runner found, as one line of JSON."""
    print(json.dumps({"engine": engine, "version": version, "cases": [asdict(m) for m in measured]}))
