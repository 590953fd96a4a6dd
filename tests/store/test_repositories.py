"""Reading and writing catalog entries: the same rules for hardware, models and efficiency profiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import String, cast, select

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import FurtherConstant
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.entries import Origin
from ridgeline_server.store.errors import (
    AliasGivenError,
    EtagMismatchError,
    NameTakenError,
    NotFoundError,
    Resource,
)
from ridgeline_server.store.repository import Repository
from ridgeline_server.store.tables import efficiency_profiles
from tests.store.samples import device, model, profile


@dataclass(frozen=True)
class Kind:
    """One resource: its repository, a sample entry by id and aliases, and a change to it."""

    resource: Resource
    repository: Repository[Any]
    sample: Callable[..., Any]
    ids: tuple[str, str, str]
    changed: Callable[[Any], Any]


@pytest.fixture(params=["hardware", "models", "profiles"])
def kind(request: pytest.FixtureRequest, store: CatalogStore) -> Kind:
    """Each resource in turn."""
    kinds = {
        "hardware": Kind(
            Resource.HARDWARE,
            store.hardware,
            device,
            ("alpha-1", "beta-2", "gamma-3"),
            lambda entry: replace(entry, hardware=replace(entry.hardware, bandwidth_bytes_per_s=2e12)),
        ),
        "models": Kind(
            Resource.MODEL,
            store.models,
            model,
            ("org/Alpha-1B", "org/Beta-2B", "org/Gamma-3B"),
            lambda entry: replace(entry, config_json=model(layers=3).config_json),
        ),
        "profiles": Kind(
            Resource.EFFICIENCY_PROFILE,
            store.profiles,
            profile,
            ("alpha-gemm", "beta-gemm", "gamma-gemm"),
            lambda entry: replace(entry, profile=replace(entry.profile, evidence_count=99)),
        ),
    }
    return kinds[request.param]


def content(entry: Any) -> Any:
    """An entry without what the store sets."""
    return replace(entry, origin=Origin.USER, etag="", create_time=None, update_time=None)


def test_an_entry_comes_back_as_it_was_given(kind: Kind) -> None:
    given = kind.sample(kind.ids[0], "First Alias", "second_alias")
    created = kind.repository.create(given)
    assert content(created.entry) == given
    assert kind.repository.get(kind.ids[0]) == created


def test_a_created_entry_is_the_users_and_tells_when_it_was_written(kind: Kind) -> None:
    before = datetime.now(UTC)
    entry = kind.repository.create(kind.sample(kind.ids[0])).entry
    assert entry.origin is Origin.USER
    assert entry.etag
    assert entry.create_time == entry.update_time
    assert entry.create_time.utcoffset() == timedelta(0)
    assert before <= entry.create_time <= datetime.now(UTC)


@pytest.mark.parametrize("spelling", ["First Alias", "first-alias", "FIRST_ALIAS", "second alias"])
def test_an_entry_is_found_by_its_aliases_in_any_spelling(kind: Kind, spelling: str) -> None:
    kind.repository.create(kind.sample(kind.ids[0], "First Alias", "second_alias"))
    assert kind.repository.get(spelling).entry.id == kind.ids[0]
    assert kind.repository.get(kind.ids[0].upper()).entry.id == kind.ids[0]


def test_a_miss_names_the_nearest_entries_of_its_resource(kind: Kind) -> None:
    for entry_id in kind.ids:
        kind.repository.create(kind.sample(entry_id))
    with pytest.raises(NotFoundError) as caught:
        kind.repository.get(kind.ids[1] + "x")
    assert caught.value.resource is kind.resource
    assert caught.value.nearest[0] == kind.ids[1]


@pytest.mark.parametrize("name", ["a\0b", "\0", "x" * 10_000, "' OR 1=1 --", "%", "🦙"])
def test_a_name_that_no_entry_can_have_is_merely_not_found(kind: Kind, name: str) -> None:
    kind.repository.create(kind.sample(kind.ids[0]))
    with pytest.raises(NotFoundError):
        kind.repository.get(name)


def test_an_alias_that_reads_like_the_id_or_another_alias_is_left_out(kind: Kind) -> None:
    entry_id = kind.ids[0]
    entry = kind.repository.create(kind.sample(entry_id, entry_id.upper(), "Other", "other", "third")).entry
    assert entry.aliases == ("Other", "third")


@pytest.mark.parametrize("taken", ["id", "id in another spelling", "alias", "alias in another spelling"])
def test_a_name_belongs_to_one_entry_alone(kind: Kind, taken: str) -> None:
    first, second, _ = kind.ids
    kind.repository.create(kind.sample(first, "Shared Name"))
    name = {"id": first, "id in another spelling": first.upper(), "alias": "Shared Name"}.get(
        taken, "shared_name"
    )
    for clashing in (kind.sample(name), kind.sample(second, name)):
        with pytest.raises(NameTakenError) as caught:
            kind.repository.create(clashing)
        assert (caught.value.name, caught.value.holder) == (name, first)
    assert kind.repository.page().entries == (kind.repository.get(first).entry,)


def test_an_update_cannot_take_anothers_name(kind: Kind) -> None:
    first, second, _ = kind.ids
    kind.repository.create(kind.sample(first, "Shared Name"))
    before = kind.repository.create(kind.sample(second))
    with pytest.raises(NameTakenError, match=first):
        kind.repository.update(second, lambda entry: replace(entry, aliases=("shared-name",)))
    assert kind.repository.get(second) == before


def test_the_same_name_may_belong_to_entries_of_different_resources(store: CatalogStore) -> None:
    store.hardware.create(device("tiny"))
    store.models.create(model("tiny"))
    store.profiles.create(profile("tiny"))
    assert store.hardware.get("tiny").entry.hardware.id == "tiny"
    assert store.models.get("tiny").entry.model.id == "tiny"


def test_an_update_replaces_the_entry_and_keeps_its_age(kind: Kind) -> None:
    created = kind.repository.create(kind.sample(kind.ids[0], "Old Name", "Kept Name"))
    updated = kind.repository.update(
        kind.ids[0], lambda entry: replace(kind.changed(entry), aliases=("Kept Name", "New Name"))
    )
    assert content(updated.entry) == kind.changed(kind.sample(kind.ids[0], "Kept Name", "New Name"))
    assert kind.repository.get("new name") == updated
    with pytest.raises(NotFoundError):
        kind.repository.get("Old Name")
    assert updated.entry.create_time == created.entry.create_time
    assert updated.entry.update_time > created.entry.update_time
    assert updated.entry.etag != created.entry.etag


def test_an_etag_is_never_used_again(kind: Kind) -> None:
    etags = []
    for _ in range(2):
        etags.append(kind.repository.create(kind.sample(kind.ids[0])).entry.etag)
        etags.append(kind.repository.update(kind.ids[0], kind.changed).entry.etag)
        kind.repository.delete(kind.ids[0])
    assert len(set(etags)) == 4


def test_an_update_to_what_is_there_already_writes_nothing(kind: Kind, store: CatalogStore) -> None:
    created = kind.repository.create(kind.sample(kind.ids[0], "Alias"))
    again = kind.repository.update(kind.ids[0], lambda entry: kind.sample(kind.ids[0], "Alias"))
    assert again == created
    assert store.revision() == 1


def test_a_stale_etag_stops_an_update_and_a_deletion(kind: Kind) -> None:
    stale = kind.repository.create(kind.sample(kind.ids[0])).entry.etag
    current = kind.repository.update(kind.ids[0], kind.changed, etag=stale)
    with pytest.raises(EtagMismatchError, match="read it again and repeat"):
        kind.repository.update(kind.ids[0], kind.changed, etag=stale)
    with pytest.raises(EtagMismatchError):
        kind.repository.delete(kind.ids[0], etag=stale)
    assert kind.repository.get(kind.ids[0]) == current
    kind.repository.delete(kind.ids[0], etag=current.entry.etag)


def test_a_deletion_takes_the_names_along(kind: Kind) -> None:
    kind.repository.create(kind.sample(kind.ids[0], "Free Again"))
    kind.repository.delete(kind.ids[0])
    for name in (kind.ids[0], "Free Again"):
        with pytest.raises(NotFoundError):
            kind.repository.get(name)
    assert kind.repository.create(kind.sample(kind.ids[1], kind.ids[0], "Free Again")).entry.aliases == (
        kind.ids[0],
        "Free Again",
    )


def test_updates_and_deletions_go_by_the_exact_id(kind: Kind) -> None:
    kind.repository.create(kind.sample(kind.ids[0], "Alias"))
    for name in ("Alias", kind.ids[0].upper()):
        for write in (lambda name=name: kind.repository.update(name, kind.changed),
                      lambda name=name: kind.repository.delete(name)):  # fmt: skip
            with pytest.raises(AliasGivenError, match=f"is an alias of .*{kind.ids[0]}"):
                write()
    with pytest.raises(NotFoundError, match="is named 'nothing'"):
        kind.repository.delete("nothing")
    assert kind.repository.page().revision == 1


def test_an_update_may_add_what_is_missing(kind: Kind) -> None:
    given = kind.sample(kind.ids[0])
    added = kind.repository.update(kind.ids[0], kind.changed, missing=lambda: given)
    assert content(added.entry) == given
    changed = kind.repository.update(kind.ids[0], kind.changed, missing=lambda: given)
    assert content(changed.entry) == kind.changed(given)


def test_an_etag_promises_an_entry_so_nothing_is_added_for_it(kind: Kind) -> None:
    with pytest.raises(NotFoundError):
        kind.repository.update(
            kind.ids[0], kind.changed, etag="something", missing=lambda: kind.sample(kind.ids[0])
        )
    assert kind.repository.page().entries == ()


def test_an_update_that_fails_half_way_changes_nothing(kind: Kind) -> None:
    before = kind.repository.create(kind.sample(kind.ids[0]))

    def fail(entry: Any) -> Any:
        raise InvalidFieldsError([])

    with pytest.raises(InvalidFieldsError):
        kind.repository.update(kind.ids[0], fail)
    assert kind.repository.get(kind.ids[0]) == before


def test_an_update_cannot_rename(kind: Kind) -> None:
    before = kind.repository.create(kind.sample(kind.ids[0]))
    with pytest.raises(ValueError, match=kind.ids[1]):
        kind.repository.update(kind.ids[0], lambda entry: kind.sample(kind.ids[1]))
    assert kind.repository.page().entries == (before.entry,)


def test_every_write_raises_the_revision_by_one_and_reads_tell_it(kind: Kind, store: CatalogStore) -> None:
    assert store.revision() == 0
    assert kind.repository.create(kind.sample(kind.ids[0])).revision == 1
    assert kind.repository.update(kind.ids[0], kind.changed).revision == 2
    assert kind.repository.get(kind.ids[0]).revision == 2
    assert kind.repository.delete(kind.ids[0]) == 3
    assert kind.repository.page().revision == 3
    assert store.revision() == 3


def test_a_dry_run_checks_everything_and_writes_nothing(kind: Kind, store: CatalogStore) -> None:
    tried = kind.repository.create(kind.sample(kind.ids[0], "Alias"), dry_run=True)
    assert content(tried.entry) == kind.sample(kind.ids[0], "Alias")
    assert tried.revision == store.revision() == 0
    assert kind.repository.page().entries == ()

    created = kind.repository.create(kind.sample(kind.ids[0], "Alias"))
    changed = kind.repository.update(kind.ids[0], kind.changed, dry_run=True)
    assert content(changed.entry) == kind.changed(kind.sample(kind.ids[0], "Alias"))
    with pytest.raises(NameTakenError):
        kind.repository.create(kind.sample(kind.ids[1], "alias"), dry_run=True)
    with pytest.raises(EtagMismatchError):
        kind.repository.update(kind.ids[0], kind.changed, etag="stale", dry_run=True)
    assert kind.repository.get(kind.ids[0]) == created


def test_a_device_without_optional_figures_comes_back_without_them(store: CatalogStore) -> None:
    full = device()
    bare = replace(
        full,
        hardware=replace(
            full.hardware,
            usable_memory_bytes=None,
            link_bandwidth_bytes_per_s=None,
            clock_hz=None,
            tdp_watts=None,
            price_usd_per_hour=None,
            display_name="",
            vendor="",
            peak_flops_per_s={},
        ),
        release_year=None,
        link_kind="",
        sources=(),
        notes=(),
    )
    assert content(store.hardware.create(bare).entry) == bare


def test_peaks_come_back_in_one_order_so_that_equal_devices_are_equal_keys(store: CatalogStore) -> None:
    one_way = {Dtype.BF16: 1e12, Dtype.INT8: 2e12, Dtype.FP32: 5e11}
    other_way = dict(reversed(one_way.items()))
    found = [
        store.hardware.create(
            replace(device(name), hardware=replace(device(name).hardware, peak_flops_per_s=peaks))
        )
        for name, peaks in (("one", one_way), ("other", other_way))
    ]
    first, second = (list(created.entry.hardware.peak_flops_per_s.items()) for created in found)
    assert first == second == [(Dtype.FP32, 5e11), (Dtype.BF16, 1e12), (Dtype.INT8, 2e12)]


def test_figures_keep_every_bit(store: CatalogStore) -> None:
    for bandwidth in (0.1 + 0.2, 1e-300, 1.7976931348623157e299, 3.35e12 / 7):
        created = store.hardware.create(device("exact", bandwidth=bandwidth))
        assert created.entry.hardware.bandwidth_bytes_per_s == bandwidth
        store.hardware.delete("exact")


def test_a_profile_for_anything_comes_back_so(store: CatalogStore) -> None:
    entry = profile()
    general = replace(
        entry,
        profile=replace(
            entry.profile,
            hardware_id="",
            dtype=None,
            weight_dtype=None,
            engine="",
            model_id="",
            since_version="",
            since_date="",
            relatives=(),
            further={},
        ),
    )
    assert content(store.profiles.create(general).entry) == general


def test_further_constants_are_kept_in_one_order_so_that_alike_profiles_are_alike(
    store: CatalogStore,
) -> None:
    constants = profile().profile.further
    turned = dict(reversed(list(constants.items())))
    assert list(turned) != list(constants)
    entries = [
        replace(profile(), profile=replace(profile().profile, further=further))
        for further in (constants, turned)
    ]
    assert len({store.profiles.fingerprint(entry) for entry in entries}) == 1
    stored = store.profiles.create(entries[0]).entry
    assert list(stored.profile.further) == [FurtherConstant.SERIAL_TIME_US, FurtherConstant.PASSES]
    with store.database.reading() as connection:
        text_of = cast(efficiency_profiles.c.further_constants, String)
        (kept,) = connection.execute(select(text_of)).scalars()
    assert kept == (
        '{"serial_time_us": {"value": 0.25, "low": 0.1, "high": 0.5}, '
        '"passes": {"value": 1.5, "low": 0.0, "high": 4.0}}'
    )


def test_a_profile_may_outlive_its_device(store: CatalogStore) -> None:
    store.hardware.create(device("x100"))
    store.profiles.create(profile())
    store.hardware.delete("x100")
    assert store.profiles.get("x100-gemm").entry.profile.hardware_id == "x100"


def test_a_model_that_cannot_be_read_is_not_stored(store: CatalogStore) -> None:
    unreadable = replace(model(), config_json='{"model_type": "mamba"}')
    with pytest.raises((UnsupportedConfigError, InvalidFieldsError)):
        store.models.create(unreadable)
    assert store.revision() == 0
    assert store.models.page().entries == ()


def test_a_price_that_comes_without_a_day_gets_the_day_of_the_write(store: CatalogStore) -> None:
    created = store.hardware.create(replace(device("a"), price_as_of=None)).entry
    assert created.create_time is not None
    assert created.price_as_of == created.create_time.date()
    unpriced = replace(device("b"), price_as_of=None)
    unpriced = replace(unpriced, hardware=replace(unpriced.hardware, price_usd_per_hour=None))
    assert store.hardware.create(unpriced).entry.price_as_of is None
