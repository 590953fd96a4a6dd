"""Rules that the database keeps itself, whoever writes: figures are positive, finite and in order."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import insert

from ridgeline_server.domain.efficiency import Estimate
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.entries import FigureSource
from ridgeline_server.store.errors import InvalidEntryError
from ridgeline_server.store.tables import hardware_names
from tests.store.samples import device, profile

NONE_OF_THEM = [0.0, -1.0, float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("value", NONE_OF_THEM)
@pytest.mark.parametrize("field", ["memory_bytes", "bandwidth_bytes_per_s"])
def test_a_required_figure_is_positive_and_finite(store: CatalogStore, field: str, value: float) -> None:
    wrong: Any = {field: value}
    with pytest.raises(InvalidEntryError, match=field):
        store.hardware.create(replace(device(), hardware=replace(device().hardware, **wrong)))
    assert store.revision() == 0


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf")])
@pytest.mark.parametrize(
    "field",
    [
        "usable_memory_bytes",
        "link_bandwidth_bytes_per_s",
        "clock_hz",
        "tdp_watts",
        "price_usd_per_hour",
    ],
)
def test_an_optional_figure_is_positive_and_finite(store: CatalogStore, field: str, value: float) -> None:
    wrong: Any = {field: value}
    with pytest.raises(InvalidEntryError, match=field):
        store.hardware.create(replace(device(), hardware=replace(device().hardware, **wrong)))


@pytest.mark.parametrize("value", NONE_OF_THEM)
def test_a_peak_is_positive_and_finite(store: CatalogStore, value: float) -> None:
    peaks = dict.fromkeys(device().hardware.peak_flops_per_s, value)
    with pytest.raises(InvalidEntryError, match="flops_per_s"):
        store.hardware.create(replace(device(), hardware=replace(device().hardware, peak_flops_per_s=peaks)))
    assert store.hardware.page().entries == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("launch_time_us", Estimate(1.0, -0.5, 2.0), id="a launch before its cause"),
        pytest.param("launch_time_us", Estimate(1.0, 2.0, 3.0), id="a value below its low end"),
        pytest.param("launch_time_us", Estimate(4.0, 2.0, 3.0), id="a value above its high end"),
        pytest.param("launch_time_us", Estimate(1.0, 0.5, float("inf")), id="no high end"),
        pytest.param("compute_efficiency", Estimate(0.5, 0.0, 0.9), id="nothing attained"),
        pytest.param("compute_efficiency", Estimate(0.5, 0.4, 1.1), id="more than the peak attained"),
        pytest.param("memory_efficiency", Estimate(0.5, 0.6, 0.9), id="a value below its low end, again"),
        pytest.param("memory_efficiency", Estimate(0.5, 0.4, float("nan")), id="not a number"),
        pytest.param("overlap_exponent", 0.5, id="terms that slow each other down"),
        pytest.param("evidence_count", -1, id="less than no evidence"),
    ],
)
def test_a_profiles_constants_are_in_range_and_order(store: CatalogStore, field: str, value: object) -> None:
    wrong: Any = {field: value}
    with pytest.raises(InvalidEntryError, match=field):
        store.profiles.create(replace(profile(), profile=replace(profile().profile, **wrong)))


def test_a_profile_may_claim_no_launch_cost_and_full_efficiency(store: CatalogStore) -> None:
    ideal = replace(
        profile().profile,
        launch_time_us=Estimate(0.0, 0.0, 0.0),
        compute_efficiency=Estimate(1.0, 1.0, 1.0),
        memory_efficiency=Estimate(1.0, 1.0, 1.0),
        overlap_exponent=1.0,
        evidence_count=0,
    )
    assert store.profiles.create(replace(profile(), profile=ideal)).entry.profile == ideal


def test_a_figure_has_one_source(store: CatalogStore) -> None:
    twice = FigureSource("tdp_watts", "here", date(2026, 1, 1)), FigureSource("tdp_watts", "there")
    with pytest.raises(InvalidEntryError):
        store.hardware.create(replace(device(), sources=twice))
    assert store.revision() == 0


def test_a_text_that_a_database_cannot_hold_is_refused_or_kept_whole(store: CatalogStore) -> None:
    """PostgreSQL has no NUL in texts; SQLite has."""
    entry = replace(device(), notes=("fine",), link_kind="NUL\0LINK")
    try:
        created = store.hardware.create(entry)
    except InvalidEntryError as error:
        assert "NUL" in str(error)  # noqa: PT017
        assert store.revision() == 0
    else:
        assert created.entry.link_kind == "NUL\0LINK"


def test_no_name_exists_without_its_entry(store: CatalogStore) -> None:
    orphan = {
        "name_key": "ghost",
        "since_revision": 1,
        "loose_key": "ghost",
        "name": "ghost",
        "hardware_id": "nobody",
        "position": 0,
    }
    with pytest.raises(InvalidEntryError), store.database.writing() as transaction:
        transaction.connection.execute(insert(hardware_names), [orphan])
    assert store.revision() == 0
