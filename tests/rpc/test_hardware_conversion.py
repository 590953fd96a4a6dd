"""The figures of a device on their way from the contract's message to the domain and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ridgeline.files import device_document, device_text, read_device
from ridgeline.v1 import common_pb2, hardware_pb2, types_pb2
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.convert import hardware
from ridgeline_server.store.builtin import builtin_hardware
from ridgeline_server.store.entries import HardwareEntry
from tests.rpc import samples

BUILTIN = {entry.id: entry for entry in builtin_hardware()}


def read(message: hardware_pb2.Hardware) -> HardwareEntry:
    checks = Checks()
    entry = hardware.read_entry(checks, message, "hardware")
    checks.raise_if_any()
    return entry


def complaints(message: hardware_pb2.Hardware) -> list[tuple[str, str]]:
    checks = Checks()
    hardware.read_entry(checks, message, "hardware")
    return [(violation.field, violation.description) for violation in checks.violations]


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.id) for entry in BUILTIN.values()])
def test_a_built_in_device_survives_the_wire_and_a_file(entry: HardwareEntry) -> None:
    message = hardware.entry_message(entry)
    text = device_text(device_document(message))
    again = read_device(json.loads(text))
    assert read(message).hardware == read(again).hardware == entry.hardware
    assert device_text(device_document(hardware.entry_message(read(again)))) == text


def test_what_a_device_lacks_and_what_its_rates_sum_in() -> None:
    device = read(samples.device()).hardware
    assert device.unsupported_dtypes == {Dtype.FP8, Dtype.FP4}
    assert device.accumulate == {Dtype.BF16: Dtype.FP32}
    assert device.link_domain_size == 8


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        (
            {"unsupported_dtypes": [types_pb2.DTYPE_BF16]},
            "unsupported_dtypes[0]",
            "which has a rate in peaks",
        ),
        ({"unsupported_dtypes": [5, 5]}, "unsupported_dtypes[1]", "give each dtype once"),
        ({"unsupported_dtypes": [0]}, "unsupported_dtypes[0]", "is not set"),
        ({"unsupported_dtypes": [99]}, "unsupported_dtypes[0]", "is 99"),
        (
            {"link": {"bandwidth_bytes_per_s": 1e9, "domain_size": 1}},
            "link.domain_size",
            "give 2 to 1,000,000",
        ),
        ({"link": {"bandwidth_bytes_per_s": 1e9, "domain_size": 10**6 + 1}}, "link.domain_size", "1,000,000"),
        ({"clock_hz": 0}, "clock_hz", "is 0; give hertz from 1e6 to 1e11"),
        ({"clock_hz": 1.83}, "clock_hz", "is 1.83; give hertz from 1e6 to 1e11"),
        ({"price_as_of": "yesterday"}, "price_as_of", "give a day as YYYY-MM-DD"),
        ({"price_as_of": "2026-02-30"}, "price_as_of", "give a day as YYYY-MM-DD"),
        (
            {"peaks": [{"dtype": 3, "flops_per_s": 1e12, "accumulate": types_pb2.DTYPE_BF16}]},
            "peaks[0].accumulate",
            "is bf16; give fp32 or fp16 for bf16",
        ),
        (
            {"peaks": [{"dtype": 8, "flops_per_s": 1e12, "accumulate": types_pb2.DTYPE_FP16}]},
            "peaks[0].accumulate",
            "is fp16; give fp32 for int8",
        ),
    ],
)
def test_what_is_wrong_is_told(change: dict[str, Any], field: str, words: str) -> None:
    message: Any = samples.device()
    for name in change:
        message.ClearField(name)
    message.MergeFrom(hardware_pb2.Hardware(**change))
    ((where, description),) = complaints(message)
    assert where == f"hardware.{field}"
    assert words in description


def test_a_day_without_a_price_is_refused() -> None:
    message = samples.device()
    message.ClearField("price_usd_per_hour")
    assert complaints(message) == [
        ("hardware.price_as_of", 'is "2026-11-22", but there is no price; give price_usd_per_hour too')
    ]


def test_suspicions_are_told_and_never_taken_from_a_caller() -> None:
    message = samples.device()
    message.suspicions.append("mine")
    assert list(hardware.entry_message(read(message)).suspicions) == []
    message.peaks[0].flops_per_s *= 2
    (sentence,) = hardware.entry_message(read(message)).suspicions
    assert sentence.startswith("peaks.bf16 is 624e12, 2x what a100")


def test_a_changed_built_in_is_measured_against_what_ships() -> None:
    message = hardware.entry_message(BUILTIN["h100-sxm"])
    for peak in message.peaks:
        peak.flops_per_s *= 2
    sentences = hardware.entry_message(read(message)).suspicions
    assert len(sentences) >= 5
    assert all("2x what h100-sxm has" in s for s in sentences if s.startswith("peaks."))


def test_a_rate_that_a_request_sets_overrides_that_there_is_no_unit() -> None:
    overrides = common_pb2.HardwareOverrides(
        peaks=[
            hardware_pb2.PeakRate(dtype=types_pb2.DTYPE_FP8, flops_per_s=624e12),
            hardware_pb2.PeakRate(dtype=types_pb2.DTYPE_FP16, flops_per_s=1e12),
        ]
    )
    a100 = BUILTIN["a100-sxm-80gb"].hardware
    assert Dtype.FP8 in a100.unsupported_dtypes
    changed = hardware.override(Checks(), a100, overrides, "hardware.overrides")
    assert changed is not None
    assert changed.peak_flops_per_s[Dtype.FP8] == 624e12
    assert changed.unsupported_dtypes == a100.unsupported_dtypes - {Dtype.FP8}
    assert Dtype.FP16 not in changed.accumulate
    assert changed.accumulate[Dtype.BF16] is Dtype.FP32


def test_a_clock_that_a_request_sets_leaves_the_rates_alone() -> None:
    h100 = BUILTIN["h100-sxm"].hardware
    checks = Checks()
    overrides = common_pb2.HardwareOverrides(clock_hz=1.2e9)
    changed = hardware.override(checks, h100, overrides, "hardware.overrides")
    checks.raise_if_any()
    assert changed is not None
    assert (changed.clock_hz, changed.peak_flops_per_s) == (1.2e9, h100.peak_flops_per_s)
    hardware.override(checks, h100, common_pb2.HardwareOverrides(clock_hz=1200), "hardware.overrides")
    assert [(v.field, v.description) for v in checks.violations] == [
        ("hardware.overrides.clock_hz", "is 1200; give hertz from 1e6 to 1e11")
    ]
