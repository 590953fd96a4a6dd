"""Times a callable over rounds, tells whether the machine was busy with something else, and tries again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Call = Callable[[], object]


class Clock(Protocol):
    """What measuring takes of time; tests inject one that stands still unless told otherwise."""

    def wall_s(self) -> float:
        """Seconds that have passed."""

    def cpu_s(self) -> float:
        """Seconds that the cores spent on this process, all threads together."""

    def queued_s(self) -> float:
        """Seconds that threads of this process were ready to run and had no core, summed over threads; 0
        where the system does not tell.
        """

    def wait(self, seconds: float) -> None:
        """Let time pass."""


class SystemClock:
    """The clocks of the operating system."""

    def wall_s(self) -> float:
        """Seconds of the monotonic clock with the finest grain."""
        return time.perf_counter()

    def cpu_s(self) -> float:
        """User and system seconds of the process."""
        return time.process_time()

    def queued_s(self) -> float:
        """Linux counts it in the second field of each thread's schedstat, in nanoseconds."""
        queued_ns = 0
        for path in Path("/proc/self/task").glob("*/schedstat"):
            # A thread may end while its file is read.
            with suppress(OSError):
                queued_ns += int(path.read_text(encoding="ascii").split()[1])
        return queued_ns * 1e-9

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


TOLERANCE = 0.10
"""Share by which wall and CPU time, or the times of rounds, may differ in an undisturbed measurement."""


@dataclass(frozen=True)
class Policy:
    """How long to measure, what counts as undisturbed, and how often to try again.

    A round repeats the call until it takes `round_s`. A measurement has `rounds` of them, fewer where they
    would take over `measurement_s`, but two at least. One whose figure is in doubt is taken again up to
    `retries` times, after `wait_s`.
    """

    rounds: int = 7
    round_s: float = 0.005
    measurement_s: float = 0.5
    tolerance: float = TOLERANCE
    retries: int = 2
    wait_s: float = 0.05


@dataclass(frozen=True)
class Sample:
    """One call's median times. `cpu_us` is None where the work runs on another device; `spread` is the
    distance between the quartiles of the rounds' times over their median.
    """

    wall_us: float
    cpu_us: float | None
    spread: float
    rounds: int
    disturbed: bool


def spread_of(values: Array) -> float:
    """The distance between the quartiles over the median, of values above 0."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float((high - low) / middle)


def is_disturbed(wall_s: Array, cpu_s: Array, queued_s: Array, threads: int, tolerance: float) -> bool:
    """Whether rounds of CPU work, given as seconds by the wall clock, of the process's CPU time and of its
    threads' waiting for a core, shared the cores with other work.

    Work on the CPU keeps one to `threads` cores busy. Where the process got less than one core, or more than
    its threads can use, or the typical round got fewer cores than the best one, or waited for cores, or times
    differ between rounds, each by over `tolerance`, something else ran. The waiting tells what the others
    cannot: a thread that spins until another one gets its core keeps one busy, round after round. One-thread
    work is judged by the spread of its CPU time, the figure that counts then.
    """
    cores = cpu_s / wall_s
    typical = float(np.median(cores))
    return (
        typical < 1 - tolerance
        or typical > threads * (1 + tolerance)
        or typical < (1 - tolerance) * float(cores.max())
        or float(np.median(queued_s / wall_s)) > tolerance
        or spread_of(cpu_s if threads == 1 else wall_s) > tolerance
    )


class Stopwatch(Protocol):
    """What times calls on a device."""

    def measure(self, call: Call) -> Sample:
        """The times of a call."""


class CpuStopwatch:
    """Times calls that compute on `threads` threads of this process."""

    def __init__(self, threads: int, clock: Clock, policy: Policy) -> None:
        self._threads, self._clock, self._policy = threads, clock, policy

    def measure(self, call: Call) -> Sample:
        """The first call warms up, the second one tells how many make a round."""
        call()
        start = self._clock.wall_s()
        call()
        calls, rounds = rounds_for(self._clock.wall_s() - start, self._policy)
        one = self._threads == 1
        return least_disturbed(
            lambda: self._sample(call, calls, rounds),
            # CPU time that repeats is good enough, whatever else the machine does.
            is_enough=lambda s: s.spread <= self._policy.tolerance if one else not s.disturbed,
            time_us=lambda s: s.cpu_us if one and s.cpu_us is not None else s.wall_us,
            clock=self._clock,
            policy=self._policy,
        )

    def _sample(self, call: Call, calls: int, rounds: int) -> Sample:
        clock, threads = self._clock, self._threads
        wall_s, cpu_s, queued_s = np.empty((3, rounds))
        for index in range(rounds):
            queued, cpu, wall = clock.queued_s(), clock.cpu_s(), clock.wall_s()
            for _ in range(calls):
                call()
            wall_s[index], cpu_s[index] = clock.wall_s() - wall, clock.cpu_s() - cpu
            queued_s[index] = clock.queued_s() - queued
        # A clock that did not advance would divide by zero.
        wall_s, cpu_s = np.maximum(wall_s, 1e-9), np.maximum(cpu_s, 1e-9)
        return Sample(
            wall_us=float(np.median(wall_s)) * 1e6 / calls,
            cpu_us=float(np.median(cpu_s)) * 1e6 / calls,
            spread=spread_of(cpu_s if threads == 1 else wall_s),
            rounds=rounds,
            disturbed=is_disturbed(wall_s, cpu_s, queued_s, threads, self._policy.tolerance),
        )


def rounds_for(call_s: float, policy: Policy) -> tuple[int, int]:
    """Calls per round, and rounds, for a call that takes `call_s` seconds."""
    call_s = max(call_s, 1e-7)
    calls = max(1, math.ceil(policy.round_s / call_s))
    return calls, max(2, min(policy.rounds, int(policy.measurement_s / (calls * call_s))))


def least_disturbed(
    attempt: Callable[[], Sample],
    is_enough: Callable[[Sample], bool],
    time_us: Callable[[Sample], float],
    clock: Clock,
    policy: Policy,
) -> Sample:
    """The first sample that is good enough; of tries none of which is, the one with the least time."""
    best = attempt()
    for _ in range(policy.retries):
        if is_enough(best):
            break
        clock.wait(policy.wait_s)
        again = attempt()
        if is_enough(again) or time_us(again) < time_us(best):
            best = again
    return best
