"""Connections to PostgreSQL that do not wait for ever.

PostgreSQL's own timeouts end what PostgreSQL works on. They do not help when it hangs, or when the network
swallows what is sent; then the driver would wait until the operating system gives up, many minutes later.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.waiting import Ready
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL

CONNECT_TIMEOUT_S = 3
"""For a new connection."""

PING_TIMEOUT_S = 2.0
"""For a connection of the pool to show that it still works."""

SPARE_S = 1.0
"""How much longer the driver waits than PostgreSQL should take, so that PostgreSQL's own error comes first.
"""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when nothing comes from PostgreSQL for `silence_limit_s`."""

    silence_limit_s = PING_TIMEOUT_S

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Wait for what PostgreSQL answers. Raises psycopg.OperationalError when it is silent too long."""
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, answering: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """The driver's steps; it wakes them in vain several times a second while nothing comes."""
        heard = time.monotonic()
        try:
            wanted = next(answering)
            while True:
                ready = yield wanted
                if ready != Ready.NONE:
                    heard = time.monotonic()
                elif time.monotonic() - heard > self.silence_limit_s:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer for {self.silence_limit_s:g} s")
                wanted = answering.send(ready)
        except StopIteration as end:
            return end.value


def postgresql_engine(
    url: URL, *, lock_timeout_s: float, statement_timeout_s: float, pool_size: int, pool_wait_s: float
) -> Engine:
    """An engine whose statements, and whose waits for a connection, are bounded. It connects lazily."""
    engine = create_engine(
        url,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        pool_pre_ping=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_wait_s,
    )

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, named: Any) -> BoundedConnection:  # noqa: ARG001
        return BoundedConnection.connect(*arguments, **named)

    @event.listens_for(engine, "connect")
    def set_timeouts(connection: BoundedConnection, record: object) -> None:  # noqa: ARG001
        # Not by startup options: connection poolers such as PgBouncer refuse those.
        connection.execute(f"SET lock_timeout = {round(lock_timeout_s * 1000)}")
        # To PostgreSQL 0 is no limit.
        limit_ms = round(statement_timeout_s * 1000) if math.isfinite(statement_timeout_s) else 0
        connection.execute(f"SET statement_timeout = {limit_ms}")
        connection.commit()

    @event.listens_for(engine, "checkout")
    def work(connection: BoundedConnection, record: object, proxy: object) -> None:  # noqa: ARG001
        connection.silence_limit_s = statement_timeout_s + SPARE_S

    @event.listens_for(engine, "checkin")
    def rest(connection: BoundedConnection | None, record: object) -> None:  # noqa: ARG001
        if connection is not None:
            connection.silence_limit_s = PING_TIMEOUT_S

    return engine
