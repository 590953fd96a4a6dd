"""Turns failures of the database drivers into the store's errors; the only place that knows the drivers'
codes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ridgeline_server.store.errors import (
    DatabaseLockedError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
    DatabaseUnreachableError,
    InvalidEntryError,
    PoolExhaustedError,
    SchemaMismatchError,
    StoreError,
)


@contextmanager
def translated_failures(location: str) -> Iterator[None]:
    """Raise the store's errors in place of the drivers'. Faults of Ridgeline's own statements pass."""
    try:
        yield
    except PoolTimeoutError as error:
        raise PoolExhaustedError(
            "all connections of this server to the database are in use",
            "repeat, allow it more connections by RIDGELINE_DATABASE_POOL_SIZE, or run more servers",
            location,
        ) from error
    except (DBAPIError, sqlite3.Error) as error:
        translated = _translated(error, location)
        if translated is None:
            raise
        raise translated from error


def _translated(error: DBAPIError | sqlite3.Error, location: str) -> StoreError | None:
    if isinstance(error, sqlite3.Error):
        return _from_sqlite(error, location)
    if isinstance(error.orig, sqlite3.Error):
        return _from_sqlite(error.orig, location)
    return _from_postgresql(error, location)


def _locked(location: str) -> StoreError:
    return DatabaseLockedError(
        "another process holds the database", "repeat when it has finished, or stop it", location
    )


def _foreign_schema(location: str) -> StoreError:
    return SchemaMismatchError(
        "the database holds other tables under the names of Ridgeline's", "use another database", location
    )


def _incomplete_schema(location: str) -> StoreError:
    return SchemaMismatchError(
        "the database lacks tables or columns of this release",
        "run `ridgeline-server migrate`, or upgrade Ridgeline",
        location,
    )


def _invalid(rule: str) -> StoreError:
    return InvalidEntryError(
        f"the entry breaks the database's rule {rule!r}; correct the value that it names"
    )


def _from_sqlite(error: sqlite3.Error, location: str) -> StoreError | None:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return _locked(location)
        case sqlite3.SQLITE_READONLY:
            return DatabaseReadOnlyError(
                "the database file or its directory cannot be written",
                "give this user write permission for both, or use another database",
                location,
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_IOERR:
            return DatabaseUnavailableError(
                "the database file cannot be opened or read",
                "check its path and permissions; `ridgeline-server migrate` creates a missing one",
                location,
            )
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return DatabaseUnavailableError(
                "the file is no SQLite database, or is damaged",
                "give another file, or restore a copy",
                location,
            )
        case sqlite3.SQLITE_FULL:
            return DatabaseUnavailableError("the disk is full", "free some space and repeat", location)
        case sqlite3.SQLITE_ERROR if "already exists" in str(error):
            return _foreign_schema(location)
        case sqlite3.SQLITE_ERROR if "no such table" in str(error) or "no such column" in str(error):
            return _incomplete_schema(location)
        case sqlite3.SQLITE_CONSTRAINT:
            return _invalid(str(error).rpartition(": ")[2])
        case _:
            return None


def _from_postgresql(error: DBAPIError, location: str) -> StoreError | None:
    cause = error.orig
    sqlstate = getattr(cause, "sqlstate", None) or ""
    diagnostics = getattr(cause, "diag", None)
    match sqlstate[:2], sqlstate:
        case _, "55P03" | "40P01" | "40001":
            return _locked(location)
        case _, "25006":
            return DatabaseReadOnlyError(
                "the database is read-only",
                "connect to its primary, or lift default_transaction_read_only",
                location,
            )
        case _, "42501":
            return DatabaseReadOnlyError(
                "the database user lacks a right",
                "grant it all rights on Ridgeline's tables and schema",
                location,
            )
        case _, "42P07":
            return _foreign_schema(location)
        case _, "42P01" | "42703":
            return _incomplete_schema(location)
        case "23", _:
            names = (getattr(diagnostics, field, None) for field in ("constraint_name", "column_name"))
            return _invalid(next((name for name in names if name), "unnamed"))
        case _, "57014":
            return DatabaseUnavailableError(
                "the database took too long over a statement", "repeat when it is less busy", location
            )
    if isinstance(error, DataError):
        return InvalidEntryError(
            "a value of the entry is out of the database's range, or a text holds a NUL character"
        )
    if (
        sqlstate[:2] in ("08", "53", "57")
        or error.connection_invalidated
        or (not sqlstate and _is_operational(cause))
    ):
        return _no_connection(str(cause), location)
    return None


def _is_operational(cause: BaseException | None) -> bool:
    """Whether psycopg blames the connection or the server, not the statement; it gives no code for a failed
    connection.
    """
    return any(kind.__name__ == "OperationalError" for kind in type(cause).__mro__)


def _no_connection(text: str, location: str) -> StoreError:
    """The driver's text is searched for the common causes and not passed on: it names users."""
    if "password" in text or "authentication" in text or "pg_hba" in text:
        return DatabaseUnavailableError(
            "PostgreSQL refuses the user or the password", "check both in the database URL", location
        )
    if "does not exist" in text:
        return DatabaseUnavailableError(
            "PostgreSQL has no such database or user", "create it, or correct the database URL", location
        )
    return DatabaseUnreachableError(
        "PostgreSQL does not answer", "check that it runs and that the database URL is right", location
    )
