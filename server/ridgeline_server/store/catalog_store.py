"""The stored catalog, the measurements and the tokens: the repositories of one database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from ridgeline_server.store.database import LOCK_TIMEOUT_S, Database
from ridgeline_server.store.hardware import HardwareRepository
from ridgeline_server.store.measurements import MeasurementRepository
from ridgeline_server.store.models import ModelRepository
from ridgeline_server.store.profiles import ProfileRepository
from ridgeline_server.store.repository import Repository
from ridgeline_server.store.revisions import current_revision
from ridgeline_server.store.tokens import TokenRepository


class CatalogStore:
    """The catalog in one database. Threads may share it."""

    def __init__(self, engine: Engine, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        """The database must have the schema of this release; `startup.open_catalog` sees to that."""
        self.database = Database(engine, lock_timeout_s=lock_timeout_s)
        self.hardware = HardwareRepository(self.database)
        self.models = ModelRepository(self.database)
        self.profiles = ProfileRepository(self.database)
        self.measurements = MeasurementRepository(self.database)
        self.tokens = TokenRepository(self.database)

    @property
    def repositories(self) -> tuple[Repository[Any], ...]:
        """Those of the catalog's entries, which have revisions."""
        return (self.hardware, self.models, self.profiles)

    def revision(self) -> int:
        """The catalog's revision; it grows with every write."""
        with self.database.reading() as connection:
            return current_revision(connection)

    def close(self) -> None:
        """Close the connections."""
        self.database.close()
