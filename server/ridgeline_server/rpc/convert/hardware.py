"""Hardware: the contract's message, the domain's device and the catalog's entry."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from typing import Any

from ridgeline.v1 import common_pb2, hardware_pb2
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.hardware import KINDS, Hardware
from ridgeline_server.domain.plausibility import Peer, Peers, suspicions
from ridgeline_server.rpc.checks import MAX_ITEMS, MAX_NAME_LENGTH, MAX_TEXT_LENGTH, Checks, Range, shown
from ridgeline_server.rpc.convert.bookkeeping import bookkeeping
from ridgeline_server.rpc.convert.enums import CONFIDENCE, DTYPE
from ridgeline_server.store.builtin import builtin_hardware
from ridgeline_server.store.entries import FigureSource, HardwareEntry

MEMORY_BYTES = Range(2.0**20, 2.0**50, "bytes from 2**20 (1 MiB) to 2**50 (1 PiB)")
BANDWIDTH_BYTES_PER_S = Range(1e6, 1e18, "bytes per second from 1e6 to 1e18")
FLOPS_PER_S = Range(1e6, 1e21, "operations per second from 1e6 to 1e21")
CLOCK_HZ = Range(1e6, 1e11, "hertz from 1e6 to 1e11")
TDP_WATTS = Range(1e-3, 1e6, "watts from 0.001 to 1e6")
PRICE_USD_PER_HOUR = Range(1e-6, 1e6, "US dollars per hour from 1e-6 to 1e6")
RELEASE_YEAR = (1940, 2100)
"""Bounds far outside of any device: a figure beyond them is a slip of the unit."""

_SLUG = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
SLUG_RULE = "a lower-case slug such as rtx-a6000: letters, digits, '.' and '-', 1 to 63 characters"
LINK_DOMAIN_SIZE = (2, 10**6)

ACCUMULATE = {Dtype.INT8: (Dtype.FP32,), Dtype.INT4: (Dtype.FP32,)}
"""Formats of the sum that a rate can have: FP32, which for integers means INT32; floats have FP16 too."""

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def check_slug(checks: Checks, field: str, text: str) -> None:
    """The id of a device or of an efficiency profile."""
    checks.pattern(field, text, _SLUG, SLUG_RULE)


def read_hardware(checks: Checks, message: hardware_pb2.Hardware, field: str) -> Hardware:
    """The device that a message describes; only its figures are checked. Use it when nothing is noted."""
    checks.number(f"{field}.memory_bytes", message.memory_bytes, MEMORY_BYTES)
    if message.HasField("usable_memory_bytes"):
        _check_usable(checks, field, message.usable_memory_bytes, message.memory_bytes)
    checks.number(
        f"{field}.bandwidth_bytes_per_s",
        message.bandwidth_bytes_per_s,
        BANDWIDTH_BYTES_PER_S,
    )
    if not message.peaks:
        checks.add(f"{field}.peaks", "is empty; give the dense peak rate of one dtype at least")
    peaks, accumulate = _read_peaks(checks, f"{field}.peaks", message.peaks)
    unsupported = _read_unsupported(checks, f"{field}.unsupported_dtypes", message, peaks)
    if message.HasField("link"):
        checks.number(
            f"{field}.link.bandwidth_bytes_per_s",
            message.link.bandwidth_bytes_per_s,
            BANDWIDTH_BYTES_PER_S,
        )
        if message.link.HasField("domain_size"):
            checks.whole(f"{field}.link.domain_size", message.link.domain_size, *LINK_DOMAIN_SIZE)
    if message.HasField("clock_hz"):
        checks.number(f"{field}.clock_hz", message.clock_hz, CLOCK_HZ)
    if message.HasField("tdp_watts"):
        checks.number(f"{field}.tdp_watts", message.tdp_watts, TDP_WATTS)
    if message.HasField("price_usd_per_hour"):
        _check_price(checks, field, message.price_usd_per_hour)
    checks.text(f"{field}.id", message.id, MAX_NAME_LENGTH)
    checks.text(f"{field}.display_name", message.display_name, MAX_NAME_LENGTH)
    return Hardware(
        id=message.id,
        memory_bytes=message.memory_bytes,
        bandwidth_bytes_per_s=message.bandwidth_bytes_per_s,
        peak_flops_per_s=peaks,
        usable_memory_bytes=message.usable_memory_bytes if message.HasField("usable_memory_bytes") else None,
        link_bandwidth_bytes_per_s=message.link.bandwidth_bytes_per_s if message.HasField("link") else None,
        link_domain_size=message.link.domain_size if message.link.HasField("domain_size") else None,
        clock_hz=message.clock_hz if message.HasField("clock_hz") else None,
        tdp_watts=message.tdp_watts if message.HasField("tdp_watts") else None,
        price_usd_per_hour=message.price_usd_per_hour if message.HasField("price_usd_per_hour") else None,
        unsupported_dtypes=unsupported,
        accumulate=accumulate,
        display_name=message.display_name,
        vendor=message.vendor,
        kind=message.kind,
    )


def override(
    checks: Checks, hardware: Hardware | None, message: common_pb2.HardwareOverrides, field: str
) -> Hardware | None:
    """The device with the figures that a request replaces. Use it when nothing is noted.

    Without a device the figures are checked all the same.
    """
    changes: dict[str, Any] = {}
    if message.HasField("bandwidth_bytes_per_s"):
        changes["bandwidth_bytes_per_s"] = message.bandwidth_bytes_per_s
        checks.number(
            f"{field}.bandwidth_bytes_per_s",
            message.bandwidth_bytes_per_s,
            BANDWIDTH_BYTES_PER_S,
        )
    memory = MEMORY_BYTES[1] if hardware is None else hardware.memory_bytes
    if message.HasField("memory_bytes"):
        changes["memory_bytes"] = message.memory_bytes
        checks.number(f"{field}.memory_bytes", message.memory_bytes, MEMORY_BYTES)
        if hardware is not None and hardware.usable_memory_bytes is not None:
            changes["usable_memory_bytes"] = hardware.usable_memory_bytes * (message.memory_bytes / memory)
        memory = message.memory_bytes
    if message.HasField("usable_memory_bytes"):
        changes["usable_memory_bytes"] = message.usable_memory_bytes
        _check_usable(checks, field, message.usable_memory_bytes, memory)
    if message.HasField("price_usd_per_hour"):
        changes["price_usd_per_hour"] = message.price_usd_per_hour
        _check_price(checks, field, message.price_usd_per_hour)
    if message.HasField("clock_hz"):
        changes["clock_hz"] = message.clock_hz
        checks.number(f"{field}.clock_hz", message.clock_hz, CLOCK_HZ)
    peaks, accumulate = _read_peaks(checks, f"{field}.peaks", message.peaks)
    if hardware is None:
        return None
    kept = {dtype: sums for dtype, sums in hardware.accumulate.items() if dtype not in peaks}
    return replace(
        hardware,
        **changes,
        peak_flops_per_s={**hardware.peak_flops_per_s, **peaks},
        unsupported_dtypes=hardware.unsupported_dtypes - peaks.keys(),
        accumulate={**kept, **accumulate},
    )


def read_entry(checks: Checks, message: hardware_pb2.Hardware, field: str) -> HardwareEntry:
    """The catalog entry that a message describes. Use it when nothing is noted."""
    hardware = read_hardware(checks, message, field)
    check_slug(checks, f"{field}.id", message.id)
    if message.kind not in KINDS:
        checks.add(f"{field}.kind", f"is {shown(message.kind)}; give {', '.join(KINDS)}")
    checks.texts(f"{field}.aliases", message.aliases, MAX_NAME_LENGTH)
    checks.text(f"{field}.vendor", message.vendor, MAX_NAME_LENGTH)
    if message.HasField("release_year"):
        _check_year(checks, f"{field}.release_year", message.release_year)
    checks.text(f"{field}.link.kind", message.link.kind, MAX_NAME_LENGTH)
    checks.texts(f"{field}.notes", message.notes, MAX_TEXT_LENGTH)
    return HardwareEntry(
        hardware=hardware,
        release_year=message.release_year if message.HasField("release_year") else None,
        link_kind=message.link.kind,
        price_as_of=_read_price_day(checks, f"{field}.price_as_of", message),
        sources=_read_sources(checks, f"{field}.sources", message.sources),
        notes=tuple(message.notes),
        aliases=tuple(message.aliases),
    )


def entry_message(entry: HardwareEntry) -> hardware_pb2.Hardware:
    """The entry as the contract's message."""
    hardware = entry.hardware
    message = hardware_pb2.Hardware(
        id=hardware.id,
        display_name=hardware.display_name,
        aliases=entry.aliases,
        vendor=hardware.vendor,
        kind=entry.kind,
        release_year=entry.release_year,
        memory_bytes=hardware.memory_bytes,
        usable_memory_bytes=hardware.usable_memory_bytes,
        bandwidth_bytes_per_s=hardware.bandwidth_bytes_per_s,
        peaks=[
            hardware_pb2.PeakRate(
                dtype=DTYPE.to_proto[dtype],
                flops_per_s=rate,
                accumulate=DTYPE.number(hardware.accumulate.get(dtype)),
            )
            for dtype, rate in hardware.peak_flops_per_s.items()
        ],
        clock_hz=hardware.clock_hz,
        tdp_watts=hardware.tdp_watts,
        price_usd_per_hour=hardware.price_usd_per_hour,
        price_as_of=entry.price_as_of.isoformat() if entry.price_as_of else "",
        unsupported_dtypes=[DTYPE.to_proto[dtype] for dtype in Dtype if dtype in hardware.unsupported_dtypes],
        sources=[
            hardware_pb2.FigureSource(
                field=source.field,
                source=source.source,
                read_on=source.read_on.isoformat() if source.read_on else "",
                confidence=CONFIDENCE.number(source.confidence),
                note=source.note,
            )
            for source in entry.sources
        ],
        notes=entry.notes,
        suspicions=_suspicions(hardware, entry.kind, entry.release_year),
        **bookkeeping(entry),
    )
    if hardware.link_bandwidth_bytes_per_s is not None:
        message.link.kind = entry.link_kind
        message.link.bandwidth_bytes_per_s = hardware.link_bandwidth_bytes_per_s
        if hardware.link_domain_size is not None:
            message.link.domain_size = hardware.link_domain_size
    return message


def _suspicions(hardware: Hardware, kind: str, release_year: int | None) -> tuple[str, ...]:
    """What is suspicious about the figures, measured against the devices that ship: what users made of those
    is no yardstick.
    """
    return suspicions(hardware, kind, release_year, _builtin_peers())


@cache
def _builtin_peers() -> Peers:
    return Peers(Peer(entry.hardware, entry.kind, entry.release_year) for entry in builtin_hardware())


def _check_usable(checks: Checks, field: str, usable: float, memory: float) -> None:
    checks.number(f"{field}.usable_memory_bytes", usable, MEMORY_BYTES)
    if usable > memory:
        checks.add(
            f"{field}.usable_memory_bytes",
            f"is {usable:.6g}, more than the {memory:.6g} of memory_bytes; give what a process can allocate",
        )


def _check_price(checks: Checks, field: str, price: float) -> None:
    checks.number(f"{field}.price_usd_per_hour", price, PRICE_USD_PER_HOUR)


def _check_year(checks: Checks, field: str, year: int) -> None:
    low, high = RELEASE_YEAR
    if not low <= year <= high:
        checks.add(field, f"is {year}; give a year from {low} to {high}")


def _read_peaks(
    checks: Checks, field: str, peaks: Sequence[hardware_pb2.PeakRate]
) -> tuple[dict[Dtype, float], dict[Dtype, Dtype]]:
    """The rates, and the formats of their sums where they are stated."""
    read: dict[Dtype, float] = {}
    accumulate: dict[Dtype, Dtype] = {}
    for position, peak in enumerate(peaks):
        where = f"{field}[{position}]"
        checks.number(f"{where}.flops_per_s", peak.flops_per_s, FLOPS_PER_S)
        dtype = checks.enum(f"{where}.dtype", peak.dtype, DTYPE)
        if peak.dtype == 0:
            checks.add(f"{where}.dtype", f"is not set; give {DTYPE.choices}")
        elif dtype in read:
            checks.add(f"{where}.dtype", f"is {dtype}, which an earlier entry has; give each dtype once")
        elif dtype is not None:
            read[dtype] = peak.flops_per_s
            sums = checks.enum(f"{where}.accumulate", peak.accumulate, DTYPE)
            possible = ACCUMULATE.get(dtype, (Dtype.FP32, Dtype.FP16))
            if sums is not None and sums in possible:
                accumulate[dtype] = sums
            elif sums is not None:
                checks.add(
                    f"{where}.accumulate",
                    f"is {sums}; give {' or '.join(possible)} for {dtype}, or leave it out when nobody says",
                )
    return read, accumulate


def _read_unsupported(
    checks: Checks, field: str, message: hardware_pb2.Hardware, peaks: Mapping[Dtype, float]
) -> frozenset[Dtype]:
    read: set[Dtype] = set()
    for position, number in enumerate(message.unsupported_dtypes):
        where = f"{field}[{position}]"
        dtype = checks.enum(where, number, DTYPE)
        if number == 0:
            checks.add(where, f"is not set; give {DTYPE.choices}")
        elif dtype in read:
            checks.add(where, f"is {dtype}, which an earlier entry has; give each dtype once")
        elif dtype in peaks:
            checks.add(where, f"is {dtype}, which has a rate in peaks; give it in one of the two")
        elif dtype is not None:
            read.add(dtype)
    return frozenset(read)


def _read_price_day(checks: Checks, field: str, message: hardware_pb2.Hardware) -> date | None:
    """The day of the price; the store dates one that comes without."""
    day = _read_day(checks, field, message.price_as_of)
    if message.HasField("price_usd_per_hour"):
        return day
    if message.price_as_of:
        checks.add(
            field, f"is {shown(message.price_as_of)}, but there is no price; give price_usd_per_hour too"
        )
    return None


def _read_sources(
    checks: Checks, field: str, sources: Sequence[hardware_pb2.FigureSource]
) -> tuple[FigureSource, ...]:
    read: dict[str, FigureSource] = {}
    if len(sources) > MAX_ITEMS:
        checks.add(field, f"has {len(sources):,} entries; give {MAX_ITEMS} at most")
        return ()
    for position, message in enumerate(sources):
        where = f"{field}[{position}]"
        checks.text(f"{where}.field", message.field, MAX_NAME_LENGTH, required=True)
        checks.text(f"{where}.source", message.source, MAX_TEXT_LENGTH)
        checks.text(f"{where}.note", message.note, MAX_TEXT_LENGTH)
        if message.field in read:
            checks.add(
                f"{where}.field", f"is {shown(message.field)}, which an earlier entry has; give each once"
            )
        read[message.field] = FigureSource(
            field=message.field,
            source=message.source,
            read_on=_read_day(checks, f"{where}.read_on", message.read_on),
            confidence=checks.enum(f"{where}.confidence", message.confidence, CONFIDENCE),
            note=message.note,
        )
    return tuple(read.values())


def _read_day(checks: Checks, field: str, text: str) -> date | None:
    if not text:
        return None
    if _DAY.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    checks.add(field, f"is {shown(text)}; give a day as YYYY-MM-DD")
    return None
