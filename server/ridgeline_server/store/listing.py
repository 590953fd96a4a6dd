"""What a list of entries gives, and in which order: filters, orders, and the ends of pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Column, ColumnElement, DateTime, Table, Tuple, and_, exists, func, or_, tuple_

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.store import tables
from ridgeline_server.store.entries import Cursor, Origin
from ridgeline_server.store.errors import InvalidCursorError


class Bounds(NamedTuple):
    """The range of a column that has an index; None is no bound. What has no value lies in no range."""

    column: ColumnElement[Any]
    least: float | None
    most: float | None

    def conditions(self, *, indexed: bool = True) -> list[ColumnElement[bool]]:
        """The bounds. Those that are not `indexed` are written so that no index fits them."""
        compared = self.column if indexed else self.column + 0
        low = [] if self.least is None else [compared >= self.least]
        return [*low, *([] if self.most is None else [compared <= self.most])]


class Filter(Protocol):
    """Picks entries that meet all of its conditions and lie in all of its ranges."""

    def conditions(self, table: Table) -> list[ColumnElement[bool]]:
        """What a version's row meets to be picked."""

    def ranges(self, table: Table) -> list[Bounds]:
        """Between what a version's row lies to be picked."""


@dataclass(frozen=True)
class Everything:
    """Picks all entries."""

    def conditions(self, table: Table) -> list[ColumnElement[bool]]:  # noqa: ARG002
        """None."""
        return []

    def ranges(self, table: Table) -> list[Bounds]:  # noqa: ARG002
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
            # SQLite folds the case of ASCII letters alone.
            folded = func.lower(columns.vendor) == self.vendor.lower()
            found.append(or_(columns.vendor == self.vendor, folded))
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

    def ranges(self, table: Table) -> list[Bounds]:  # noqa: ARG002
        """None: devices are few, and their figures have no index."""
        return []


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
        """All but numbers."""
        columns = table.c
        found: list[ColumnElement[bool]] = []
        if self.family:
            found.append(columns.family == self.family.lower())
        if self.weight_dtype is not None:
            found.append(columns.weight_dtype == self.weight_dtype)
        if self.mixture_of_experts is not None:
            found.append(columns.expert_count > 0 if self.mixture_of_experts else columns.expert_count == 0)
        return [*found, *_of(self.origin, columns.origin)]

    def ranges(self, table: Table) -> list[Bounds]:
        """Of parameters and of context, which some models do not state."""
        ranges = (
            Bounds(table.c.parameter_count, self.min_parameter_count, self.max_parameter_count),
            Bounds(table.c.max_context_len, self.min_context_len, None),
        )
        return [found for found in ranges if (found.least, found.most) != (None, None)]


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


class Stretch(NamedTuple):
    """A part of a list that an index gives in its order."""

    conditions: list[ColumnElement[bool]]
    order: list[ColumnElement[Any]]


@dataclass(frozen=True)
class Order:
    """Entries by a column and then by id, both in one direction; those without a value come last, by id."""

    table: Table
    column: Column[Any]
    descending: bool

    def stretches(self, after: Cursor | None) -> list[Stretch]:
        """What follows the end of a page, or all: first the rows with a value, then those without.

        One query for both would have to sort: no index has the rows without a value last in both directions.
        """
        by_id = [self._directed(self.table.c.id)]
        next_id = [] if after is None else [self._beyond_id(after)]
        without = Stretch([self.column.is_(None), *next_id], by_id)
        if after is not None and after.value is None:
            return [without]
        order = [self._directed(self.column), *by_id]
        if not self.column.nullable:
            return [Stretch(self._beyond_value(after), order)]
        having = Stretch([self.column.is_not(None), *self._beyond_value(after)], order)
        return [having, Stretch([self.column.is_(None)], by_id)]

    def cursor(self, entry_id: str, value: Any) -> Cursor:
        """The end of a page after an entry."""
        return Cursor(entry_id, value.isoformat() if isinstance(value, datetime) else value)

    def _beyond_value(self, after: Cursor | None) -> list[ColumnElement[bool]]:
        if after is None or after.value is None:
            return []
        # Compared as one row, so that an index seeks by both: many models share a context length.
        ends = (self._bound(after.value), _storable(after.id))
        return [self._beyond(tuple_(self.column, self.table.c.id), ends)]

    def _beyond_id(self, after: Cursor) -> ColumnElement[bool]:
        return self._beyond(self.table.c.id, _storable(after.id))

    def _bound(self, value: float | str) -> Any:
        """The value that a page ended at. A caller's token may hold anything."""
        if isinstance(self.column.type, tables.UtcDateTime | DateTime):
            return _as_time(value)
        if isinstance(value, bool | str):
            raise InvalidCursorError(f"a page ordered by {self.column.name} cannot end at {value!r}")
        return value

    def _directed(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column.desc() if self.descending else column.asc()

    def _beyond(self, column: ColumnElement[Any] | Tuple, value: Any) -> ColumnElement[bool]:
        beyond: ColumnElement[bool] = column < value if self.descending else column > value
        return beyond


class ById(Order):
    """Entries by their ids alone."""

    def __init__(self, table: Table, *, descending: bool) -> None:
        super().__init__(table, table.c.id, descending)

    def stretches(self, after: Cursor | None) -> list[Stretch]:
        """One: every entry has an id."""
        return [Stretch([] if after is None else [self._beyond_id(after)], [self._directed(self.table.c.id)])]

    def cursor(self, entry_id: str, value: Any) -> Cursor:  # noqa: ARG002
        """The end of a page after an entry."""
        return Cursor(entry_id)


def _storable(entry_id: str) -> str:
    """A caller's token may hold a NUL, which PostgreSQL cannot take."""
    return entry_id.replace("\0", "\ufffd")


def _as_time(value: float | str) -> datetime:
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidCursorError(f"a page ordered by a time cannot end at {value!r}") from None
