"""History: any revision can be read again, and every write tells who made it, when, and what it changed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from ridgeline_server.store.batch import Write, write_entries
from ridgeline_server.store.builtin import BuiltinCatalog
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.errors import EtagMismatchError, NameTakenError, NotFoundError, Resource
from ridgeline_server.store.history import Change, ChangeAction, ChangeQuery, list_changes
from ridgeline_server.store.listing import Listing
from ridgeline_server.store.principals import acting_as
from ridgeline_server.store.seed import seed
from ridgeline_server.store.tables import hardware, hardware_names
from tests.store.samples import LLAMA_CONFIG, device, model, profile


def brief(change: Change) -> tuple[int, str, str, str]:
    """A change in one line."""
    return change.key.revision, change.key.id, change.action, change.principal


def changes(store: CatalogStore, **query: Any) -> list[Change]:
    """All changes that a query finds, page by page."""
    found: list[Change] = []
    asked = ChangeQuery(limit=2, **query)
    while True:
        page = list_changes(store, asked)
        assert len(page.changes) <= 2
        found += page.changes
        if page.next_before is None:
            return found
        asked = replace(asked, before=page.next_before)


def test_every_write_is_told_newest_first(store: CatalogStore) -> None:
    before = datetime.now(UTC)
    with acting_as("alice"):
        store.hardware.create(device("a"))
        store.models.create(model("o/m"))
    with acting_as("bob"):
        store.hardware.update("a", lambda entry: device("a", bandwidth=2e12))
        store.hardware.delete("a")
    store.hardware.create(device("a"))
    found = changes(store)
    assert [brief(change) for change in found] == [
        (5, "a", "created", "local"),
        (4, "a", "deleted", "bob"),
        (3, "a", "updated", "bob"),
        (2, "o/m", "created", "alice"),
        (1, "a", "created", "alice"),
    ]
    assert all(before <= change.time <= datetime.now(UTC) for change in found)
    _, deleted, updated, _, created = found
    assert (created.before, created.after.hardware.bandwidth_bytes_per_s) == (None, 1e12)
    assert updated.before == created.after
    assert updated.after.hardware.bandwidth_bytes_per_s == 2e12
    assert (deleted.before, deleted.after) == (updated.after, None)


def test_what_failed_or_was_only_tried_leaves_no_trace(store: CatalogStore) -> None:
    store.hardware.create(device("a"))
    store.hardware.create(device("b"), dry_run=True)
    with pytest.raises(EtagMismatchError):
        store.hardware.update("a", lambda entry: entry, etag="stale")
    with pytest.raises(NotFoundError):
        store.hardware.delete("nobody")
    assert [brief(change)[:2] for change in changes(store)] == [(1, "a")]


def test_changes_are_chosen_by_kind_entry_principal_and_revision(store: CatalogStore) -> None:
    with acting_as("alice"):
        for make, repository in (
            (device, store.hardware), (model, store.models), (profile, store.profiles)
        ):  # fmt: skip
            repository.create(make("same"))  # type: ignore[arg-type]
    store.hardware.update("same", lambda entry: device("same", bandwidth=2e12))
    store.hardware.create(device("other"))
    revisions = {
        "hardware": [c.key.revision for c in changes(store, resource=Resource.HARDWARE)],
        "model same": [c.key.revision for c in changes(store, resource=Resource.MODEL, entry_id="same")],
        "alice": [c.key.revision for c in changes(store, principal="alice")],
        "late": [c.key.revision for c in changes(store, after_revision=3)],
        "nobody": [c.key.revision for c in changes(store, principal="nobody")],
    }
    assert revisions == {
        "hardware": [5, 4, 1],
        "model same": [2],
        "alice": [3, 2, 1],
        "late": [5, 4],
        "nobody": [],
    }


def test_entries_that_were_written_together_share_a_revision_and_pages_part_them_well(
    store: CatalogStore,
) -> None:
    seed(
        store, BuiltinCatalog(tuple(device(f"d{n}") for n in range(5)), (model("o/m"),), (profile("p"),), "1")
    )
    store.hardware.update("d3", lambda entry: device("d3", bandwidth=2e12))
    found = changes(store)
    assert len(found) == 8
    assert len({change.key for change in found}) == 8
    assert [change.key.revision for change in found] == [2, *[1] * 7]
    assert {change.principal.partition(" ")[0] for change in found[1:]} == {"release"}


def test_a_seed_tells_what_it_replaced_and_removed(store: CatalogStore) -> None:
    seed(store, BuiltinCatalog((device("kept"), device("gone", "Name")), (), (), "1"))
    seed(store, BuiltinCatalog((device("kept", bandwidth=3e12), device("new", "name")), (), (), "2"))
    assert [brief(change)[1:3] for change in changes(store, after_revision=1)] == [
        ("gone", "deleted"),
        ("kept", "updated"),
        ("new", "created"),
    ]


def test_an_entry_and_its_names_can_be_read_as_they_were(store: CatalogStore) -> None:
    store.hardware.create(device("a", "First Name"))
    store.hardware.update("a", lambda entry: device("a", "Second Name", bandwidth=2e12))
    store.hardware.delete("a")
    store.hardware.create(device("b", "First Name"))
    assert store.hardware.get("first name", revision=1).entry.hardware.bandwidth_bytes_per_s == 1e12
    assert store.hardware.get("second name", revision=2).entry.hardware.bandwidth_bytes_per_s == 2e12
    assert store.hardware.get("first name", revision=4).entry.id == "b"
    for name, revision in (("first name", 2), ("a", 3), ("a", 0), ("b", 3)):
        with pytest.raises(NotFoundError):
            store.hardware.get(name, revision=revision)
    assert store.hardware.get("a", revision=2).revision == 2


def test_a_question_can_be_asked_on_any_revision_again(store: CatalogStore) -> None:
    cache = CatalogCache(store)
    store.hardware.create(device("a"))
    store.models.create(model("o/m", layers=2))
    store.profiles.create(profile("p"))
    then = cache.snapshot()
    store.hardware.update("a", lambda entry: device("a", bandwidth=9e12))
    store.models.delete("o/m")
    store.profiles.delete("p")
    again = CatalogCache(store).snapshot(then.revision)
    assert again.revision == then.revision == 3
    assert again.hardware("a") == then.hardware("a") == device("a").hardware
    assert again.model("o/m") == then.model("o/m")
    assert again.profiles.profiles == then.profiles.profiles
    assert cache.snapshot().profiles.profiles == ()


def test_a_stale_etag_is_told_what_changed_by_whom(store: CatalogStore) -> None:
    stale = store.hardware.create(device("a")).entry
    with acting_as("bob"):
        current = store.hardware.update("a", lambda entry: device("a", bandwidth=2e12)).entry
    for write in (
        lambda: store.hardware.update("a", lambda entry: entry, etag=stale.etag),
        lambda: store.hardware.delete("a", etag=stale.etag),
    ):
        with pytest.raises(EtagMismatchError) as caught:
            write()
        assert (caught.value.stale, caught.value.current) == (stale, current)
        assert caught.value.principal == "bob"
    with pytest.raises(EtagMismatchError, match="of no version") as caught:
        store.hardware.delete("a", etag="made up")
    assert caught.value.stale is None


def test_a_database_that_was_put_back_is_not_answered_from_memory(store: CatalogStore) -> None:
    """An older copy that is written anew has other versions under the same revisions."""
    store.hardware.create(device("a", bandwidth=1e12))
    assert store.hardware.get("a").entry.hardware.bandwidth_bytes_per_s == 1e12
    with store.database.writing() as transaction:
        transaction.connection.execute(delete(hardware_names))
        transaction.connection.execute(delete(hardware))
        transaction.revision = 1
        other = replace(device("a", bandwidth=5e12), etag="other")
        store.hardware.insert(
            transaction, [replace(other, create_time=transaction.time, update_time=transaction.time)]
        )
    assert store.hardware.get("a").entry.hardware.bandwidth_bytes_per_s == 5e12


WRITES = st.lists(
    st.tuples(
        st.sampled_from(["create", "update", "delete", "batch"]), st.sampled_from("abc"), st.integers(1, 9)
    ),
    max_size=12,
)


@pytest.mark.parametrize("database_kind", ["sqlite"])
@given(writes=WRITES)
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_is_written_every_revision_stays_as_it_was(store: CatalogStore, writes: list[Any]) -> None:
    """Against a model: a dict that is copied after every write."""
    states = {store.revision(): read_all(store, None)}
    for action, entry_id, size in writes:
        entry = device(entry_id, f"{entry_id} {size}", bandwidth=size * 1e12)
        try:
            if action == "create":
                store.hardware.create(entry)
            elif action == "update":
                store.hardware.update(entry_id, lambda _, entry=entry: entry)  # type: ignore[misc]
            elif action == "delete":
                store.hardware.delete(entry_id)
            else:
                write_entries(
                    store.database,
                    [Write(store.hardware, entry), Write(store.hardware, device("z", bandwidth=size * 1e12))],
                    allow_existing=True, all_or_nothing=False, dry_run=False,
                )  # fmt: skip
        except (NotFoundError, NameTakenError):
            pass
        states[store.revision()] = read_all(store, None)
    for revision, state in states.items():
        assert read_all(store, revision) == state


def read_all(store: CatalogStore, revision: int | None) -> dict[str, Any]:
    """All devices at a revision."""
    page = store.hardware.page(Listing(limit=1000, revision=revision))
    return {entry.id: entry for entry in page.entries}


def test_a_config_is_kept_as_it_was_written(store: CatalogStore) -> None:
    text = '{"model_type":"llama", ' + json.dumps(LLAMA_CONFIG)[1:]
    store.models.create(replace(model("o/m"), config_json=text))
    store.models.update("o/m", lambda entry: model("o/m"))
    assert store.models.get("o/m", revision=1).entry.config_json == text
    assert [change.action for change in changes(store)] == [ChangeAction.UPDATED, ChangeAction.CREATED]
