"""Revision 0002 keeps what a database of 0001 holds, as the first versions of its history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, make_url, text

import ridgeline_migrations
from ridgeline_migrations import upgrade
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import create_database_engine, create_sqlite_file
from ridgeline_server.store.entries import Origin
from ridgeline_server.store.errors import NotFoundError, RevisionOutOfRangeError
from ridgeline_server.store.history import ChangeQuery, list_changes
from tests.store.samples import device, model

ROWS = (
    "UPDATE catalog_state SET revision = 41, seeded_digest = 'old'",
    """
    INSERT INTO hardware VALUES (
        'x100', 'Example', 'Acme', 'gpu', 2020, 8e10, NULL, 2e12, 'L', 3e11, 400, NULL, '["a note"]', 'user',
        'etag-1', '2026-01-02 03:04:05+00:00', '2026-02-03 04:05:06+00:00'
    )
    """,
    "INSERT INTO hardware_names VALUES ('x100', 'x100', 'x100', 0), ('fast-one', 'Fast One', 'x100', 1)",
    "INSERT INTO hardware_peaks VALUES ('x100', 'bf16', 3e14)",
    """
    INSERT INTO hardware_figure_sources
    VALUES ('x100', 'memory_bytes', 'sheet', '2026-01-01', 'high', 'as printed')
    """,
    "INSERT INTO seeded_entries VALUES ('hardware', 'removed', 'hash')",
)
"""A catalog as release 0.1.0 may have left it, in columns of revision 0001."""


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    """A database of revision 0001 with entries."""
    database = make_url(empty_database_url)
    if database.get_backend_name() == "sqlite":
        create_sqlite_file(Path(str(database.database)), 5.0)
    engine = create_database_engine(empty_database_url)
    config = Config(attributes={"engine": engine})
    config.set_main_option("script_location", str(Path(ridgeline_migrations.__file__).parent))
    command.upgrade(config, "0001")
    with engine.begin() as connection:
        for statement in ROWS:
            connection.execute(text(statement.replace(":", r"\:")))
        connection.execute(
            text(
                "INSERT INTO models VALUES ('o/m', '', :config, 'src', '[]', 'llama', 1e9, 'bf16', 'builtin',"
                r" 'etag-2', '2026-01-02 03\:04\:05+00\:00', '2026-01-02 03\:04\:05+00\:00')"
            ),
            {"config": model().config_json},
        )
        connection.execute(text("INSERT INTO model_names VALUES ('o/m', 'o/m', 'o/m', 0)"))
    yield engine
    engine.dispose()


def test_entries_names_figures_and_etags_are_kept(engine: Engine) -> None:
    upgrade(engine)
    store = CatalogStore(engine)
    entry = store.hardware.get("fast_one").entry
    assert (entry.id, entry.aliases, entry.origin, entry.etag) == (
        "x100",
        ("Fast One",),
        Origin.USER,
        "etag-1",
    )
    assert (entry.hardware.bandwidth_bytes_per_s, dict(entry.hardware.peak_flops_per_s)) == (
        2e12,
        {"bf16": 3e14},
    )
    assert (entry.notes, entry.sources[0].note) == (("a note",), "as printed")
    assert entry.create_time is not None
    assert entry.create_time.isoformat() == "2026-01-02T03:04:05+00:00"
    assert store.models.get("o/m").entry.model.layer_count == 2
    assert store.hardware.get("fastone").entry == entry


def test_the_history_starts_with_them(engine: Engine) -> None:
    upgrade(engine)
    store = CatalogStore(engine)
    changes = list_changes(store, ChangeQuery()).changes
    assert [(c.key.revision, c.key.id, c.action, c.principal) for c in changes] == [
        (41, "x100", "created", "migration 0002"),
        (41, "o/m", "created", "migration 0002"),
    ]
    with pytest.raises(RevisionOutOfRangeError, match="has revisions 41 to 41"):
        store.hardware.get("x100", revision=40)
    store.hardware.update("x100", lambda entry: device("x100", bandwidth=9e12))
    store.models.delete("o/m")
    assert store.hardware.get("x100", revision=41).entry.hardware.bandwidth_bytes_per_s == 2e12
    assert store.models.get("o/m", revision=42).entry.id == "o/m"
    with pytest.raises(NotFoundError):
        store.models.get("o/m")


def test_what_seeding_remembers_is_kept(engine: Engine) -> None:
    upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT entry_id, content_hash FROM seeded_entries")).all() == [
            ("removed", "hash")
        ]
        left = connection.execute(text("SELECT revision, seeded_digest FROM catalog_state")).all()
    assert left == [(41, "old")]
