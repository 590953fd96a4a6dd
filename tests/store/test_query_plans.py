"""Lists, names and the history are found by their indexes, at any place and at any revision: the plans that
both databases make for the store's own statements neither sort nor read a whole table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from ridgeline_server.store import narrowing
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.entries import Cursor
from ridgeline_server.store.history import ChangeQuery, list_changes
from ridgeline_server.store.listing import Listing, ModelFilter
from ridgeline_server.store.measurements import MeasurementFilter
from tests.store.samples import measurement, model

WITHOUT_OTHER_WAYS = ("seqscan", "bitmapscan", "sort", "incremental_sort", "hashjoin", "mergejoin")
"""What PostgreSQL prefers for small tables. A plan without these shows that the indexes suffice for it."""

VALUES: dict[str, float | str] = {
    "parameter_count": 7e9,
    "active_parameter_count": 7e9,
    "max_context_len": 4096.0,
    "update_time": "2026-11-01T00:00:00+00:00",
}

ORDERS = [
    pytest.param(Listing(order_by=column, descending=descending, after=after), id=name)
    for descending in (False, True)
    for column, place, after in (
        ("", "first", None),
        ("", "later", Cursor("o/m")),
        *((column, "first", None) for column in VALUES),
        *((column, "later", Cursor("o/m", value)) for column, value in VALUES.items()),
        ("max_context_len", "without a value", Cursor("o/m")),
    )
    for name in [f"{place} page by {column or 'id'}{' desc' if descending else ''}"]
]


@pytest.fixture
def past(store: CatalogStore) -> int:
    """A past revision of a catalog that has changed since."""
    store.models.create(model("o/m", "alias"))
    store.models.update("o/m", lambda entry: replace(entry, source="another"))
    return 1


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of entries counts as many."""
    monkeypatch.setattr(narrowing, "FEW", -1)


@contextmanager
def statements(store: CatalogStore) -> Iterator[list[tuple[str, Any]]]:
    """The queries of the block, with their parameters."""
    found: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        if statement.startswith(("SELECT", "WITH")):
            found.append((statement, parameters))

    event.listen(store.database.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(store.database.engine, "before_cursor_execute", note)


def plans(store: CatalogStore, read: Callable[[], object]) -> list[str]:
    """How the database goes about each query of a read that touches entries, names or revisions."""
    with statements(store) as found:
        read()
    with store.database.engine.connect() as connection:
        return [
            _plan(connection, statement, parameters)
            for statement, parameters in found
            if "catalog_state" not in statement
        ]


def _plan(connection: Connection, statement: str, parameters: Any) -> str:
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    else:
        for way in WITHOUT_OTHER_WAYS:
            connection.execute(text(f"SET LOCAL enable_{way} = off"))
        rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
    return "\n".join([statement, *(str(row[-1]) for row in rows)])


SORTS = re.compile(r"USE TEMP B-TREE FOR ORDER BY|Sort Key")
WHOLE_TABLE = re.compile(
    r"SCAN (models|model_names|hardware|hardware_names|measurements)$|Seq Scan", re.MULTILINE
)
WALK = re.compile(r"SCAN (models|model_names|measurements) USING")


def assert_found_by_index(found: list[str], *, first_page: bool = False) -> None:
    """Nothing is sorted, and no table read as a whole. A first page may start at the end of an index."""
    assert found
    for plan in found:
        assert not SORTS.search(plan), plan
        assert not WHOLE_TABLE.search(plan), plan
        assert first_page or not WALK.search(plan), plan


@pytest.mark.parametrize("listing", ORDERS)
def test_a_page_of_any_order(store: CatalogStore, past: int, listing: Listing) -> None:
    found = plans(store, lambda: store.models.page(listing))
    assert_found_by_index(found, first_page=listing.after is None)


@pytest.mark.parametrize("listing", ORDERS)
def test_a_page_of_any_order_at_a_past_revision(
    store: CatalogStore, past: int, many: None, listing: Listing
) -> None:
    found = plans(store, lambda: store.models.page(replace(listing, revision=past)))
    assert_found_by_index(found, first_page=listing.after is None)


@pytest.mark.parametrize("order_by", ["", "parameter_count"])
@pytest.mark.parametrize("after", [None, Cursor("o/m", 7e9)], ids=["first", "later"])
def test_a_page_of_a_family(store: CatalogStore, past: int, order_by: str, after: Cursor | None) -> None:
    listing = Listing(filter=ModelFilter(family="llama"), order_by=order_by, after=after)
    assert_found_by_index(plans(store, lambda: store.models.page(listing)))


@pytest.mark.parametrize(
    "chosen", [ModelFilter(min_parameter_count=1e15), ModelFilter(max_parameter_count=1e3)]
)
@pytest.mark.parametrize("after", [None, Cursor("o/m")], ids=["first", "later"])
def test_a_range_that_few_meet(
    store: CatalogStore, past: int, chosen: ModelFilter, after: Cursor | None
) -> None:
    listing = Listing(filter=chosen, after=after)
    found = plans(store, lambda: store.models.page(listing))
    assert not any(WHOLE_TABLE.search(plan) or WALK.search(plan) for plan in found), found


@pytest.mark.parametrize("name", ["alias", "A-L-I-A-S", "o/m"])
@pytest.mark.parametrize("at_past", [False, True], ids=["now", "then"])
def test_a_name(store: CatalogStore, past: int, name: str, at_past: bool) -> None:
    found = plans(store, lambda: store.models.get(name, revision=past if at_past else None))
    assert_found_by_index(found)


@pytest.mark.parametrize("before", [False, True], ids=["first", "later"])
def test_a_page_of_changes(store: CatalogStore, past: int, before: bool) -> None:
    first = list_changes(store, ChangeQuery(limit=1))
    query = ChangeQuery(limit=1, before=first.next_before if before else None)
    found = plans(store, lambda: list_changes(store, query))
    assert not any(WHOLE_TABLE.search(plan) or WALK.search(plan) for plan in found), found


@pytest.mark.parametrize(
    "chosen",
    [
        MeasurementFilter(),
        MeasurementFilter(hardware_id="x100"),
        MeasurementFilter(model_id="o/m", engine="vllm"),
        MeasurementFilter(source_group="g", hardware_id="x100"),
    ],
)
@pytest.mark.parametrize("after", ["", "m"], ids=["first", "later"])
def test_a_page_of_measurements(store: CatalogStore, chosen: MeasurementFilter, after: str) -> None:
    store.measurements.write([measurement("m"), measurement("n")])
    assert_found_by_index(plans(store, lambda: store.measurements.page(chosen, after=after)))


def test_measurements_by_their_ids(store: CatalogStore) -> None:
    assert_found_by_index(
        plans(store, lambda: store.measurements.write([measurement("m"), measurement("n")]))
    )
