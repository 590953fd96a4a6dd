"""A database that cannot do what is asked: each cause is told in one sentence with its way out, and nothing
leaks.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from ridgeline_migrations import upgrade
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import (
    create_database_engine,
    database_url,
    location,
    sqlite_path,
    sqlite_url,
)
from ridgeline_server.store.errors import (
    DatabaseError,
    DatabaseLockedError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
    DatabaseUrlError,
    SchemaMismatchError,
)
from ridgeline_server.store.startup import open_catalog, open_embedded_catalog
from tests.privileges import permissions_count
from tests.store.samples import device, model

only_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"])
only_postgresql = pytest.mark.parametrize("database_kind", ["postgresql"])


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A directory whose permissions a test may change."""
    path = tmp_path / "home"
    path.mkdir()
    yield path
    path.chmod(0o700)


@pytest.fixture
def filled(home: Path) -> Path:
    """A closed database file with one device in that directory."""
    path = home / "ridgeline.sqlite3"
    with permissions_count():
        upgrade(sqlite_url(path))
        store = CatalogStore(create_database_engine(sqlite_url(path)))
        store.hardware.create(device())
        store.close()
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a directory."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# Read-only SQLite


def test_a_read_only_file_is_read_and_not_written(filled: Path) -> None:
    filled.chmod(0o444)
    before = filled.read_bytes()
    with permissions_count():
        store = open_catalog(sqlite_url(filled))
        assert store.hardware.get("x100").entry.id == "x100"
        for write in (
            lambda: store.hardware.create(device("other")),
            lambda: store.hardware.update("x100", lambda entry: entry),
            lambda: store.hardware.delete("x100"),
        ):
            with pytest.raises(DatabaseReadOnlyError, match="give this user write permission"):
                write()
        assert store.revision() == 1
        store.close()
    assert filled.read_bytes() == before


def test_a_read_only_directory_is_read_and_not_written(filled: Path) -> None:
    before = contents(filled.parent)
    filled.chmod(0o444)
    filled.parent.chmod(0o555)
    with permissions_count():
        store = open_catalog(sqlite_url(filled))
        assert [entry.id for entry in store.hardware.page().entries] == ["x100"]
        with pytest.raises(DatabaseReadOnlyError):
            store.hardware.create(device("other"))
        store.close()
    assert contents(filled.parent) == before


def test_a_file_in_a_read_only_directory_is_followed_as_its_owner_changes_it(filled: Path) -> None:
    """Connections that take the file for unchangeable must not outlive a transaction."""
    filled.parent.chmod(0o555)
    with permissions_count():
        reader = open_catalog(sqlite_url(filled))
        assert reader.revision() == 1
    filled.parent.chmod(0o755)
    with permissions_count():
        owner = CatalogStore(create_database_engine(sqlite_url(filled)))
        owner.hardware.create(device("other"))
        owner.close()
    filled.parent.chmod(0o555)
    with permissions_count():
        assert reader.revision() == 2
        assert len(reader.hardware.page().entries) == 2
        reader.close()


def test_a_writers_pending_transactions_are_not_overlooked_in_a_read_only_directory(filled: Path) -> None:
    """While a writer's -wal file is there, the file alone is not the whole truth."""
    with permissions_count():
        writer = CatalogStore(create_database_engine(sqlite_url(filled)))
        writer.hardware.create(device("pending"))
    assert filled.with_name(f"{filled.name}-wal").stat().st_size > 0
    filled.parent.chmod(0o555)
    with permissions_count():
        reader = open_catalog(sqlite_url(filled))
        assert [entry.id for entry in reader.hardware.page().entries] == ["pending", "x100"]
        reader.close()
    filled.parent.chmod(0o755)
    with permissions_count():
        writer.close()


def test_transactions_that_a_dead_writer_left_are_not_passed_over(filled: Path) -> None:
    """Only a process that may write can bring them into the file; without them it tells an old state."""
    with permissions_count():
        writer = CatalogStore(create_database_engine(sqlite_url(filled)))
        writer.hardware.create(device("pending"))
        left = {path: path.read_bytes() for path in (filled, filled.with_name(f"{filled.name}-wal"))}
        writer.close()
    for path, content in left.items():
        path.write_bytes(content)
    filled.parent.chmod(0o555)
    with (
        permissions_count(),
        pytest.raises(DatabaseReadOnlyError, match="left transactions in the -wal file"),
    ):
        open_catalog(sqlite_url(filled))
    filled.parent.chmod(0o755)
    with permissions_count():
        store = open_catalog(sqlite_url(filled))
        assert [entry.id for entry in store.hardware.page().entries] == ["pending", "x100"]
        store.close()


def test_an_embedded_database_that_cannot_be_written_serves_what_it_has(home: Path) -> None:
    path = home / "ridgeline.sqlite3"
    with permissions_count():
        open_embedded_catalog(sqlite_url(path)).close()
        writable = CatalogStore(create_database_engine(sqlite_url(path)))
        with writable.database.writing() as transaction:
            transaction.connection.exec_driver_sql(
                "UPDATE catalog_state SET seeded_digest = 'an older release'"
            )
        writable.close()
    path.chmod(0o444)
    home.chmod(0o555)
    with permissions_count():
        store = open_embedded_catalog(sqlite_url(path))
        assert store.hardware.get("rtx-a6000").entry.hardware.vendor == "NVIDIA"
        store.close()


def test_a_place_where_no_database_can_be_made_is_told_and_left_alone(home: Path) -> None:
    home.chmod(0o555)
    with permissions_count():
        for path in (home / "ridgeline.sqlite3", home / "below" / "ridgeline.sqlite3"):
            with pytest.raises(DatabaseReadOnlyError, match="RIDGELINE_HOME") as caught:
                open_embedded_catalog(sqlite_url(path))
            assert caught.value.location == str(path)
    assert contents(home) == {}


def test_a_read_only_database_of_an_older_schema_cannot_be_migrated(home: Path) -> None:
    path = home / "ridgeline.sqlite3"
    with permissions_count(), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE something (x)")
    path.chmod(0o444)
    home.chmod(0o555)
    with permissions_count(), pytest.raises(DatabaseReadOnlyError):
        open_embedded_catalog(sqlite_url(path))


def test_a_file_that_may_not_be_read_is_told(filled: Path) -> None:
    filled.chmod(0o000)
    with permissions_count(), pytest.raises(DatabaseUnavailableError, match="check its path and permissions"):
        open_catalog(sqlite_url(filled))


# Locked


@only_sqlite
def test_a_locked_sqlite_database_is_told_and_reads_go_on(database_url: str) -> None:
    store = CatalogStore(create_database_engine(database_url, lock_timeout_s=0.1))
    with closing(sqlite3.connect(str(make_url(database_url).database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseLockedError, match="another process holds the database"):
            store.hardware.create(device())
        assert store.hardware.page().entries == ()
    store.hardware.create(device())
    store.close()


@only_sqlite
def test_a_writer_waits_for_a_lock_that_is_soon_given_up(database_url: str) -> None:
    store = CatalogStore(create_database_engine(database_url))
    other = CatalogStore(create_database_engine(database_url, lock_timeout_s=0.0))
    with store.database.writing(), pytest.raises(DatabaseLockedError):
        other.hardware.create(device())
    assert other.hardware.create(device()).revision == 2
    store.close()
    other.close()


@only_postgresql
def test_a_locked_postgresql_database_is_told_and_reads_go_on(database_url: str) -> None:
    store = CatalogStore(create_database_engine(database_url, lock_timeout_s=0.1))
    other = CatalogStore(create_database_engine(database_url))
    with other.database.writing():
        with pytest.raises(DatabaseLockedError, match="another process holds the database"):
            store.hardware.create(device())
        assert store.hardware.page().entries == ()
    store.hardware.create(device())
    store.close()
    other.close()


# Schema


def test_a_database_without_schema_names_the_command_that_makes_it(empty_database_url: str) -> None:
    with pytest.raises(SchemaMismatchError, match=r"has no Ridgeline schema.*ridgeline-server migrate"):
        open_catalog(empty_database_url)
    path = make_url(empty_database_url).database or ""
    assert not Path(path).exists() or not empty_database_url.startswith("sqlite")


@pytest.mark.parametrize("open_store", [open_catalog, open_embedded_catalog])
def test_a_newer_schema_is_refused_untouched(database_url: str, open_store: object) -> None:
    assert callable(open_store)
    store = CatalogStore(create_database_engine(database_url))
    with store.database.writing() as transaction:
        transaction.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatchError, match=r"revision 9999, which is newer.*upgrade Ridgeline"):
        open_store(database_url)
    assert store.revision() == 1
    store.close()


def test_a_schema_that_changed_under_a_running_store_is_told(
    store: CatalogStore, other_store: CatalogStore
) -> None:
    store.models.create(model())
    with other_store.database.writing() as transaction:
        transaction.connection.exec_driver_sql("ALTER TABLE models RENAME COLUMN notes TO remarks")
    with pytest.raises(SchemaMismatchError, match="lacks tables or columns"):
        store.models.get("example/tiny-1b")


# Unreachable


def test_a_missing_file_is_told_by_a_store_that_lost_it(tmp_path: Path, migrated_sqlite_file: Path) -> None:
    path = Path(shutil.copy(migrated_sqlite_file, tmp_path / "ridgeline.sqlite3"))
    store = CatalogStore(create_database_engine(sqlite_url(path)))
    path.unlink()
    with pytest.raises(DatabaseUnavailableError, match="cannot be opened"):
        store.revision()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_told(tmp_path: Path, migrated_sqlite_file: Path) -> None:
    path = Path(shutil.copy(migrated_sqlite_file, tmp_path / "ridgeline.sqlite3"))
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 8000)
    with pytest.raises(DatabaseUnavailableError, match="no SQLite database, or is damaged"):
        open_catalog(sqlite_url(path))


def leaks(error: BaseException, *secrets: str) -> bool:
    """Whether the error's own words, as a user gets them, hold a secret or SQL."""
    words = f"{error} {getattr(error, 'problem', '')} {getattr(error, 'remedy', '')}"
    return any(secret in words for secret in (*secrets, "SELECT", "INSERT", "UPDATE", "psycopg", "sqlite3."))


@pytest.mark.parametrize("open_store", [open_catalog, open_embedded_catalog, upgrade])
def test_a_postgresql_that_does_not_answer_is_told(open_store: object) -> None:
    assert callable(open_store)
    # Port 1 is reserved and nobody listens on it.
    with pytest.raises(DatabaseUnavailableError, match="PostgreSQL does not answer") as caught:
        open_store("postgresql://someone:hunter2@127.0.0.1:1/catalog")
    assert caught.value.location == "PostgreSQL database catalog at 127.0.0.1:1"
    assert not leaks(caught.value, "hunter2", "someone")


@only_postgresql
def test_a_wrong_password_is_told_and_not_repeated(database_url: str) -> None:
    url = make_url(database_url)
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg.connect(dsn, autocommit=True)) as admin:
        admin.execute("DROP ROLE IF EXISTS guarded")
        admin.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        wrong = url.set(username="guarded", password="hunter2").render_as_string(hide_password=False)
        with pytest.raises(DatabaseUnavailableError, match="refuses the user or the password") as caught:
            open_catalog(wrong)
        assert not leaks(caught.value, "hunter2", "guarded")
        admin.execute("DROP ROLE guarded")


@only_postgresql
def test_a_database_that_does_not_exist_is_told(database_url: str) -> None:
    url = make_url(database_url).set(database="nowhere").render_as_string(hide_password=False)
    with pytest.raises(DatabaseUnavailableError, match=r"no such database or user.*nowhere"):
        open_catalog(url)


@only_postgresql
def test_a_read_only_postgresql_is_read_and_not_written(database_url: str) -> None:
    url = make_url(database_url).update_query_dict({"options": "-c default_transaction_read_only=on"})
    store = open_catalog(url.render_as_string(hide_password=False))
    with pytest.raises(DatabaseReadOnlyError, match="connect to its primary"):
        store.hardware.create(device())
    assert store.hardware.page().entries == ()
    store.close()


@only_postgresql
def test_a_postgresql_user_without_rights_is_told(database_url: str) -> None:
    url = make_url(database_url)
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg.connect(dsn, autocommit=True)) as admin:
        admin.execute("CREATE ROLE reader LOGIN")
        admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        store = open_catalog(url.set(username="reader").render_as_string(hide_password=False))
        with pytest.raises(DatabaseReadOnlyError, match="lacks a right"):
            store.hardware.create(device())
        assert store.hardware.page().entries == ()
        store.close()
        admin.execute("DROP OWNED BY reader")
        admin.execute("DROP ROLE reader")


@only_postgresql
def test_a_store_recovers_when_postgresql_ends_its_connections(
    store: CatalogStore, other_store: CatalogStore
) -> None:
    assert store.revision() == 0
    with other_store.database.reading() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert store.revision() == 0


@only_postgresql
def test_a_connection_that_breaks_in_a_transaction_is_told(
    store: CatalogStore, other_store: CatalogStore
) -> None:
    def write_while_the_server_ends_the_connection() -> None:
        with store.database.writing() as transaction:
            pid = transaction.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            with other_store.database.reading() as connection:
                connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
            store.hardware.insert(transaction, [device()])

    with pytest.raises(DatabaseUnavailableError):
        write_while_the_server_ends_the_connection()
    assert store.revision() == 0


# URLs


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("", "cannot be read", id="empty"),
        pytest.param("/var/lib/ridgeline.sqlite3", "cannot be read", id="a path"),
        pytest.param("postgresql://user:hunter2@host:port/name", "cannot be read", id="a port in letters"),
        pytest.param(
            "mysql://user:hunter2@host/name", "mysql is not a supported database", id="another database"
        ),
        pytest.param("sqlite://", "plain path of a file", id="no file"),
        pytest.param("sqlite:///:memory:", "plain path of a file", id="in memory"),
        pytest.param("sqlite:///file:x?mode=ro&uri=true", "plain path of a file", id="a SQLite URI"),
    ],
)
def test_a_url_that_cannot_be_used_names_the_forms_that_can(text: str, complaint: str) -> None:
    with pytest.raises(DatabaseUrlError, match=complaint) as caught:
        create_database_engine(text)
    assert "sqlite:///PATH" in str(caught.value)
    assert not leaks(caught.value, "hunter2")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:p@h/d",
        "postgres://u:p@h/d",
        "postgresql+psycopg://u:p@h/d",
        "postgresql+psycopg2://u:p@h/d",
    ],
)
def test_any_spelling_of_a_postgresql_url_uses_psycopg_3(text: str) -> None:
    assert database_url(text).drivername == "postgresql+psycopg"


@pytest.mark.parametrize("name", ["plain", "with space", "50% off", "a#b", "a&b=c", "größe", "a?b"])
def test_the_url_of_a_path_means_that_path_or_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "ridgeline.sqlite3"
    try:
        url = sqlite_url(path)
    except DatabaseUrlError:
        assert "?" in name
    else:
        assert sqlite_path(database_url(url)) == path


def test_a_location_holds_neither_user_nor_password() -> None:
    url = database_url("postgresql://someone:hunter2@db.example:5433/catalog")
    assert location(url) == "PostgreSQL database catalog at db.example:5433"


def test_every_database_error_has_a_problem_a_remedy_and_a_place() -> None:
    error = DatabaseError("it is broken", "mend it", "here")
    assert str(error) == "it is broken (here); mend it"
