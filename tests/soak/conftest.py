"""Empty catalogs for the soaks' short forms."""

from __future__ import annotations

import pytest

from tests.soak.databases import mark_seeded


@pytest.fixture
def catalog_url(database_url: str) -> str:
    """The URL of a catalog that stays without entries, on each database in turn."""
    mark_seeded(database_url)
    return database_url
