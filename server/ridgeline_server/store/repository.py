"""What the repositories of hardware, models and efficiency profiles have in common: reading and writing one
entry, and pages of them.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Generic

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    insert,
    select,
    tuple_,
    update,
)

from ridgeline_server.store.database import Database, WriteTransaction
from ridgeline_server.store.entries import Cursor, E, Origin, Page, Versioned
from ridgeline_server.store.entry_names import EntryNames, owner_column
from ridgeline_server.store.errors import AliasGivenError, EtagMismatchError, Resource
from ridgeline_server.store.listing import ById, Listing, Order
from ridgeline_server.store.names import name_key
from ridgeline_server.store.narrowing import narrowed
from ridgeline_server.store.revisions import AsOf, as_of
from ridgeline_server.store.tables import revisions
from ridgeline_server.store.versions import VersionCache, VersionKey

Rows = list[dict[str, object]]

TYPICAL_ENTRY_BYTES = 10_000

READ_AT_ONCE = 50
"""Entries of a page that are read together, so that a page of large ones is cut before all are in memory."""


class Repository(ABC, Generic[E]):
    """Entries of one resource: versions in rows of `table`, each with rows of `names` and of `parts`."""

    resource: ClassVar[Resource]
    table: ClassVar[Table]
    names: ClassVar[Table]
    parts: ClassVar[tuple[Table, ...]] = ()
    """Tables with figures of a version, each with a foreign key to it."""
    orders: ClassVar[tuple[str, ...]] = ()
    """Columns that a list may be ordered by, beside the id."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.entry_names = EntryNames(self.resource, self.names)
        self._cache: VersionCache[VersionKey, E] = VersionCache(self.size)

    @abstractmethod
    def to_row(self, entry: E) -> dict[str, object]:
        """What is stated of an entry, as its row: without version, origin, etag, times, and what is computed
        from it.
        """

    def computed_columns(self, entry: E) -> dict[str, object]:  # noqa: ARG002
        """What the row holds besides: what this release makes of the entry, for filters and orders."""
        return {}

    def completed(self, entry: E, before: E | None, now: datetime) -> E:  # noqa: ARG002
        """The entry with what its writer left to the time of the write; `before` is what it replaces."""
        return entry

    def size(self, entry: E) -> int:  # noqa: ARG002
        """About how many bytes an entry takes in memory."""
        return TYPICAL_ENTRY_BYTES

    def to_part_rows(self, entry: E) -> dict[Table, Rows]:  # noqa: ARG002
        """The entry's rows in each of `parts`, without the version."""
        return {}

    @abstractmethod
    def from_rows(
        self, row: Row[Any], parts: Mapping[Table, Sequence[Row[Any]]], aliases: tuple[str, ...]
    ) -> E:
        """The entry in its rows."""

    def get(self, name: str, *, revision: int | None = None) -> Versioned[E]:
        """The entry with this id or alias, as it was at a revision, or is. Raises NotFoundError with the
        nearest names, and RevisionOutOfRangeError.
        """
        with self._database.reading() as connection:
            at = as_of(connection, revision)
            entry_id = self.entry_names.resolve(connection, at, name)
            keys = self._keys(connection, [self.table.c.id == entry_id, at.holds(self.table)])
            return Versioned(self._read(connection, at, keys)[0], at.revision)

    def page(
        self,
        listing: Listing | None = None,
        fits: Callable[[E], bool] = lambda entry: True,  # noqa: ARG005
    ) -> Page[E]:
        """Up to `listing.limit` entries, as long as `fits` takes them; it is asked in their order, and a page
        has one entry at least. Raises RevisionOutOfRangeError, and InvalidCursorError for an end that no page
        of this list has.
        """
        listing = listing or Listing()
        with self._database.reading() as connection:
            at = as_of(connection, listing.revision)
            order = self._order(listing)
            conditions = [at.holds(self.table), *listing.filter.conditions(self.table)]
            conditions += narrowed(connection, self.table, at, listing.filter, order)
            keys: list[VersionKey] = []
            for stretch in order.stretches(listing.after):
                missing = listing.limit + 1 - len(keys)
                keys += self._keys(connection, [*conditions, *stretch.conditions], stretch.order, missing)
                if len(keys) > listing.limit:
                    break
            taken = self._fitting(connection, at, keys[: listing.limit], fits)
            after = None
            if len(keys) > len(taken):
                after = self._cursor(connection, order, at, taken[-1].id)
            return Page(tuple(taken), after, at.revision)

    def known_names(self, names: Collection[str]) -> set[str]:
        """Those of the names that are ids or aliases of current entries, looked up together."""
        keys = {name: name_key(name) for name in names}
        with self._database.reading() as connection:
            held = self.entry_names.holders(connection, set(keys.values()))
        return {name for name, key in keys.items() if key in held}

    def create(self, entry: E, *, dry_run: bool = False) -> Versioned[E]:
        """Add a user's entry and give it as stored. Raises NameTakenError.

        A dry run checks everything and writes nothing.
        """
        with self._database.writing(dry_run=dry_run) as transaction:
            self._add(transaction, entry)
            stored = self.load_current(transaction.connection, [entry.id])[entry.id]
        return Versioned(stored, transaction.final_revision)

    def update(
        self,
        entry_id: str,
        change: Callable[[E], E],
        *,
        etag: str = "",
        missing: Callable[[], E] | None = None,
        dry_run: bool = False,
    ) -> Versioned[E]:
        """Replace the entry by what `change` makes of it, and give it as stored; it is the user's from then
        on. When that is alike, nothing is written.

        `change` gets the current entry inside of the write transaction, so that nothing written meanwhile is
        lost; it must keep the id and be quick. Where there is no such entry, the one that `missing` gives is
        added. Raises NotFoundError, NameTakenError, EtagMismatchError when `etag` is given and not the
        current one, and whatever `change` raises. A dry run checks everything and writes nothing.
        """
        with self._missing_told(entry_id), self._database.writing(dry_run=dry_run) as transaction:
            connection = transaction.connection
            current = self.load_current(connection, [entry_id]).get(entry_id)
            if current is not None:
                self._check_etag(connection, current, etag)
                changed = self.completed(change(current), current, transaction.time)
                _check_id(entry_id, changed)
                if self.fingerprint(changed) == self.fingerprint(current):
                    transaction.cancel()
                else:
                    self._refuse_names_of_others(connection, changed, own_id=entry_id)
                    self.replace(
                        transaction, [stamped(changed, Origin.USER, transaction.time, current.create_time)]
                    )
            elif missing is not None and not etag:
                added = missing()
                _check_id(entry_id, added)
                self._add(transaction, added)
            else:
                raise _MissingError
            stored = self.load_current(connection, [entry_id])[entry_id]
        return Versioned(stored, transaction.final_revision)

    def delete(self, entry_id: str, *, etag: str = "") -> int:
        """Remove the entry with this id and give the new revision. Raises NotFoundError, and
        EtagMismatchError when `etag` is given and not the current one.
        """
        with self._missing_told(entry_id), self._database.writing() as transaction:
            connection = transaction.connection
            current = self.load_current(connection, [entry_id]).get(entry_id)
            if current is None:
                raise _MissingError
            self._check_etag(connection, current, etag)
            self.remove(transaction, [entry_id])
        return transaction.revision

    def load(self, connection: Connection, *conditions: ColumnElement[bool]) -> dict[VersionKey, E]:
        """The versions that meet conditions on `table`, past ones included."""
        rows = connection.execute(select(self.table).where(*conditions)).all()
        if not rows:
            return {}
        parts = {
            table: self._by_version(connection, table, conditions) for table in (*self.parts, self.names)
        }
        found: dict[VersionKey, E] = {}
        for row in rows:
            version = (row.id, row.since_revision)
            names = sorted(parts[self.names][version], key=_position)
            found[VersionKey(row.id, row.since_revision, row.etag)] = self.from_rows(
                row,
                {table: parts[table].get(version, []) for table in self.parts},
                tuple(name.name for name in names[1:]),
            )
        return found

    def load_current(self, connection: Connection, ids: Sequence[str]) -> dict[str, E]:
        """The current versions of those of the entries that exist, by id, past the cache: inside of a write
        transaction they may never be committed.
        """
        conditions = (self.table.c.id.in_(ids), self.table.c.until_revision.is_(None))
        return {key.id: entry for key, entry in self.load(connection, *conditions).items()}

    def insert(self, transaction: WriteTransaction, entries: Sequence[E]) -> None:
        """Write new, stamped entries."""
        if not entries:
            return
        version = {"since_revision": transaction.revision}
        connection = transaction.connection
        connection.execute(insert(self.table), [{**self._full_row(entry), **version} for entry in entries])
        rows: dict[Table, Rows] = {}
        for entry in entries:
            rows.setdefault(self.names, []).extend(self.name_rows(entry))
            for table, part_rows in self.to_part_rows(entry).items():
                rows.setdefault(table, []).extend(part_rows)
        for table, table_rows in rows.items():
            if table_rows:
                connection.execute(insert(table), [{**row, **version} for row in table_rows])

    def replace(self, transaction: WriteTransaction, entries: Sequence[E]) -> None:
        """Follow the current versions of entries by stamped ones of the same ids."""
        self.remove(transaction, [entry.id for entry in entries])
        self.insert(transaction, entries)

    def remove(self, transaction: WriteTransaction, ids: Sequence[str]) -> None:
        """End the current versions of entries."""
        if not ids:
            return
        table, names, end = self.table, self.names, {"until_revision": transaction.revision}
        # Names by their version: their index of owners would lead through all past names of the entry.
        current = select(table.c.id, table.c.since_revision).where(
            table.c.id.in_(ids), table.c.until_revision.is_(None)
        )
        of_current = tuple_(owner_column(names), names.c.since_revision).in_(current)
        transaction.connection.execute(update(names).where(of_current).values(end))
        transaction.connection.execute(
            update(table).where(table.c.id.in_(ids), table.c.until_revision.is_(None)).values(end)
        )

    def fingerprint(self, entry: E) -> str:
        """A hash of all that is stated of an entry: entries with the same one are alike."""
        parts = {
            table.name: sorted(rows, key=lambda row: json.dumps(row, sort_keys=True, default=str))
            for table, rows in self.to_part_rows(entry).items()
        }
        content = [self.to_row(entry), parts, self.name_rows(entry)]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    def name_rows(self, entry: E) -> Rows:
        """The entry's id and aliases as rows, without the version."""
        return self.entry_names.rows(entry.id, entry.aliases)

    def _refuse_names_of_others(self, connection: Connection, entry: E, *, own_id: str | None) -> None:
        self.entry_names.refuse_those_of_others(connection, self.name_rows(entry), own_id=own_id)

    def _add(self, transaction: WriteTransaction, entry: E) -> None:
        entry = self.completed(entry, None, transaction.time)
        self._refuse_names_of_others(transaction.connection, entry, own_id=None)
        self.insert(transaction, [stamped(entry, Origin.USER, transaction.time)])

    def _fitting(
        self, connection: Connection, at: AsOf, keys: Sequence[VersionKey], fits: Callable[[E], bool]
    ) -> list[E]:
        """The first of the versions, up to one that does not fit."""
        taken: list[E] = []
        for start in range(0, len(keys), READ_AT_ONCE):
            for entry in self._read(connection, at, keys[start : start + READ_AT_ONCE]):
                if not fits(entry) and taken:
                    return taken
                taken.append(entry)
        return taken

    def _keys(
        self,
        connection: Connection,
        conditions: Sequence[ColumnElement[bool]],
        order: Sequence[ColumnElement[Any]] = (),
        limit: int | None = None,
    ) -> list[VersionKey]:
        """The versions that meet conditions, in an order."""
        columns = self.table.c
        query = select(columns.id, columns.since_revision, columns.etag).where(*conditions).order_by(*order)
        return [VersionKey(*row) for row in connection.execute(query.limit(limit))]

    def _read(self, connection: Connection, at: AsOf, keys: Sequence[VersionKey]) -> list[E]:
        """The entries of versions that hold at a revision, those that were read before from memory."""
        found = self._cache.find(keys)
        missing = [key.id for key in keys if key not in found]
        if missing:
            read = self.load(connection, self.table.c.id.in_(missing), at.holds(self.table))
            self._cache.keep(read)
            found |= read
        return [found[key] for key in keys]

    def _by_version(
        self, connection: Connection, table: Table, conditions: Sequence[ColumnElement[bool]]
    ) -> dict[tuple[str, int], list[Row[Any]]]:
        owner = owner_column(table)
        query = select(table).join(
            self.table,
            and_(owner == self.table.c.id, table.c.since_revision == self.table.c.since_revision),
        )
        found: dict[tuple[str, int], list[Row[Any]]] = {}
        for row in connection.execute(query.where(*conditions)):
            found.setdefault((getattr(row, owner.name), row.since_revision), []).append(row)
        return found

    def _order(self, listing: Listing) -> Order:
        if not listing.order_by or listing.order_by == "id":
            return ById(self.table, descending=listing.descending)
        assert listing.order_by in self.orders
        return Order(self.table, self.table.c[listing.order_by], descending=listing.descending)

    def _cursor(self, connection: Connection, order: Order, at: AsOf, entry_id: str) -> Cursor:
        query = select(order.column).where(self.table.c.id == entry_id, at.holds(self.table))
        value = connection.execute(query).scalar_one()
        return order.cursor(entry_id, value)

    def _full_row(self, entry: E) -> dict[str, object]:
        return {
            **self.to_row(entry),
            **self.computed_columns(entry),
            "origin": entry.origin,
            "etag": entry.etag,
            "create_time": entry.create_time,
            "update_time": entry.update_time,
        }

    def _check_etag(self, connection: Connection, current: E, etag: str) -> None:
        if not etag or etag == current.etag:
            return
        columns = self.table.c
        stale = self.load(connection, columns.id == current.id, columns.etag == etag)
        since = select(columns.since_revision).where(columns.id == current.id, columns.etag == current.etag)
        written = connection.execute(
            select(revisions).where(revisions.c.revision == since.scalar_subquery())
        ).one()
        raise EtagMismatchError(
            self.resource, next(iter(stale.values()), None), current, written.principal, written.write_time
        )

    @contextmanager
    def _missing_told(self, name: str) -> Iterator[None]:
        """Tell of an entry that a write did not find, and search for near names once its lock is free."""
        try:
            yield
        except _MissingError:
            with self._database.reading() as connection:
                entry_id = self.entry_names.resolve(connection, as_of(connection), name)
            raise AliasGivenError(self.resource, name, entry_id) from None


class _MissingError(Exception):
    """There is no entry of an id."""


def _check_id(entry_id: str, entry: E) -> None:
    if entry.id != entry_id:
        raise ValueError(
            f"an update of {entry_id!r} gave an entry with the id {entry.id!r}; an id never changes"
        )


def stamped(entry: E, origin: Origin, now: datetime, create_time: datetime | None = None) -> E:
    """The entry with a new etag and the time of its writing. Entries that are new have no `create_time`."""
    return replace(
        entry, origin=origin, etag=secrets.token_hex(8), create_time=create_time or now, update_time=now
    )


def _position(row: Row[Any]) -> int:
    position: int = row.position
    return position
