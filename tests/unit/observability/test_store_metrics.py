"""What is told of a pool's connections, whatever becomes of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, QueuePool, create_engine, text
from sqlalchemy.exc import OperationalError

from ridgeline_server.observability.store_metrics import StoreMetrics


class Watched:
    """An engine on a database that can be away, and what its metrics say."""

    def __init__(self) -> None:
        self.is_away = False
        self.registry = CollectorRegistry()
        self.engine: Engine = create_engine(
            "sqlite://", creator=self._connect, poolclass=QueuePool, pool_pre_ping=True
        )
        StoreMetrics(self.registry).watch_pool(self.engine)

    def _connect(self) -> sqlite3.Connection:
        if self.is_away:
            raise sqlite3.OperationalError("the database is away")
        return sqlite3.connect(":memory:", check_same_thread=False)

    def connections(self, state: str) -> float | None:
        """How many are open, or in use."""
        return self.registry.get_sample_value("ridgeline_database_connections", {"state": state})


@pytest.fixture
def watched() -> Iterator[Watched]:
    found = Watched()
    yield found
    found.engine.dispose()


def test_connections_are_counted_while_they_are_in_use(watched: Watched) -> None:
    assert watched.connections("in_use") == 0
    with watched.engine.connect() as one, watched.engine.connect():
        one.execute(text("SELECT 1"))
        assert (watched.connections("open"), watched.connections("in_use")) == (2, 2)
    assert (watched.connections("open"), watched.connections("in_use")) == (2, 0)


@pytest.mark.parametrize("pooled", [0, 1])
def test_connections_that_could_not_be_made_were_never_in_use(watched: Watched, pooled: int) -> None:
    """Whether a pool had none or finds that the one it had is dead."""
    for _ in range(pooled):
        with watched.engine.connect() as connection:
            driver = connection.connection.driver_connection
        assert driver is not None
        driver.close()
    watched.is_away = True
    for _ in range(3):
        with pytest.raises(OperationalError):
            watched.engine.connect()
    assert (watched.connections("open"), watched.connections("in_use")) == (0, 0)
    watched.is_away = False
    with watched.engine.connect():
        assert watched.connections("in_use") == 1
    assert watched.connections("in_use") == 0


def test_a_connection_that_broke_is_in_use_until_it_is_given_back(watched: Watched) -> None:
    with watched.engine.connect() as connection:
        connection.invalidate()
        assert watched.connections("open") == 0
    assert watched.connections("in_use") == 0
