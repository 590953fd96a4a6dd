"""The service itself, for pictures that must hold what real questions bring."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import ridgeline
from ridgeline.client import Client
from ridgeline_server.store.database import sqlite_url


@pytest.fixture(scope="package")
def client(shipped_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The service in this process, on a catalog of its own."""
    path = Path(shutil.copy(shipped_sqlite_file, tmp_path_factory.mktemp("catalog")))
    with ridgeline.connect(database_url=sqlite_url(path)) as connected:
        yield connected
