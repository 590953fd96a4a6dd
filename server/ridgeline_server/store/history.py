"""The history of the catalog: who changed which entry when, and what it was before and after."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, and_, exists, or_, select, tuple_

from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.errors import Resource
from ridgeline_server.store.repository import READ_AT_ONCE, Repository
from ridgeline_server.store.revisions import current_revision
from ridgeline_server.store.tables import revisions


class ChangeAction(StrEnum):
    """What a write did to an entry."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


class ChangeKey(NamedTuple):
    """A write to one entry; one revision may write several. Newest first is the order of the page."""

    revision: int
    resource: Resource
    id: str


@dataclass(frozen=True)
class Change:
    """A write to one entry: who made it when, and the entry before and after it."""

    key: ChangeKey
    principal: str
    time: datetime
    before: Any
    after: Any

    @property
    def action(self) -> ChangeAction:
        """What it did."""
        if self.before is None:
            return ChangeAction.CREATED
        return ChangeAction.DELETED if self.after is None else ChangeAction.UPDATED


@dataclass(frozen=True)
class ChangeQuery:
    """Which changes to give: of one resource, one entry, one principal, and later than a revision."""

    resource: Resource | None = None
    entry_id: str = ""
    principal: str = ""
    after_revision: int = 0
    before: ChangeKey | None = None
    limit: int = 100


@dataclass(frozen=True)
class ChangePage:
    """Changes, newest first. `next_before` starts the next page; None on the last."""

    changes: tuple[Change, ...]
    next_before: ChangeKey | None
    revision: int


def list_changes(
    store: CatalogStore,
    query: ChangeQuery,
    fits: Callable[[Change], bool] = lambda change: True,  # noqa: ARG005
) -> ChangePage:
    """Up to `query.limit` changes, newest first, as long as `fits` takes them; it is asked in their order,
    and a page has one change at least.
    """
    repositories = [
        repository for repository in store.repositories if query.resource in (None, repository.resource)
    ]
    with store.database.reading() as connection:
        streams = [
            events for repository in repositories for events in _streams(connection, repository, query)
        ]
        events = list(heapq.merge(*streams, key=lambda event: _newest_first(event.key)))
        changes: list[Change] = []
        for change in _changes(connection, repositories, events[: query.limit]):
            if not fits(change) and changes:
                break
            changes.append(change)
        revision = current_revision(connection)
    more = len(events) > len(changes)
    return ChangePage(tuple(changes), changes[-1].key if more else None, revision)


def _changes(
    connection: Connection, repositories: Sequence[Repository[Any]], events: Sequence[_Event]
) -> Iterator[Change]:
    """The events with their entries, which are read some at a time."""
    for start in range(0, len(events), READ_AT_ONCE):
        some = events[start : start + READ_AT_ONCE]
        entries = {repository.resource: _entries(connection, repository, some) for repository in repositories}
        for event in some:
            before, after = entries[event.key.resource][event.key]
            yield Change(event.key, event.principal, event.time, before, after)


class _Event(NamedTuple):
    key: ChangeKey
    principal: str
    time: datetime


def _newest_first(key: ChangeKey) -> tuple[int, str, str]:
    return (-key.revision, key.resource, key.id)


def _streams(
    connection: Connection, repository: Repository[Any], query: ChangeQuery
) -> tuple[list[_Event], list[_Event]]:
    """The first events of a resource: those that began a version, and those that only ended one."""
    columns = repository.table.c
    began = _events(connection, repository, query, columns.since_revision)
    if len(began) > query.limit:
        # Ends are looked for among all that were replaced: no further back than the page reaches.
        query = replace(query, after_revision=max(query.after_revision, began[-1].key.revision - 1))
    return began, _events(connection, repository, query, columns.until_revision)


def _events(
    connection: Connection, repository: Repository[Any], query: ChangeQuery, column: Column[Any]
) -> list[_Event]:
    """The first events of one kind: versions that began, or versions that ended without a next one."""
    table = repository.table
    conditions: list[ColumnElement[bool]] = [column > query.after_revision]
    if column.name == "until_revision":
        following = table.alias()
        conditions.append(~exists().where(following.c.id == table.c.id, following.c.since_revision == column))
    if query.entry_id:
        conditions.append(table.c.id == query.entry_id)
    if query.principal:
        conditions.append(revisions.c.principal == query.principal)
    if query.before is not None:
        conditions.append(_beyond(column, table.c.id, repository.resource, query.before))
    found = connection.execute(
        select(column, table.c.id, revisions.c.principal, revisions.c.write_time)
        .join(revisions, revisions.c.revision == column)
        .where(*conditions)
        .order_by(column.desc(), table.c.id)
        .limit(query.limit + 1)
    )
    return [
        _Event(ChangeKey(revision, repository.resource, entry_id), principal, time)
        for revision, entry_id, principal, time in found
    ]


def _beyond(
    revision: Column[Any], entry_id: Column[Any], resource: Resource, before: ChangeKey
) -> ColumnElement[bool]:
    """Whether an event of a resource comes after the last one of the page before."""
    if resource > before.resource:
        return revision <= before.revision
    if resource < before.resource:
        return revision < before.revision
    return or_(revision < before.revision, and_(revision == before.revision, entry_id > before.id))


def _entries(
    connection: Connection, repository: Repository[Any], events: Sequence[_Event]
) -> dict[ChangeKey, tuple[Any, Any]]:
    """The entries of a resource before and after each event."""
    table = repository.table
    wanted = [event.key for event in events if event.key.resource is repository.resource]
    if not wanted:
        return {}
    pairs = [(key.id, key.revision) for key in wanted]
    # SQLite does not seek by pairs, but by the ids.
    of_these = table.c.id.in_({key.id for key in wanted})
    began = and_(of_these, tuple_(table.c.id, table.c.since_revision).in_(pairs))
    after = {(key.id, key.since_revision): entry for key, entry in repository.load(connection, began).items()}
    ended = and_(of_these, tuple_(table.c.id, table.c.until_revision).in_(pairs))
    ends = {
        (row.id, row.since_revision): row.until_revision
        for row in connection.execute(
            select(table.c.id, table.c.since_revision, table.c.until_revision).where(ended)
        )
    }
    before = {
        (key.id, ends[key.id, key.since_revision]): entry
        for key, entry in repository.load(connection, ended).items()
    }
    return {key: (before.get((key.id, key.revision)), after.get((key.id, key.revision))) for key in wanted}
