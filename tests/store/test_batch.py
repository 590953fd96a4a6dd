"""Imports of many entries: each is written whole or not at all, and on request all of them or none."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import update

from ridgeline_server.store.batch import Write, WriteAction, WriteOutcome, write_entries
from ridgeline_server.store.builtin import BuiltinCatalog
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.entries import Origin
from ridgeline_server.store.errors import InvalidEntryError, NameTakenError
from ridgeline_server.store.listing import Listing
from ridgeline_server.store.seed import seed
from ridgeline_server.store.tables import models
from tests.store.samples import device, model, profile

CREATED, UPDATED, UNCHANGED, REFUSED, NOT_WRITTEN = WriteAction


def write(
    store: CatalogStore, *entries: Any, replaces: bool = False, together: bool = False, dry_run: bool = False
) -> tuple[list[WriteOutcome[Any]], int]:
    """Write devices."""
    return write_entries(
        store.database,
        [Write(store.hardware, entry) for entry in entries],
        allow_existing=replaces,
        all_or_nothing=together,
        dry_run=dry_run,
    )


def actions(outcomes: list[WriteOutcome[Any]]) -> list[WriteAction]:
    """What became of each."""
    return [outcome.action for outcome in outcomes]


def stored(store: CatalogStore) -> dict[str, float]:
    """The bandwidths of all devices."""
    entries = store.hardware.page(Listing(limit=1000)).entries
    return {entry.id: entry.hardware.bandwidth_bytes_per_s for entry in entries}


BROKEN = replace(device("broken"), hardware=replace(device("broken").hardware, tdp_watts=-1.0))


def test_new_entries_are_written_in_one_revision(store: CatalogStore) -> None:
    outcomes, revision = write(store, device("a"), device("b"))
    assert actions(outcomes) == [CREATED, CREATED]
    assert revision == store.revision() == 1
    assert outcomes[0].after == store.hardware.get("a").entry
    assert store.hardware.get("b").entry.origin is Origin.USER


def test_entries_of_several_resources_are_written_together(store: CatalogStore) -> None:
    writes: list[Write[Any]] = [
        Write(store.hardware, device("x")),
        Write(store.models, model("x")),
        Write(store.profiles, profile("x")),
    ]
    outcomes, _ = write_entries(
        store.database, writes, allow_existing=False, all_or_nothing=True, dry_run=False
    )
    assert actions(outcomes) == [CREATED] * 3
    assert store.models.get("x").entry.model.layer_count == 2


def test_an_entry_that_is_alike_stays_as_it_is_and_a_repeated_import_writes_nothing(
    store: CatalogStore,
) -> None:
    write(store, device("a", "Alias"), device("b"))
    before = store.hardware.get("a").entry
    for replaces in (False, True):
        outcomes, revision = write(store, device("a", "Alias"), device("b"), replaces=replaces)
        assert actions(outcomes) == [UNCHANGED, UNCHANGED]
        assert revision == store.revision() == 1
    assert store.hardware.get("a").entry == before


def test_a_built_in_that_is_imported_as_it_is_stays_a_built_in(store: CatalogStore) -> None:
    seed(store, BuiltinCatalog((device("a", "Alias"),), (), (), "1"))
    outcomes, _ = write(store, device("a", "Alias"), replaces=True)
    assert actions(outcomes) == [UNCHANGED]
    assert store.hardware.get("a").entry.origin is Origin.BUILTIN


def test_another_one_of_the_same_id_is_replaced_only_on_request(store: CatalogStore) -> None:
    write(store, device("a"))
    (refused,), revision = write(store, device("a", bandwidth=2e12))
    assert (refused.action, revision) == (REFUSED, 1)
    assert isinstance(refused.error, NameTakenError)
    (updated,), revision = write(store, device("a", bandwidth=2e12), replaces=True)
    assert (updated.action, revision) == (UPDATED, 2)
    assert updated.before is not None
    assert updated.before.hardware.bandwidth_bytes_per_s == 1e12
    assert stored(store) == {"a": 2e12}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        pytest.param(BROKEN, InvalidEntryError, id="a figure that the database refuses"),
        pytest.param(device("b2", "taken"), NameTakenError, id="a name of another entry"),
    ],
)
def test_a_refused_entry_stops_no_other_and_leaves_nothing_of_itself(
    store: CatalogStore, wrong: Any, error: type[Exception]
) -> None:
    store.hardware.create(device("mine", "Taken"))
    outcomes, revision = write(store, device("a"), wrong, device("c"))
    assert actions(outcomes) == [CREATED, REFUSED, CREATED]
    assert isinstance(outcomes[1].error, error)
    assert revision == 2
    assert sorted(stored(store)) == ["a", "c", "mine"]


def test_all_or_nothing_writes_nothing_when_one_is_refused(store: CatalogStore) -> None:
    write(store, device("same"), device("old"))
    outcomes, revision = write(
        store,
        device("a"),
        device("same"),
        BROKEN,
        device("old", bandwidth=2e12),
        replaces=True,
        together=True,
    )
    assert actions(outcomes) == [NOT_WRITTEN, UNCHANGED, REFUSED, NOT_WRITTEN]
    assert revision == store.revision() == 1
    assert stored(store) == {"old": 1e12, "same": 1e12}


def test_a_dry_run_tells_the_same_and_writes_nothing(store: CatalogStore) -> None:
    write(store, device("same"), device("old"))
    entries = (device("a"), device("same"), BROKEN, device("old", bandwidth=2e12))
    tried, revision = write(store, *entries, replaces=True, dry_run=True)
    assert (revision, store.revision()) == (1, 1)
    assert stored(store) == {"old": 1e12, "same": 1e12}
    done, _ = write(store, *entries, replaces=True)
    assert actions(tried) == actions(done) == [CREATED, UNCHANGED, REFUSED, UPDATED]


def test_two_entries_of_one_import_cannot_share_a_name(store: CatalogStore) -> None:
    outcomes, _ = write(store, device("a", "Shared"), device("b", "shared"))
    assert actions(outcomes) == [CREATED, REFUSED]
    assert isinstance(outcomes[1].error, NameTakenError)
    assert outcomes[1].error.holder == "a"


def test_names_may_change_hands_within_an_import(store: CatalogStore) -> None:
    write(store, device("a", "one"), device("b", "two"))
    outcomes, _ = write(store, device("a", "two"), device("b", "one"), replaces=True)
    assert actions(outcomes) == [UPDATED, UPDATED]
    assert [store.hardware.get(name).entry.id for name in ("one", "two")] == ["b", "a"]


def test_a_refusal_leaves_names_where_they_were(store: CatalogStore) -> None:
    """`b` is refused, so it keeps `two`, which `a` then cannot have."""
    write(store, device("a", "one"), device("b", "two"), device("mine", "Taken"))
    outcomes, _ = write(store, device("a", "two"), device("b", "taken"), device("c"), replaces=True)
    assert actions(outcomes) == [REFUSED, REFUSED, CREATED]
    assert [
        outcome.error.holder for outcome in outcomes[:2] if isinstance(outcome.error, NameTakenError)
    ] == [
        "b",
        "mine",
    ]
    assert [store.hardware.get(name).entry.id for name in ("one", "two")] == ["a", "b"]


def test_an_undated_price_keeps_its_day_when_it_is_imported_again(store: CatalogStore) -> None:
    undated = replace(device("a"), price_as_of=None)
    store.hardware.create(replace(device("a"), price_as_of=date(2020, 1, 2)))
    outcomes, _ = write(store, undated, replaces=True)
    assert actions(outcomes) == [UNCHANGED]
    dearer = replace(undated, hardware=replace(undated.hardware, price_usd_per_hour=9.0))
    (outcome,), _ = write(store, dearer, replaces=True)
    assert outcome.after is not None
    assert outcome.after.price_as_of > date(2026, 1, 1)


def test_a_model_that_this_release_cannot_read_is_repaired_by_an_import(store: CatalogStore) -> None:
    store.models.create(model("o/m"))
    with store.database.writing() as transaction:
        newer = update(models).values(config_json='{"model_type": "unheard-of"}', etag="newer")
        transaction.connection.execute(newer)
    (outcome,), _ = write_entries(
        store.database,
        [Write(store.models, model("o/m"))],
        allow_existing=True,
        all_or_nothing=False,
        dry_run=False,
    )
    assert outcome.action is UPDATED
    assert store.models.get("o/m").entry.model.layer_count == 2
