"""Writes many entries of any resource in one transaction, and tells of each what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Generic

from ridgeline_server.store.database import Database, WriteTransaction
from ridgeline_server.store.entries import E, Origin
from ridgeline_server.store.errors import InvalidEntryError, NameTakenError, Resource, StoreError
from ridgeline_server.store.failures import translated_failures
from ridgeline_server.store.repository import Repository, stamped


class WriteAction(StrEnum):
    """What became of an entry."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    NOT_WRITTEN = "not_written"
    """It was right, but another one was refused and all were to be written or none."""


@dataclass(frozen=True)
class Write(Generic[E]):
    """An entry to write. `onto` makes of the stored entry what replaces it; by default that is `entry`."""

    repository: Repository[E]
    entry: E
    onto: Callable[[E], E] | None = None


@dataclass(frozen=True)
class WriteOutcome(Generic[E]):
    """What became of one entry: as it was stored before and is now, or why it was refused."""

    action: WriteAction
    before: E | None = None
    after: E | None = None
    error: StoreError | None = None


def write_entries(
    database: Database,
    writes: Sequence[Write[E]],
    *,
    allow_existing: bool,
    all_or_nothing: bool,
    dry_run: bool,
) -> tuple[list[WriteOutcome[E]], int]:
    """Write entries, each with an id of its own; gives their outcomes and the catalog's revision.

    An existing entry that is alike stays as it is; another one is replaced when `allow_existing`, else the
    new one is refused. When nothing is to be written, the revision stays.
    """
    with database.writing(dry_run=dry_run) as transaction:
        before = _stored(transaction, writes)
        outcomes = [
            _write(database, transaction, write, before.get(_key(write)), allow_existing) for write in writes
        ]
        after = _stored(transaction, writes)
        outcomes = [
            outcome if outcome.action is WriteAction.REFUSED else replace(outcome, after=after[_key(write)])
            for write, outcome in zip(writes, outcomes, strict=True)
        ]
        if all_or_nothing and any(outcome.action is WriteAction.REFUSED for outcome in outcomes):
            outcomes = [
                outcome
                if outcome.action in (WriteAction.REFUSED, WriteAction.UNCHANGED)
                else replace(outcome, action=WriteAction.NOT_WRITTEN)
                for outcome in outcomes
            ]
        if not any(outcome.action in (WriteAction.CREATED, WriteAction.UPDATED) for outcome in outcomes):
            transaction.cancel()
    return outcomes, transaction.final_revision


def _key(write: Write[E]) -> tuple[Resource, str]:
    return write.repository.resource, write.entry.id


def _stored(transaction: WriteTransaction, writes: Sequence[Write[E]]) -> dict[tuple[Resource, str], E]:
    """The entries of these ids as the transaction sees them, read all at once."""
    found: dict[tuple[Resource, str], E] = {}
    for repository in {write.repository.resource: write.repository for write in writes}.values():
        ids = [write.entry.id for write in writes if write.repository is repository]
        current = repository.load_current(transaction.connection, ids)
        found |= {(repository.resource, entry_id): entry for entry_id, entry in current.items()}
    return found


def _write(
    database: Database,
    transaction: WriteTransaction,
    write: Write[E],
    before: E | None,
    allow_existing: bool,
) -> WriteOutcome[E]:
    """Writes one entry whole, or undoes what was written of it."""
    try:
        with translated_failures(database.location), transaction.connection.begin_nested():
            return WriteOutcome(_written(transaction, write, before, allow_existing), before)
    except (NameTakenError, InvalidEntryError) as error:
        return WriteOutcome(WriteAction.REFUSED, error=error)


def _written(
    transaction: WriteTransaction, write: Write[E], before: E | None, allow_existing: bool
) -> WriteAction:
    repository, entry, time = write.repository, write.entry, transaction.time
    if before is None:
        repository.refuse_names_of_others(transaction.connection, entry, own_id=None)
        repository.insert(transaction, [stamped(entry, Origin.USER, time)])
        return WriteAction.CREATED
    after = entry if write.onto is None else write.onto(before)
    if repository.fingerprint(before) == repository.fingerprint(after):
        return WriteAction.UNCHANGED
    if not allow_existing:
        raise NameTakenError(repository.resource, entry.id, entry.id)
    repository.refuse_names_of_others(transaction.connection, after, own_id=entry.id)
    repository.replace(transaction, [stamped(after, Origin.USER, time, before.create_time)])
    return WriteAction.UPDATED
