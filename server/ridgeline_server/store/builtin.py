"""The catalog that ships with a release: the files of ridgeline_catalog as entries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import ridgeline_catalog
from ridgeline_server.domain.confidence import Confidence
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
)
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.store.entries import (
    UNSTATED,
    UNSTATED_OVERLAP_EXPONENT,
    WITHOUT_KERNELS,
    E,
    FigureSource,
    HardwareEntry,
    ModelEntry,
    ProfileEntry,
)
from ridgeline_server.store.names import name_key

Document = Mapping[str, Any]

FOLDERS = ("hardware", "models", "efficiency")
"""Folders of ridgeline_catalog that are seeded."""


class BuiltinCatalogError(ValueError):
    """A document of the built-in catalog is wrong: a fault of the release, not of its user."""


@dataclass(frozen=True)
class BuiltinCatalog:
    """The entries that ship with a release. `digest` is that of the release and its files.

    Raises BuiltinCatalogError when two entries share a name.
    """

    hardware: tuple[HardwareEntry, ...]
    models: tuple[ModelEntry, ...]
    profiles: tuple[ProfileEntry, ...]
    digest: str

    def __post_init__(self) -> None:
        for entries in (self.hardware, self.models, self.profiles):
            owners: dict[str, str] = {}
            for entry in entries:
                for name in (entry.id, *entry.aliases):
                    owner = owners.setdefault(name_key(name), entry.id)
                    if owner != entry.id:
                        raise BuiltinCatalogError(f"{name!r} names both {owner!r} and {entry.id!r}")

    def ids(self, name: str) -> frozenset[str]:
        """The ids of the built-ins with this id or alias, of whatever kind."""
        key = name_key(name)
        entries: list[HardwareEntry | ModelEntry | ProfileEntry] = [
            *self.hardware,
            *self.models,
            *self.profiles,
        ]
        return frozenset(
            entry.id
            for entry in entries
            if any(name_key(known) == key for known in (entry.id, *entry.aliases))
        )


def builtin_digest() -> str:
    """A digest of the release and of its catalog files, made without parsing them."""
    digest = hashlib.sha256(version("ridgeline").encode())
    for folder in FOLDERS:
        for file in sorted((files(ridgeline_catalog) / folder).iterdir(), key=lambda file: file.name):
            digest.update(f"{folder}/{file.name}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def read_builtin_catalog() -> BuiltinCatalog:
    """The entries in ridgeline_catalog's files. Raises BuiltinCatalogError when a file is wrong."""
    return BuiltinCatalog(
        tuple(_read(hardware_entry, ridgeline_catalog.hardware_documents())),
        tuple(_read(model_entry, ridgeline_catalog.model_documents())),
        tuple(_read(profile_entry, ridgeline_catalog.efficiency_documents())),
        builtin_digest(),
    )


@cache
def builtin_hardware() -> tuple[HardwareEntry, ...]:
    """The devices that ship with this release, whatever users made of them in a database."""
    return tuple(_read(hardware_entry, ridgeline_catalog.hardware_documents()))


def hardware_entry(document: Document) -> HardwareEntry:
    """The device in a file of hardware/."""
    figures: dict[str, Document] = {
        name: document[name]
        for name in (
            "memory_bytes",
            "usable_memory_bytes",
            "bandwidth_bytes_per_s",
            "clock_hz",
            "tdp_watts",
            "price_usd_per_hour",
            "unsupported_dtypes",
        )
        if name in document
    }
    peaks = {Dtype(dtype): figure for dtype, figure in document["peak_flops_per_s"].items()}
    figures |= {f"peaks.{dtype}": figure for dtype, figure in peaks.items()}
    link: Document = document.get("link", {})
    figures |= {
        f"link.{name}": link[name] for name in ("bandwidth_bytes_per_s", "domain_size") if name in link
    }

    def value(name: str) -> float | None:
        return float(figures[name]["value"]) if name in figures else None

    return HardwareEntry(
        hardware=Hardware(
            id=document["id"],
            memory_bytes=float(figures["memory_bytes"]["value"]),
            bandwidth_bytes_per_s=float(figures["bandwidth_bytes_per_s"]["value"]),
            peak_flops_per_s={dtype: float(figure["value"]) for dtype, figure in peaks.items()},
            usable_memory_bytes=value("usable_memory_bytes"),
            link_bandwidth_bytes_per_s=value("link.bandwidth_bytes_per_s"),
            link_domain_size=link["domain_size"]["value"] if "domain_size" in link else None,
            clock_hz=value("clock_hz"),
            tdp_watts=value("tdp_watts"),
            price_usd_per_hour=value("price_usd_per_hour"),
            unsupported_dtypes=frozenset(map(Dtype, document.get("unsupported_dtypes", {}).get("value", ()))),
            accumulate={
                dtype: Dtype(figure["accumulate"])
                for dtype, figure in peaks.items()
                if "accumulate" in figure
            },
            display_name=document["display_name"],
            vendor=document["vendor"],
            kind=document["kind"],
        ),
        release_year=document.get("release_year"),
        link_kind=link.get("kind", ""),
        price_as_of=_price_day(document["price_usd_per_hour"]) if "price_usd_per_hour" in document else None,
        sources=tuple(_figure_source(name, figure) for name, figure in figures.items()),
        notes=tuple(document["notes"]),
        aliases=tuple(document["aliases"]),
    )


def _price_day(figure: Document) -> date:
    """The day of a price: its own, or the day it was read."""
    return date.fromisoformat(figure.get("as_of", figure["read_on"]))


def _figure_source(name: str, figure: Document) -> FigureSource:
    return FigureSource(
        field=name,
        source=figure["source"],
        read_on=date.fromisoformat(figure["read_on"]),
        confidence=Confidence(figure["confidence"]),
        note=figure.get("note", ""),
    )


def model_entry(document: Document) -> ModelEntry:
    """The model in a file of models/. Its published parameter count, which nothing computes with, becomes a
    note.
    """
    notes = list(document["notes"])
    if "published_parameters" in document:
        published = document["published_parameters"]
        notes.append(
            f"Published parameters: {published['value']:,} ({published['source']}): {published['note']}"
        )
    return ModelEntry(
        id=document["id"],
        config_json=json.dumps(document["config"], indent=2, ensure_ascii=False),
        display_name=document["display_name"],
        source=f"{document['source']} ({document['config_kind']}, read {document['read_on']})",
        notes=tuple(notes),
        aliases=tuple(document["aliases"]),
    )


def profile_entry(document: Document) -> ProfileEntry:
    """A profile in a file of efficiency/."""
    operator_class = OperatorClass(document["operator_class"])
    without_kernel = operator_class in WITHOUT_KERNELS

    def estimate(name: str) -> Estimate:
        return UNSTATED[name] if without_kernel and name not in document else _estimate(document[name])

    overlap_exponent = UNSTATED_OVERLAP_EXPONENT
    if "overlap_exponent" in document or not without_kernel:
        overlap_exponent = float(document["overlap_exponent"])

    return ProfileEntry(
        profile=EfficiencyProfile(
            id=document["id"],
            operator_class=operator_class,
            launch_time_us=estimate("launch_time_us"),
            compute_efficiency=estimate("compute_efficiency"),
            memory_efficiency=estimate("memory_efficiency"),
            overlap_exponent=overlap_exponent,
            evidence_count=document["evidence_count"],
            source=document["source"],
            hardware_id=document["hardware_id"],
            dtype=Dtype(document["dtype"]) if document["dtype"] else None,
            weight_dtype=Dtype(document["weight_dtype"]) if document["weight_dtype"] else None,
            engine=document["engine"],
            model_id=document.get("model_id", ""),
            since_version=document.get("since_version", ""),
            since_date=document.get("since_date", ""),
            relatives=tuple(document.get("relatives", ())),
            further={
                FurtherConstant(name): _estimate(figure)
                for name, figure in document.get("further", {}).items()
            },
        )
    )


def _estimate(figure: Document) -> Estimate:
    return Estimate(**{end: float(figure[end]) for end in ("value", "low", "high")})


def _read(to_entry: Callable[[Document], E], documents: Iterable[tuple[str, Document]]) -> Iterator[E]:
    for file_name, document in documents:
        try:
            yield to_entry(document)
        except KeyError as error:
            raise BuiltinCatalogError(f"{file_name} has no {error}") from error
        except (TypeError, ValueError) as error:
            raise BuiltinCatalogError(f"{file_name}: {error}") from error
