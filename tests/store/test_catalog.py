"""The catalog in memory: what it resolves, when it looks again, and that a snapshot never changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from unittest.mock import MagicMock, patch

import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import OperatorClass, ProfileLevel
from ridgeline_server.store import entries
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.errors import DatabaseUnavailableError, NotFoundError, Resource
from ridgeline_server.store.observer import CatalogRead, StoreObserver
from tests.store.samples import device, model, profile


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def away(store: CatalogStore) -> AbstractContextManager[MagicMock]:
    """Within the block the store's database does not answer."""
    unavailable = DatabaseUnavailableError("it does not answer", "wait", "here")
    return patch.object(store.database, "reading", side_effect=unavailable)


@pytest.fixture
def clock() -> Clock:
    """The cache's clock."""
    return Clock()


@pytest.fixture
def cache(store: CatalogStore, clock: Clock) -> CatalogCache:
    """A cache that may be one second behind other processes."""
    store.hardware.create(device("x100", "Fast One"))
    store.models.create(model("org/Tiny-1B", "tiny"))
    store.profiles.create(profile())
    return CatalogCache(store, max_age_s=1.0, clock=clock)


@pytest.fixture
def statements(store: CatalogStore) -> Iterator[list[str]]:
    """The statements that the store has sent since."""
    from sqlalchemy import event

    sent: list[str] = []

    def note(*arguments: object) -> None:
        sent.append(str(arguments[2]))

    event.listen(store.database.engine, "before_cursor_execute", note)
    yield sent
    event.remove(store.database.engine, "before_cursor_execute", note)


def test_names_resolve_to_domain_objects(cache: CatalogCache) -> None:
    snapshot = cache.snapshot()
    assert snapshot.hardware("fast_one") == device("x100").hardware
    assert snapshot.model("TINY").id == "org/Tiny-1B"
    assert snapshot.model("tiny").display_name == "Example org/Tiny-1B"
    assert snapshot.profiles.profiles == (profile().profile,)
    assert snapshot.revision == 3


def test_the_profiles_can_be_asked(cache: CatalogCache) -> None:
    generic = replace(
        profile().profile, engine="", since_version="", model_id="", dtype=None, weight_dtype=None
    )
    cache._store.profiles.create(entries.ProfileEntry(profile=replace(generic, id="x100-any")))
    profiles = cache.snapshot().profiles
    found = profiles.find(profiles.setting("x100"), OperatorClass.GEMM, Dtype.BF16, Dtype.INT4)
    assert found is not None
    assert (found.profile.id, found.level) == ("x100-any", ProfileLevel.HARDWARE)


@pytest.mark.parametrize("resource", [Resource.HARDWARE, Resource.MODEL])
def test_a_miss_names_what_comes_near(cache: CatalogCache, resource: Resource) -> None:
    snapshot = cache.snapshot()
    with pytest.raises(NotFoundError) as caught:
        snapshot.hardware("x10") if resource is Resource.HARDWARE else snapshot.model("tinny")
    assert caught.value.resource is resource
    assert caught.value.nearest == (("x100",) if resource is Resource.HARDWARE else ("tiny",))


def test_within_its_time_a_snapshot_is_handed_out_without_a_query(
    cache: CatalogCache, clock: Clock, statements: list[str]
) -> None:
    first = cache.snapshot()
    statements.clear()
    clock.now += 0.9
    assert cache.snapshot() is first
    assert statements == []


def test_after_its_time_one_small_query_tells_that_nothing_changed(
    cache: CatalogCache, clock: Clock, statements: list[str]
) -> None:
    first = cache.snapshot()
    statements.clear()
    clock.now += 1.1
    assert cache.snapshot() is first
    assert [statement for statement in statements if statement.startswith("SELECT")] == [
        "SELECT catalog_state.revision \nFROM catalog_state"
    ]
    clock.now += 0.9
    statements.clear()
    assert cache.snapshot() is first
    assert statements == []


def test_the_own_writes_are_seen_at_once(cache: CatalogCache, store: CatalogStore) -> None:
    assert cache.snapshot().hardware("x100").bandwidth_bytes_per_s == 1e12
    store.hardware.update("x100", lambda entry: replace(device("x100", bandwidth=3e12)))
    assert cache.snapshot().hardware("x100").bandwidth_bytes_per_s == 3e12
    store.hardware.delete("x100")
    with pytest.raises(NotFoundError):
        cache.snapshot().hardware("x100")


def test_others_writes_are_seen_when_the_time_is_over(
    cache: CatalogCache, other_store: CatalogStore, clock: Clock
) -> None:
    before = cache.snapshot()
    other_store.hardware.create(device("y200"))
    clock.now += 0.9
    assert cache.snapshot() is before
    clock.now += 0.2
    assert cache.snapshot().hardware("y200").id == "y200"
    assert cache.snapshot().revision == before.revision + 1


def test_a_dry_run_changes_no_snapshot(
    cache: CatalogCache, store: CatalogStore, statements: list[str]
) -> None:
    before = cache.snapshot()
    store.hardware.create(device("y200"), dry_run=True)
    statements.clear()
    assert cache.snapshot() is before
    assert statements == []


def test_a_snapshot_stays_as_it_is_whatever_is_written(cache: CatalogCache, store: CatalogStore) -> None:
    before = cache.snapshot()
    store.hardware.delete("x100")
    store.models.delete("org/Tiny-1B")
    store.profiles.delete("x100-gemm")
    assert cache.snapshot().revision == 6
    assert before.revision == 3
    assert before.hardware("x100") == device("x100").hardware
    assert before.model("tiny").layer_count == 2
    assert before.profiles.profiles == (profile().profile,)


def test_a_config_is_read_once_however_often_other_entries_change(
    cache: CatalogCache, store: CatalogStore
) -> None:
    with patch.object(entries, "read_config", wraps=read_config) as reads:
        first = cache.snapshot().model("tiny")
        store.hardware.create(device("y200"))
        assert cache.snapshot().model("tiny") is first
        assert reads.call_count <= 1
        store.models.update("org/Tiny-1B", lambda entry: model("org/Tiny-1B", "tiny", layers=5))
        assert cache.snapshot().model("tiny").layer_count == 5


def test_profiles_stay_the_same_object_until_one_of_them_changes(
    cache: CatalogCache, store: CatalogStore
) -> None:
    before = cache.snapshot().profiles
    store.hardware.create(device("y200"))
    assert cache.snapshot().profiles is before
    store.profiles.delete("x100-gemm")
    assert cache.snapshot().profiles.profiles == ()


def test_a_catalog_that_cannot_be_checked_is_not_answered_from_memory(
    cache: CatalogCache, store: CatalogStore, clock: Clock, database_kind: str
) -> None:
    cache.snapshot()
    clock.now += 1.1
    with away(store), pytest.raises(DatabaseUnavailableError):
        cache.snapshot()
    assert cache.snapshot().revision == 3


class Hearing(StoreObserver):
    """Notes where catalogs came from."""

    def __init__(self) -> None:
        self.reads: list[CatalogRead] = []
        self.checked: list[int] = []
        self.entries_read = 0

    def catalog_read(self, read: CatalogRead) -> None:
        self.reads.append(read)

    def catalog_checked(self, revision: int) -> None:
        self.checked.append(revision)

    def entry_read(self) -> None:
        self.entries_read += 1


def test_an_observer_hears_where_each_catalog_came_from(
    store: CatalogStore, other_store: CatalogStore, clock: Clock
) -> None:
    hearing = Hearing()
    store.database.observe(hearing)
    cache = CatalogCache(store, max_age_s=1.0, stale_s=10.0, clock=clock)
    store.hardware.create(device("x100"))
    cache.snapshot()
    cache.snapshot()
    clock.now += 1.1
    cache.snapshot()
    other_store.hardware.create(device("y200"))
    clock.now += 1.1
    cache.snapshot().hardware("y200")
    cache.snapshot().hardware("y200")
    clock.now += 1.1
    with away(store):
        cache.snapshot(may_be_stale=True)
        with pytest.raises(DatabaseUnavailableError):
            cache.snapshot()
    assert [read.value for read in hearing.reads] == [
        *("refreshed", "cached", "confirmed", "refreshed", "cached", "stale", "failed")
    ]
    assert hearing.checked == [1, 1, 2]
    assert hearing.entries_read == 1


def test_a_catalog_may_be_stale_for_so_long_and_says_so(
    store: CatalogStore, other_store: CatalogStore, clock: Clock
) -> None:
    store.hardware.create(device("x100"))
    cache = CatalogCache(store, max_age_s=1.0, stale_s=60.0, clock=clock)
    known = cache.snapshot(may_be_stale=True)
    assert known.unconfirmed_s is None
    assert known.hardware("x100").id == "x100"
    other_store.hardware.delete("x100")
    clock.now += 59.0
    with away(store):
        stale = cache.snapshot(may_be_stale=True)
        assert (stale.revision, stale.unconfirmed_s) == (1, 59.0)
        assert stale.hardware("x100").id == "x100"
        clock.now += 2.0
        assert not cache.can_answer_stale()
        with pytest.raises(DatabaseUnavailableError):
            cache.snapshot(may_be_stale=True)
    cache.refresh()
    back = cache.snapshot(may_be_stale=True)
    assert (back.revision, back.unconfirmed_s) == (2, None)
    assert known.unconfirmed_s is None


def test_after_a_look_in_vain_questions_leave_the_next_one_to_others_for_a_while(
    cache: CatalogCache, store: CatalogStore, clock: Clock
) -> None:
    cache = CatalogCache(store, max_age_s=1.0, stale_s=60.0, clock=clock)
    cache.snapshot()
    clock.now += 2.0
    with away(store) as looks:
        for _ in range(3):
            assert cache.snapshot(may_be_stale=True).unconfirmed_s == 2.0
        assert looks.call_count == 1
        with pytest.raises(DatabaseUnavailableError):
            cache.snapshot()
        assert looks.call_count == 2
        clock.now += 5.1
        cache.snapshot(may_be_stale=True)
        assert looks.call_count == 3
    clock.now += 5.1
    assert cache.snapshot(may_be_stale=True).unconfirmed_s is None


def test_nothing_is_stale_before_anything_was_read(store: CatalogStore) -> None:
    cache = CatalogCache(store, stale_s=60.0)
    assert not cache.can_answer_stale()
    with away(store), pytest.raises(DatabaseUnavailableError):
        cache.snapshot(may_be_stale=True)


def test_a_refresh_looks_at_once(cache: CatalogCache, other_store: CatalogStore) -> None:
    before = cache.snapshot()
    other_store.hardware.create(device("y200"))
    cache.refresh()
    assert cache.snapshot().revision == before.revision + 1


def test_each_of_two_servers_sees_the_others_writes_within_the_bound_and_its_own_at_once(
    store: CatalogStore, other_store: CatalogStore
) -> None:
    """By the real clock. The bound is what a caller may rely on, so a write that is older is always there."""
    bound_s = 0.2
    caches = [CatalogCache(each, max_age_s=bound_s) for each in (store, other_store)]
    for round_number in range(4):
        writer, reader = caches[round_number % 2], caches[1 - round_number % 2]
        reader.snapshot()
        written = (store, other_store)[round_number % 2].hardware.create(device(f"x{round_number}"))
        assert writer.snapshot().hardware(f"x{round_number}").id == written.entry.id
        time.sleep(bound_s * 1.05)
        assert reader.snapshot().hardware(f"x{round_number}").id == written.entry.id


def test_threads_get_whole_snapshots_while_another_writes(store: CatalogStore) -> None:
    """The writer moves an alias from one device to another; each revision has it on exactly one of them."""
    store.hardware.create(device("even", "Moving"))
    store.hardware.create(device("odd"))
    cache = CatalogCache(store, max_age_s=0.0)
    first_revision = store.revision()
    done = threading.Event()
    seen: list[tuple[int, str]] = []
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                snapshot = cache.snapshot()
                try:
                    seen.append((snapshot.revision, snapshot.hardware("moving").id))
                except NotFoundError:
                    seen.append((snapshot.revision, "nobody"))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for owner, other in (("odd", "even"), ("even", "odd")) * 5:
        store.hardware.update(other, lambda entry: replace(entry, aliases=()))
        store.hardware.update(owner, lambda entry: replace(entry, aliases=("Moving",)))
    done.set()
    for thread in threads:
        thread.join(timeout=30)
    assert failures == []
    held = {0: "even", 1: "nobody", 2: "odd", 3: "nobody"}
    assert {(revision, held[(revision - first_revision) % 4]) for revision, _ in seen} == set(seen)
