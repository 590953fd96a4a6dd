"""Lists: filters, orders and pages, at the current and at past revisions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pytest

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.store.builtin import BuiltinCatalog
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.entries import HardwareEntry, ModelEntry, Origin
from ridgeline_server.store.errors import RevisionOutOfRangeError
from ridgeline_server.store.listing import HardwareFilter, Listing, ModelFilter
from ridgeline_server.store.repository import Repository
from ridgeline_server.store.seed import seed
from tests.store.samples import LLAMA_CONFIG, device, model, profile


@dataclass(frozen=True)
class Kind:
    """One resource: its repository, and a sample entry by id."""

    repository: Repository[Any]
    sample: Callable[[str], Any]


@pytest.fixture(params=["hardware", "models", "profiles"])
def kind(request: pytest.FixtureRequest, store: CatalogStore) -> Kind:
    """Each resource in turn."""
    return {
        "hardware": Kind(store.hardware, device),
        "models": Kind(store.models, model),
        "profiles": Kind(store.profiles, profile),
    }[request.param]


def pages(repository: Repository[Any], listing: Listing) -> list[list[str]]:
    """The ids on all pages."""
    found = []
    while True:
        page = repository.page(listing)
        found.append([entry.id for entry in page.entries])
        if page.after is None:
            return found
        listing = replace(listing, after=page.after, revision=page.revision)


def ids(repository: Repository[Any], listing: Listing) -> list[str]:
    """The ids on one page."""
    (page,) = pages(repository, listing)
    return page


def test_pages_follow_the_ids_and_together_hold_every_entry_once(kind: Kind) -> None:
    # Bytes count: capitals before small letters, and '.' and '-' before '/'.
    wanted = ["Zeta", "a-b", "a.b", "a/b", "a0", "ab", "b", "zeta-2"]
    for entry_id in reversed(wanted):
        kind.repository.create(kind.sample(entry_id))
    found = pages(kind.repository, Listing(limit=3))
    assert [len(page) for page in found] == [3, 3, 2]
    assert list(chain.from_iterable(found)) == wanted
    backwards = pages(kind.repository, Listing(limit=3, descending=True))
    assert list(chain.from_iterable(backwards)) == wanted[::-1]


def test_the_last_full_page_is_known_to_be_the_last(kind: Kind) -> None:
    for entry_id in ("a", "b", "c"):
        kind.repository.create(kind.sample(entry_id))
    assert kind.repository.page(Listing(limit=3)).after is None
    after = kind.repository.page(Listing(limit=2)).after
    assert after is not None
    assert after.id == "b"


def test_pages_that_follow_see_the_revision_of_the_first(kind: Kind) -> None:
    for entry_id in ("a", "b", "c", "d"):
        kind.repository.create(kind.sample(entry_id))
    first = kind.repository.page(Listing(limit=2))
    kind.repository.delete("c")
    kind.repository.create(kind.sample("bb"))
    kind.repository.update("d", lambda entry: replace(entry, aliases=("changed",)))
    rest = kind.repository.page(Listing(after=first.after, revision=first.revision))
    assert [entry.id for entry in rest.entries] == ["c", "d"]
    assert rest.entries[1].aliases == ()
    assert ids(kind.repository, Listing()) == ["a", "b", "bb", "d"]


def test_a_list_at_a_past_revision_is_what_it_was_then(kind: Kind) -> None:
    states = [ids(kind.repository, Listing())]
    kind.repository.create(kind.sample("a"))
    states.append(ids(kind.repository, Listing()))
    kind.repository.create(kind.sample("b"))
    states.append(ids(kind.repository, Listing()))
    kind.repository.delete("a")
    states.append(ids(kind.repository, Listing()))
    kind.repository.create(kind.sample("a"))
    assert [ids(kind.repository, Listing(revision=revision)) for revision in range(4)] == states
    assert states == [[], ["a"], ["a", "b"], ["b"]]


@pytest.mark.parametrize("revision", [-1, 2, 2**31 - 1])
def test_a_revision_that_is_not_there_is_told_with_those_that_are(kind: Kind, revision: int) -> None:
    kind.repository.create(kind.sample("a"))
    for read in (
        lambda: kind.repository.page(Listing(revision=revision)),
        lambda: kind.repository.get("a", revision=revision),
    ):
        with pytest.raises(RevisionOutOfRangeError, match="has revisions 1 to 1") as caught:
            read()
        assert (caught.value.first, caught.value.last) == (1, 1)


# Devices


def described(entry_id: str, **changes: Any) -> HardwareEntry:
    """A device with some figures of its own."""
    base = device(entry_id)
    entry_fields = {key: changes.pop(key) for key in ("release_year",) if key in changes}
    return replace(base, hardware=replace(base.hardware, **changes), **entry_fields)


@pytest.fixture
def devices(store: CatalogStore) -> Repository[HardwareEntry]:
    """Four devices that differ in what filters ask for."""
    for entry in (
        described("big", vendor="Acme", memory_bytes=200.0 * 2**30, tdp_watts=1000.0, release_year=2024),
        described("cpu", vendor="Chips", kind="cpu", memory_bytes=512.0 * 2**30, tdp_watts=None,
                  peak_flops_per_s={Dtype.FP32: 1e12}, bandwidth_bytes_per_s=3e11, release_year=None),
        described("old", vendor="ACME", memory_bytes=16.0 * 2**30, tdp_watts=250.0, release_year=2017,
                  peak_flops_per_s={Dtype.FP16: 1e14}, usable_memory_bytes=None),
        described("small", vendor="Acme", memory_bytes=8.0 * 2**30, tdp_watts=250.0, release_year=2020,
                  peak_flops_per_s={Dtype.BF16: 1e13, Dtype.FP8: 2e13}, usable_memory_bytes=None),
    ):  # fmt: skip
        store.hardware.create(entry)
    return store.hardware


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        pytest.param(HardwareFilter(), ["big", "cpu", "old", "small"], id="nothing"),
        pytest.param(HardwareFilter(vendor="acme"), ["big", "old", "small"], id="a vendor in any case"),
        pytest.param(HardwareFilter(vendor="acm"), [], id="a part of a vendor's name"),
        pytest.param(HardwareFilter(kind="cpu"), ["cpu"], id="a kind"),
        pytest.param(HardwareFilter(dtypes=(Dtype.BF16,)), ["big", "small"], id="a dtype"),
        pytest.param(HardwareFilter(dtypes=(Dtype.BF16, Dtype.FP8)), ["small"], id="two dtypes"),
        pytest.param(
            HardwareFilter(min_memory_bytes=16.0 * 2**30), ["big", "cpu", "old"], id="memory, the bound in"
        ),
        pytest.param(HardwareFilter(min_bandwidth_bytes_per_s=9e11), ["big", "old", "small"], id="bandwidth"),
        pytest.param(HardwareFilter(origin=Origin.BUILTIN), [], id="whose it is"),
        pytest.param(HardwareFilter(vendor="Acme", kind="gpu", dtypes=(Dtype.FP16,)), ["old"], id="several"),
    ],
)
def test_devices_are_filtered(
    devices: Repository[HardwareEntry], chosen: HardwareFilter, expected: list[str]
) -> None:
    assert ids(devices, Listing(filter=chosen)) == expected


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize(
    ("order_by", "descending", "expected"),
    [
        ("memory_bytes", False, ["small", "old", "big", "cpu"]),
        ("memory_bytes", True, ["cpu", "big", "old", "small"]),
        ("tdp_watts", False, ["old", "small", "big", "cpu"]),
        ("tdp_watts", True, ["big", "small", "old", "cpu"]),
        ("release_year", False, ["old", "small", "big", "cpu"]),
        ("update_time", True, ["small", "old", "cpu", "big"]),
    ],
)
def test_devices_are_ordered_and_those_without_the_figure_come_last(
    devices: Repository[HardwareEntry], order_by: str, descending: bool, expected: list[str], limit: int
) -> None:
    found = pages(devices, Listing(order_by=order_by, descending=descending, limit=limit))
    assert list(chain.from_iterable(found)) == expected


def test_a_filter_sees_a_past_revision_as_it_was(devices: Repository[HardwareEntry]) -> None:
    before = devices.page().revision
    devices.update("small", lambda entry: described("small", peak_flops_per_s={Dtype.FP16: 1e13}))
    fp8 = HardwareFilter(dtypes=(Dtype.FP8,))
    assert ids(devices, Listing(filter=fp8)) == []
    assert ids(devices, Listing(filter=fp8, revision=before)) == ["small"]


# Models


def sized(entry_id: str, **keys: Any) -> ModelEntry:
    """A small model with some keys of its own."""
    config = {key: value for key, value in {**LLAMA_CONFIG, **keys}.items() if value is not None}
    return replace(model(entry_id), config_json=json.dumps(config))


@pytest.fixture
def architectures(store: CatalogStore) -> Repository[ModelEntry]:
    """Three models; one of them states no context."""
    store.models.create(sized("a/two", num_hidden_layers=2))
    store.models.create(sized("b/four", num_hidden_layers=4, max_position_embeddings=None))
    store.models.create(sized("c/three", num_hidden_layers=3, max_position_embeddings=8192))
    return store.models


LAYER = 8_192 + 4_096 + 24_576 + 128
REST = 128_000 + 64
"""Weights of a layer and of the rest; test_entries has the arithmetic."""


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        pytest.param(ModelFilter(family="LLAMA"), ["a/two", "b/four", "c/three"], id="a family in any case"),
        pytest.param(ModelFilter(family="qwen2"), [], id="another family"),
        pytest.param(ModelFilter(min_parameter_count=3 * LAYER + REST), ["b/four", "c/three"], id="at least"),
        pytest.param(ModelFilter(max_parameter_count=3 * LAYER + REST - 1), ["a/two"], id="at most"),
        pytest.param(ModelFilter(min_context_len=4096), ["c/three"], id="context"),
        pytest.param(ModelFilter(weight_dtype=Dtype.INT4), [], id="format"),
        pytest.param(ModelFilter(mixture_of_experts=True), [], id="experts"),
        pytest.param(ModelFilter(mixture_of_experts=False), ["a/two", "b/four", "c/three"], id="no experts"),
        pytest.param(ModelFilter(origin=Origin.USER), ["a/two", "b/four", "c/three"], id="whose it is"),
    ],
)
def test_models_are_filtered(
    architectures: Repository[ModelEntry], chosen: ModelFilter, expected: list[str]
) -> None:
    assert ids(architectures, Listing(filter=chosen)) == expected


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize(
    ("order_by", "descending", "expected"),
    [
        ("parameter_count", False, ["a/two", "c/three", "b/four"]),
        ("parameter_count", True, ["b/four", "c/three", "a/two"]),
        ("active_parameter_count", True, ["b/four", "c/three", "a/two"]),
        ("max_context_len", False, ["a/two", "c/three", "b/four"]),
        ("max_context_len", True, ["c/three", "a/two", "b/four"]),
    ],
)
def test_models_are_ordered(
    architectures: Repository[ModelEntry], order_by: str, descending: bool, expected: list[str], limit: int
) -> None:
    found = pages(architectures, Listing(order_by=order_by, descending=descending, limit=limit))
    assert list(chain.from_iterable(found)) == expected


def test_built_ins_and_users_entries_are_told_apart(store: CatalogStore) -> None:
    seed(store, BuiltinCatalog((device("shipped"),), (), (), "1"))
    store.hardware.create(device("mine"))
    found = {origin: ids(store.hardware, Listing(filter=HardwareFilter(origin=origin))) for origin in Origin}
    assert found == {Origin.BUILTIN: ["shipped"], Origin.USER: ["mine"]}
