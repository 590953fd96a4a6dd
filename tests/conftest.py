"""Databases for the tests: a private PostgreSQL cluster, and fresh databases on it and on SQLite."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from ridgeline_migrations import upgrade
from ridgeline_server.store.database import sqlite_url
from ridgeline_server.store.startup import open_embedded_catalog
from tests.private_postgres import private_cluster

MIGRATED, SHIPPED = "ridgeline_migrated", "ridgeline_shipped"
"""Databases to copy: with the schema alone, and with the catalog that ships too."""


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores: tests that run servers wait for them half of their time."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """The first worker collects before the others do, which then need not compile what it has compiled. None
    looks for garbage among what is there to stay.
    """
    gc.disable()
    try:
        with (session.config.rootpath / "pyproject.toml").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(lock, fcntl.LOCK_SH)
            return (yield)
    finally:
        gc.freeze()
        gc.enable()


class PostgresDatabases:
    """Makes and drops databases on a cluster."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        dsn = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._admin = psycopg.connect(dsn, autocommit=True)
        self._numbers = count(1)
        self._templates: set[str] = set()

    def create(self, *, migrated: bool) -> str:
        """The URL of a new database, with the schema or without anything."""
        return self._copy(self._template(MIGRATED, upgrade) if migrated else "template0")

    def create_shipped(self) -> str:
        """The URL of a new database with the catalog that ships."""
        return self._copy(self._template(SHIPPED, _start))

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self._admin.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def close(self) -> None:
        """Close the connection that the databases are made by."""
        self._admin.close()

    def _template(self, name: str, fill: Callable[[str], None]) -> str:
        if name not in self._templates:
            self._admin.execute(f"CREATE DATABASE {name}")
            fill(self._url_of(name))
            self._templates.add(name)
        return name

    def _copy(self, template: str) -> str:
        """A copy takes a few hundredths of a second, where to migrate and to seed take some seconds."""
        name = f"ridgeline_{next(self._numbers)}"
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._url_of(name)

    def _url_of(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)


def _start(url: str) -> None:
    """An embedded start, which makes, migrates and seeds a database."""
    open_embedded_catalog(url).close()


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
    return _made_once(tmp_path_factory, MIGRATED, upgrade)


@pytest.fixture(scope="session")
def shipped_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file to copy that an embedded start made, with the catalog that ships."""
    return _made_once(tmp_path_factory, SHIPPED, _start)


def _made_once(tmp_path_factory: pytest.TempPathFactory, name: str, fill: Callable[[str], None]) -> Path:
    """A database file that the first worker in need of it fills for all of them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = folder / f"{name}.sqlite3"
        if not path.exists():
            unfinished = folder / f"{name}.unfinished"
            fill(sqlite_url(unfinished))
            unfinished.rename(path)
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
def shipped_database_url(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh database that an embedded start made, with the catalog that ships, on each supported
    database in turn.
    """
    if database_kind == "sqlite":
        template: Path = request.getfixturevalue("shipped_sqlite_file")
        yield sqlite_url(Path(shutil.copy(template, tmp_path / "ridgeline.sqlite3")))
    else:
        databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
        url = databases.create_shipped()
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
