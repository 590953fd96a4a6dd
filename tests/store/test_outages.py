"""PostgreSQL that is stopped, hangs or is cut off: how calls fail meanwhile, and that all recovers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import Connection, event, text

from ridgeline_migrations import upgrade
from ridgeline_server.store import postgresql
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import create_database_engine
from ridgeline_server.store.errors import (
    DatabaseUnavailableError,
    DatabaseUnreachableError,
)
from tests.cut_proxy import CutProxy
from tests.private_postgres import Cluster, controlled_cluster
from tests.store.samples import device

LIMIT_S = 30.0
"""For what would otherwise hang."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of these tests alone, with Ridgeline's schema and one device."""
    with controlled_cluster() as cluster:
        upgrade(cluster.url)
        with closing(CatalogStore(create_database_engine(cluster.url))) as store:
            store.hardware.create(device("x100"))
        yield cluster


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is over sooner than in production."""
    monkeypatch.setattr(postgresql, "PING_TIMEOUT_S", 0.3)
    monkeypatch.setattr(postgresql.BoundedConnection, "silence_limit_s", 0.3)
    monkeypatch.setattr(postgresql, "CONNECT_TIMEOUT_S", 2)
    monkeypatch.setattr(postgresql, "SPARE_S", 0.2)


@contextmanager
def opened(url: str) -> Iterator[CatalogStore]:
    """A server's store, whose database may take a second over a statement."""
    with closing(CatalogStore(create_database_engine(url, statement_timeout_s=1.0))) as store:
        store.revision()
        yield store


def connections_tried(store: CatalogStore) -> list[object]:
    """The connections that a store tries to make from now on."""
    tried: list[object] = []
    event.listen(store.database.engine, "do_connect", lambda *arguments: tried.append(arguments))
    return tried


def ask_while_hanging(cluster: Cluster, connection: Connection) -> None:
    """Ask once with an answer, and once without."""
    connection.execute(text("SELECT 1"))
    with cluster.hanging():
        connection.execute(text("SELECT 2"))


def ask_when_cut(proxy: CutProxy, connection: Connection) -> None:
    """Ask on a connection that is not there any more."""
    proxy.cut()
    connection.execute(text("SELECT 1"))


def until_back(ask: Callable[[], object]) -> None:
    """Ask again until there is an answer."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            ask()
        except DatabaseUnavailableError:
            assert time.monotonic() < deadline, "the database stays away"
            time.sleep(0.05)
        else:
            return


def test_a_server_that_is_stopped_is_told_and_found_again(cluster: Cluster) -> None:
    with opened(cluster.url) as store:
        cluster.stop()
        try:
            for _ in range(3):
                with pytest.raises(DatabaseUnreachableError, match="does not answer"):
                    store.hardware.get("x100")
            with pytest.raises(DatabaseUnreachableError):
                store.hardware.create(device("z300"))
        finally:
            cluster.start()
        until_back(store.revision)
        assert store.hardware.get("x100").entry.id == "x100"


def test_a_connection_that_was_cut_off_while_it_rested_is_no_failure(cluster: Cluster) -> None:
    with opened(cluster.url) as store:
        cluster.stop()
        cluster.start()
        assert store.hardware.get("x100").entry.id == "x100"


@pytest.mark.usefixtures("impatient")
def test_a_server_that_hangs_holds_up_one_call_and_fails_the_others_at_once(cluster: Cluster) -> None:
    with opened(cluster.url) as store, cluster.hanging():
        with pytest.raises(DatabaseUnreachableError):
            store.revision()
        attempts = connections_tried(store)
        for _ in range(20):
            with pytest.raises(DatabaseUnreachableError):
                store.revision()
        assert attempts == []
    with opened(cluster.url) as store:
        with cluster.hanging(), pytest.raises(DatabaseUnreachableError):
            store.revision()
        until_back(store.revision)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_stops_answering_within_a_transaction_is_given_up(cluster: Cluster) -> None:
    with opened(cluster.url) as store:
        with pytest.raises(DatabaseUnreachableError), store.database.reading() as connection:
            ask_while_hanging(cluster, connection)
        until_back(store.revision)


@pytest.mark.usefixtures("impatient")
def test_a_statement_that_takes_too_long_is_ended_by_the_server(cluster: Cluster) -> None:
    with opened(cluster.url) as store:
        with (
            pytest.raises(DatabaseUnavailableError, match="took too long") as raised,
            store.database.reading() as connection,
        ):
            connection.execute(text("SELECT pg_sleep(20)"))
        assert not isinstance(raised.value, DatabaseUnreachableError)
        assert store.revision() > 0


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[CutProxy]:
    """A proxy in front of the cluster."""
    with closing(CutProxy(cluster.socket)) as proxy:
        yield proxy


@pytest.fixture
def proxied_url(proxy: CutProxy) -> str:
    """The URL of the cluster's database, through the proxy."""
    return f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/postgres?sslmode=disable"


@pytest.mark.usefixtures("impatient")
def test_a_network_that_swallows_everything_is_noticed_and_found_mended(
    proxy: CutProxy, proxied_url: str
) -> None:
    with opened(proxied_url) as store:
        proxy.swallow()
        with pytest.raises(DatabaseUnreachableError):
            store.revision()
        proxy.mend()
        until_back(store.revision)


def test_a_connection_that_is_cut_within_a_write_writes_nothing(proxy: CutProxy, proxied_url: str) -> None:
    with opened(proxied_url) as store:
        before = store.revision()
        with pytest.raises(DatabaseUnreachableError), store.database.writing() as write:
            ask_when_cut(proxy, write.connection)
        # A single connection that broke is no outage: the next call makes another.
        assert store.revision() == before
        assert store.hardware.create(device("y200")).entry.id == "y200"


@pytest.mark.usefixtures("impatient")
def test_questions_are_answered_from_memory_meanwhile(cluster: Cluster) -> None:
    with opened(cluster.url) as store:
        now = [100.0]
        cache = CatalogCache(store, max_age_s=1.0, stale_s=60.0, clock=lambda: now[0])
        known = cache.snapshot()
        assert known.hardware("x100").id == "x100"
        with cluster.hanging():
            now[0] += 30.0
            stale = cache.snapshot(may_be_stale=True)
            assert stale.revision == known.revision
            assert stale.unconfirmed_s == 30.0
            assert stale.hardware("x100").id == "x100"
            with pytest.raises(DatabaseUnreachableError):
                stale.hardware("y200")  # nobody asked for it before
            with pytest.raises(DatabaseUnreachableError):
                cache.snapshot()
            now[0] += 31.0
            with pytest.raises(DatabaseUnreachableError):
                cache.snapshot(may_be_stale=True)
        until_back(cache.snapshot)
        assert cache.snapshot(may_be_stale=True).unconfirmed_s is None


def test_who_may_have_a_stale_catalog_does_not_wait_for_a_database_that_hangs(cluster: Cluster) -> None:
    """One call finds out, which takes as long as the driver waits; the others have their answer meanwhile."""
    with opened(cluster.url) as store:
        now = [100.0]
        cache = CatalogCache(store, max_age_s=1.0, stale_s=60.0, clock=lambda: now[0])
        cache.snapshot()
        finding_out = threading.Thread(target=cache.snapshot, kwargs={"may_be_stale": True})
        with cluster.hanging():
            now[0] += 2.0
            finding_out.start()
            while not cache._lock.locked():
                time.sleep(0.001)
            assert cache.snapshot(may_be_stale=True).unconfirmed_s == 2.0
            assert finding_out.is_alive()
        finding_out.join(LIMIT_S)
        assert not finding_out.is_alive()
