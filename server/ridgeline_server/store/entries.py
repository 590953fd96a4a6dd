"""Catalog entries: domain objects together with the catalog's bookkeeping."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Generic, TypeVar

from ridgeline_server.domain.confidence import Confidence
from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.efficiency import EfficiencyProfile, Estimate, OperatorClass
from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model


class Origin(StrEnum):
    """Who an entry belongs to."""

    BUILTIN = "builtin"
    USER = "user"


@dataclass(frozen=True)
class FigureSource:
    """Where one figure comes from. `field` is its path in the contract's Hardware message, such as
    `peaks.bf16`, `link.domain_size` or `unsupported_dtypes`.
    """

    field: str
    source: str
    read_on: date | None = None
    confidence: Confidence | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """What every entry carries. The store sets all but `aliases`; what a caller puts there is ignored."""

    aliases: tuple[str, ...] = ()
    origin: Origin = Origin.USER
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None


@dataclass(frozen=True)
class HardwareEntry(CatalogEntry):
    """One device of the catalog."""

    hardware: Hardware
    release_year: int | None = None
    link_kind: str = ""
    price_as_of: date | None = None
    sources: tuple[FigureSource, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The device's id."""
        return self.hardware.id

    @property
    def kind(self) -> str:
        """What kind of device it is."""
        return self.hardware.kind


@dataclass(frozen=True)
class CheckpointTotals:
    """What the headers of a checkpoint's safetensors files say: elements and bytes of all tensors, and the
    elements by safetensors dtype and by what a tensor's name begins with.
    """

    element_count: float
    bytes: float
    element_count_by_dtype: Mapping[str, float]
    element_count_by_prefix: Mapping[str, float]


@dataclass(frozen=True)
class ModelEntry(CatalogEntry):
    """One model of the catalog: the text of its config.json, from which everything else follows."""

    id: str
    config_json: str
    display_name: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()
    checkpoint: CheckpointTotals | None = None

    @cached_property
    def model(self) -> Model:
        """The architecture that the config describes.

        Raises InvalidFieldsError and UnsupportedConfigError for a config that Ridgeline cannot read.
        """
        return replace(_read(self.config_json, self.id), display_name=self.display_name)


@lru_cache(maxsize=256)
def _read(config_json: str, entry_id: str) -> Model:
    """What was just checked is read again when it is written, under the lock of writers."""
    return read_config(parse_config(config_json), entry_id)


WITHOUT_KERNELS = frozenset(
    {
        OperatorClass.STEP,
        OperatorClass.EXPERT_STEP,
        OperatorClass.REQUEST,
        OperatorClass.PREFILL_TIME,
        OperatorClass.DECODE_TIME,
        OperatorClass.FIRST_TOKEN_TIME,
        OperatorClass.EXPERT_PREFILL_TIME,
        OperatorClass.EXPERT_DECODE_TIME,
        OperatorClass.EXPERT_FIRST_TOKEN_TIME,
        OperatorClass.ENGINE_MEMORY,
    }
)
"""Operator classes that stand for no kernel; what a kernel's profile must state may be left out of theirs."""

UNSTATED: Mapping[str, Estimate] = MappingProxyType(
    {
        "launch_time_us": Estimate(0.0, 0.0, 0.0),
        "compute_efficiency": Estimate(1.0, 1.0, 1.0),
        "memory_efficiency": Estimate(1.0, 1.0, 1.0),
    }
)
"""What is meant by leaving out a constant of a profile, where that is possible."""

UNSTATED_OVERLAP_EXPONENT = 2.0


@dataclass(frozen=True)
class ProfileEntry(CatalogEntry):
    """One efficiency profile of the catalog."""

    profile: EfficiencyProfile

    @property
    def id(self) -> str:
        """The profile's id."""
        return self.profile.id


def parse_config(config_json: str) -> Mapping[str, object]:
    """The object in the text of a config.json. Raises InvalidFieldsError when there is none, or when a key in
    it has two values.
    """
    try:
        config = json.loads(config_json, object_pairs_hook=_with_one_value_each)
    except json.JSONDecodeError as error:
        problem = f"is not JSON (line {error.lineno}, column {error.colno}: {error.msg})"
    except _TwoValuesError as error:
        problem = f"gives the key {error} two values; keep the one that holds"
    except ValueError:
        problem = "holds a number of thousands of digits"
    except RecursionError:
        problem = "is nested too deeply"
    else:
        if isinstance(config, dict):
            return config
        problem = "is JSON, but not an object"
    raise InvalidFieldsError([FieldViolation("config_json", f"{problem}; give the text of a config.json")])


class _TwoValuesError(ValueError):
    """A key that stands twice in an object, which readers of JSON take one way or the other."""


def _with_one_value_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            if found[key] != value:
                raise _TwoValuesError(json.dumps(key[:60]))
    return found


E = TypeVar("E", bound=HardwareEntry | ModelEntry | ProfileEntry)


@dataclass(frozen=True)
class Versioned(Generic[E]):
    """An entry with the revision of the catalog that it was read from or written in."""

    entry: E
    revision: int


@dataclass(frozen=True)
class Cursor:
    """Where a page ended: the last entry's id, and its value in the order that was asked for."""

    id: str
    value: float | str | None = None


@dataclass(frozen=True)
class Page(Generic[E]):
    """Entries in the order that was asked for. `after` starts the next page; None on the last."""

    entries: tuple[E, ...]
    after: Cursor | None
    revision: int
