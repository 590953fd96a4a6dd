"""What can go wrong with the stored catalog. Messages name the way out and hold no SQL and no password."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any


class Resource(StrEnum):
    """The kinds of entries, as messages call them."""

    HARDWARE = "hardware"
    MODEL = "model"
    EFFICIENCY_PROFILE = "efficiency profile"


class StoreError(Exception):
    """Any failure of the store that a caller can do something about."""


class NotFoundError(StoreError):
    """No entry has this id or alias. `nearest` holds up to three names that would be found, best first."""

    def __init__(self, resource: Resource, name: str, nearest: Sequence[str]) -> None:
        self.resource = resource
        self.name = name
        self.nearest = tuple(nearest)
        shown = name if len(name) <= 100 else f"{name[:100]}..."
        hint = f"the nearest names are {', '.join(self.nearest)}" if self.nearest else "no name comes near it"
        super().__init__(f"no {resource} is named {shown!r}; {hint}")


class AliasGivenError(NotFoundError):
    """A write names an entry by an alias, where only the id will do."""

    def __init__(self, resource: Resource, name: str, entry_id: str) -> None:
        super().__init__(resource, name, [entry_id])
        self.args = (f"{name!r} is an alias of the {resource} {entry_id!r}; to write it, give its id",)


class NameTakenError(StoreError):
    """The id or an alias of an entry belongs to another entry, whose id is `holder`."""

    def __init__(self, resource: Resource, name: str, holder: str) -> None:
        self.resource = resource
        self.name = name
        self.holder = holder
        super().__init__(
            f"the name {name!r} belongs to the {resource} {holder!r}; give another name, or change {holder!r}"
        )


class MeasurementsNotFoundError(StoreError):
    """No measurement has one of the ids."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = tuple(ids)
        told = ", ".join(repr(name if len(name) <= 100 else f"{name[:100]}...") for name in self.ids[:5])
        more = f" and {len(self.ids) - 5:,} more" if len(self.ids) > 5 else ""
        super().__init__(f"no measurement has the id {told}{more}; list those that there are")


class MeasurementTakenError(StoreError):
    """The id of a measurement belongs to another one, from which it differs in `fields`."""

    def __init__(self, measurement_id: str, fields: Sequence[str], *, in_batch: bool) -> None:
        self.measurement_id = measurement_id
        where = "an earlier measurement of the same import" if in_batch else "a stored measurement"
        remedy = "give another id" if in_batch else "give another id, or replace the stored one"
        super().__init__(
            f"the id {measurement_id!r} belongs to {where} that differs in {', '.join(fields)}; {remedy}"
        )


class EtagMismatchError(StoreError):
    """The entry changed since the caller read it.

    `stale` is the entry as the caller read it, None when its etag is of no version of the entry; `current` is
    as it is now, since `principal` wrote it at `time`.
    """

    def __init__(
        self, resource: Resource, stale: Any, current: Any, principal: str = "", time: datetime | None = None
    ) -> None:
        self.resource = resource
        self.entry_id: str = current.id
        self.stale = stale
        self.current = current
        self.principal = principal
        self.time = time
        super().__init__(
            f"the {resource} {self.entry_id!r} changed since its etag was read; read it again and repeat"
            if stale is not None
            else f"the etag is of no version of the {resource} {self.entry_id!r}; read it again and repeat"
        )


class InvalidCursorError(StoreError):
    """A list cannot go on from where a caller says that a page ended."""


class RevisionOutOfRangeError(StoreError):
    """The catalog has no such revision, or its history starts later."""

    def __init__(self, revision: int, first: int, last: int) -> None:
        self.revision = revision
        self.first = first
        self.last = last
        super().__init__(
            f"the catalog cannot be read at revision {revision}: its history has revisions {first} to "
            f"{last}; give one of them, or none for the current one"
        )


class InvalidEntryError(StoreError):
    """An entry breaks a rule that the database itself keeps, such as a figure that must be positive."""


class DatabaseError(StoreError):
    """The database cannot do what was asked.

    `problem` and `remedy` are fit for any caller; `location` (a file, or host and database name) is for those
    who run the service, and is the part of the message to leave out for others.
    """

    def __init__(self, problem: str, remedy: str, location: str) -> None:
        self.problem = problem
        self.remedy = remedy
        self.location = location
        super().__init__(f"{problem} ({location}); {remedy}")


class DatabaseUrlError(DatabaseError):
    """The database URL cannot be used."""


class DatabaseReadOnlyError(DatabaseError):
    """The database cannot be written."""


class DatabaseLockedError(DatabaseError):
    """Another process holds the database for longer than a caller waits."""


class DatabaseUnavailableError(DatabaseError):
    """The database does not answer, or is no database."""


class DatabaseUnreachableError(DatabaseUnavailableError):
    """Nothing answers where the database should be."""


class PoolExhaustedError(DatabaseUnavailableError):
    """All connections that this process may have are in use."""


class SchemaMismatchError(DatabaseError):
    """The database's schema is not the one of this release."""

    @classmethod
    def between(
        cls, found: str | None, expected: str, known: Sequence[str], location: str
    ) -> SchemaMismatchError:
        """`found` is the database's revision, None without a schema; `known` are this release's own."""
        if found is None:
            problem = f"the database has no Ridgeline schema; this release needs revision {expected}"
        elif found in known:
            problem = f"the database has schema revision {found}; this release needs the newer {expected}"
        else:
            problem = (
                f"the database has schema revision {found}, which is newer than this release's {expected}"
            )
        migratable = found is None or found in known
        remedy = (
            "run `ridgeline-server migrate`" if migratable else "upgrade Ridgeline, or use another database"
        )
        return cls(problem, remedy, location)
