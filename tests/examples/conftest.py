"""What the examples ask: a database with the built-in catalog, and a server on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ridgeline_server.store.database import sqlite_url
from tests.rpc.conftest import connected_over_the_wire


@pytest.fixture(scope="session")
def catalog_url(shipped_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the built-in catalog. Examples only read it."""
    return sqlite_url(Path(shutil.copy(shipped_sqlite_file, tmp_path_factory.mktemp("examples"))))


@pytest.fixture(scope="session")
def server(catalog_url: str) -> Iterator[str]:
    """HOST:PORT of a server of that catalog, with reflection and health."""
    with connected_over_the_wire(catalog_url) as client:
        yield client.target
