"""A lock that those who wait for it get in their order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Lets one thread at a time do something, in the order in which they asked. A plain lock goes to whoever
    comes when it is free, and one of many who wait may starve.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Event] = deque()

    @contextmanager
    def own(self, timeout_s: float) -> Iterator[None]:
        """Wait for the turn and have it for the block. Raises TimeoutError."""
        self._wait(timeout_s)
        try:
            yield
        finally:
            with self._lock:
                if self._waiting:
                    self._waiting.popleft().set()
                else:
                    self._taken = False

    def _wait(self, timeout_s: float) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        if mine.wait(timeout_s):
            return
        with self._lock:
            # The turn may have come between the end of the wait and here; then it is taken.
            if not mine.is_set():
                self._waiting.remove(mine)
                raise TimeoutError(f"the turn did not come within {timeout_s:g} s")
