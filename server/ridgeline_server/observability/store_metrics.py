"""Metrics of the catalog in memory and of the database behind it."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import Engine, QueuePool, event

from ridgeline_server.store.observer import CatalogRead, StoreObserver

WAIT_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)

TAKEN = "ridgeline_taken"
"""The mark of a pool's record whose connection is in use."""


class StoreMetrics(StoreObserver):
    """Counts what the store tells, and the connections of its pool."""

    def __init__(self, registry: CollectorRegistry) -> None:
        reads = Counter(
            "ridgeline_catalog_reads",
            "Questions for the current catalog, by where it came from.",
            ("source",),
            registry=registry,
        )
        self._reads = {read: reads.labels(read.value) for read in CatalogRead}
        self._checked = Gauge(
            "ridgeline_catalog_checked_timestamp_seconds",
            "When the catalog in memory was last found to be the database's; the time since is its age.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._revision = Gauge(
            "ridgeline_catalog_revision",
            "The revision of the catalog in memory.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._entries = Counter(
            "ridgeline_catalog_entry_reads",
            "Entries that were read from the database because a question named them first.",
            registry=registry,
        )
        connections = Gauge(
            "ridgeline_database_connections",
            "Connections to the database: open ones, and those of them in use.",
            ("state",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._open, self._in_use = connections.labels("open"), connections.labels("in_use")
        self._limit = Gauge(
            "ridgeline_database_connections_limit",
            "Connections that may be open.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._waits = Histogram(
            "ridgeline_database_connection_wait_seconds",
            "Seconds until a transaction had a connection and began.",
            buckets=WAIT_BUCKETS_S,
            registry=registry,
        )
        self._exhausted = Counter(
            "ridgeline_database_pool_exhausted",
            "Transactions that got no connection in time.",
            registry=registry,
        )

    def watch_pool(self, engine: Engine) -> None:
        """Count the connections of an engine, of which none are in use yet."""
        pool = engine.pool
        assert isinstance(pool, QueuePool), "the store makes no others"
        self._open.inc(pool.checkedin())
        self._limit.set(pool.size())

        def opened(connection: Any, record: object) -> None:  # noqa: ARG001
            self._open.inc()

        def closed(connection: Any, record: object) -> None:  # noqa: ARG001
            self._open.dec()

        # A record whose connection could not be made is returned without ever having been taken.
        def taken(connection: Any, record: Any, proxy: object) -> None:  # noqa: ARG001
            record.record_info[TAKEN] = True
            self._in_use.inc()

        def returned(connection: Any, record: Any) -> None:  # noqa: ARG001
            if record.record_info.pop(TAKEN, False):
                self._in_use.dec()

        event.listen(engine, "connect", opened)
        event.listen(engine, "close", closed)
        event.listen(engine, "checkout", taken)
        event.listen(engine, "checkin", returned)

    def catalog_read(self, read: CatalogRead) -> None:
        """A question asked for the current catalog."""
        self._reads[read].inc()

    def catalog_checked(self, revision: int) -> None:
        """The database told its revision."""
        self._checked.set_to_current_time()
        self._revision.set(revision)

    def entry_read(self) -> None:
        """A question named an entry for the first time."""
        self._entries.inc()

    def connection_waited(self, seconds: float) -> None:
        """A transaction began."""
        self._waits.observe(seconds)

    def pool_exhausted(self) -> None:
        """A transaction did not begin."""
        self._exhausted.inc()
