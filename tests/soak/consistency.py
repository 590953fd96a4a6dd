"""What holds in every catalog, whatever happened to its servers, read from its tables without the service."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, Table, and_, exists, func, select, text

from ridgeline_server.store import tables
from ridgeline_server.store.database import create_database_engine
from ridgeline_server.store.entry_names import owner_column

ENTRIES = (
    (tables.hardware, tables.hardware_names),
    (tables.models, tables.model_names),
    (tables.efficiency_profiles, tables.efficiency_profile_names),
)


def check_catalog(database_url: str) -> None:
    """Raises AssertionError for a catalog that contradicts itself."""
    engine = create_database_engine(database_url)
    try:
        with engine.connect() as connection:
            _check_file(engine, connection)
            _check_revisions(connection)
            for entries, names in ENTRIES:
                _check_versions(connection, entries)
                _check_names(connection, entries, names)
    finally:
        engine.dispose()


def _check_file(engine: Engine, connection: Connection) -> None:
    if engine.dialect.name == "sqlite":
        assert connection.execute(text("PRAGMA integrity_check")).scalars().all() == ["ok"]
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []


def _check_revisions(connection: Connection) -> None:
    """Each revision up to the current one has an author, and none is beyond it."""
    revision = connection.execute(select(tables.catalog_state.c.revision)).scalar_one()
    of_all = tables.revisions.c.revision
    first, last, count = connection.execute(select(func.min(of_all), func.max(of_all), func.count())).one()
    assert last == revision
    assert count == last - first + 1


def _check_versions(connection: Connection, entries: Table) -> None:
    """A version begins and ends with revisions that are there, and no two of an entry hold at once."""
    columns, authors = entries.c, tables.revisions.c
    for end in (columns.since_revision, columns.until_revision):
        unknown = select(columns.id).where(end.is_not(None), ~exists().where(authors.revision == end))
        assert connection.execute(unknown).all() == []
    other = entries.alias().c
    both = and_(
        other.id == columns.id,
        other.since_revision > columns.since_revision,
        func.coalesce(columns.until_revision, 2**31 - 1) > other.since_revision,
    )
    assert connection.execute(select(columns.id).where(exists().where(both))).all() == []


def _check_names(connection: Connection, entries: Table, names: Table) -> None:
    """Each version has its id as its first name, and its names end with it."""
    columns, owner = names.c, owner_column(names)
    of_version = and_(owner == entries.c.id, columns.since_revision == entries.c.since_revision)
    first = exists().where(of_version, columns.position == 0, columns.name == entries.c.id)
    assert connection.execute(select(entries.c.id).where(~first)).all() == []
    together = func.coalesce(columns.until_revision, 0) == func.coalesce(entries.c.until_revision, 0)
    apart = select(entries.c.id).join(names, of_version).where(~together)
    assert connection.execute(apart).all() == []
