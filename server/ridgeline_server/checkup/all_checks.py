"""All checks, in the order in which they are told. To add one, write a function and name it here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ridgeline_server.checkup import access, database, host
from ridgeline_server.checkup.finding import Finding, Severity, error, ok
from ridgeline_server.command_errors import exit_code_of
from ridgeline_server.settings import Settings
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.errors import DatabaseError
from ridgeline_server.store.startup import open_catalog

CHECKS: tuple[Callable[[Settings], Iterable[Finding]], ...] = (
    access.exposure,
    access.certificate,
    host.address,
    host.metrics,
    host.cores,
)
"""Checks that need no database."""

DATABASE_CHECKS: tuple[Callable[[Settings, CatalogStore], Iterable[Finding]], ...] = (
    database.seeded,
    database.connections,
    database.clock,
    database.file,
)
"""Checks of a database that can be served."""


def look_over(settings: Settings) -> Iterator[Finding]:
    """What all checks find; those of the database only where it can be opened."""
    yield from _database(settings)
    for check in CHECKS:
        yield from check(settings)


def exit_code(findings: Iterable[Finding]) -> int:
    """That of the first error; 0 where there is none."""
    return next((each.exit_code for each in findings if each.severity is Severity.ERROR), 0)


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        store = open_catalog(settings.database_url)
    except DatabaseError as problem:
        message = f"{problem.problem} ({problem.location})"
        yield error("database", message, problem.remedy, exit_code_of(problem))
        return
    try:
        told = f"can be served; its catalog is at revision {store.revision()}"
        yield ok("database", f"{store.database.location} {told}")
        for check in DATABASE_CHECKS:
            yield from check(settings, store)
    except DatabaseError as problem:
        message = f"{problem.problem} ({problem.location})"
        yield error("database", message, problem.remedy, exit_code_of(problem))
    finally:
        store.close()
