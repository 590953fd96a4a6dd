"""Measurements in the store: what an import does, lists in pages, removal; the catalog does not notice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from ridgeline_server.domain.confidence import Confidence
from ridgeline_server.domain.measurement import MeasuredMetric, Measurement, Phase, Tier
from ridgeline_server.store.batch import WriteAction
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.errors import InvalidEntryError, MeasurementsNotFoundError
from ridgeline_server.store.measurements import MeasurementFilter
from ridgeline_server.store.principals import acting_as
from tests.store.samples import measurement

CREATED, UPDATED, UNCHANGED, REFUSED = (
    WriteAction.CREATED,
    WriteAction.UPDATED,
    WriteAction.UNCHANGED,
    WriteAction.REFUSED,
)


def actions(store: CatalogStore, *measurements: Measurement, **how: bool) -> list[WriteAction]:
    """What an import makes of measurements."""
    return [outcome.action for outcome in store.measurements.write(measurements, **how)]


def ids(store: CatalogStore, wanted: MeasurementFilter | None = None) -> list[str]:
    return [found.measurement.id for found in store.measurements.page(wanted, limit=1000).measurements]


def test_every_field_comes_back_as_it_was_written(store: CatalogStore) -> None:
    whole = measurement(
        "all/of it",
        source_group="table",
        engine_version="0.19.0",
        model_published="Tiny 1B",
        hardware_published="X100 80 GB",
        n_devices=8,
        tp=4,
        pp=2,
        ep=1,
        attention_dp=1,
        moe_tp=1,
        weight_dtype="int3",
        weight_format="exl2-3.0bpw",
        act_dtype="fp16",
        kv_dtype="fp8",
        past_tokens=0,
        confidence=Confidence.HIGH,
        tier=Tier.B,
        ambiguous="memory-size; lengths",
        notes="Größe: 2 × 40 GB",
    )
    before = datetime.now(UTC)
    with acting_as("ann"):
        store.measurements.write([whole, measurement("bare")])
    found = store.measurements.get("all/of it")
    assert found.measurement == whole
    assert found.principal == "ann"
    assert before <= found.create_time == found.update_time <= datetime.now(UTC) + timedelta(seconds=1)
    assert store.measurements.get("bare").measurement == measurement("bare")


def test_an_import_may_be_repeated(store: CatalogStore) -> None:
    assert actions(store, measurement("a"), measurement("b")) == [CREATED, CREATED]
    first = store.measurements.get("a")
    with acting_as("another"):
        assert actions(store, measurement("a"), measurement("c")) == [UNCHANGED, CREATED]
    assert store.measurements.get("a") == first


def test_another_content_under_a_stored_id_is_refused_or_replaces_it(store: CatalogStore) -> None:
    store.measurements.write([measurement("a", value=10.0)])
    first = store.measurements.get("a")
    other = measurement("a", value=12.0, notes="again")
    (outcome,) = store.measurements.write([other])
    assert outcome.action is REFUSED
    assert "'a' belongs to a stored measurement that differs in value, notes" in str(outcome.error)
    assert store.measurements.get("a") == first
    with acting_as("ben"):
        (outcome,) = store.measurements.write([other], allow_replace=True)
    assert (outcome.action, outcome.before) == (UPDATED, first.measurement)
    found = store.measurements.get("a")
    assert (found.measurement, found.principal, found.create_time) == (other, "ben", first.create_time)
    assert found.update_time > first.update_time


@pytest.mark.parametrize("allow_replace", [False, True])
def test_of_several_with_one_id_the_first_counts(store: CatalogStore, allow_replace: bool) -> None:
    store.measurements.write([measurement("old")])
    given = [
        measurement("a", value=1.0),
        measurement("a", value=1.0),
        measurement("a", value=2.0),
        measurement("old"),
        measurement("old", value=3.0),
    ]
    outcomes = store.measurements.write(given, allow_replace=allow_replace)
    assert [outcome.action for outcome in outcomes] == [CREATED, UNCHANGED, REFUSED, UNCHANGED, REFUSED]
    assert "an earlier measurement of the same import that differs in value" in str(outcomes[2].error)
    assert store.measurements.get("a").measurement.value == 1.0
    assert store.measurements.get("old").measurement == measurement("old")


def test_a_dry_run_tells_the_same_and_writes_nothing(store: CatalogStore) -> None:
    store.measurements.write([measurement("a")])
    given = [measurement("a", value=2.0), measurement("b")]
    assert actions(store, *given, allow_replace=True, dry_run=True) == [UPDATED, CREATED]
    assert ids(store) == ["a"]
    assert store.measurements.get("a").measurement == measurement("a")


def test_the_catalog_does_not_notice(store: CatalogStore) -> None:
    before = store.revision(), store.database.commit_count
    store.measurements.write([measurement("a")])
    store.measurements.delete(["a"])
    assert (store.revision(), store.database.commit_count) == before


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_of_any_size_give_every_measurement_once(store: CatalogStore, limit: int) -> None:
    expected = sorted(f"{letter}{number}" for letter in "aZé" for number in range(3))
    store.measurements.write([measurement(name) for name in expected])
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = store.measurements.page(after=after, limit=limit)
        assert 1 <= len(page.measurements) <= limit
        seen += [found.measurement.id for found in page.measurements]
        after = page.after
    assert seen == expected


def test_a_page_ends_where_it_is_full_and_has_one_measurement_at_least(store: CatalogStore) -> None:
    store.measurements.write([measurement(name) for name in "abc"])
    taken = iter([True, False])
    page = store.measurements.page(fits=lambda found: next(taken))
    assert ([found.measurement.id for found in page.measurements], page.after) == (["a"], "a")
    page = store.measurements.page(after="b", fits=lambda found: False)
    assert ([found.measurement.id for found in page.measurements], page.after) == (["c"], None)


def test_filters_pick_what_meets_all_of_them(store: CatalogStore) -> None:
    store.measurements.write(
        [
            measurement("a"),
            measurement("b", hardware_id="y200", engine="sglang", source_group="g"),
            measurement("c", model_id="o/other", phase=Phase.CLOSED_LOOP, batch=None, concurrency=4),
            measurement("d", metric=MeasuredMetric.TTFT_MS, source_group="g"),
        ]
    )
    for wanted, found in (
        (MeasurementFilter(), ["a", "b", "c", "d"]),
        (MeasurementFilter(hardware_id="x100"), ["a", "c", "d"]),
        (MeasurementFilter(model_id="o/other"), ["c"]),
        (MeasurementFilter(engine="sglang"), ["b"]),
        (MeasurementFilter(phase=Phase.STATIC_BATCH), ["a", "b", "d"]),
        (MeasurementFilter(metric=MeasuredMetric.TTFT_MS), ["d"]),
        (MeasurementFilter(source_group="g"), ["b", "d"]),
        (MeasurementFilter(source_group="g", hardware_id="x100"), ["d"]),
        (MeasurementFilter(source_group="g", model_id="nobody's"), []),
    ):
        assert ids(store, wanted) == found


def test_measurements_are_removed_by_their_ids_all_or_none(store: CatalogStore) -> None:
    store.measurements.write([measurement(name) for name in "abc"])
    with pytest.raises(MeasurementsNotFoundError, match="no measurement has the id 'x'") as raised:
        store.measurements.delete(["a", "x"])
    assert raised.value.ids == ("x",)
    assert ids(store) == ["a", "b", "c"]
    assert store.measurements.delete(["a", "c", "a"], dry_run=True) == 2
    assert store.measurements.delete(["a", "c", "a"]) == 2
    assert ids(store) == ["b"]
    with pytest.raises(MeasurementsNotFoundError):
        store.measurements.get("a")


def test_measurements_are_removed_by_a_filter(store: CatalogStore) -> None:
    store.measurements.write([measurement("a"), measurement("b", engine="sglang"), measurement("c")])
    assert store.measurements.delete_matching(MeasurementFilter(engine="vllm"), dry_run=True) == 2
    assert ids(store) == ["a", "b", "c"]
    assert store.measurements.delete_matching(MeasurementFilter(engine="vllm")) == 2
    assert ids(store) == ["b"]
    assert store.measurements.delete_matching(MeasurementFilter(engine="vllm")) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"value": 0.0}, id="no value"),
        pytest.param({"value": float("inf")}, id="an endless value"),
        pytest.param({"concurrency": 4}, id="two loads"),
        pytest.param({"request_rate": 4.0}, id="a batch and a rate"),
    ],
)
def test_the_database_keeps_its_own_rules(store: CatalogStore, wrong: dict[str, float]) -> None:
    with pytest.raises((InvalidEntryError, IntegrityError)):
        store.measurements.write([replace(measurement("a"), **wrong)])  # type: ignore[arg-type]
    assert ids(store) == []


def test_what_another_process_wrote_meanwhile_is_seen(store: CatalogStore, other_store: CatalogStore) -> None:
    other_store.measurements.write([measurement("a")])
    assert actions(store, measurement("a"), measurement("a2")) == [UNCHANGED, CREATED]
    assert ids(other_store) == ["a", "a2"]


def test_imports_at_once_store_each_row_once_and_lose_none(store: CatalogStore) -> None:
    given = [measurement(f"m{number:02}") for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda first: actions(store, *given[first:], *given[:first]), range(0, 40, 5)))
    assert sum(outcomes.count(CREATED) for outcomes in told) == 40
    assert all(set(outcomes) <= {CREATED, UNCHANGED} for outcomes in told)
    assert ids(store) == [row.id for row in given]


def test_measurements_of_devices_are_found_as_the_rows_name_them(store: CatalogStore) -> None:
    given = {"a": "x100", "b": "y200", "c": "x100", "d": "X100"}
    actions(store, *(measurement(row_id, hardware_id=device) for row_id, device in given.items()))
    assert store.measurements.hardware_ids() == ["X100", "x100", "y200"]
    actions(store, measurement("e", hardware_id="z300", engine="other"))
    assert store.measurements.hardware_ids(MeasurementFilter(engine="other")) == ["z300"]
    found = store.measurements.of_hardware(["x100", "X100"], limit=10)
    assert [row.id for row in found] == ["a", "c", "d"]
    assert [row.id for row in store.measurements.of_hardware(["x100", "X100"], limit=2)] == ["a", "c"]
    assert store.measurements.of_hardware([], limit=2) == []
