"""Devices written as files and read back."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline.files import device_document, device_text, read_device
from ridgeline.v1 import types_pb2
from ridgeline.v1.hardware_pb2 import FigureSource, Hardware, Link, PeakRate

DTYPES = [number for number in types_pb2.Dtype.values() if number]
SUMS = [types_pb2.DTYPE_UNSPECIFIED, types_pb2.DTYPE_FP32, types_pb2.DTYPE_FP16]
CONFIDENCES = types_pb2.Confidence.values()

texts = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=20)
figures = st.floats(min_value=1e-3, max_value=1e20)
days = st.dates(min_value=date(2000, 1, 1)).map(date.isoformat)


@st.composite
def devices(draw: st.DrawFn) -> Hardware:
    """A device as the service gives it: sources by field, dtypes in order, a price with its day."""
    rated = draw(st.lists(st.sampled_from(DTYPES), unique=True))
    denied = draw(st.lists(st.sampled_from(DTYPES), unique=True))
    device = Hardware(
        id=draw(texts),
        display_name=draw(texts),
        aliases=draw(st.lists(texts, max_size=3)),
        vendor=draw(texts),
        kind=draw(texts),
        release_year=draw(st.none() | st.integers(1940, 2100)),
        memory_bytes=draw(figures),
        usable_memory_bytes=draw(st.none() | figures),
        bandwidth_bytes_per_s=draw(figures),
        peaks=[
            PeakRate(dtype=dtype, flops_per_s=draw(figures), accumulate=draw(st.sampled_from(SUMS)))
            for dtype in sorted(rated)
        ],
        unsupported_dtypes=sorted(set(denied) - set(rated)),
        clock_hz=draw(st.none() | figures),
        tdp_watts=draw(st.none() | figures),
        notes=draw(st.lists(texts, max_size=3)),
    )
    if draw(st.booleans()):
        size = draw(st.none() | st.integers(2, 10**6))
        device.link.CopyFrom(Link(kind=draw(texts), bandwidth_bytes_per_s=draw(figures), domain_size=size))
    if draw(st.booleans()):
        device.price_usd_per_hour = draw(figures)
        device.price_as_of = draw(days)
    names = [types_pb2.Dtype.Name(dtype).removeprefix("DTYPE_").lower() for dtype in rated]
    fields = [
        "memory_bytes",
        "clock_hz",
        "price_usd_per_hour",
        "link.domain_size",
        "unsupported_dtypes",
        "elsewhere",
    ]
    for field in sorted(draw(st.sets(st.sampled_from([*fields, *(f"peaks.{name}" for name in names)])))):
        device.sources.append(
            FigureSource(
                field=field,
                source=draw(texts),
                read_on=draw(st.just("") | days),
                confidence=draw(st.sampled_from(CONFIDENCES)),
                note=draw(texts),
            )
        )
    return device


@given(devices())
def test_a_written_device_reads_as_itself(device: Hardware) -> None:
    text = device_text(device_document(device))
    assert read_device(json.loads(text)) == device


@given(devices())
def test_a_text_that_was_read_is_written_again_byte_by_byte(device: Hardware) -> None:
    text = device_text(device_document(device))
    assert device_text(device_document(read_device(json.loads(text)))) == text


def test_what_the_service_keeps_for_itself_is_in_no_file() -> None:
    device = Hardware(id="x", memory_bytes=1, etag="e", suspicions=["odd"], origin=types_pb2.ORIGIN_USER)
    device.create_time.GetCurrentTime()
    device.update_time.GetCurrentTime()
    kept = {"etag", "origin", "suspicions", "create_time", "update_time"}
    assert not kept & device_document(device).keys()


def test_numbers_are_written_as_people_write_them() -> None:
    device = Hardware(
        memory_bytes=80 * 2.0**30,
        bandwidth_bytes_per_s=3.35e12,
        peaks=[PeakRate(dtype=types_pb2.DTYPE_FP16, flops_per_s=989.4e12)],
        clock_hz=1.83e9,
        tdp_watts=62.5,
    )
    text = device_text(device_document(device))
    for written in ("85899345920", "3350e9", "989.4e12", "1.83e9", "62.5"):
        assert f'"value": {written}' in text


def test_a_price_without_a_day_of_its_own_is_of_the_day_it_was_read() -> None:
    price: dict[str, Any] = {"value": 2, "read_on": "2026-11-22"}
    file = {"memory_bytes": {"value": 1}, "price_usd_per_hour": price}
    assert read_device(file).price_as_of == "2026-11-22"
    price["as_of"] = "2026-10-01"
    device = read_device(file)
    assert device.price_as_of == "2026-10-01"
    assert device_document(device)["price_usd_per_hour"] == price


@pytest.mark.parametrize("year", [None, 2022])
def test_a_release_year_is_written_where_there_is_one(year: int | None) -> None:
    assert device_document(Hardware(release_year=year)).get("release_year") == year
