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
    new one is refused. Names may change hands between the entries. When nothing is to be written, the
    revision stays.
    """
    with database.writing(dry_run=dry_run) as transaction:
        batch = _Batch(database.location, transaction, writes, allow_existing)
        batch.write()
        outcomes = batch.outcomes()
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


Key = tuple[Resource, str]


class _RefusedError(Exception):
    """The database refuses an entry of a batch."""

    def __init__(self, key: Key, error: InvalidEntryError) -> None:
        super().__init__(str(error))
        self.key = key
        self.error = error


class _Batch(Generic[E]):
    """The writes of one transaction by resource and id, and what becomes of them."""

    def __init__(
        self, location: str, transaction: WriteTransaction, writes: Sequence[Write[E]], allow_existing: bool
    ) -> None:
        self._location = location
        self._transaction = transaction
        self._allow_existing = allow_existing
        self._writes: dict[Key, Write[E]] = {
            (write.repository.resource, write.entry.id): write for write in writes
        }
        self._before = self._stored()
        self._actions: dict[Key, WriteAction] = {}
        self._errors: dict[Key, StoreError] = {}
        self._entries: dict[Key, E] = {}
        for key in self._writes:
            self._decide(key)

    def write(self) -> None:
        """Write what is not refused. What the database refuses after all is left out, the rest repeated."""
        self._refuse_names_of_others()
        while True:
            try:
                with self._transaction.connection.begin_nested():
                    self._replace_and_insert()
            except _RefusedError as refused:
                self._refuse(refused.key, refused.error)
                self._refuse_names_of_others()
            else:
                return

    def outcomes(self) -> list[WriteOutcome[E]]:
        """What became of each write, in their order."""
        after = self._stored()
        return [
            WriteOutcome(WriteAction.REFUSED, error=self._errors[key])
            if key in self._errors
            else WriteOutcome(self._actions[key], self._before.get(key), after[key])
            for key in self._writes
        ]

    def _stored(self) -> dict[Key, E]:
        """The entries as the transaction sees them, read all at once."""
        found: dict[Key, E] = {}
        for repository in self._repositories():
            ids = [key[1] for key, write in self._writes.items() if write.repository is repository]
            current = repository.load_current(self._transaction.connection, ids)
            found |= {(repository.resource, entry_id): entry for entry_id, entry in current.items()}
        return found

    def _repositories(self) -> list[Repository[E]]:
        return list({write.repository.resource: write.repository for write in self._writes.values()}.values())

    def _decide(self, key: Key) -> None:
        write, before = self._writes[key], self._before.get(key)
        repository = write.repository
        entry = write.entry if before is None or write.onto is None else write.onto(before)
        entry = repository.completed(entry, before, self._transaction.time)
        if before is None:
            self._actions[key] = WriteAction.CREATED
        elif repository.fingerprint(before) == repository.fingerprint(entry):
            self._actions[key] = WriteAction.UNCHANGED
        elif self._allow_existing:
            self._actions[key] = WriteAction.UPDATED
        else:
            self._refuse(key, NameTakenError(repository.resource, entry.id, entry.id))
            return
        create_time = None if before is None else before.create_time
        self._entries[key] = stamped(entry, Origin.USER, self._transaction.time, create_time)

    def _refuse(self, key: Key, error: StoreError) -> None:
        self._errors[key] = error
        self._actions.pop(key, None)
        self._entries.pop(key, None)

    def _written(self, *actions: WriteAction) -> list[Key]:
        return [key for key, action in self._actions.items() if action in actions]

    def _refuse_names_of_others(self) -> None:
        """Refuse entries that claim a name of another: of one outside of the batch, of one that stays as it
        is, or of an earlier one of the batch. Each refusal leaves names where they were, so it may bring
        others.
        """
        for repository in self._repositories():
            while self._refuse_one(repository):
                pass

    def _refuse_one(self, repository: Repository[E]) -> bool:
        resource = repository.resource
        claims = {
            key: {str(row["name_key"]): str(row["name"]) for row in repository.name_rows(self._entries[key])}
            for key in self._written(WriteAction.CREATED, WriteAction.UPDATED)
            if key[0] is resource
        }
        wanted = {name_key for names in claims.values() for name_key in names}
        holders = repository.entry_names.holders(self._transaction.connection, wanted)
        owners = {
            name_key: holder for name_key, holder in holders.items() if (resource, holder) not in claims
        }
        refused = False
        for key, names in claims.items():
            taken = next((name_key for name_key in names if owners.get(name_key, key[1]) != key[1]), None)
            if taken is None:
                owners |= dict.fromkeys(names, key[1])
            else:
                self._refuse(key, NameTakenError(resource, names[taken], owners[taken]))
                refused = True
        return refused

    def _replace_and_insert(self) -> None:
        for repository in self._repositories():
            updated = [
                entry_id
                for resource, entry_id in self._written(WriteAction.UPDATED)
                if resource is repository.resource
            ]
            # All old names end before new ones begin: they may change hands.
            repository.remove(self._transaction, updated)
        for key in self._written(WriteAction.CREATED, WriteAction.UPDATED):
            try:
                with translated_failures(self._location):
                    self._writes[key].repository.insert(self._transaction, [self._entries[key]])
            except InvalidEntryError as error:
                raise _RefusedError(key, error) from error
