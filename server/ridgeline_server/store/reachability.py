"""Whether the database answers, so that calls need not find out one by one while it is away.

The first call that finds it away waits as long as that takes. From then on one call at a time may try again,
after a while; all others fail at once. So an outage costs no threads, and ends for all with the first answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ridgeline_server.store.errors import DatabaseUnreachableError

RETRY_S = 1.0
"""For how long nobody tries after a try that failed."""


class Reachability:
    """What is known of one database. Threads may share it."""

    def __init__(self, *, retry_s: float = RETRY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._retry_s = retry_s
        self._clock = clock
        self._lock = threading.Lock()
        self._away: DatabaseUnreachableError | None = None
        self._next_try = 0.0
        self._is_tried = False

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Connect to the database within the block.

        What breaks afterwards says nothing of the next connection, which may be to another server. Raises
        DatabaseUnreachableError at once while the database is known to be away.
        """
        self._begin()
        try:
            yield
        except DatabaseUnreachableError as error:
            self._found(error)
            raise
        except BaseException:
            # Neither there nor away, such as where the own pool is exhausted.
            self._found(self._away)
            raise
        self._found(None)

    def _begin(self) -> None:
        with self._lock:
            away = self._away
            if away is not None and (self._is_tried or self._clock() < self._next_try):
                raise DatabaseUnreachableError(away.problem, away.remedy, away.location)
            self._is_tried = away is not None

    def _found(self, away: DatabaseUnreachableError | None) -> None:
        with self._lock:
            self._away, self._is_tried = away, False
            self._next_try = self._clock() + self._retry_s
