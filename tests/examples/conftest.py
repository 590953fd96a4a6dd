"""What the examples ask: a database with the built-in catalog, and a server on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ridgeline_server.store.database import sqlite_url
from ridgeline_server.store.startup import open_embedded_catalog
from tests.rpc.conftest import connected_over_the_wire


@pytest.fixture(scope="session")
def catalog_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the built-in catalog. Examples only read it."""
    url = sqlite_url(tmp_path_factory.mktemp("examples") / "ridgeline.sqlite3")
    open_embedded_catalog(url).close()
    return url


@pytest.fixture(scope="session")
def server(catalog_url: str) -> Iterator[str]:
    """HOST:PORT of a server of that catalog, with reflection and health."""
    with connected_over_the_wire(catalog_url) as client:
        yield client.target
