"""Revision 0004 gives what a database of 0003 holds the values that change nothing, and can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, inspect, make_url, text

import ridgeline_migrations
from ridgeline_migrations import upgrade
from ridgeline_server.domain.efficiency import OperatorClass
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import WRITES, create_database_engine, create_sqlite_file
from tests.store.samples import device, profile

TIME = r"'2026-01-02 03\:04\:05+00\:00'"
TIMES = f"{TIME}, {TIME}"
ROWS = (
    "UPDATE catalog_state SET revision = 2",
    f"INSERT INTO revisions VALUES (1, 'local', {TIME}), (2, 'local', {TIME})",
    *(
        f"""
        INSERT INTO efficiency_profiles (
            id, since_revision, until_revision, operator_class, hardware_id, engine,
            launch_time_us, launch_time_us_low, launch_time_us_high,
            compute_efficiency, compute_efficiency_low, compute_efficiency_high,
            memory_efficiency, memory_efficiency_low, memory_efficiency_high,
            overlap_exponent, evidence_count, source, origin, etag, create_time, update_time
        ) VALUES (
            'old', {since}, {until}, 'gemm', 'x100', 'vllm', {launch}, 1, 9, 0.6, 0.5, 0.7, 0.8, 0.7, 1,
            2, 12, 'a fit', 'user', 'etag-{since}', {TIMES}
        )
        """
        for since, until, launch in ((1, 2, 3), (2, "NULL", 4))
    ),
    """
    INSERT INTO efficiency_profile_names VALUES
    ('old', 1, 2, 'old', 'old', 'old', 0), ('old', 2, NULL, 'old', 'old', 'old', 0)
    """,
    f"""
    INSERT INTO hardware (
        id, since_revision, display_name, vendor, kind, memory_bytes, bandwidth_bytes_per_s, link_kind,
        unsupported_dtypes, notes, origin, etag, create_time, update_time
    ) VALUES ('x100', 1, '', '', 'gpu', 8e10, 2e12, '', '[]', '[]', 'user', 'etag', {TIMES})
    """,
    "INSERT INTO hardware_names VALUES ('x100', 1, NULL, 'x100', 'x100', 'x100', 0)",
)
"""A catalog in columns of revision 0003: a profile that was changed once, and a device."""


def to_revision(engine: Engine, revision: str) -> None:
    """Bring a database up or down to a revision."""
    config = Config(attributes={"engine": engine})
    config.set_main_option("script_location", str(Path(ridgeline_migrations.__file__).parent))
    with engine.connect() as connection:
        known = inspect(connection).has_table("efficiency_profiles")
    (command.downgrade if known else command.upgrade)(config, revision)


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    """A database of revision 0003 with entries."""
    database = make_url(empty_database_url)
    if database.get_backend_name() == "sqlite":
        create_sqlite_file(Path(str(database.database)), 5.0)
    engine = create_database_engine(empty_database_url)
    to_revision(engine, "0003")
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        for statement in ROWS:
            connection.execute(text(statement))
    yield engine
    engine.dispose()


def test_profiles_of_before_are_for_any_model_and_release(engine: Engine) -> None:
    upgrade(engine)
    store = CatalogStore(engine)
    for revision, launch_time_us in ((1, 3.0), (None, 4.0)):
        found = store.profiles.get("old", revision=revision).entry.profile
        assert found.launch_time_us.value == launch_time_us
        assert (found.model_id, found.since_version, found.since_date) == ("", "", "")
        assert (found.relatives, dict(found.further)) == ((), {})
    assert store.hardware.get("x100").entry.hardware.clock_hz is None


def test_entries_with_the_new_columns_follow_those_of_before(engine: Engine) -> None:
    upgrade(engine)
    store = CatalogStore(engine)
    changed = profile("old").profile
    store.profiles.update("old", lambda entry: replace(entry, profile=changed))
    assert store.profiles.get("old").entry.profile == changed
    assert store.profiles.get("old", revision=2).entry.profile.further == {}
    store.hardware.update("x100", lambda entry: device("x100"))
    assert store.hardware.get("x100").entry.hardware.clock_hz == 1.41e9


def test_what_the_revision_before_has_no_words_for_goes_with_a_downgrade(engine: Engine) -> None:
    """A model's constants would be taken for any model's."""
    with engine.connect() as connection:
        tables = {name: columns_of(engine, name) for name in inspect(connection).get_table_names()}
    upgrade(engine)
    store = CatalogStore(engine)
    of_a_model = profile("of-a-model")
    store.profiles.create(of_a_model)
    requests = replace(of_a_model.profile, id="requests", model_id="", since_version="")
    for operator_class in (OperatorClass.REQUEST, OperatorClass.ENGINE_MEMORY):
        foreign = replace(
            requests, id=f"of-{operator_class}".replace("_", "-"), operator_class=operator_class
        )
        store.profiles.create(replace(of_a_model, profile=foreign))
    kept = replace(requests, id="kept")
    store.profiles.create(replace(of_a_model, profile=kept))
    to_revision(engine, "0003")
    assert {name: columns_of(engine, name) for name in tables} == tables
    with engine.connect() as connection:
        query = "SELECT {} FROM {} WHERE until_revision IS NULL ORDER BY 1"
        for columns, table in (("id", "efficiency_profiles"), ("name", "efficiency_profile_names")):
            left = connection.execute(text(query.format(columns, table))).scalars().all()
            assert left == ["kept", "old"]
    upgrade(engine)
    assert store.profiles.get("old", revision=1).entry.profile.launch_time_us.value == 3.0
    assert store.profiles.get("kept").entry.profile == replace(kept, since_date="", relatives=(), further={})


def columns_of(engine: Engine, table: str) -> dict[str, tuple[str, bool]]:
    """The columns of a table with their types, and whether they may be null."""
    with engine.connect() as connection:
        return {
            column["name"]: (str(column["type"]), column["nullable"])
            for column in inspect(connection).get_columns(table)
        }
