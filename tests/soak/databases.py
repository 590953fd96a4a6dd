"""Fresh databases for the soaks, kept as data that matter are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from sqlalchemy import make_url, update

from ridgeline_migrations import upgrade
from ridgeline_server.store.builtin import builtin_digest
from ridgeline_server.store.database import create_database_engine, sqlite_url
from ridgeline_server.store.seed import seed
from ridgeline_server.store.startup import open_catalog
from ridgeline_server.store.tables import catalog_state
from tests.private_postgres import DURABLE, private_cluster

KINDS = ("sqlite", "postgresql")
_NUMBERS = count(1)


@contextmanager
def fresh_database(kind: str) -> Iterator[str]:
    """The URL of a migrated database without entries: a SQLite file, or a database of a private PostgreSQL
    cluster that keeps what it has committed. It counts as seeded, so that it stays empty.
    """
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="ridgeline-soak-") as folder:
            url = sqlite_url(Path(folder) / "ridgeline.sqlite3")
            upgrade(url)
            mark_seeded(url)
            yield url
    else:
        with private_cluster(DURABLE) as cluster:
            with connected(cluster) as admin:
                name = f"soak_{next(_NUMBERS)}"
                admin.execute(f"CREATE DATABASE {name}")
            url = make_url(cluster).set(database=name).render_as_string(hide_password=False)
            upgrade(url)
            mark_seeded(url)
            yield url


def seeded(url: str) -> str:
    """The URL of a migrated database, which from now on holds the catalog that ships."""
    store = open_catalog(url)
    seed(store)
    store.close()
    return url


def mark_seeded(url: str) -> None:
    """Let a catalog count as seeded, so that it stays as it is."""
    engine = create_database_engine(url)
    with engine.begin() as connection:
        connection.execute(update(catalog_state).values(seeded_digest=builtin_digest()))
    engine.dispose()


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection]:
    """A PostgreSQL connection beside the service's own."""
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def deadlocks(url: str) -> int:
    """How many deadlocks PostgreSQL had to break. SQLite, where a writer holds the whole file, has none."""
    if url.startswith("sqlite"):
        return 0
    with connected(url) as connection:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        row = connection.execute(query).fetchone()
    assert row is not None
    found: int = row[0]
    return found
