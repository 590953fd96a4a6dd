"""What the repositories of hardware, models and efficiency profiles have in common: reading and writing one
entry, and pages of them.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Generic

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    func,
    insert,
    select,
    tuple_,
    update,
)

from ridgeline_server.store.database import Database, WriteTransaction
from ridgeline_server.store.entries import Cursor, E, Origin, Page, Versioned
from ridgeline_server.store.errors import EtagMismatchError, NameTakenError, NotFoundError, Resource
from ridgeline_server.store.listing import Bounds, ById, Filter, Listing, Order
from ridgeline_server.store.lookup import find_owner, nearest_names, owner_column
from ridgeline_server.store.names import loose_key, name_key
from ridgeline_server.store.revisions import AsOf, as_of
from ridgeline_server.store.tables import revisions
from ridgeline_server.store.versions import VersionCache, VersionKey

Rows = list[dict[str, object]]

FEW = 1000
"""Entries that cost little to sort; where more meet a condition, every so many in any order do."""


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
        self._cache: VersionCache[E] = VersionCache()

    @abstractmethod
    def to_row(self, entry: E) -> dict[str, object]:
        """The entry's own row, without version, origin, etag and times."""

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
            entry_id = self._resolve(connection, at, name)
            keys = self._keys(connection, [self.table.c.id == entry_id, at.holds(self.table)])
            return Versioned(self._read(connection, at, keys)[0], at.revision)

    def page(self, listing: Listing | None = None) -> Page[E]:
        """Up to `listing.limit` entries. Raises RevisionOutOfRangeError."""
        listing = listing or Listing()
        with self._database.reading() as connection:
            at = as_of(connection, listing.revision)
            order = self._order(listing)
            conditions = [at.holds(self.table), *listing.filter.conditions(self.table)]
            conditions += self._in_ranges(connection, at, listing.filter, order)
            keys: list[VersionKey] = []
            for stretch in order.stretches(listing.after):
                missing = listing.limit + 1 - len(keys)
                keys += self._keys(connection, [*conditions, *stretch.conditions], stretch.order, missing)
                if len(keys) > listing.limit:
                    break
            after = None
            if len(keys) > listing.limit:
                keys = keys[: listing.limit]
                after = self._cursor(connection, order, at, keys[-1].id)
            return Page(tuple(self._read(connection, at, keys)), after, at.revision)

    def cursor_after(self, entry_id: str, listing: Listing, revision: int) -> Cursor:
        """Where a page of `listing` ends that was read at a revision and is cut after an entry of it."""
        with self._database.reading() as connection:
            at = as_of(connection, revision)
            return self._cursor(connection, self._order(listing), at, entry_id)

    def create(self, entry: E, *, dry_run: bool = False) -> Versioned[E]:
        """Add a user's entry and give it as stored. Raises NameTakenError.

        A dry run checks everything and writes nothing.
        """
        with self._database.writing(dry_run=dry_run) as transaction:
            self.refuse_names_of_others(transaction.connection, entry, own_id=None)
            self.insert(transaction, [stamped(entry, Origin.USER, transaction.time)])
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
        on.

        `change` gets the current entry inside of the write transaction, so that nothing written meanwhile is
        lost; it must keep the id and be quick. Where there is no such entry, the one that `missing` gives is
        added. Raises NotFoundError, NameTakenError, EtagMismatchError when `etag` is given and not the
        current one, and whatever `change` raises. A dry run checks everything and writes nothing.
        """
        with self._database.writing(dry_run=dry_run) as transaction:
            connection = transaction.connection
            current = self.load_current(connection, [entry_id]).get(entry_id)
            if current is not None:
                self._check_etag(connection, current, etag)
                changed = self._still_named(entry_id, change(current))
                self.refuse_names_of_others(connection, changed, own_id=entry_id)
                self.replace(
                    transaction, [stamped(changed, Origin.USER, transaction.time, current.create_time)]
                )
            elif missing is not None and not etag:
                changed = self._still_named(entry_id, missing())
                self.refuse_names_of_others(connection, changed, own_id=None)
                self.insert(transaction, [stamped(changed, Origin.USER, transaction.time)])
            else:
                raise self._not_found(connection, as_of(connection), entry_id)
            stored = self.load_current(connection, [entry_id])[entry_id]
        return Versioned(stored, transaction.final_revision)

    def delete(self, entry_id: str, *, etag: str = "") -> int:
        """Remove the entry with this id and give the new revision. Raises NotFoundError, and
        EtagMismatchError when `etag` is given and not the current one.
        """
        with self._database.writing() as transaction:
            connection = transaction.connection
            current = self.load_current(connection, [entry_id]).get(entry_id)
            if current is None:
                raise self._not_found(connection, as_of(connection), entry_id)
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

    def name_rows(self, entry: E) -> Rows:
        """The id and the aliases. An alias that reads like the id or like an earlier alias adds nothing and
        is left out.
        """
        names: dict[str, str] = {}
        for name in (entry.id, *entry.aliases):
            names.setdefault(name_key(name), name)
        owner = owner_column(self.names).name
        return [
            {
                "name_key": key,
                "loose_key": loose_key(name),
                "name": name,
                owner: entry.id,
                "position": position,
            }
            for position, (key, name) in enumerate(names.items())
        ]

    def fingerprint(self, entry: E) -> str:
        """A hash of all that would be written for an entry: entries with the same one are alike."""
        parts = {
            table.name: sorted(rows, key=lambda row: json.dumps(row, sort_keys=True, default=str))
            for table, rows in self.to_part_rows(entry).items()
        }
        content = [self.to_row(entry), parts, self.name_rows(entry)]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    def holders(self, connection: Connection, keys: Iterable[str]) -> dict[str, str]:
        """Those of the name keys that are in use, with the ids of their entries."""
        query = select(self.names.c.name_key, owner_column(self.names)).where(
            self.names.c.name_key.in_(list(keys)), self.names.c.until_revision.is_(None)
        )
        return {row[0]: row[1] for row in connection.execute(query)}

    def refuse_names_of_others(self, connection: Connection, entry: E, *, own_id: str | None) -> None:
        """Raise NameTakenError when a name of the entry belongs to another than `own_id`."""
        names = {str(row["name_key"]): str(row["name"]) for row in self.name_rows(entry)}
        for key, holder in self.holders(connection, names).items():
            if holder != own_id:
                raise NameTakenError(self.resource, names[key], holder)

    def _in_ranges(
        self, connection: Connection, at: AsOf, chosen: Filter, order: Order
    ) -> list[ColumnElement[bool]]:
        """The conditions that keep a page in a filter's ranges, so that either database finds it at once.

        Where few versions lie in a range, or began before a past revision, the page looks among those. Where
        many do, it meets its entries soon when it goes along its order. SQLite, which knows nothing of how
        values are spread, would walk through the whole catalog for the few, or sort the many.
        """
        ranges = chosen.ranges(self.table)
        estimates = connection.dialect.name != "sqlite"
        conditions = [
            condition
            for bounds in ranges
            for condition in bounds.conditions(indexed=estimates or bounds.column is order.column)
        ]
        if not at.is_current:
            ranges.append(Bounds(self.table.c.since_revision, None, at.revision))
        for bounds in ranges:
            ids = select(self.table.c.id).where(*bounds.conditions()).limit(FEW + 1)
            count = connection.execute(select(func.count()).select_from(ids.subquery())).scalar_one()
            if count <= FEW:
                return [*conditions, self.table.c.id.in_(ids)]
        return conditions

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

    def _resolve(self, connection: Connection, at: AsOf, name: str) -> str:
        """The id of the entry with this id or alias. Raises NotFoundError with the nearest names."""
        entry_id = find_owner(connection, self.names, at, name)
        if entry_id is None:
            raise self._not_found(connection, at, name)
        return entry_id

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
            "origin": entry.origin,
            "etag": entry.etag,
            "create_time": entry.create_time,
            "update_time": entry.update_time,
        }

    def _still_named(self, entry_id: str, entry: E) -> E:
        if entry.id != entry_id:
            raise ValueError(
                f"an update of {entry_id!r} gave an entry with the id {entry.id!r}; an id never changes"
            )
        return entry

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

    def _not_found(self, connection: Connection, at: AsOf, name: str) -> NotFoundError:
        return NotFoundError(self.resource, name, nearest_names(connection, self.names, at, name))


def stamped(entry: E, origin: Origin, now: datetime, create_time: datetime | None = None) -> E:
    """The entry with a new etag and the time of its writing. Entries that are new have no `create_time`."""
    return replace(
        entry, origin=origin, etag=secrets.token_hex(8), create_time=create_time or now, update_time=now
    )


def _position(row: Row[Any]) -> int:
    position: int = row.position
    return position
