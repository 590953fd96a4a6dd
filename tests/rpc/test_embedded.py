"""The service inside of the client's process: its database, from the first use on."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

import ridgeline
from ridgeline import errors
from ridgeline_server.store.database import sqlite_url
from tests.conftest import PostgresDatabases
from tests.privileges import permissions_count
from tests.rpc import samples


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RIDGELINE_HOME that does not exist yet, and no other setting."""
    home = tmp_path / "home"
    for name in ("RIDGELINE_SERVER", "RIDGELINE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RIDGELINE_HOME", str(home))
    return home


@pytest.fixture
def filled_home(home: Path, shipped_sqlite_file: Path) -> Path:
    """A RIDGELINE_HOME as the first use leaves it."""
    home.mkdir()
    shutil.copy(shipped_sqlite_file, home / "ridgeline.sqlite3")
    return home


def test_the_first_use_makes_a_seeded_database_under_home(home: Path) -> None:
    with ridgeline.connect() as client:
        assert client.target == "embedded"
        assert len(client.list_hardware().hardware) >= 20
        assert len(client.list_models().models) >= 20
    assert (home / "ridgeline.sqlite3").is_file()


def test_what_one_client_writes_the_next_one_finds(filled_home: Path) -> None:
    with ridgeline.connect() as client:
        created = client.create_hardware(samples.device()).hardware
        client.delete_hardware("t4")
    with ridgeline.connect() as client:
        assert client.get_hardware("x100").hardware == created
        with pytest.raises(errors.NotFoundError):
            client.get_hardware("t4")


def test_a_write_is_seen_by_the_next_question_at_once(filled_home: Path) -> None:
    with ridgeline.connect() as client:
        client.create_hardware(samples.device())
        before = client.analyze("llama-2-7b", "x100", input_len=1)
        change = samples.device()
        change.bandwidth_bytes_per_s *= 2
        after_write = client.update_hardware(change).catalog_revision
        after = client.analyze("llama-2-7b", "x100", input_len=1)
    assert after.roof.bandwidth_bytes_per_s == 2 * before.roof.bandwidth_bytes_per_s
    assert after.catalog_revision == after_write == before.catalog_revision + 1


def test_a_client_may_be_shared_between_threads(filled_home: Path) -> None:
    with ridgeline.connect() as client, ThreadPoolExecutor(8) as pool:
        alone = client.analyze("llama-2-7b", "rtx-a6000", input_len=100)
        together = threading.Barrier(8, timeout=20)

        def ask(number: int) -> object:
            together.wait()
            client.create_hardware(samples.device(f"x{number}"))
            answer = client.analyze("llama-2-7b", "rtx-a6000", input_len=100)
            answer.catalog_revision = alone.catalog_revision
            return answer

        assert list(pool.map(ask, range(8))) == [alone] * 8
        assert len([d for d in client.list_hardware().hardware if d.vendor == "Example"]) == 8


def test_a_stated_database_goes_before_the_settings(home: Path, tmp_path: Path) -> None:
    with ridgeline.connect(database_url=sqlite_url(tmp_path / "other.sqlite3")):
        pass
    assert (tmp_path / "other.sqlite3").is_file()
    assert not home.exists()


def test_a_shared_postgresql_is_not_migrated_by_a_client(
    postgres_databases: PostgresDatabases, home: Path
) -> None:
    url = postgres_databases.create(migrated=False)
    with pytest.raises(errors.FailedPreconditionError) as raised:
        ridgeline.connect(database_url=url)
    assert raised.value.reason == "DATABASE_SCHEMA_MISMATCH"
    assert "ridgeline-server migrate" in raised.value.message
    postgres_databases.drop(url)


def test_a_database_of_a_newer_release_is_refused_and_left_alone(filled_home: Path) -> None:
    file = filled_home / "ridgeline.sqlite3"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(errors.FailedPreconditionError) as raised:
        ridgeline.connect()
    assert raised.value.reason == "DATABASE_SCHEMA_MISMATCH"
    assert "9999" in raised.value.message
    assert str(file) in raised.value.message
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_a_home_that_cannot_be_made_is_told_with_its_path(home: Path) -> None:
    home.parent.chmod(0o500)
    try:
        with permissions_count(), pytest.raises(errors.FailedPreconditionError) as raised:
            ridgeline.connect()
    finally:
        home.parent.chmod(0o700)
    assert raised.value.reason == "DATABASE_READ_ONLY"
    assert str(home) in raised.value.message


def test_a_read_only_catalog_answers_and_refuses_writes(filled_home: Path) -> None:
    file = filled_home / "ridgeline.sqlite3"
    file.chmod(0o400)
    filled_home.chmod(0o500)
    try:
        with permissions_count(), ridgeline.connect() as client:
            client.analyze("llama-2-7b", "rtx-a6000", input_len=1)
            with pytest.raises(errors.FailedPreconditionError) as raised:
                client.create_hardware(samples.device())
    finally:
        filled_home.chmod(0o700)
    assert raised.value.reason == "DATABASE_READ_ONLY"
    assert str(file) in raised.value.message


def test_a_locked_catalog_answers_and_tells_writers_to_repeat(
    filled_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ridgeline_server.store.database.LOCK_TIMEOUT_S", 0.1)
    with ridgeline.connect() as client:
        with closing(sqlite3.connect(filled_home / "ridgeline.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            client.analyze("llama-2-7b", "rtx-a6000", input_len=1)
            with pytest.raises(errors.UnavailableError) as raised:
                client.create_hardware(samples.device())
            other.execute("ROLLBACK")
        assert raised.value.reason == "DATABASE_LOCKED"
        client.create_hardware(samples.device())


@pytest.mark.parametrize("url", ["nonsense", "mysql://user:hunter2@host/db", "sqlite://"])
def test_a_url_that_cannot_be_used_is_told_without_its_password(url: str) -> None:
    with pytest.raises(errors.RidgelineError) as raised:
        ridgeline.connect(database_url=url)
    assert "sqlite:///PATH" in raised.value.message
    assert "hunter2" not in raised.value.message


def test_embedded_mode_opens_no_port_and_loads_no_grpc(home: Path) -> None:
    code = (
        "import sys, ridgeline\n"
        "with ridgeline.connect() as client:\n"
        "    client.analyze('llama-2-7b', 'rtx-a6000', input_len=1)\n"
        "assert 'grpc' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_the_service_installed_the_way_to_it_is_told(home: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['sqlalchemy'] = None\n"
        "import ridgeline\n"
        "from ridgeline import errors\n"
        "try:\n"
        "    ridgeline.connect()\n"
        "except errors.MissingServerError as error:\n"
        "    print(error.message)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert 'pip install "ridgeline[server]"' in result.stdout
    assert "sqlalchemy" in result.stdout
