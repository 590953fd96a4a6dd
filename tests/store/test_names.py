"""Names: which spellings are alike, and what comes near a miss."""

from __future__ import annotations

import time

import pytest

from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.errors import NotFoundError
from ridgeline_server.store.names import loose_key, name_key, nearest_keys
from tests.store.samples import device

HARDWARE = ["rtx-a6000", "a6000", "rtx-6000-ada", "h100-sxm", "h100-pcie", "h100-sxm5-80gb", "tpu-v5e"]
MODELS = [
    "meta-llama/llama-2-7b-hf",
    "llama-2-7b",
    "meta-llama/llama-2-13b-hf",
    "llama-2-13b",
    "qwen/qwen3-8b",
]


@pytest.mark.parametrize(
    "spelling", ["rtx-a6000", "RTX A6000", "rtx_a6000", " Rtx  A6000 ", "rtx--A6000", "rtx\tA6000"]
)
def test_case_dashes_underscores_and_spaces_do_not_matter(spelling: str) -> None:
    assert name_key(spelling) == "rtx-a6000"


@pytest.mark.parametrize("different", ["rtx.a6000", "rtx/a6000", ""])
def test_everything_else_matters(different: str) -> None:
    assert loose_key(different) != loose_key("rtx-a6000")


def test_dots_and_slashes_tell_names_apart() -> None:
    assert name_key("llama-3.1") != name_key("llama-3-1")
    assert name_key("a/b") != name_key("a-b")


@pytest.mark.parametrize("spelling", ["rtxa6000", "RTX-A-6000", "R T X a6000"])
def test_a_name_is_found_without_its_separators_too(store: CatalogStore, spelling: str) -> None:
    store.hardware.create(device("rtx-a6000"))
    assert store.hardware.get(spelling).entry.id == "rtx-a6000"


def test_separators_tell_names_apart_where_they_must(store: CatalogStore) -> None:
    """Two variants of a sweep may differ in nothing else; then only the exact spelling finds one."""
    for entry_id in ("variant-1-11", "variant-11-1"):
        store.hardware.create(device(entry_id))
    assert store.hardware.get("variant_11_1").entry.id == "variant-11-1"
    with pytest.raises(NotFoundError) as caught:
        store.hardware.get("variant111")
    assert set(caught.value.nearest) == {"variant-1-11", "variant-11-1"}


@pytest.mark.parametrize(
    ("names", "miss", "best"),
    [
        pytest.param(HARDWARE, "rtx-a600", "rtx-a6000", id="a missing character"),
        pytest.param(HARDWARE, "RTX A6OOO", "rtx-a6000", id="letters for digits"),
        pytest.param(HARDWARE, "tpu5e", "tpu-v5e", id="a part left out"),
        pytest.param(MODELS, "lama-2-7b", "llama-2-7b", id="the alias is nearer than the id"),
        pytest.param(MODELS, "Llama-2-13b-hff", "meta-llama/llama-2-13b-hf", id="the organisation left out"),
        pytest.param(MODELS, "qwen3", "qwen/qwen3-8b", id="the beginning alone"),
    ],
)
def test_a_miss_names_what_was_probably_meant(names: list[str], miss: str, best: str) -> None:
    assert nearest_keys(miss, names)[0] == best


def nearest_to(store: CatalogStore, name: str) -> tuple[str, ...]:
    """The names that a miss of a device tells."""
    with pytest.raises(NotFoundError) as caught:
        store.hardware.get(name)
    return caught.value.nearest


def test_a_part_of_several_names_names_each_entry_once_as_it_is_spelt(store: CatalogStore) -> None:
    store.hardware.create(device("h100-sxm", "H100 SXM5 80GB"))
    store.hardware.create(device("h100-pcie-card", "H100 PCIe"))
    assert nearest_to(store, "h100") == ("h100-sxm", "H100 PCIe")


def test_at_most_three_names_come_near(store: CatalogStore) -> None:
    for number in range(20):
        store.hardware.create(device(f"gpu-{number}"))
    assert nearest_to(store, "gpu") == ("gpu-0", "gpu-1", "gpu-2")


def test_nothing_comes_near_a_name_of_another_world(store: CatalogStore) -> None:
    store.hardware.create(device("rtx-a6000"))
    with pytest.raises(NotFoundError, match="no hardware is named 'zzzz'; no name comes near it"):
        store.hardware.get("zzzz")


def test_an_absurdly_long_name_is_answered_quickly_and_briefly(store: CatalogStore) -> None:
    store.hardware.create(device("llama-2-7b"))
    started = time.process_time()
    with pytest.raises(NotFoundError) as caught:
        store.hardware.get("llama-2-" * 200_000)
    assert time.process_time() - started < 1.0
    assert len(str(caught.value)) < 300
