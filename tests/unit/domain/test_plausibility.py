"""Physical sanity: the slips of the field are told, and what is told names field, value, bound and slip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.plausibility import RIDGE_POINTS, Peer, Peers, suspicions
from ridgeline_server.domain.product_lines import PRODUCT_LINES
from ridgeline_server.store.builtin import builtin_hardware

ENTRIES = {entry.id: entry for entry in builtin_hardware()}
PEERS = Peers(Peer(entry.hardware, entry.kind, entry.release_year) for entry in ENTRIES.values())

Slip = Callable[[Hardware], Hardware]


def told(device_id: str, slip: Slip, new_id: str = "") -> tuple[str, ...]:
    """What is suspicious about a device of the catalog after a slip, under its own or another id."""
    entry = ENTRIES[device_id]
    hardware = slip(entry.hardware)
    if new_id:
        hardware = replace(hardware, id=new_id)
    return suspicions(hardware, entry.kind, entry.release_year, PEERS)


def rates(factor: float, *dtypes: str) -> Slip:
    """Multiply the rates of these dtypes, or of all of them."""

    def slip(hardware: Hardware) -> Hardware:
        peaks = {
            dtype: rate * (factor if not dtypes or dtype in dtypes else 1)
            for dtype, rate in hardware.peak_flops_per_s.items()
        }
        return replace(hardware, peak_flops_per_s=peaks)

    return slip


def scaled(**factors: float) -> Slip:
    """Multiply other figures."""
    return lambda hardware: replace(
        hardware, **{name: getattr(hardware, name) * factor for name, factor in factors.items()}
    )


def unchanged(hardware: Hardware) -> Hardware:
    return hardware


def test_a_copy_of_a_device_under_another_name_is_not_suspicious() -> None:
    clean = [i for i in ENTRIES if not told(i, unchanged)]
    assert len(clean) > 170
    assert {i: told(i, unchanged, "my-own") for i in clean if told(i, unchanged, "my-own")} == {}


@pytest.mark.parametrize(
    ("device_id", "dtype"),
    [
        ("h100-sxm", "fp16"),
        ("a100-sxm-80gb", "bf16"),
        ("rtx-4090", "fp16"),
        ("mi300x", "fp16"),
        ("l40s", "fp8"),
    ],
)
def test_a_sparse_rate_taken_as_dense(device_id: str, dtype: str) -> None:
    (sentence, *_) = [
        s for s in told(device_id, rates(2, dtype), "my-own") if s.startswith(f"peaks.{dtype} ")
    ]
    assert f"2x what {device_id} has" in sentence or "sparse rate" in sentence
    assert "sparse" in sentence


def test_all_the_rates_of_a_sheet_with_sparsity() -> None:
    sentences = told("h100-sxm", rates(2, "tf32", "bf16", "fp16", "fp8", "int8"), "my-own")
    assert {s.split()[0] for s in sentences} >= {
        "peaks.tf32", "peaks.bf16", "peaks.fp16", "peaks.fp8", "peaks.int8"
    }  # fmt: skip


def test_the_sentence_about_a_sparse_rate_has_value_bound_and_slip() -> None:
    assert told("h100-sxm", rates(2, "fp16"), "my-own")[-1] == (
        "peaks.fp16 is 1979e12, 2x what h100-sxm has (989.4e12): data sheets print sparse rates, which are "
        "twice the dense ones; give the dense one."
    )


def test_a_sparse_eight_bit_rate_is_four_times_the_sixteen_bit_one_on_any_new_device() -> None:
    new = Hardware("new", 100 * 2.0**30, 4e12, {Dtype.FP16: 1000e12, Dtype.FP8: 4000e12, Dtype.INT8: 4000e12})
    assert [s.split()[0] for s in suspicions(new, "gpu", 2026, PEERS)] == ["peaks.fp8", "peaks.int8"]


def test_int8_is_four_times_fp16_where_fp32_sums_halve_it() -> None:
    """A GeForce card, as far as rates tell: fp16 at twice fp32."""
    geforce = Hardware(
        "new",
        16 * 2.0**30,
        1e12,
        {Dtype.FP32: 50e12, Dtype.FP16: 100e12, Dtype.FP8: 200e12, Dtype.INT8: 400e12},
    )
    assert suspicions(geforce, "gpu", 2025, PEERS) == ()


@pytest.mark.parametrize("device_id", ["mi250", "b200-sxm"])
def test_one_die_taken_for_its_package(device_id: str) -> None:
    sentences = told(device_id, rates(0.5))
    assert sentences
    assert any("0.5x what" in s and "one die" in s for s in sentences)


def test_both_dies_rates_with_one_dies_memory() -> None:
    """The MI250's 362 TFLOP/s on one GCD's 64 GB at 1.6 TB/s: twice an MI210, which is that GCD."""
    sentences = told("mi250", scaled(memory_bytes=0.5, bandwidth_bytes_per_s=0.5), "mi250-gcd")
    assert any("2x what mi210 has" in s for s in sentences)


def test_one_die_stated_consistently_is_a_device_like_any_other() -> None:
    half = scaled(memory_bytes=0.5, bandwidth_bytes_per_s=0.5, tdp_watts=0.5)
    assert told("mi250", lambda hardware: half(rates(0.5)(hardware)), "mi250-gcd") == ()


@pytest.mark.parametrize(
    "device_id", ["h100-sxm", "a100-sxm-80gb", "rtx-4090", "mi300x", "t4", "rtx-3060-12gb"]
)
def test_bandwidth_in_bits(device_id: str) -> None:
    sentences = told(device_id, scaled(bandwidth_bytes_per_s=8), "my-own")
    assert any(s.startswith("bandwidth_bytes_per_s is ") and "bits" in s for s in sentences)
    assert any("8x what" in s for s in told(device_id, scaled(bandwidth_bytes_per_s=8)))


@pytest.mark.parametrize("device_id", ["h100-sxm", "rtx-4090", "apple-m3-max", "epyc-9654", "tpu-v5e"])
@pytest.mark.parametrize("factor", [1e-3, 1e-6], ids=["in MB/s", "in kB/s"])
def test_bandwidth_in_a_smaller_unit(device_id: str, factor: float) -> None:
    assert any("ridge point" in s for s in told(device_id, scaled(bandwidth_bytes_per_s=factor), "my-own"))


@pytest.mark.parametrize("factor", [1e3, 1e-3], ids=["PFLOP/s for TFLOP/s", "GFLOP/s for TFLOP/s"])
def test_rates_in_another_unit(factor: float) -> None:
    assert any("ridge point" in s for s in told("h100-sxm", rates(factor), "my-own"))


def test_gigabytes_for_gibibytes() -> None:
    (sentence,) = told("a100-sxm-80gb", lambda hardware: replace(hardware, memory_bytes=80e9), "my-own")
    assert sentence.startswith("memory_bytes is 80,000,000,000")
    assert "80 x 2^30 = 85,899,345,920" in sentence


def test_what_was_free_taken_for_what_is_usable() -> None:
    slip: dict[str, Any] = {"usable_memory_bytes": 40 * 2.0**30}
    (sentence,) = told("h100-sxm", lambda hardware: replace(hardware, **slip))
    assert "50% of memory_bytes" in sentence


@pytest.mark.parametrize(
    ("factor", "suspicious"), [(2, False), (8, True), (72, True)], ids=["both ways", "in bits", "of a rack"]
)
def test_a_link_as_fast_as_the_memory(factor: float, suspicious: bool) -> None:
    sentences = told("h100-sxm", scaled(link_bandwidth_bytes_per_s=factor))
    assert any(s.startswith("link.bandwidth_bytes_per_s") for s in sentences) == suspicious


def test_an_older_generation_would_have_had_no_such_bandwidth_or_efficiency() -> None:
    h100 = ENTRIES["h100-sxm"].hardware
    sentences = suspicions(replace(h100, id="my-own"), "gpu", 2017, PEERS)
    assert any(s.startswith("bandwidth_bytes_per_s") and "by 2017" in s for s in sentences)
    assert any(s.startswith("FLOP/s per watt") and "by 2017" in s for s in sentences)


def test_devices_of_coming_years_may_be_faster_than_all_that_are_known() -> None:
    future = Hardware("new", 1024 * 2.0**30, 40e12, {Dtype.BF16: 10e15, Dtype.FP8: 20e15})
    assert suspicions(future, "gpu", 2028, PEERS) == ()
    assert suspicions(future, "gpu", 2022, PEERS) != ()


@pytest.mark.parametrize(
    ("device_id", "slip", "field"),
    [
        ("h200-sxm", scaled(bandwidth_bytes_per_s=0.6), "bandwidth_bytes_per_s"),
        ("h100-sxm", rates(0.25), "peaks.bf16"),
        ("gaudi3", rates(0.2, "fp8"), "peaks.fp8"),
    ],
)
def test_a_newer_device_slower_than_the_older_of_its_line(device_id: str, slip: Slip, field: str) -> None:
    assert any(s.startswith(f"{field} ") and "older device" in s for s in told(device_id, slip))


def test_lines_name_devices_of_the_catalog_the_older_first() -> None:
    for line in PRODUCT_LINES:
        years = [ENTRIES[device_id].release_year or 0 for device_id in line]
        assert years == sorted(years), line


def test_half_of_the_power_of_a_device_is_no_slip_but_a_tenth_is() -> None:
    assert told("h100-sxm", scaled(tdp_watts=0.7), "my-own") == ()
    assert any("FLOP/s per watt" in s for s in told("h100-sxm", scaled(tdp_watts=0.1), "my-own"))


@pytest.mark.parametrize("kind", ["gpu", "igpu", "tpu", "npu", "cpu", "apple"])
def test_the_catalogs_ridge_points_lie_well_inside_of_their_kinds_range(kind: str) -> None:
    low, high = RIDGE_POINTS[kind]
    wide = [Dtype.BF16, Dtype.FP16]
    ridges = [
        max(rate for dtype, rate in e.hardware.peak_flops_per_s.items() if dtype in wide)
        / e.hardware.bandwidth_bytes_per_s
        for e in ENTRIES.values()
        if e.kind == kind and set(wide) & set(e.hardware.peak_flops_per_s)
    ]
    assert len(ridges) >= 6
    assert low < min(ridges)
    assert max(ridges) < high
