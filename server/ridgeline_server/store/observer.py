"""What the store tells whoever watches it; by default nobody does."""

from __future__ import annotations

from enum import StrEnum


class CatalogRead(StrEnum):
    """Where a question's catalog came from."""

    CACHED = "cached"
    """From memory, without a look at the database."""
    CONFIRMED = "confirmed"
    """From memory, after the database said that nothing changed."""
    REFRESHED = "refreshed"
    """From the database, which had changed or was not read before."""
    STALE = "stale"
    """From memory, while the database is away."""
    FAILED = "failed"
    """From nowhere."""


class StoreObserver:
    """Hears what happens, on the thread that it happens on. Methods must be quick and may not raise."""

    def catalog_read(self, read: CatalogRead) -> None:
        """A question asked for the current catalog."""

    def catalog_checked(self, revision: int) -> None:
        """The database told that its catalog is at this revision."""

    def entry_read(self) -> None:
        """A question named an entry that the snapshot did not hold yet."""

    def connection_waited(self, seconds: float) -> None:
        """A transaction began after so long a wait for a connection."""

    def pool_exhausted(self) -> None:
        """A transaction did not begin, because no connection came free in time."""
