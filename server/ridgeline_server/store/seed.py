"""Writes the built-in catalog into the database, around what users changed.

For each built-in the database remembers a hash of what seeding last wrote (`seeded_entries`). Together with
the entry itself this tells everything. An entry that is still a built-in, with another hash, is out of date
and gets updated; an entry that belongs to a user was changed and is kept; a hash without an entry means that
a user removed it, and it stays removed. A built-in that the release no longer ships goes, unless a user
changed it: the catalog follows the release that seeded last.

What is computed from the configs of models and kept in columns, for filters, is brought up to how this
release reads them; that changes no entry.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from typing import Any, Generic

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.store.builtin import BuiltinCatalog, BuiltinCatalogError, read_builtin_catalog
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import WriteTransaction
from ridgeline_server.store.entries import E, ModelEntry, Origin
from ridgeline_server.store.errors import Resource
from ridgeline_server.store.models import computed_columns
from ridgeline_server.store.names import name_key
from ridgeline_server.store.principals import acting_as
from ridgeline_server.store.repository import Repository, stamped
from ridgeline_server.store.tables import catalog_state, models, seeded_entries


@dataclass(frozen=True)
class SeedOutcome:
    """The ids of one resource's built-ins by what seeding did with them."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept_user_changes: tuple[str, ...] = ()
    kept_deleted: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeedReport:
    """What seeding did, or would do. `revision` is the catalog's after it."""

    hardware: SeedOutcome
    models: SeedOutcome
    profiles: SeedOutcome
    revision: int


@dataclass(frozen=True)
class SeedDifference(Generic[E]):
    """One entry that a release has otherwise than the database. `action` is the field of SeedOutcome that it
    is listed in; `before` is what the database holds, `after` what the release ships.
    """

    resource: Resource
    entry_id: str
    action: str
    before: E | None
    after: E | None


def seed(
    store: CatalogStore,
    builtin: BuiltinCatalog | None = None,
    *,
    restored: Collection[str] = (),
    dry_run: bool = False,
) -> SeedReport:
    """Bring the database's built-ins up to those of this release. It writes nothing when all is as it should
    be, or in a dry run. Built-ins whose ids are among `restored` come back as they ship, whatever users made
    of them.

    Everything is written in one transaction. Several processes may seed at once.
    """
    builtin = builtin or read_builtin_catalog()
    seedings = _seedings(store, builtin, restored)
    with store.database.reading() as connection:
        plans = [seeding.plan(connection) for seeding in seedings]
        state = connection.execute(select(catalog_state)).one()
    revision: int = state.revision
    stale = state.seeded_digest != builtin.digest
    if not dry_run and (stale or any(plan.writes for plan in plans)):
        recomputed = _recomputed_columns(store) if stale else []
        with acting_as(f"release {version('ridgeline')}"), store.database.writing() as transaction:
            connection = transaction.connection
            plans = [seeding.plan(connection) for seeding in seedings]
            seeded_digest = connection.execute(select(catalog_state.c.seeded_digest)).scalar_one()
            if seeded_digest == builtin.digest and not any(plan.writes for plan in plans):
                # Another process seeded while this one waited.
                transaction.cancel()
            for seeding, plan in zip(seedings, plans, strict=True):
                seeding.carry_out(plan, transaction)
            if recomputed:
                of_version = (
                    models.c.id == bindparam("version_id"),
                    models.c.since_revision == bindparam("version_since"),
                )
                connection.execute(update(models).where(*of_version), recomputed)
            connection.execute(update(catalog_state).values(seeded_digest=builtin.digest))
        revision = transaction.final_revision
    devices, architectures, profiles = (plan.outcome for plan in plans)
    return SeedReport(devices, architectures, profiles, revision)


def seed_differences(
    store: CatalogStore, builtin: BuiltinCatalog | None = None
) -> Iterator[SeedDifference[Any]]:
    """What seeding would do entry by entry, and where a user's entry stands in for another one of the
    release's.
    """
    builtin = builtin or read_builtin_catalog()
    with store.database.reading() as connection:
        for seeding in _seedings(store, builtin, ()):
            yield from seeding.differences(connection)


def _seedings(
    store: CatalogStore, builtin: BuiltinCatalog, restored: Collection[str]
) -> tuple[_Seeding[Any], ...]:
    return (
        _Seeding(store.hardware, builtin.hardware, restored),
        _Seeding(store.models, builtin.models, restored),
        _Seeding(store.profiles, builtin.profiles, restored),
    )


def _recomputed_columns(store: CatalogStore) -> list[dict[str, object]]:
    """The computed columns of current models that this release reads otherwise than the one that wrote them,
    with their versions.
    """
    columns = models.c
    found: list[dict[str, object]] = []
    with store.database.reading() as connection:
        for row in connection.execute(select(models).where(columns.until_revision.is_(None))):
            try:
                computed = computed_columns(ModelEntry(id=row.id, config_json=row.config_json))
            except (InvalidFieldsError, UnsupportedConfigError):
                continue  # The columns stay as the release that could read it left them.
            if any(getattr(row, name) != value for name, value in computed.items()):
                found.append({**computed, "version_id": row.id, "version_since": row.since_revision})
    return found


@dataclass(frozen=True)
class _Plan(Generic[E]):
    """What is to be done with the built-ins of one resource; their taken aliases are left out."""

    created: tuple[E, ...]
    updated: tuple[E, ...]
    create_times: Mapping[str, datetime]
    outcome: SeedOutcome

    @property
    def writes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.created or self.updated or self.outcome.removed)


class _Seeding(Generic[E]):
    """The seeding of one resource."""

    def __init__(self, repository: Repository[E], entries: Iterable[E], restored: Collection[str]) -> None:
        self._repository: Repository[E] = repository
        self._entries: dict[str, E] = {entry.id: entry for entry in entries}
        self._restored = frozenset(restored)
        self._hashes: dict[str, str] = {
            entry.id: repository.fingerprint(entry) for entry in self._entries.values()
        }

    def plan(self, connection: Connection) -> _Plan[E]:
        """Compare the built-ins with what the transaction sees."""
        columns = self._repository.table.c
        query = select(columns.id, columns.origin, columns.create_time)
        present = {row.id: row for row in connection.execute(query.where(columns.until_revision.is_(None)))}
        remembered = self._remembered(connection)
        ids: dict[str, list[str]] = {name: [] for name in SeedOutcome.__dataclass_fields__}
        for entry_id in self._entries:
            restored = entry_id in self._restored
            if entry_id not in present:
                removed = entry_id in remembered and not restored
                ids["kept_deleted" if removed else "created"].append(entry_id)
            elif present[entry_id].origin != Origin.BUILTIN:
                ids["updated" if restored else "kept_user_changes"].append(entry_id)
            elif remembered.get(entry_id) == self._hashes[entry_id]:
                ids["unchanged"].append(entry_id)
            else:
                ids["updated"].append(entry_id)
        ids["removed"] = [
            entry_id
            for entry_id in remembered.keys() - self._entries.keys()
            if entry_id in present and present[entry_id].origin == Origin.BUILTIN
        ]
        taken = self._names_of_others(connection, ids)
        for entry_id in [entry_id for entry_id in ids["created"] if name_key(entry_id) in taken]:
            ids["created"].remove(entry_id)
            ids["kept_user_changes"].append(entry_id)
        return _Plan(
            tuple(self._without(entry_id, taken) for entry_id in ids["created"]),
            tuple(self._without(entry_id, taken) for entry_id in ids["updated"]),
            {entry_id: present[entry_id].create_time for entry_id in ids["updated"]},
            SeedOutcome(**{name: tuple(sorted(found)) for name, found in ids.items()}),
        )

    def carry_out(self, plan: _Plan[E], transaction: WriteTransaction) -> None:
        """Write what was planned in the same transaction, and remember it."""
        self._repository.remove(transaction, plan.outcome.removed)
        # All old names end before new ones begin: aliases may change hands.
        self._repository.remove(transaction, plan.outcome.updated)
        time = transaction.time
        self._repository.insert(
            transaction,
            [
                stamped(entry, Origin.BUILTIN, time, plan.create_times.get(entry.id))
                for entry in (*plan.updated, *plan.created)
            ],
        )
        written = [*plan.outcome.updated, *plan.outcome.created]
        resource = self._repository.resource
        transaction.connection.execute(
            delete(seeded_entries).where(
                seeded_entries.c.resource == resource,
                seeded_entries.c.entry_id.in_([*written, *plan.outcome.removed]),
            )
        )
        rows = [{"resource": resource, "entry_id": id_, "content_hash": self._hashes[id_]} for id_ in written]
        if rows:
            transaction.connection.execute(insert(seeded_entries), rows)

    def differences(self, connection: Connection) -> Iterator[SeedDifference[E]]:
        """What `plan` would change, entry by entry, and which users' entries differ from the release's."""
        plan = self.plan(connection)
        outcome = plan.outcome
        after = {entry.id: entry for entry in (*plan.created, *plan.updated)}
        changed = [*outcome.updated, *outcome.removed, *outcome.kept_user_changes]
        before = self._repository.load_current(connection, changed)
        resource = self._repository.resource
        for action in ("created", "updated", "removed"):
            for entry_id in getattr(outcome, action):
                yield SeedDifference(resource, entry_id, action, before.get(entry_id), after.get(entry_id))
        for entry_id in outcome.kept_user_changes:
            mine, shipped = before.get(entry_id), self._entries[entry_id]
            if mine is None or self._repository.fingerprint(mine) != self._hashes[entry_id]:
                yield SeedDifference(resource, entry_id, "kept_user_changes", mine, shipped)
        for entry_id in outcome.kept_deleted:
            yield SeedDifference(resource, entry_id, "kept_deleted", None, self._entries[entry_id])

    def _remembered(self, connection: Connection) -> dict[str, str]:
        query = select(seeded_entries.c.entry_id, seeded_entries.c.content_hash)
        rows = connection.execute(query.where(seeded_entries.c.resource == self._repository.resource))
        return {row.entry_id: row.content_hash for row in rows}

    def _names_of_others(self, connection: Connection, ids: Mapping[str, Sequence[str]]) -> set[str]:
        """Those name keys of the entries to write that belong to entries which stay as they are."""
        to_write = {*ids["created"], *ids["updated"]}
        keys = {name_key(name) for id_ in to_write for name in (id_, *self._entries[id_].aliases)}
        holders = self._repository.entry_names.holders(connection, keys)
        return {key for key, holder in holders.items() if holder not in to_write | {*ids["removed"]}}

    def _without(self, entry_id: str, taken: set[str]) -> E:
        """A built-in as it is written. Raises BuiltinCatalogError for a config that cannot be read."""
        entry = self._entries[entry_id]
        try:
            self._repository.computed_columns(entry)
        except (InvalidFieldsError, UnsupportedConfigError) as error:
            raise BuiltinCatalogError(f"{entry_id}: {error}") from error
        free = tuple(alias for alias in entry.aliases if name_key(alias) not in taken)
        return replace(entry, aliases=free)
