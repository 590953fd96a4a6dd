"""Opening the catalog: what a first start does, and what a later one can leave out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import make_url

from ridgeline_migrations import current, head, upgrade
from ridgeline_server.store import startup
from ridgeline_server.store.database import sqlite_url
from ridgeline_server.store.startup import open_catalog, open_embedded_catalog
from tests.processes import run_at_once


def test_a_first_embedded_start_migrates_and_seeds(empty_database_url: str) -> None:
    store = open_embedded_catalog(empty_database_url)
    assert current(empty_database_url) == head()
    assert store.hardware.get("RTX A6000").entry.id == "rtx-a6000"
    assert store.models.get("llama-2-7b").entry.id == "meta-llama/Llama-2-7b-hf"
    assert store.profiles.page().entries
    assert store.revision() == 1
    store.close()


def test_an_embedded_start_makes_the_directory(tmp_path: Path) -> None:
    path = tmp_path / "some where" / "50% off #1" / "ridgeline.sqlite3"
    store = open_embedded_catalog(sqlite_url(path))
    store.close()
    assert path.is_file()


def test_a_later_embedded_start_neither_migrates_nor_seeds(shipped_database_url: str) -> None:
    with patch.object(startup, "upgrade") as upgrade_again, patch.object(startup, "seed") as seed_again:
        store = open_embedded_catalog(shipped_database_url)
    assert store.revision() == 1
    store.close()
    upgrade_again.assert_not_called()
    seed_again.assert_not_called()


def test_an_embedded_start_of_another_release_seeds_again(shipped_database_url: str) -> None:
    with (
        patch.object(startup, "builtin_digest", return_value="another"),
        patch.object(startup, "seed") as seed,
    ):
        open_embedded_catalog(shipped_database_url).close()
    seed.assert_called_once()


def test_four_embedded_starts_may_come_at_once(empty_database_url: str) -> None:
    code = (
        "from ridgeline_server.store.startup import open_embedded_catalog\n"
        "import alembic.command, alembic.config\n"
        "def prepare(url):\n"
        "    def work():\n"
        "        store = open_embedded_catalog(url)\n"
        "        print(store.hardware.get('rtx-a6000').entry.id)\n"
        "        store.close()\n"
        "    return work\n"
    )
    assert run_at_once(code, [[empty_database_url]] * 4) == ["rtx-a6000\n"] * 4


def test_a_start_of_the_service_neither_migrates_nor_seeds(database_url: str) -> None:
    store = open_catalog(database_url)
    assert store.hardware.page().entries == ()
    assert store.revision() == 0
    store.close()


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_warm_start_loads_no_migration_machinery(shipped_database_url: str) -> None:
    program = (
        "import sys\n"
        "from ridgeline_server.store.startup import open_embedded_catalog\n"
        f"open_embedded_catalog({shipped_database_url!r}).close()\n"
        "print({'alembic', 'mako', 'psycopg'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_closed_sqlite_database_is_one_file(empty_database_url: str) -> None:
    open_embedded_catalog(empty_database_url).close()
    path = Path(str(make_url(empty_database_url).database))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_service_can_be_started_on_what_embedded_mode_made(shipped_database_url: str) -> None:
    upgrade(shipped_database_url)
    store = open_catalog(shipped_database_url)
    assert store.revision() == 1
    store.close()
