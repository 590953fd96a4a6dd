"""Several writers at once lose nothing of each other's, on both databases, with and without etags."""

from __future__ import annotations

import json
import threading

from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import create_database_engine
from ridgeline_server.store.entries import HardwareEntry
from ridgeline_server.store.errors import DatabaseLockedError
from tests.processes import run_at_once
from tests.store.samples import device

WRITERS = 4
WRITES = 10

COUNT_UP = f"""
from dataclasses import replace
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import create_database_engine

def count_up(entry):
    return replace(entry, hardware=replace(entry.hardware, tdp_watts=entry.hardware.tdp_watts + 1))

def prepare(url):
    store = CatalogStore(create_database_engine(url))
    store.revision()

    def work():
        for _ in range({WRITES}):
            store.hardware.update("x100", count_up)
        store.close()

    return work
"""

UPDATE_ONCE = """
import json
from dataclasses import replace
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import create_database_engine
from ridgeline_server.store.errors import EtagMismatchError

def prepare(url, name):
    store = CatalogStore(create_database_engine(url))
    etag = store.hardware.get("x100").entry.etag

    def work():
        try:
            store.hardware.update("x100", lambda entry: replace(entry, notes=(name,)), etag=etag)
        except EtagMismatchError:
            print(json.dumps([name, "refused"]))
        else:
            print(json.dumps([name, "written"]))
        store.close()

    return work
"""

CREATE_SAME = """
from tests.store.samples import device
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.database import create_database_engine
from ridgeline_server.store.errors import NameTakenError

def prepare(url, entry_id):
    store = CatalogStore(create_database_engine(url))
    store.revision()

    def work():
        try:
            store.hardware.create(device(entry_id, "The Same Alias"))
        except NameTakenError as error:
            print(f"refused for {error.holder}")
        else:
            print("written")
        store.close()

    return work
"""


def watts(entry: HardwareEntry) -> float:
    """The figure that the writers count in."""
    assert entry.hardware.tdp_watts is not None
    return entry.hardware.tdp_watts


def test_processes_that_read_and_write_lose_no_update(store: CatalogStore, database_url: str) -> None:
    before = watts(store.hardware.create(device()).entry)
    run_at_once(COUNT_UP, [[database_url]] * WRITERS)
    found = store.hardware.get("x100")
    assert watts(found.entry) == before + WRITERS * WRITES
    assert found.revision == 1 + WRITERS * WRITES


def test_threads_that_share_a_store_lose_no_update(store: CatalogStore) -> None:
    before = watts(store.hardware.create(device()).entry)
    scope: dict[str, object] = {}
    exec(COUNT_UP, scope)
    count_up = scope["count_up"]
    assert callable(count_up)

    def work() -> None:
        for _ in range(WRITES):
            store.hardware.update("x100", count_up)

    threads = [threading.Thread(target=work) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert watts(store.hardware.get("x100").entry) == before + WRITERS * WRITES


def test_of_several_writers_with_the_same_etag_one_wins(store: CatalogStore, database_url: str) -> None:
    store.hardware.create(device())
    names = [f"writer {number}" for number in range(WRITERS)]
    outcomes = dict(
        json.loads(out) for out in run_at_once(UPDATE_ONCE, [[database_url, name] for name in names])
    )
    winners = [name for name, outcome in outcomes.items() if outcome == "written"]
    assert len(winners) == 1
    found = store.hardware.get("x100")
    assert found.entry.notes == (winners[0],)
    assert found.revision == 2


def test_of_several_entries_with_the_same_alias_one_is_created(
    store: CatalogStore, database_url: str
) -> None:
    ids = [f"device-{number}" for number in range(WRITERS)]
    outcomes = [
        out.strip() for out in run_at_once(CREATE_SAME, [[database_url, entry_id] for entry_id in ids])
    ]
    (created,) = store.hardware.page().entries
    assert sorted(outcomes) == [f"refused for {created.id}"] * (WRITERS - 1) + ["written"]


def test_a_reader_sees_one_state_while_others_write(store: CatalogStore, other_store: CatalogStore) -> None:
    store.hardware.create(device("first"))
    with store.database.reading() as connection:
        before = store.hardware.load(connection)
        other_store.hardware.create(device("second"))
        other_store.hardware.delete("first")
        assert store.hardware.load(connection) == before
    assert [entry.id for entry in store.hardware.page().entries] == ["second"]


def test_a_writer_does_not_wait_for_ever_for_another_of_its_process(database_url: str) -> None:
    store = CatalogStore(create_database_engine(database_url), lock_timeout_s=0.2)
    failures: list[Exception] = []

    def write() -> None:
        try:
            store.hardware.create(device("late"))
        except DatabaseLockedError as error:
            failures.append(error)

    with store.database.writing() as transaction:
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(timeout=30)
        transaction.cancel()
    assert len(failures) == 1
    assert store.revision() == 0
    store.close()
