"""Versions of entries, and the cache of what was made of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

MAX_CACHED_BYTES = 64 * 2**20
"""Of one cache; a built-in entry takes some ten kilobytes."""


class VersionKey(NamedTuple):
    """One version of an entry. The etag is part of it, so that a database that was put back to an older copy
    and written anew is not answered from memory.
    """

    id: str
    since_revision: int
    etag: str


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class VersionCache(Generic[K, V]):
    """What was made of versions, those asked for last. A version never changes, so nothing here gets out of
    date. Threads may share it.
    """

    def __init__(self, size: Callable[[V], int], capacity_bytes: int = MAX_CACHED_BYTES) -> None:
        """`size` tells about how many bytes a value takes."""
        self._size = size
        self._capacity_bytes = capacity_bytes
        self._values: OrderedDict[K, V] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def find(self, keys: Iterable[K]) -> dict[K, V]:
        """Those of the versions that are in memory."""
        found: dict[K, V] = {}
        with self._lock:
            for key in keys:
                value = self._values.get(key)
                if value is not None:
                    self._values.move_to_end(key)
                    found[key] = value
        return found

    def keep(self, values: Mapping[K, V]) -> None:
        """Remember versions, and forget those that were not asked for longest."""
        with self._lock:
            for key, value in values.items():
                if key not in self._values:
                    self._bytes += self._size(value)
                    self._values[key] = value
            while self._bytes > self._capacity_bytes:
                _, value = self._values.popitem(last=False)
                self._bytes -= self._size(value)
