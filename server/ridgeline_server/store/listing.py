"""What a list of entries gives, and in which order: filters, orders, and the ends of pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import Column, ColumnElement, DateTime, Table, and_, exists, func, or_

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.store import tables
from ridgeline_server.store.entries import Cursor, Origin


class Filter(Protocol):
    """Picks entries."""

    def conditions(self, table: Table) -> list[ColumnElement[bool]]:
        """What a version's row meets to be picked."""


@dataclass(frozen=True)
class Everything:
    """Picks all entries."""

    def conditions(self, table: Table) -> list[ColumnElement[bool]]:  # noqa: ARG002
        """None."""
        return []


@dataclass(frozen=True)
class HardwareFilter:
    """Picks devices that meet all that is set."""

    vendor: str = ""
    kind: str = ""
    dtypes: tuple[Dtype, ...] = ()
    min_memory_bytes: float | None = None
    min_bandwidth_bytes_per_s: float | None = None
    origin: Origin | None = None

    def conditions(self, table: Table) -> list[ColumnElement[bool]]:
        """A device with a dtype has a rate for it."""
        # An alias: the query around it may read the peaks itself.
        columns, peaks = table.c, tables.hardware_peaks.alias().c
        found: list[ColumnElement[bool]] = []
        if self.vendor:
            found.append(func.lower(columns.vendor) == self.vendor.lower())
        if self.kind:
            found.append(columns.kind == self.kind)
        for dtype in self.dtypes:
            of_version = and_(
                peaks.hardware_id == columns.id,
                peaks.since_revision == columns.since_revision,
                peaks.dtype == dtype,
            )
            found.append(exists().where(of_version))
        return [
            *found,
            *_at_least(columns.memory_bytes, self.min_memory_bytes),
            *_at_least(columns.bandwidth_bytes_per_s, self.min_bandwidth_bytes_per_s),
            *_of(self.origin, columns.origin),
        ]


@dataclass(frozen=True)
class ModelFilter:
    """Picks models that meet all that is set."""

    family: str = ""
    min_parameter_count: float | None = None
    max_parameter_count: float | None = None
    min_context_len: float | None = None
    weight_dtype: Dtype | None = None
    origin: Origin | None = None
    mixture_of_experts: bool | None = None

    def conditions(self, table: Table) -> list[ColumnElement[bool]]:
        """A model without a stated context has no least one."""
        columns = table.c
        found: list[ColumnElement[bool]] = []
        if self.family:
            found.append(func.lower(columns.family) == self.family.lower())
        if self.max_parameter_count is not None:
            found.append(columns.parameter_count <= self.max_parameter_count)
        if self.weight_dtype is not None:
            found.append(columns.weight_dtype == self.weight_dtype)
        if self.mixture_of_experts is not None:
            found.append(columns.expert_count > 0 if self.mixture_of_experts else columns.expert_count == 0)
        return [
            *found,
            *_at_least(columns.parameter_count, self.min_parameter_count),
            *_at_least(columns.max_context_len, self.min_context_len),
            *_of(self.origin, columns.origin),
        ]


def _at_least(column: ColumnElement[Any], bound: float | None) -> list[ColumnElement[bool]]:
    return [] if bound is None else [column >= bound]


def _of(origin: Origin | None, column: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    return [] if origin is None else [column == origin]


@dataclass(frozen=True)
class Listing:
    """One page's question. `order_by` is a column, empty for the id; `revision` None is the current one."""

    filter: Filter = field(default_factory=Everything)
    order_by: str = ""
    descending: bool = False
    after: Cursor | None = None
    limit: int = 100
    revision: int | None = None


@dataclass(frozen=True)
class Order:
    """Entries by a column and then by id, both in one direction; those without a value come last, by id."""

    table: Table
    column: Column[Any]
    descending: bool

    @property
    def value(self) -> ColumnElement[Any]:
        """What the order compares first."""
        return self.column

    def columns(self) -> list[ColumnElement[Any]]:
        """The ORDER BY clause."""
        last = [self.column.is_(None)] if self.column.nullable else []
        return [*last, self._directed(self.column), self._directed(self.table.c.id)]

    def follows(self, after: Cursor) -> ColumnElement[bool]:
        """Whether a row comes after the end of a page."""
        next_id = self._beyond(self.table.c.id, after.id.replace("\0", "\ufffd"))
        if after.value is None:
            return and_(self.column.is_(None), next_id)
        value = self._bound(after.value)
        # The first condition says nothing new, but is the one that an index can seek by.
        at_or_beyond = self.column <= value if self.descending else self.column >= value
        follows = and_(at_or_beyond, or_(self._beyond(self.column, value), next_id))
        return or_(follows, self.column.is_(None)) if self.column.nullable else follows

    def cursor(self, entry_id: str, value: Any) -> Cursor:
        """The end of a page after an entry."""
        return Cursor(entry_id, value.isoformat() if isinstance(value, datetime) else value)

    def _bound(self, value: float | str) -> Any:
        return _as_time(value) if isinstance(self.column.type, tables.UtcDateTime | DateTime) else value

    def _directed(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column.desc() if self.descending else column.asc()

    def _beyond(self, column: ColumnElement[Any], value: Any) -> ColumnElement[bool]:
        beyond: ColumnElement[bool] = column < value if self.descending else column > value
        return beyond


class ById(Order):
    """Entries by their ids alone."""

    def __init__(self, table: Table, *, descending: bool) -> None:
        super().__init__(table, table.c.id, descending)

    def columns(self) -> list[ColumnElement[Any]]:
        """The ORDER BY clause."""
        return [self._directed(self.table.c.id)]

    def follows(self, after: Cursor) -> ColumnElement[bool]:
        """Whether a row comes after the end of a page."""
        return self._beyond(self.table.c.id, after.id.replace("\0", "\ufffd"))

    def cursor(self, entry_id: str, value: Any) -> Cursor:  # noqa: ARG002
        """The end of a page after an entry."""
        return Cursor(entry_id)


def _as_time(value: float | str) -> datetime:
    return datetime.fromisoformat(str(value)).astimezone(UTC)
