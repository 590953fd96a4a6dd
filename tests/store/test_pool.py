"""A pool of connections that is smaller than what asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import create_database_engine
from ridgeline_server.store.errors import PoolExhaustedError
from ridgeline_server.store.observer import StoreObserver


class Hearing(StoreObserver):
    """Notes what it hears of the pool."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.exhausted = 0

    def connection_waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def pool_exhausted(self) -> None:
        self.exhausted += 1


@pytest.fixture
def small_store(database_url: str) -> Iterator[CatalogStore]:
    """A store with two connections, for which nobody waits long."""
    store = CatalogStore(create_database_engine(database_url, pool_size=2, pool_wait_s=0.05))
    yield store
    store.close()


def test_a_call_without_a_connection_fails_with_the_setting_that_helps(small_store: CatalogStore) -> None:
    hearing = Hearing()
    small_store.database.observe(hearing)
    with small_store.database.reading(), small_store.database.reading():
        with pytest.raises(PoolExhaustedError, match="RIDGELINE_DATABASE_POOL_SIZE"):
            small_store.revision()
        with pytest.raises(PoolExhaustedError):
            small_store.revision()  # each waits for itself: a full pool is no outage
    assert small_store.revision() == 0
    assert hearing.exhausted == 2
    assert len(hearing.waits) == 3


def test_connections_come_back_whatever_happened(small_store: CatalogStore) -> None:
    for _ in range(10):
        with pytest.raises(ZeroDivisionError), small_store.database.reading():
            raise ZeroDivisionError
    with small_store.database.reading(), small_store.database.reading():
        pass
