"""Looks after the database while a server runs, and tells the server's health what it can answer meanwhile.

While the database is away, the services that need it for every call are NOT_SERVING. Those that answer
questions from the catalog in memory stay SERVING, and so does the server as a whole, as long as that catalog
may be used: an orchestrator that took every replica out at once would turn an outage of writes into an outage
of everything. Afterwards nothing can be answered, and another replica, whose database may be there, is the
better one to ask.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from types import TracebackType
from typing import Self

from ridgeline_server.health import Health
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.errors import DatabaseError

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0

ANSWERED_FROM_MEMORY = frozenset({"ridgeline.v1.AnalysisService", "ridgeline.v1.RecommendationService"})
"""Services whose calls may be answered by a catalog in memory; all others need the database."""


class DatabaseWatch:
    """Watches the database on a thread of its own from entering to leaving."""

    def __init__(
        self,
        cache: CatalogCache,
        health: Health,
        services: Collection[str],
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._cache = cache
        self._health = health
        self._services = frozenset(services)
        self._interval_s = interval_s
        self._is_away = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="database-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        # A look at a database that hangs takes longer; nothing rests on its end.
        self._thread.join(self._interval_s)

    def look(self) -> None:
        """Look once."""
        try:
            self._cache.refresh()
        except DatabaseError as error:
            if not self._is_away:
                logger.error("the database is away: %s", error)
            self._is_away = True
            self._health.unavailable(self._unavailable())
        else:
            if self._is_away:
                logger.info("the database is back")
            self._is_away = False
            self._health.unavailable(())

    def _unavailable(self) -> frozenset[str]:
        if self._cache.can_answer_stale():
            return self._services - ANSWERED_FROM_MEMORY
        return self._services | {""}

    def _watch(self) -> None:
        while True:
            try:
                self.look()
            except Exception:  # a fault of Ridgeline's own ends one look, not the watch
                logger.exception("the look at the database failed")
            if self._stopped.wait(self._interval_s):
                return
