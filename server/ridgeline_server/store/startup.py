"""Opens the catalog: checks the schema, and for the embedded database also migrates and seeds."""

from __future__ import annotations

from sqlalchemy import Engine, select

from ridgeline_migrations import REVISIONS, current, head, upgrade
from ridgeline_server.store.builtin import builtin_digest
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import (
    POOL_SIZE,
    POOL_WAIT_S,
    STATEMENT_TIMEOUT_S,
    create_database_engine,
    location,
)
from ridgeline_server.store.errors import DatabaseReadOnlyError, SchemaMismatchError
from ridgeline_server.store.seed import seed
from ridgeline_server.store.tables import catalog_state


def open_catalog(
    url: str,
    *,
    threads: int = 1,
    pool_size: int | None = None,
    pool_wait_s: float = POOL_WAIT_S,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
) -> CatalogStore:
    """The catalog of a database that was migrated before, for `threads` callers at a time, each of which has
    a connection unless `pool_size` allows fewer.

    Raises DatabaseError where it cannot be served, in
    particular SchemaMismatchError for a schema that is missing, older or newer than this release's.
    """
    engine = create_database_engine(
        url,
        pool_size=max(threads, POOL_SIZE) if pool_size is None else pool_size,
        pool_wait_s=pool_wait_s,
        statement_timeout_s=statement_timeout_s,
    )
    try:
        _check_schema(engine, current(engine))
    except BaseException:
        engine.dispose()
        raise
    return CatalogStore(engine)


def open_embedded_catalog(url: str) -> CatalogStore:
    """The catalog of a database that this process may create, migrate and seed, and does where needed.

    Where nothing is needed, that costs two small queries and a hash of the catalog's files. A database that
    cannot be written serves what it has, as long as its schema is that of this release.
    """
    engine = create_database_engine(url)
    store = CatalogStore(engine)
    try:
        found = current(engine)
        if found in (None, *REVISIONS[:-1]):
            upgrade(engine)
            found = current(engine)
        _check_schema(engine, found)
        with store.database.reading() as connection:
            seeded_digest: str = connection.execute(select(catalog_state.c.seeded_digest)).scalar_one()
        if seeded_digest != builtin_digest():
            try:
                seed(store)
            except DatabaseReadOnlyError:
                if not seeded_digest:
                    raise
    except BaseException:
        engine.dispose()
        raise
    return store


def _check_schema(engine: Engine, found: str | None) -> None:
    if found != head():
        raise SchemaMismatchError.between(found, head(), REVISIONS, location(engine.url))
