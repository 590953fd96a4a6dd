"""The Alembic environment and versions of the Ridgeline database."""

from __future__ import annotations

import math
from pathlib import Path

from sqlalchemy import Engine, inspect, text

from ridgeline_server.store.database import (
    create_database_engine,
    create_sqlite_file,
    file_exists,
    location,
    sqlite_path,
)
from ridgeline_server.store.errors import SchemaMismatchError
from ridgeline_server.store.failures import translated_failures

REVISIONS = ("0001", "0002", "0003", "0004", "0005")
"""All schema revisions, oldest first. They stand here as well as in versions/ so that a start can compare
without loading Alembic; a test holds the two against each other.
"""

LOCK_TIMEOUT_S = 60.0
"""How long an upgrade waits for another one that is under way."""


def head() -> str:
    """The schema revision of this release."""
    return REVISIONS[-1]


def current(engine_or_url: Engine | str) -> str | None:
    """The database's schema revision; None where there is no schema, or no file yet. Raises DatabaseError."""
    if not isinstance(engine_or_url, Engine):
        engine = create_database_engine(engine_or_url)
        try:
            return current(engine)
        finally:
            engine.dispose()
    path = sqlite_path(engine_or_url.url)
    if path is not None and not file_exists(path):
        return None
    with translated_failures(location(engine_or_url.url)), engine_or_url.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return revision


def upgrade(engine_or_url: Engine | str, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
    """Bring the database's schema to this release's; a SQLite file is created with its directory where
    needed.

    All or nothing, and safe when several processes do it at once. Raises SchemaMismatchError for a schema
    that is newer than this release, and another DatabaseError for a database that cannot be reached or
    written.
    """
    url = engine_or_url.url if isinstance(engine_or_url, Engine) else engine_or_url
    # The migrations themselves tell PostgreSQL how long their statements may take.
    engine = create_database_engine(url, lock_timeout_s=lock_timeout_s, statement_timeout_s=math.inf)
    try:
        found = current(engine)
        if found == head():
            return
        if found not in (None, *REVISIONS):
            raise SchemaMismatchError.between(found, head(), REVISIONS, location(engine.url))
        path = sqlite_path(engine.url)
        if path is not None:
            create_sqlite_file(path, lock_timeout_s)
        with translated_failures(location(engine.url)):
            _run_alembic(engine)
    finally:
        engine.dispose()


def _run_alembic(engine: Engine) -> None:
    # Alembic takes 0.1 s to import, and most starts find nothing to do.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"engine": engine})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    command.upgrade(config, "head")
