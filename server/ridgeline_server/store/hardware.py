"""The repository of hardware."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Table

from ridgeline_server.domain.confidence import Confidence
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.store import tables
from ridgeline_server.store.entries import FigureSource, HardwareEntry, Origin
from ridgeline_server.store.errors import Resource
from ridgeline_server.store.repository import Repository, Rows


class HardwareRepository(Repository[HardwareEntry]):
    """Devices with their peaks and the sources of their figures."""

    resource = Resource.HARDWARE
    table = tables.hardware
    names = tables.hardware_names
    parts = (tables.hardware_peaks, tables.hardware_figure_sources)
    orders = (
        "memory_bytes",
        "bandwidth_bytes_per_s",
        "tdp_watts",
        "release_year",
        "price_usd_per_hour",
        "update_time",
    )

    def to_row(self, entry: HardwareEntry) -> dict[str, object]:
        """The device's scalar figures."""
        hardware = entry.hardware
        return {
            "id": hardware.id,
            "display_name": hardware.display_name,
            "vendor": hardware.vendor,
            "kind": entry.kind,
            "release_year": entry.release_year,
            "memory_bytes": hardware.memory_bytes,
            "usable_memory_bytes": hardware.usable_memory_bytes,
            "bandwidth_bytes_per_s": hardware.bandwidth_bytes_per_s,
            "link_kind": entry.link_kind,
            "link_bandwidth_bytes_per_s": hardware.link_bandwidth_bytes_per_s,
            "link_domain_size": hardware.link_domain_size,
            "clock_hz": hardware.clock_hz,
            "tdp_watts": hardware.tdp_watts,
            "price_usd_per_hour": hardware.price_usd_per_hour,
            "price_as_of": entry.price_as_of,
            "unsupported_dtypes": [dtype.value for dtype in Dtype if dtype in hardware.unsupported_dtypes],
            "notes": list(entry.notes),
        }

    def completed(self, entry: HardwareEntry, before: HardwareEntry | None, now: datetime) -> HardwareEntry:
        """A price that comes without a day has the day it had, as long as it is the same, else that of the
        write.
        """
        price = entry.hardware.price_usd_per_hour
        if price is None or entry.price_as_of is not None:
            return entry
        same = before is not None and before.hardware.price_usd_per_hour == price
        return replace(entry, price_as_of=before.price_as_of if before and same else now.date())

    def to_part_rows(self, entry: HardwareEntry) -> dict[Table, Rows]:
        """Its peaks, and where its figures come from."""
        return {
            tables.hardware_peaks: [
                {
                    "hardware_id": entry.id,
                    "dtype": dtype,
                    "flops_per_s": flops_per_s,
                    "accumulate": entry.hardware.accumulate.get(dtype),
                }
                for dtype, flops_per_s in entry.hardware.peak_flops_per_s.items()
            ],
            tables.hardware_figure_sources: [
                {
                    "hardware_id": entry.id,
                    "field": source.field,
                    "source": source.source,
                    "read_on": source.read_on,
                    "confidence": source.confidence,
                    "note": source.note,
                }
                for source in entry.sources
            ],
        }

    def from_rows(
        self, row: Row[Any], parts: Mapping[Table, Sequence[Row[Any]]], aliases: tuple[str, ...]
    ) -> HardwareEntry:
        """The device with everything that the catalog knows of it."""
        sources = sorted(parts[tables.hardware_figure_sources], key=lambda source: str(source.field))
        return HardwareEntry(
            hardware=hardware_from_rows(row, parts[tables.hardware_peaks]),
            release_year=row.release_year,
            link_kind=row.link_kind,
            price_as_of=row.price_as_of,
            sources=tuple(
                FigureSource(
                    field=source.field,
                    source=source.source,
                    read_on=source.read_on,
                    confidence=Confidence(source.confidence) if source.confidence else None,
                    note=source.note,
                )
                for source in sources
            ),
            notes=tuple(row.notes),
            aliases=aliases,
            origin=Origin(row.origin),
            etag=row.etag,
            create_time=row.create_time,
            update_time=row.update_time,
        )


def hardware_from_rows(row: Row[Any], peaks: Iterable[Row[Any]]) -> Hardware:
    """The domain's device. Its peaks follow the order of Dtype, so that equal devices hash alike."""
    by_dtype = {Dtype(peak.dtype): peak for peak in peaks}
    ordered = {dtype: by_dtype[dtype] for dtype in Dtype if dtype in by_dtype}
    return Hardware(
        id=row.id,
        memory_bytes=row.memory_bytes,
        bandwidth_bytes_per_s=row.bandwidth_bytes_per_s,
        peak_flops_per_s={dtype: peak.flops_per_s for dtype, peak in ordered.items()},
        usable_memory_bytes=row.usable_memory_bytes,
        link_bandwidth_bytes_per_s=row.link_bandwidth_bytes_per_s,
        link_domain_size=row.link_domain_size,
        clock_hz=row.clock_hz,
        tdp_watts=row.tdp_watts,
        price_usd_per_hour=row.price_usd_per_hour,
        unsupported_dtypes=frozenset(Dtype(dtype) for dtype in row.unsupported_dtypes),
        accumulate={dtype: Dtype(peak.accumulate) for dtype, peak in ordered.items() if peak.accumulate},
        display_name=row.display_name,
        vendor=row.vendor,
        kind=row.kind,
    )
