"""A whole probe of a machine whose constants are known, and what a probe leaves out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import OperatorClass
from ridgeline_server.probe.case import Operation
from ridgeline_server.probe.clock import CpuStopwatch, Policy
from ridgeline_server.probe.extent import CPU_QUICK, GPU_QUICK
from ridgeline_server.probe.report import Skipped, Timing, hardware_of, profiles_of
from ridgeline_server.probe.run import groups_of, groups_of_gpu, probe_machine, time_groups
from ridgeline_server.probe.torch_backend import TorchBackend
from tests.unit.probe.fake_torch import FakeTorch
from tests.unit.probe.fakes import FakeClock, SyntheticMachine
from tests.unit.probe.probes import GPU, probe

PEAKS = {Dtype.FP32: 1.2e11, Dtype.BF16: 2.4e11}
BANDWIDTH = 2.1e10
LAUNCH_S = 4e-6
CACHE, MEMORY = 2**25, 2**30


def machine(clock: FakeClock | None = None) -> SyntheticMachine:
    # At an exponent of 8 products of many rows attain the peak, so that the best rate is the machine's.
    return SyntheticMachine(clock or FakeClock(), PEAKS, BANDWIDTH, LAUNCH_S, exponent=8.0)


def timed(
    backend: SyntheticMachine, deadline_s: float = 1e9
) -> tuple[tuple[Timing, ...], tuple[Skipped, ...]]:
    stopwatch = CpuStopwatch(1, backend.clock, Policy())
    groups = list(groups_of((backend,), CPU_QUICK, CACHE, MEMORY))
    return time_groups(groups, stopwatch, backend.clock, deadline_s)


def test_a_synthetic_machine_is_recovered_within_two_percent() -> None:
    timings, skipped = timed(machine())
    assert skipped == ()
    found = probe(*timings, threads=1)
    device = hardware_of(found, "mine")
    assert dict(device.peak_flops_per_s) == pytest.approx(PEAKS, rel=0.02)
    assert device.bandwidth_bytes_per_s == pytest.approx(BANDWIDTH, rel=0.02)
    gemms = [p for p in profiles_of(found, "mine") if p.operator_class is OperatorClass.GEMM]
    assert {p.dtype for p in gemms} == set(PEAKS)
    for profile in gemms:
        assert profile.launch_time_us.value == pytest.approx(LAUNCH_S * 1e6, rel=0.02)
        assert profile.compute_efficiency.value == pytest.approx(1, rel=0.02)
        assert profile.memory_efficiency.value == pytest.approx(1, rel=0.02)


def test_a_busy_machine_is_recovered_all_the_same_by_the_cpu_time_of_one_thread() -> None:
    clock = FakeClock(lambda spell: (2e-4 * (spell % 5), 2e-4 * (spell % 5)))
    timings, _ = timed(machine(clock))
    assert any(t.disturbed for t in timings)
    device = hardware_of(probe(*timings, threads=1), "mine")
    assert dict(device.peak_flops_per_s) == pytest.approx(PEAKS, rel=0.02)


def test_more_bandwidth_and_more_peak_are_told_as_more() -> None:
    slow, fast = machine(), machine()
    fast.bandwidth *= 2
    fast.peaks = {dtype: 2 * peak for dtype, peak in PEAKS.items()}
    of_slow, of_fast = (hardware_of(probe(*timed(backend)[0], threads=1), "mine") for backend in (slow, fast))
    assert of_fast.bandwidth_bytes_per_s > 1.9 * of_slow.bandwidth_bytes_per_s
    for dtype in PEAKS:
        assert of_fast.peak_flops_per_s[dtype] > 1.9 * of_slow.peak_flops_per_s[dtype]


def test_memory_stays_under_the_cap() -> None:
    backend = machine()
    timed(backend)
    assert 0 < backend.most_bytes <= MEMORY


def test_a_dtype_that_the_machine_lacks_is_skipped_with_its_reason_and_the_rest_goes_on() -> None:
    backend = machine()
    backend.lacks = Dtype.BF16
    timings, skipped = timed(backend)
    assert {t.dtype for t in timings} == {Dtype.FP32}
    assert {s.reason for s in skipped} == {"no bf16 here"}
    assert len(skipped) == 1 + len(CPU_QUICK.weight_sides) * len(CPU_QUICK.rows)


def test_too_little_time_thins_every_group_and_says_so() -> None:
    whole, _ = timed(machine())
    backend = machine()
    timings, skipped = timed(backend, deadline_s=1.5)
    assert len(timings) < len(whole)
    assert {(t.operation, t.dtype) for t in timings} == {(t.operation, t.dtype) for t in whole}
    assert skipped
    assert all("share of the time was over" in s.reason for s in skipped)
    operations = [t.operation for t in timings]
    assert Operation.READ in operations
    assert Operation.COPY in operations
    # Two measurements for each group are the most that a probe goes beyond its time.
    assert backend.clock.wall < 1.5 + 5.0


def test_without_time_every_group_is_skipped() -> None:
    timings, skipped = timed(machine(), deadline_s=0.0)
    assert timings == ()
    assert "fp32 products by synthetic" in {s.label for s in skipped}
    assert {s.reason for s in skipped} == {"the probe's 0 s were over"}


def test_a_curve_ends_where_a_product_takes_over_a_second() -> None:
    backend = machine()
    backend.peaks = {**PEAKS, Dtype.BF16: 1e8}
    timings, skipped = timed(backend)
    slow = [t for t in timings if t.dtype is Dtype.BF16]
    for side in CPU_QUICK.weight_sides:
        curve = [t for t in slow if t.n == side]
        assert sum(t.wall_us > 1e6 for t in curve) == 1
        assert max(curve, key=lambda t: t.m).wall_us > 1e6
    assert skipped
    assert all("took over a second" in s.reason for s in skipped)


def test_a_gpu_is_probed_with_fp8_attention_and_graphs_and_int8_from_17_rows() -> None:
    torch = FakeTorch()
    backend = TorchBackend(torch, "cuda:0", 1)
    extent = replace(GPU_QUICK, rows=(1, 16, 32), weight_sides=(512,))
    groups = list(groups_of_gpu(torch, backend, replace(GPU, memory_bytes=2**34), extent))
    stopwatch = CpuStopwatch(1, torch.clock, Policy())
    timings, skipped = time_groups(groups, stopwatch, torch.clock, 1e9)
    done = {(t.operation, t.dtype) for t in timings}
    assert (Operation.GRAPH_LAUNCH, Dtype.BF16) in done
    assert (Operation.PRODUCT, Dtype.FP8) in done
    assert (Operation.PREFILL_ATTENTION, Dtype.BF16) in done
    assert (Operation.DECODE_ATTENTION, Dtype.BF16) in done
    assert {t.m for t in timings if t.dtype is Dtype.INT8} == {32}
    assert [s.reason.partition(",")[0] for s in skipped] == ["self.size(0) needs to be greater than 16"] * 3


@pytest.mark.parametrize("threads", [0, -1, 10_000])
def test_threads_that_the_machine_does_not_have_are_refused(threads: int) -> None:
    with pytest.raises(ValueError, match=f"threads is {threads}; this process may use 1 to"):
        probe_machine(threads)
