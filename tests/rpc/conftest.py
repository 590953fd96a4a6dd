"""The service over a real loopback port and in-process, on fresh and on seeded catalogs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import update

import ridgeline
from ridgeline_server.app import Server
from ridgeline_server.rpc.dispatch import Method, service_methods
from ridgeline_server.rpc.embedding import EmbeddedService
from ridgeline_server.store.builtin import builtin_digest
from ridgeline_server.store.database import create_database_engine, sqlite_url
from ridgeline_server.store.startup import open_catalog
from ridgeline_server.store.tables import catalog_state
from tests.rpc.ask import Ask, asker

Connect = Callable[[str], ridgeline.Client]

ANSWER_LIMIT_S = 20.0


@contextmanager
def running(methods: dict[str, Method]) -> Iterator[Server]:
    """A server of these rpcs on a free loopback port."""
    server = Server(methods, "127.0.0.1:0", threads=4)
    server.start()
    try:
        yield server
    finally:
        server.stop(0)


@contextmanager
def connected_over_the_wire(database_url: str) -> Iterator[ridgeline.Client]:
    """A client of a server of its own on a database."""
    store = open_catalog(database_url)
    try:
        with (
            running(service_methods(store)) as server,
            ridgeline.connect(server.address, timeout_s=ANSWER_LIMIT_S) as client,
        ):
            yield client
    finally:
        store.close()


@pytest.fixture(params=["wire", "embedded"])
def way(request: pytest.FixtureRequest) -> str:
    """Each way to the service in turn."""
    way: str = request.param
    return way


@pytest.fixture
def connect(way: str) -> Iterator[Connect]:
    """Connects to the service on a database, on each way in turn."""
    with ExitStack() as opened:

        def connect(database_url: str) -> ridgeline.Client:
            if way == "wire":
                return opened.enter_context(connected_over_the_wire(database_url))
            return opened.enter_context(ridgeline.connect(database_url=database_url))

        yield connect


@pytest.fixture
def empty_catalog_url(database_url: str) -> str:
    """A catalog without entries that counts as seeded, so that embedded mode leaves it empty."""
    engine = create_database_engine(database_url)
    with engine.begin() as connection:
        connection.execute(update(catalog_state).values(seeded_digest=builtin_digest()))
    engine.dispose()
    return database_url


@pytest.fixture
def ask(database_url: str) -> Iterator[Ask]:
    """Calls an rpc of CatalogService on a catalog without entries, on each database in turn."""
    service = EmbeddedService(open_catalog(database_url))
    yield asker(service)
    service.close()


@pytest.fixture(scope="session")
def seeded_database_url(shipped_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the built-in catalog. Tests only read it."""
    return sqlite_url(Path(shutil.copy(shipped_sqlite_file, tmp_path_factory.mktemp("seeded"))))


@pytest.fixture(scope="session")
def clients(seeded_database_url: str) -> Iterator[dict[str, ridgeline.Client]]:
    """A client for each way to the service on the built-in catalog."""
    with (
        connected_over_the_wire(seeded_database_url) as wire,
        ridgeline.connect(database_url=seeded_database_url) as embedded,
    ):
        yield {"wire": wire, "embedded": embedded}


@pytest.fixture
def client(clients: dict[str, ridgeline.Client], way: str) -> ridgeline.Client:
    """A client of the service on the built-in catalog, on each way in turn."""
    return clients[way]


@pytest.fixture
def new_sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that does not exist."""
    return sqlite_url(tmp_path / "new" / "ridgeline.sqlite3")
