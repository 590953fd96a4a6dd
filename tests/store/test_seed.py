"""Seeding: built-ins follow the release; what a user changed, removed or named stays the user's."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

import ridgeline_catalog
from ridgeline_server.domain.confidence import Confidence
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import Estimate, FurtherConstant
from ridgeline_server.store import builtin as builtin_module
from ridgeline_server.store.builtin import (
    BuiltinCatalog,
    BuiltinCatalogError,
    builtin_digest,
    hardware_entry,
    model_entry,
    profile_entry,
    read_builtin_catalog,
)
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.entries import HardwareEntry, ModelEntry, Origin, ProfileEntry
from ridgeline_server.store.errors import NotFoundError
from ridgeline_server.store.listing import Listing, ModelFilter
from ridgeline_server.store.seed import SeedOutcome, seed, seed_differences
from ridgeline_server.store.tables import models
from tests.processes import run_at_once
from tests.store.samples import device, model, profile


def release(*entries: HardwareEntry | ModelEntry | ProfileEntry, digest: str = "1") -> BuiltinCatalog:
    """A release that ships these entries."""
    return BuiltinCatalog(
        tuple(entry for entry in entries if isinstance(entry, HardwareEntry)),
        tuple(entry for entry in entries if isinstance(entry, ModelEntry)),
        tuple(entry for entry in entries if isinstance(entry, ProfileEntry)),
        digest,
    )


def test_a_first_seed_creates_every_built_in(store: CatalogStore) -> None:
    report = seed(store, release(device("a", "Alias"), device("b"), model("o/m", "tiny"), profile("p")))
    assert report.hardware == SeedOutcome(created=("a", "b"))
    assert report.models == SeedOutcome(created=("o/m",))
    assert report.profiles == SeedOutcome(created=("p",))
    assert report.revision == store.revision() == 1
    for found in (store.hardware.get("alias"), store.models.get("TINY"), store.profiles.get("p")):
        assert found.entry.origin is Origin.BUILTIN
    assert store.hardware.get("a").entry.hardware == device("a").hardware


def test_a_repeated_seed_writes_nothing(store: CatalogStore) -> None:
    shipped = release(device("a", "Alias"), model("o/m"), profile("p"))
    seed(store, shipped)
    before = (store.hardware.get("a"), store.models.get("o/m"), store.profiles.get("p"))
    report = seed(store, shipped)
    assert report.hardware == SeedOutcome(unchanged=("a",))
    assert report.models == SeedOutcome(unchanged=("o/m",))
    assert report.profiles == SeedOutcome(unchanged=("p",))
    assert (store.hardware.get("a"), store.models.get("o/m"), store.profiles.get("p")) == before


def test_a_newer_release_updates_its_built_ins_and_only_what_changed(store: CatalogStore) -> None:
    seed(store, release(device("a"), device("same"), model("o/m"), profile("p")))
    before = {entry.id: entry for entry in store.hardware.page().entries}
    report = seed(
        store,
        release(
            device("a", "New Alias", bandwidth=5e12),
            device("same"),
            model("o/m", layers=3),
            profile("p", launch_us=4.0),
        ),
    )
    assert report.hardware == SeedOutcome(updated=("a",), unchanged=("same",))
    assert report.models == SeedOutcome(updated=("o/m",))
    assert report.profiles == SeedOutcome(updated=("p",))
    updated = store.hardware.get("new alias").entry
    assert updated.hardware.bandwidth_bytes_per_s == 5e12
    assert updated.origin is Origin.BUILTIN
    assert updated.create_time == before["a"].create_time
    assert updated.etag != before["a"].etag
    assert store.hardware.get("same").entry == before["same"]
    assert store.models.get("o/m").entry.model.layer_count == 3
    assert store.profiles.get("p").entry.profile.launch_time_us.value == 4.0


def test_what_a_user_changed_is_never_overwritten(store: CatalogStore) -> None:
    seed(store, release(device("a"), model("o/m"), profile("p")))
    store.hardware.update("a", lambda entry: replace(entry, notes=("mine",)))
    store.models.update("o/m", lambda entry: replace(entry, notes=("mine",)))
    store.profiles.update("p", lambda entry: profile("p", launch_us=5.0))
    report = seed(
        store,
        release(device("a", bandwidth=5e12), model("o/m", layers=3), profile("p", launch_us=4.0), digest="2"),
    )
    assert report.hardware == SeedOutcome(kept_user_changes=("a",))
    assert report.models == SeedOutcome(kept_user_changes=("o/m",))
    assert report.profiles == SeedOutcome(kept_user_changes=("p",))
    kept = store.hardware.get("a").entry
    assert (kept.notes, kept.hardware) == (("mine",), device("a").hardware)
    assert kept.origin is Origin.USER
    assert store.models.get("o/m").entry.model.layer_count == 2


def test_what_a_user_removed_never_comes_back(store: CatalogStore) -> None:
    seed(store, release(device("a"), model("o/m"), profile("p")))
    store.hardware.delete("a")
    store.models.delete("o/m")
    store.profiles.delete("p")
    newer = release(device("a", bandwidth=5e12), model("o/m", layers=3), profile("p"), digest="2")
    for _ in range(2):
        report = seed(store, newer)
        assert report.hardware == SeedOutcome(kept_deleted=("a",))
        assert report.models == SeedOutcome(kept_deleted=("o/m",))
        assert report.profiles == SeedOutcome(kept_deleted=("p",))
    with pytest.raises(NotFoundError):
        store.hardware.get("a")


def test_what_a_user_removed_stays_so_even_when_a_release_leaves_it_out_for_a_while(
    store: CatalogStore,
) -> None:
    seed(store, release(device("a")))
    store.hardware.delete("a")
    seed(store, release(digest="2"))
    assert seed(store, release(device("a"), digest="3")).hardware == SeedOutcome(kept_deleted=("a",))


def test_what_a_user_put_in_place_of_a_removed_built_in_is_the_users(store: CatalogStore) -> None:
    seed(store, release(device("a")))
    store.hardware.delete("a")
    mine = store.hardware.create(device("a", bandwidth=7e12)).entry
    assert seed(store, release(device("a"), digest="2")).hardware == SeedOutcome(kept_user_changes=("a",))
    assert store.hardware.get("a").entry == mine


@pytest.mark.parametrize(
    ("users", "shipped"),
    [
        pytest.param(device("new"), device("new", bandwidth=9e12), id="the same id"),
        pytest.param(device("NEW"), device("new"), id="the id in another spelling"),
        pytest.param(device("mine", "New"), device("new"), id="its id is an alias of the user's"),
    ],
)
def test_a_users_entry_goes_before_a_built_in_of_a_later_release(
    store: CatalogStore, users: HardwareEntry, shipped: HardwareEntry
) -> None:
    mine = store.hardware.create(users).entry
    assert seed(store, release(shipped)).hardware == SeedOutcome(kept_user_changes=("new",))
    assert store.hardware.get("new").entry == mine
    assert len(store.hardware.page().entries) == 1


def test_a_built_in_does_without_an_alias_that_a_user_gave_away(store: CatalogStore) -> None:
    store.hardware.create(device("mine", "Fast One"))
    report = seed(store, release(device("a", "fast-one", "Other Name")))
    assert report.hardware == SeedOutcome(created=("a",))
    assert store.hardware.get("fast one").entry.id == "mine"
    assert store.hardware.get("a").entry.aliases == ("Other Name",)
    assert seed(store, release(device("a", "fast-one", "Other Name"))).hardware == SeedOutcome(
        unchanged=("a",)
    )


def test_aliases_may_change_hands_between_built_ins(store: CatalogStore) -> None:
    seed(store, release(device("a", "one"), device("b", "two")))
    report = seed(store, release(device("a", "two"), device("b", "three"), device("c", "one"), digest="2"))
    assert report.hardware == SeedOutcome(created=("c",), updated=("a", "b"))
    assert [store.hardware.get(name).entry.id for name in ("one", "two", "three")] == ["c", "a", "b"]


def test_a_built_in_that_a_release_no_longer_ships_goes_unless_a_user_changed_it(store: CatalogStore) -> None:
    seed(store, release(device("old", "Old Name"), device("changed")))
    store.hardware.update("changed", lambda entry: device("changed", bandwidth=3e12))
    report = seed(store, release(device("new", "Old Name"), digest="2"))
    assert report.hardware == SeedOutcome(created=("new",), removed=("old",))
    assert [entry.id for entry in store.hardware.page().entries] == ["changed", "new"]
    assert store.hardware.get("old name").entry.id == "new"
    assert "old" in seed(store, release(device("old"), digest="3")).hardware.created


def test_a_seed_that_fails_writes_nothing(store: CatalogStore) -> None:
    unreadable = replace(model("o/bad"), config_json='{"model_type": "mamba"}')
    with pytest.raises(BuiltinCatalogError, match="o/bad"):
        seed(store, release(device("a"), unreadable))
    assert store.hardware.page().entries == ()
    assert store.revision() == 0


@pytest.mark.parametrize("second", [device("b", "Same Name"), device("b", "A"), device("A")])
def test_a_release_whose_names_clash_is_refused(second: HardwareEntry) -> None:
    with pytest.raises(BuiltinCatalogError, match="names both"):
        release(device("a", "same-name"), second)


def test_four_processes_may_seed_the_whole_catalog_at_once(store: CatalogStore, database_url: str) -> None:
    code = (
        "from ridgeline_server.store.catalog_store import CatalogStore\n"
        "from ridgeline_server.store.database import create_database_engine\n"
        "from ridgeline_server.store.seed import seed\n"
        "def prepare(url):\n"
        "    store = CatalogStore(create_database_engine(url))\n"
        "    def work():\n"
        "        report = seed(store)\n"
        "        print(len(report.hardware.created), len(report.hardware.unchanged))\n"
        "        store.close()\n"
        "    return work\n"
    )
    outputs = run_at_once(code, [[database_url]] * 4)
    devices = len(list(ridgeline_catalog.hardware_documents()))
    assert sorted(outputs) == [f"0 {devices}\n"] * 3 + [f"{devices} 0\n"]
    assert len(store.hardware.page(Listing(limit=1000)).entries) == devices


def test_a_dry_run_tells_what_a_newer_release_would_change_and_writes_nothing(store: CatalogStore) -> None:
    seed(store, release(device("same"), device("old"), device("mine"), device("gone"), model("o/m")))
    store.hardware.update("mine", lambda entry: replace(entry, notes=("mine",)))
    store.hardware.delete("gone")
    newer = release(
        device("same"), device("new"), device("mine", bandwidth=5e12), device("gone"),
        model("o/m", layers=3), digest="2",
    )  # fmt: skip
    before = store.revision()
    found = {(d.entry_id, d.action): d for d in seed_differences(store, newer)}
    assert set(found) == {
        ("new", "created"),
        ("old", "removed"),
        ("mine", "kept_user_changes"),
        ("gone", "kept_deleted"),
        ("o/m", "updated"),
    }
    mine, updated = found["mine", "kept_user_changes"], found["o/m", "updated"]
    assert mine.before is not None
    assert mine.after is not None
    assert (mine.before.notes, mine.after.hardware.bandwidth_bytes_per_s) == (("mine",), 5e12)
    assert [entry.model.layer_count for entry in (updated.before, updated.after) if entry] == [2, 3]
    assert seed(store, newer, dry_run=True).hardware.created == ("new",)
    assert store.revision() == before
    assert store.models.get("o/m").entry.model.layer_count == 2


def test_a_built_in_that_a_user_changed_or_removed_comes_back_on_request(store: CatalogStore) -> None:
    shipped = release(device("changed"), device("removed"), device("mine"))
    seed(store, shipped)
    store.hardware.update("changed", lambda entry: device("changed", bandwidth=3e12))
    store.hardware.update("mine", lambda entry: device("mine", bandwidth=3e12))
    store.hardware.delete("removed")
    report = seed(store, shipped, restored=["changed", "removed"])
    assert report.hardware == SeedOutcome(
        created=("removed",), updated=("changed",), kept_user_changes=("mine",)
    )
    for entry_id in ("changed", "removed"):
        entry = store.hardware.get(entry_id).entry
        assert (entry.hardware.bandwidth_bytes_per_s, entry.origin) == (1e12, Origin.BUILTIN)
    assert seed(store, release(device("changed", bandwidth=5e12), digest="2")).hardware.updated == (
        "changed",
    )


def test_a_config_that_this_release_cannot_read_stops_no_seed_and_no_report(store: CatalogStore) -> None:
    seed(store, release(model("o/m")))
    with store.database.writing() as transaction:
        newer = update(models).values(config_json='{"model_type": "unheard-of"}', etag="newer", origin="user")
        transaction.connection.execute(newer)
    assert [found.action for found in seed_differences(store, release(model("o/m"), digest="2"))] == [
        "kept_user_changes"
    ]
    assert seed(store, release(model("o/m"), digest="2")).models == SeedOutcome(kept_user_changes=("o/m",))


def test_a_users_copy_of_what_ships_is_no_difference(store: CatalogStore) -> None:
    store.hardware.create(device("a"))
    assert list(seed_differences(store, release(device("a")))) == []


def test_computed_columns_of_users_models_follow_the_release_that_reads_them(store: CatalogStore) -> None:
    """As if another release had counted otherwise: a filter must not go on with its count."""
    store.models.create(model("o/mine"))
    entry = store.models.get("o/mine").entry
    with store.database.writing() as transaction:
        transaction.connection.execute(update(models).values(parameter_count=1.0, family="unheard-of"))
    revision = store.revision()
    seed(store, release(digest="2"))
    listing = Listing(filter=ModelFilter(family="llama", min_parameter_count=entry.model.parameter_count))
    assert [found.id for found in store.models.page(listing).entries] == ["o/mine"]
    assert store.models.get("o/mine").entry == entry
    assert store.revision() == revision + 1


# The catalog that ships


@pytest.fixture(scope="module")
def shipped() -> BuiltinCatalog:
    """The catalog of this release."""
    return read_builtin_catalog()


def test_every_file_that_ships_becomes_an_entry_that_any_of_its_names_finds(
    store: CatalogStore, shipped: BuiltinCatalog
) -> None:
    report = seed(store, shipped)
    assert len(report.hardware.created) == len(list(ridgeline_catalog.hardware_documents())) >= 20
    assert len(report.models.created) == len(list(ridgeline_catalog.model_documents())) >= 20
    assert len(report.profiles.created) == len(list(ridgeline_catalog.efficiency_documents())) > 0
    for device_entry in shipped.hardware:
        for name in (device_entry.id, *device_entry.aliases):
            assert store.hardware.get(name).entry.hardware == device_entry.hardware
    for model_in_catalog in shipped.models:
        for name in (model_in_catalog.id, *model_in_catalog.aliases):
            assert store.models.get(name).entry.config_json == model_in_catalog.config_json
    stored_profiles = [entry.profile for entry in store.profiles.page(Listing(limit=1000)).entries]
    assert stored_profiles == sorted((entry.profile for entry in shipped.profiles), key=lambda p: p.id)


def test_every_stored_figure_of_a_device_has_its_source(shipped: BuiltinCatalog) -> None:
    for entry in shipped.hardware:
        hardware = entry.hardware
        figures = {"memory_bytes", "bandwidth_bytes_per_s"}
        figures |= {f"peaks.{dtype}" for dtype in hardware.peak_flops_per_s}
        for field in ("usable_memory_bytes", "clock_hz", "tdp_watts", "price_usd_per_hour"):
            if getattr(hardware, field) is not None:
                figures.add(field)
        if hardware.link_bandwidth_bytes_per_s is not None:
            figures.add("link.bandwidth_bytes_per_s")
        if hardware.link_domain_size is not None:
            figures.add("link.domain_size")
        if hardware.unsupported_dtypes:
            figures.add("unsupported_dtypes")
        assert {source.field for source in entry.sources} == figures
        assert all(source.source and source.read_on and source.confidence for source in entry.sources)


def test_a_devices_file_becomes_its_entry() -> None:
    documents = dict(ridgeline_catalog.hardware_documents())
    entry = hardware_entry(documents["rtx-a6000.json"])
    assert entry.hardware.bandwidth_bytes_per_s == 768e9
    assert entry.hardware.memory_bytes == 48 * 2**30
    (source,) = (source for source in entry.sources if source.field == "memory_bytes")
    stated = documents["rtx-a6000.json"]["memory_bytes"]
    assert source.confidence is Confidence(stated["confidence"])
    assert source.note == stated["note"]


def test_a_devices_file_tells_sums_lacks_links_and_the_day_of_a_price() -> None:
    entry = hardware_entry(dict(ridgeline_catalog.hardware_documents())["h100-sxm.json"])
    assert entry.hardware.accumulate[Dtype.FP16] is Dtype.FP32
    assert entry.hardware.unsupported_dtypes == {Dtype.FP6, Dtype.FP4, Dtype.INT4}
    assert entry.hardware.link_domain_size == 8
    assert entry.price_as_of == date(2026, 11, 27)


def test_a_models_file_becomes_its_entry_with_the_published_count_as_a_note() -> None:
    document = dict(ridgeline_catalog.model_documents())["meta-llama__Llama-2-7b-hf.json"]
    entry = model_entry(document)
    assert json.loads(entry.config_json) == document["config"]
    assert entry.model.parameter_count == 6_738_415_616
    assert any("6,738,417,664" in note for note in entry.notes)
    assert document["config_kind"] in entry.source


def test_a_profile_for_any_device_and_dtype_says_so() -> None:
    (document,) = (d for _, d in ridgeline_catalog.efficiency_documents() if d["id"] == "generic-gemm")
    built = profile_entry(document).profile
    assert (built.hardware_id, built.dtype, built.weight_dtype, built.engine) == ("", None, None, "")


KERNEL_CONSTANTS = ("launch_time_us", "compute_efficiency", "memory_efficiency")
REQUEST: dict[str, Any] = {
    "id": "vllm-request",
    "operator_class": "request",
    "hardware_id": "",
    "dtype": None,
    "weight_dtype": None,
    "engine": "vllm",
    "evidence_count": 12,
    "source": "a fit over served rows",
}


def test_a_profile_that_stands_for_no_kernel_need_not_state_a_kernels_constants() -> None:
    built = profile_entry(REQUEST).profile
    assert (built.launch_time_us, built.overlap_exponent) == (Estimate(0.0, 0.0, 0.0), 2.0)
    assert built.compute_efficiency == built.memory_efficiency == Estimate(1.0, 1.0, 1.0)
    stated = {**REQUEST, "launch_time_us": {"value": 5, "low": 4, "high": 6}, "overlap_exponent": 3}
    built = profile_entry(stated).profile
    assert (built.launch_time_us, built.overlap_exponent) == (Estimate(5.0, 4.0, 6.0), 3.0)
    with pytest.raises(KeyError, match="launch_time_us"):
        profile_entry({**REQUEST, "operator_class": "gemm", "overlap_exponent": 2})
    efficiencies = {name: {"value": 1, "low": 1, "high": 1} for name in KERNEL_CONSTANTS}
    with pytest.raises(KeyError, match="overlap_exponent"):
        profile_entry({**REQUEST, "operator_class": "gemm", **efficiencies})


def test_a_profiles_file_may_say_where_it_holds_and_what_else_it_knows() -> None:
    built = profile_entry(
        {
            **REQUEST,
            "model_id": "o/m",
            "since_version": "0.8.0",
            "since_date": "2025-03",
            "relatives": ["h200-sxm", "h100-nvl"],
            "further": {"lockstep_share": {"value": 0.5, "low": 0.25, "high": 1}},
        }
    ).profile
    assert (built.model_id, built.since_version, built.since_date) == ("o/m", "0.8.0", "2025-03")
    assert built.relatives == ("h200-sxm", "h100-nvl")
    assert built.further == {FurtherConstant.LOCKSTEP_SHARE: Estimate(0.5, 0.25, 1.0)}
    plain = profile_entry(REQUEST).profile
    assert (plain.model_id, plain.since_version, plain.since_date) == ("", "", "")
    assert (plain.relatives, dict(plain.further)) == ((), {})


def test_one_file_may_hold_many_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "efficiency"
    folder.mkdir()
    (folder / "b.json").write_text(json.dumps({**REQUEST, "id": "single"}))
    many = [{**REQUEST, "id": f"fit-{number}"} for number in range(3)]
    (folder / "a.json").write_text(json.dumps({"profiles": many}))
    monkeypatch.setattr(ridgeline_catalog, "files", lambda package: tmp_path)
    read = [profile_entry(document).id for _, document in ridgeline_catalog.efficiency_documents()]
    assert read == ["fit-0", "fit-1", "fit-2", "single"]
    many[1]["operator_class"] = "guess"
    (folder / "a.json").write_text(json.dumps({"profiles": many}))
    monkeypatch.setattr(ridgeline_catalog, "hardware_documents", lambda: iter(()))
    monkeypatch.setattr(ridgeline_catalog, "model_documents", lambda: iter(()))
    with pytest.raises(BuiltinCatalogError, match=r"^a\.json, profile 2: 'guess' is not a valid"):
        read_builtin_catalog()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param({"vendor": ...}, "bad.json has no 'vendor'", id="a key left out"),
        pytest.param({"peak_flops_per_s": {"fp12": {"value": 1}}}, "bad.json: 'fp12'", id="an unknown dtype"),
        pytest.param({"memory_bytes": {"value": "much"}}, "bad.json", id="a word for a number"),
    ],
)
def test_a_wrong_file_is_named(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], complaint: str
) -> None:
    document = {**dict(ridgeline_catalog.hardware_documents())["t4.json"], **change}
    document = {key: value for key, value in document.items() if value is not ...}
    monkeypatch.setattr(ridgeline_catalog, "hardware_documents", lambda: iter([("bad.json", document)]))
    with pytest.raises(BuiltinCatalogError, match=complaint):
        read_builtin_catalog()


def test_the_digest_is_that_of_the_release_and_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    before = builtin_digest()
    assert builtin_digest() == before
    monkeypatch.setattr(builtin_module, "version", lambda name: "99.0")
    assert builtin_digest() != before
