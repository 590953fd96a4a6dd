"""Medians, spreads, and what is told of a machine that is busy with something else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ridgeline_server.probe.clock import CpuStopwatch, Policy, SystemClock, is_disturbed, rounds_for
from tests.unit.probe.fakes import FakeClock

POLICY = Policy(rounds=5, round_s=0.01, measurement_s=1.0, retries=2, wait_s=0.25)
WARM_UPS = 2


def quiet(spell: int) -> tuple[float, float]:
    return 0.0, 0.0


def stopwatch_and_call(
    noise: Callable[[int], tuple[float, float]] = quiet, threads: int = 1, cores: float = 1.0
) -> tuple[FakeClock, CpuStopwatch, Callable[[], None]]:
    """A stopwatch and a call that takes 10 ms, so that a round is one call."""
    clock = FakeClock(noise)
    return clock, CpuStopwatch(threads, clock, POLICY), lambda: clock.work(0.01, cores)


def test_a_quiet_measurement_is_told_as_it_is() -> None:
    clock, stopwatch, call = stopwatch_and_call()
    sample = stopwatch.measure(call)
    assert sample.wall_us == pytest.approx(10_000)
    assert sample.cpu_us == pytest.approx(10_000)
    assert sample.spread == pytest.approx(0, abs=1e-9)
    assert not sample.disturbed
    assert clock.waits == []
    assert clock.spells == WARM_UPS + POLICY.rounds


def test_a_disturbed_measurement_is_taken_again() -> None:
    clock, stopwatch, call = stopwatch_and_call(
        lambda spell: (0.004, 0.004) if spell < WARM_UPS + POLICY.rounds else (0.0, 0.0), threads=2
    )
    sample = stopwatch.measure(call)
    assert not sample.disturbed
    assert sample.wall_us == pytest.approx(10_000)
    assert clock.waits == [POLICY.wait_s]


def test_of_tries_that_are_all_disturbed_the_fastest_is_told_and_marked() -> None:
    def noise(spell: int) -> tuple[float, float]:
        attempt = max(0, spell - WARM_UPS) // POLICY.rounds
        return (0.008, 0.004, 0.006)[attempt], 0.0

    clock, stopwatch, call = stopwatch_and_call(noise, threads=2)
    sample = stopwatch.measure(call)
    assert sample.disturbed
    assert sample.wall_us == pytest.approx(14_000)
    assert sample.cpu_us == pytest.approx(10_000)
    assert len(clock.waits) == POLICY.retries


def test_cpu_time_of_one_thread_that_repeats_is_not_taken_again() -> None:
    clock, stopwatch, call = stopwatch_and_call(lambda spell: (0.004, 0.004))
    sample = stopwatch.measure(call)
    assert sample.disturbed
    assert sample.cpu_us == pytest.approx(10_000)
    assert clock.waits == []


def test_a_thread_that_spins_for_one_that_waits_is_noticed() -> None:
    # Two threads, one core taken: the process keeps one core busy, every round takes the same.
    _, stopwatch, call = stopwatch_and_call(lambda spell: (0.0, 0.01), threads=2)
    assert stopwatch.measure(call).disturbed


def test_work_of_one_thread_is_no_disturbance_to_a_process_of_two() -> None:
    _, stopwatch, call = stopwatch_and_call(threads=2, cores=1.0)
    assert not stopwatch.measure(call).disturbed


@pytest.mark.parametrize(
    ("wall", "cpu", "queued", "threads", "disturbed"),
    [
        pytest.param([1.0, 1, 1], [1, 1, 1], [0, 0, 0], 1, False, id="one thread on one core"),
        pytest.param([1, 1, 1], [1.9, 1.9, 1.9], [0, 0, 0], 2, False, id="two threads on two cores"),
        pytest.param([1, 1, 1], [0.95, 0.95, 0.95], [0, 0, 0], 1, False, id="inside of the tolerance"),
        pytest.param([1, 1, 1], [0.8, 0.8, 0.8], [0, 0, 0], 1, True, id="less than a core"),
        pytest.param([1, 1, 1], [1.3, 1.3, 1.3], [0, 0, 0], 1, True, id="more cores than its threads"),
        pytest.param([1, 1, 1], [1.2, 1.2, 1.9], [0, 0, 0], 2, True, id="a better round got more cores"),
        pytest.param([1, 1, 1], [1.9, 1.9, 1.9], [0.2, 0.2, 0.2], 2, True, id="threads waited"),
        pytest.param([1, 2, 3], [1.9, 3.8, 5.7], [0, 0, 0], 2, True, id="rounds differ"),
        pytest.param([1, 1, 2], [1, 1, 1], [0, 0, 0], 1, False, id="one round of three waited"),
    ],
)
def test_what_counts_as_disturbed(
    wall: list[float], cpu: list[float], queued: list[float], threads: int, disturbed: bool
) -> None:
    assert is_disturbed(np.array(wall), np.array(cpu), np.array(queued), threads, 0.1) is disturbed


@pytest.mark.parametrize("call_s", [1e-9, 1e-6, 3e-4, 0.02, 0.4, 30.0])
def test_a_round_is_long_enough_and_a_measurement_not_too_long(call_s: float) -> None:
    calls, rounds = rounds_for(call_s, POLICY)
    assert calls * max(call_s, 1e-7) >= POLICY.round_s
    assert 2 <= rounds <= POLICY.rounds
    assert rounds == 2 or rounds * calls * call_s <= POLICY.measurement_s


def test_the_systems_clocks_advance() -> None:
    clock = SystemClock()
    before = (clock.wall_s(), clock.cpu_s(), clock.queued_s())
    sum(range(200_000))
    clock.wait(0.0)
    after = (clock.wall_s(), clock.cpu_s(), clock.queued_s())
    assert after[0] > before[0]
    assert after[1] > before[1]
    assert after[2] >= 0
