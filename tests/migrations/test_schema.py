"""The schema that the migrations make is the one that the code describes, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Engine, inspect, text

import ridgeline_migrations
from ridgeline_server.store.database import create_database_engine
from ridgeline_server.store.tables import metadata


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine for a migrated database."""
    engine = create_database_engine(database_url)
    yield engine
    engine.dispose()


def constraint_names(kinds: tuple[type, ...]) -> set[str]:
    """The names of all constraints of these kinds that the code describes."""
    return {
        str(constraint.name)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, kinds)
    }


def test_autogenerate_finds_nothing_to_migrate(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_check_constraints_are_those_of_the_code(engine: Engine) -> None:
    with engine.connect() as connection:
        inspector = inspect(connection)
        found = {
            check["name"] for table in metadata.tables for check in inspector.get_check_constraints(table)
        }
    assert found == constraint_names((CheckConstraint,))


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_check_constraints_say_what_the_code_says(engine: Engine) -> None:
    """On SQLite, which keeps the text; PostgreSQL rewrites it."""
    with engine.connect() as connection:
        inspector = inspect(connection)
        found = {
            check["name"]: check["sqltext"]
            for table in metadata.tables
            for check in inspector.get_check_constraints(table)
        }
    described = {
        constraint.name: str(constraint.sqltext)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert found == described


def test_every_key_and_index_has_the_name_that_the_convention_gives(engine: Engine) -> None:
    with engine.connect() as connection:
        inspector = inspect(connection)
        for name, table in metadata.tables.items():
            assert inspector.get_pk_constraint(name)["name"] == f"pk_{name}"
            assert {key["name"] for key in inspector.get_foreign_keys(name)} == {
                key.name for key in table.foreign_key_constraints
            }
            assert {index["name"] for index in inspector.get_indexes(name)} == {
                index.name for index in table.indexes
            }


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_names_sort_by_their_bytes_whatever_the_locale_of_the_server(engine: Engine) -> None:
    query = text(
        "SELECT table_name || '.' || column_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name IN ('id', 'model_id', 'name_key') "
        "AND data_type LIKE 'character%'"
    )
    with engine.connect() as connection:
        collations = {row[0]: row[1] for row in connection.execute(query)}
    assert collations == {
        "hardware.id": "C",
        "models.id": "C",
        "efficiency_profiles.id": "C",
        "efficiency_profiles.model_id": "C",
        "measurements.id": "C",
        "measurements.model_id": "C",
        "tokens.id": "C",
        "model_names.model_id": "C",
        "hardware_names.name_key": "C",
        "model_names.name_key": "C",
        "efficiency_profile_names.name_key": "C",
    }


def test_the_listed_revisions_are_those_of_the_version_files_in_their_order() -> None:
    scripts = ScriptDirectory(str(Path(ridgeline_migrations.__file__).parent))
    newest_first = [script.revision for script in scripts.walk_revisions()]
    assert list(ridgeline_migrations.REVISIONS) == newest_first[::-1]
    assert ridgeline_migrations.head() == scripts.get_current_head()
