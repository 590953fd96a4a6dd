"""A thread pool that knows how many calls it has, how many it takes, and what is left to do after one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from typing import Any

logger = logging.getLogger(__name__)

RECENT = 0.1
"""The weight of the newest call in the mean of what calls take."""

_THREAD = threading.local()
"""Its `left` are what to run after this thread's call. No context variable: grpcio gives handlers an empty
context.
"""


def afterwards(work: Callable[[], None]) -> None:
    """Do what nobody waits for once the call that this thread has is over and its reply under way; at once
    outside of a bounded pool.
    """
    left = getattr(_THREAD, "left", None)
    if left is None:
        work()
    else:
        left.append(work)


@dataclass(frozen=True)
class Limit:
    """The threads of a pool, the calls that may wait for one, and for how long what is before them may be
    expected to take.
    """

    threads: int
    queued: int
    wait_s: float = inf

    @property
    def calls(self) -> int:
        """The calls that are taken at a time."""
        return self.threads + self.queued


class BoundedPool(ThreadPoolExecutor):
    """Counts what was submitted and has not ended.

    A call is counted here and not in its handler: grpcio never calls the handler of a call whose client left
    before its request had come, and whatever such a handler should have given back would be lost.
    """

    def __init__(self, name: str, limit: Limit) -> None:
        super().__init__(limit.threads, thread_name_prefix=name)
        self.limit = limit
        self._lock = threading.Lock()
        self._count = 0
        self._mean_s = 0.0

    @property
    def count(self) -> int:
        """The calls that are answered now or wait for a thread."""
        return self._count

    @property
    def has_room(self) -> bool:
        """Whether one more call is taken. Only the thread that submits calls may rely on it."""
        count, limit = self._count, self.limit
        return count < limit.threads or (count < limit.calls and self.wait_s < limit.wait_s)

    @property
    def wait_s(self) -> float:
        """How long it takes until all calls of now are done, if they take as long as those before."""
        return self._mean_s * self._count / self.limit.threads

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Count the work and have a thread do it."""
        self._add(1)
        try:
            future = super().submit(self._timed, work, *arguments, **named)
        except BaseException:
            self._add(-1)
            raise
        future.add_done_callback(lambda _: self._add(-1))
        return future

    def _timed(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        left: list[Callable[[], None]] = []
        _THREAD.left = left
        start = time.perf_counter()
        try:
            return work(*arguments, **named)
        finally:
            # Two threads that write at the same time lose one of many samples, which changes nothing.
            self._mean_s += RECENT * (time.perf_counter() - start - self._mean_s)
            _THREAD.left = None
            for each in left:
                try:
                    each()
                except Exception:  # the next one, such as a gauge that is to fall, is to be done all the same
                    logger.exception("what was left to do after a call failed")

    def _add(self, number: int) -> None:
        with self._lock:
            self._count += number
