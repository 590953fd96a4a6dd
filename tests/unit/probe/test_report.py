"""From timings to a device and its profiles."""

from __future__ import annotations

import pytest

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import OperatorClass, ProfileSet
from ridgeline_server.probe.case import Operation
from ridgeline_server.probe.report import (
    attained_bytes_per_s,
    attained_flops_per_s,
    hardware_of,
    profiles_of,
)
from tests.unit.probe.probes import GPU, probe, timing


def test_a_device_is_its_best_rates_and_its_best_bandwidth() -> None:
    found = probe(
        timing(100, flops=1e6, moved=1e5),
        timing(50, flops=1e6, moved=1e5),
        timing(100, flops=4e6, moved=1e5, dtype=Dtype.INT8, engine="torch"),
        timing(200, operation=Operation.READ, flops=0, moved=2e6),
    )
    device = hardware_of(found, "mine")
    assert device.id == "mine"
    assert dict(device.peak_flops_per_s) == pytest.approx({Dtype.FP32: 2e10, Dtype.INT8: 4e10})
    assert device.bandwidth_bytes_per_s == pytest.approx(1e10)
    assert device.allocatable_bytes == 2**34
    assert device.name == "Some CPU, 2 threads"


def test_what_was_attained_on_a_busy_machine_counts_and_says_so() -> None:
    calm, fast = timing(100), timing(10, disturbed=True)
    best = attained_flops_per_s(probe(calm, fast))[Dtype.FP32]
    assert best.value == pytest.approx(1e11)
    assert "busy" in best.source
    assert "busy" not in attained_flops_per_s(probe(calm))[Dtype.FP32].source


def test_of_one_thread_the_cpu_time_counts_and_needs_only_to_repeat() -> None:
    waited = timing(200, cpu_us=100, disturbed=True)
    assert attained_flops_per_s(probe(waited, threads=1))[Dtype.FP32].value == pytest.approx(1e10)
    assert probe(waited, threads=1).is_trusted(waited)
    assert not probe(waited, threads=2).is_trusted(waited)
    wild = timing(100, spread=0.3)
    assert not probe(wild, threads=1).is_trusted(wild)


def test_a_figure_tells_where_it_comes_from() -> None:
    source = attained_bytes_per_s(probe(timing(operation=Operation.COPY))).source
    for part in ("measured on this machine", "Some CPU, 2 threads", "numpy 2.4", "copy fp32"):
        assert part in source


def test_nothing_that_moves_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="bandwidth is not known"):
        hardware_of(probe(timing(moved=0)), "mine")


def test_a_gpus_device_is_the_gpus() -> None:
    device = hardware_of(probe(timing(), gpu=GPU), "mine")
    assert device.name == "Some GPU"
    assert device.memory_bytes == 2**36


def test_torchs_timings_make_the_profile_where_there_are_any() -> None:
    numpy = [timing(100 * n, flops=1e6 * n) for n in range(1, 6)]
    torch = [timing(200 * n, flops=1e6 * n, engine="torch") for n in range(1, 7)]
    (profile,) = profiles_of(probe(*numpy, *torch), "mine")
    assert profile.evidence_count == 6
    assert "timings of torch" in profile.source


def test_few_timings_make_no_profile() -> None:
    assert profiles_of(probe(timing(), timing(), timing()), "mine") == ()


def test_doubtful_timings_are_left_out_where_half_remain() -> None:
    calm = [timing(100 * n, flops=1e6 * n) for n in range(1, 6)]
    wild = [timing(900 * n, flops=1e6 * n, disturbed=True) for n in range(1, 6)]
    (some,) = profiles_of(probe(*calm, *wild), "mine")
    assert some.evidence_count == 5
    (all_of_them,) = profiles_of(probe(*calm[:1], *wild), "mine")
    assert all_of_them.evidence_count == 6
    assert "5 of them doubtful" in all_of_them.source


def test_profiles_are_found_for_the_device_and_give_times_above_the_ideal() -> None:
    timings = [timing(20 + 100 * n, flops=1e6 * n, dtype=Dtype.BF16) for n in range(1, 9)]
    found = profiles_of(probe(*timings), "mine")
    profiles = ProfileSet(found)
    here = profiles.find(profiles.setting("mine"), OperatorClass.GEMM, Dtype.BF16, Dtype.BF16)
    assert here is not None
    profile = here.profile
    assert profile.id == "mine-gemm-bf16"
    for estimate in (profile.compute_efficiency, profile.memory_efficiency):
        assert 0 < estimate.low <= estimate.value <= estimate.high <= 1
    launch = profile.launch_time_us
    assert 0 <= launch.low <= launch.value <= launch.high
    assert profiles.find(profiles.setting("other"), OperatorClass.GEMM, Dtype.BF16, Dtype.BF16) is None
