"""Versions of entries, and those that were read last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

MAX_CACHED_VERSIONS = 4096
"""Entries of one resource that are kept in memory; a few kilobytes each."""


class VersionKey(NamedTuple):
    """One version of an entry. The etag is part of it, so that a database that was put back to an older copy
    and written anew is not answered from memory.
    """

    id: str
    since_revision: int
    etag: str


E = TypeVar("E")


class VersionCache(Generic[E]):
    """The entries that were read last, by version. A version never changes, so nothing here gets out of date.
    Threads may share it.
    """

    def __init__(self, capacity: int = MAX_CACHED_VERSIONS) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[VersionKey, E] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, keys: Iterable[VersionKey]) -> dict[VersionKey, E]:
        """Those of the versions that are in memory."""
        found: dict[VersionKey, E] = {}
        with self._lock:
            for key in keys:
                entry = self._entries.get(key)
                if entry is not None:
                    self._entries.move_to_end(key)
                    found[key] = entry
        return found

    def keep(self, entries: Mapping[VersionKey, E]) -> None:
        """Remember versions, and forget those that were not asked for longest."""
        with self._lock:
            self._entries.update(entries)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
