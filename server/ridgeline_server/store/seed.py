"""Writes the built-in catalog into the database, around what users changed.

For each built-in the database remembers a hash of what seeding last wrote (`seeded_entries`). Together with
the entry itself this tells everything. An entry that is still a built-in, with another hash, is out of date
and gets updated; an entry that belongs to a user was changed and is kept; a hash without an entry means that
a user removed it, and it stays removed. A built-in that the release no longer ships goes, unless a user
changed it: the catalog follows the release that seeded last.

What is computed from the configs of users' models and kept in columns, for filters, is brought up to how this
release reads them; that changes no entry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Generic

from sqlalchemy import Connection, delete, insert, select, update

import ridgeline_catalog
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import EfficiencyProfile, Estimate, OperatorClass
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import WriteTransaction
from ridgeline_server.store.entries import (
    Confidence,
    E,
    FigureSource,
    HardwareEntry,
    ModelEntry,
    Origin,
    ProfileEntry,
)
from ridgeline_server.store.errors import Resource
from ridgeline_server.store.models import computed_columns
from ridgeline_server.store.names import name_key
from ridgeline_server.store.principals import acting_as
from ridgeline_server.store.repository import Repository, stamped
from ridgeline_server.store.tables import catalog_state, models, seeded_entries

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


def seed(store: CatalogStore, builtin: BuiltinCatalog | None = None, *, dry_run: bool = False) -> SeedReport:
    """Bring the database's built-ins up to those of this release. It writes nothing when all is as it should
    be, or in a dry run.

    Everything is written in one transaction. Several processes may seed at once.
    """
    builtin = builtin or read_builtin_catalog()
    seedings = _seedings(store, builtin)
    with store.database.reading() as connection:
        plans = [seeding.plan(connection) for seeding in seedings]
        state = connection.execute(select(catalog_state)).one()
    revision: int = state.revision
    stale = state.seeded_digest != builtin.digest
    if not dry_run and (stale or any(plan.writes for plan in plans)):
        recomputed = _recomputed_columns(store) if stale else {}
        with acting_as(f"release {version('ridgeline')}"), store.database.writing() as transaction:
            connection = transaction.connection
            plans = [seeding.plan(connection) for seeding in seedings]
            seeded_digest = connection.execute(select(catalog_state.c.seeded_digest)).scalar_one()
            if seeded_digest == builtin.digest and not any(plan.writes for plan in plans):
                # Another process seeded while this one waited.
                transaction.cancel()
            for seeding, plan in zip(seedings, plans, strict=True):
                seeding.carry_out(plan, transaction)
            for etag, columns in recomputed.items():
                connection.execute(update(models).where(models.c.etag == etag).values(columns))
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
        for seeding in _seedings(store, builtin):
            yield from seeding.differences(connection)


def _seedings(store: CatalogStore, builtin: BuiltinCatalog) -> tuple[_Seeding[Any], ...]:
    return (
        _Seeding(store.hardware, builtin.hardware),
        _Seeding(store.models, builtin.models),
        _Seeding(store.profiles, builtin.profiles),
    )


def _recomputed_columns(store: CatalogStore) -> dict[str, dict[str, object]]:
    """The computed columns of users' models that this release reads otherwise than the one that wrote them,
    by the version's etag.
    """
    columns = models.c
    found: dict[str, dict[str, object]] = {}
    with store.database.reading() as connection:
        query = select(models).where(columns.until_revision.is_(None), columns.origin == Origin.USER)
        for row in connection.execute(query):
            try:
                computed = computed_columns(ModelEntry(id=row.id, config_json=row.config_json))
            except (InvalidFieldsError, UnsupportedConfigError):
                continue  # The columns stay as the release that could read it left them.
            if any(getattr(row, name) != value for name, value in computed.items()):
                found[row.etag] = computed
    return found


@cache
def builtin_hardware() -> tuple[HardwareEntry, ...]:
    """The devices that ship with this release, whatever users made of them in a database."""
    return tuple(_read(hardware_entry, ridgeline_catalog.hardware_documents()))


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


def hardware_entry(document: Document) -> HardwareEntry:
    """The device in a file of hardware/."""
    figures: dict[str, Document] = {
        name: document[name]
        for name in (
            "memory_bytes",
            "usable_memory_bytes",
            "bandwidth_bytes_per_s",
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
        ),
        kind=document["kind"],
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
    """The profile in a file of efficiency/."""

    def estimate(name: str) -> Estimate:
        return Estimate(**{end: float(document[name][end]) for end in ("value", "low", "high")})

    return ProfileEntry(
        profile=EfficiencyProfile(
            id=document["id"],
            operator_class=OperatorClass(document["operator_class"]),
            launch_time_us=estimate("launch_time_us"),
            compute_efficiency=estimate("compute_efficiency"),
            memory_efficiency=estimate("memory_efficiency"),
            overlap_exponent=float(document["overlap_exponent"]),
            evidence_count=document["evidence_count"],
            source=document["source"],
            hardware_id=document["hardware_id"],
            dtype=Dtype(document["dtype"]) if document["dtype"] else None,
            weight_dtype=Dtype(document["weight_dtype"]) if document["weight_dtype"] else None,
            engine=document["engine"],
        )
    )


def _read(to_entry: Callable[[Document], E], documents: Iterable[tuple[str, Document]]) -> Iterator[E]:
    for file_name, document in documents:
        try:
            yield to_entry(document)
        except KeyError as error:
            raise BuiltinCatalogError(f"{file_name} has no {error}") from error
        except (TypeError, ValueError) as error:
            raise BuiltinCatalogError(f"{file_name}: {error}") from error


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

    def __init__(self, repository: Repository[E], entries: Iterable[E]) -> None:
        self._repository: Repository[E] = repository
        self._entries: dict[str, E] = {entry.id: entry for entry in entries}
        self._hashes: dict[str, str] = {
            entry.id: _content_hash(repository, entry) for entry in self._entries.values()
        }

    def plan(self, connection: Connection) -> _Plan[E]:
        """Compare the built-ins with what the transaction sees."""
        columns = self._repository.table.c
        query = select(columns.id, columns.origin, columns.create_time)
        present = {row.id: row for row in connection.execute(query.where(columns.until_revision.is_(None)))}
        remembered = self._remembered(connection)
        ids: dict[str, list[str]] = {name: [] for name in SeedOutcome.__dataclass_fields__}
        for entry_id in self._entries:
            if entry_id not in present:
                ids["kept_deleted" if entry_id in remembered else "created"].append(entry_id)
            elif present[entry_id].origin != Origin.BUILTIN:
                ids["kept_user_changes"].append(entry_id)
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
        holders = self._repository.holders(connection, keys)
        return {key for key, holder in holders.items() if holder not in to_write | {*ids["removed"]}}

    def _without(self, entry_id: str, taken: set[str]) -> E:
        entry = self._entries[entry_id]
        free = tuple(alias for alias in entry.aliases if name_key(alias) not in taken)
        return replace(entry, aliases=free)


def _content_hash(repository: Repository[E], entry: E) -> str:
    """A hash of all that would be written for an entry. Raises BuiltinCatalogError for a config that cannot
    be read.
    """
    try:
        return repository.fingerprint(entry)
    except (InvalidFieldsError, UnsupportedConfigError) as error:
        raise BuiltinCatalogError(f"{entry.id}: {error}") from error
