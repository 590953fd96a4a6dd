"""Databases for the tests: a private PostgreSQL cluster, and fresh databases on it and on SQLite."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from ridgeline_migrations import upgrade
from ridgeline_server.store.database import sqlite_url
from tests.private_postgres import private_cluster

TEMPLATE = "ridgeline_template"


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores: tests that run servers wait for them half of their time."""
    return (os.cpu_count() or 1) + 1


class PostgresDatabases:
    """Makes and drops databases on a cluster."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        dsn = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._admin = psycopg.connect(dsn, autocommit=True)
        self._numbers = count(1)
        self._template_is_migrated = False

    def create(self, *, migrated: bool) -> str:
        """The URL of a new database. A migrated one is a copy of a template, which takes a few hundredths of
        a second.
        """
        if migrated and not self._template_is_migrated:
            self._admin.execute(f"CREATE DATABASE {TEMPLATE}")
            upgrade(self._url_of(TEMPLATE))
            self._template_is_migrated = True
        name = f"ridgeline_{next(self._numbers)}"
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE if migrated else 'template0'}")
        return self._url_of(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self._admin.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def close(self) -> None:
        """Close the connection that the databases are made by."""
        self._admin.close()

    def _url_of(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a private cluster's database `postgres`. Tests that need it fail when it cannot start."""
    with private_cluster() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_databases(postgres_url: str) -> Iterator[PostgresDatabases]:
    """Makes databases on the private cluster."""
    databases = PostgresDatabases(postgres_url)
    yield databases
    databases.close()


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file to copy."""
    path = tmp_path_factory.mktemp("template") / "ridgeline.sqlite3"
    upgrade(sqlite_url(path))
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Each of the supported databases in turn."""
    kind: str = request.param
    return kind


@pytest.fixture
def database_url(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh database with the schema and without entries, on each supported database in turn."""
    if database_kind == "sqlite":
        template: Path = request.getfixturevalue("migrated_sqlite_file")
        yield sqlite_url(Path(shutil.copy(template, tmp_path / "ridgeline.sqlite3")))
    else:
        databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
        url = databases.create(migrated=True)
        yield url
        databases.drop(url)


@pytest.fixture
def empty_database_url(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that nobody migrated, on each supported database in turn; on SQLite there is not
    even a file.
    """
    if database_kind == "sqlite":
        yield sqlite_url(tmp_path / "ridgeline.sqlite3")
    else:
        databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
        url = databases.create(migrated=False)
        yield url
        databases.drop(url)
