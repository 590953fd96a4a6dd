"""The catalog as questions see it: one revision, in which names are looked up as domain objects."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from sqlalchemy import Connection

from ridgeline_server.domain.draft_choice import choose_draft, largest_draft
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.siblings import most_parameters, smaller_siblings
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.entries import ModelEntry
from ridgeline_server.store.errors import DatabaseUnavailableError
from ridgeline_server.store.listing import Listing, ModelFilter
from ridgeline_server.store.observer import CatalogRead
from ridgeline_server.store.revisions import AsOf, as_of, current_revision

MAX_AGE_S = 1.0
"""For how long another process's write may go unseen."""

STALE_PATIENCE_S = 0.5
"""How long a question that may have a stale catalog waits for somebody else's look at the database."""

AWAY_S = 5.0
"""How long a look in vain keeps such a question from another one; a server's watch looks more often."""

PAST_SNAPSHOTS = 8
"""Snapshots of past revisions that are kept for the next question about them."""

NAMES_PER_SNAPSHOT = 1024
"""Names that a snapshot remembers the entries of."""

SIBLINGS_LOOKED_AT = 200
"""The largest smaller models of a family among which those of a line are looked for."""

DRAFTS_LOOKED_AT = 50
"""The smallest models of a family among which a draft is chosen."""


class CatalogSnapshot:
    """One revision of the catalog. It never changes, so a whole answer can rest on it.

    Entries are looked up when they are asked for: the store reads any revision, so what is written meanwhile
    makes no difference, and a catalog of any size costs only what a question names.
    """

    def __init__(self, store: CatalogStore, revision: int, profiles: ProfileSet) -> None:
        self.revision = revision
        self.profiles = profiles
        self._store = store
        self._found_hardware = lru_cache(NAMES_PER_SNAPSHOT)(self._find_hardware)
        self._found_model = lru_cache(NAMES_PER_SNAPSHOT)(self._find_model)
        self._found_draft = lru_cache(NAMES_PER_SNAPSHOT)(self._find_draft)
        self._found_siblings = lru_cache(NAMES_PER_SNAPSHOT)(self._find_siblings)
        self._devices: tuple[Hardware, ...] | None = None
        self.unconfirmed_s: float | None = None

    def unconfirmed(self, age_s: float) -> Self:
        """The same snapshot, handed out while the database is away: `unconfirmed_s` is the time since it was
        known to be the current one. It shares what was looked up with this one.
        """
        marked = copy(self)
        marked.unconfirmed_s = age_s
        return marked

    def hardware(self, name: str) -> Hardware:
        """The device with this id or alias. Raises NotFoundError with the nearest names."""
        return self._found_hardware(name)

    def model(self, name: str) -> Model:
        """The model with this id or alias; its config is read once. Raises NotFoundError with the nearest
        names, and UnsupportedConfigError where this release cannot read a config that another one stored.
        """
        return self._found_model(name)

    def draft_for(self, model: Model) -> Model | None:
        """The model that drafts for another one when nobody names a draft; None where none can."""
        return self._found_draft(model)

    def smaller_siblings(self, model: Model) -> tuple[Model, ...]:
        """The smaller models of its line that may take a model's place when nobody names them."""
        return self._found_siblings(model)

    def all_hardware(self, most: int) -> tuple[Hardware, ...] | None:
        """Every device; None where there are more than `most`."""
        if self._devices is None:
            page = self._store.hardware.page(Listing(limit=most, revision=self.revision))
            if page.after is not None:
                return None
            self._devices = tuple(entry.hardware for entry in page.entries)
        return self._devices

    def _find_hardware(self, name: str) -> Hardware:
        self._store.database.observer.entry_read()
        return self._store.hardware.get(name, revision=self.revision).entry.hardware

    def _find_model(self, name: str) -> Model:
        self._store.database.observer.entry_read()
        return self._store.models.get(name, revision=self.revision).entry.model

    def _find_draft(self, model: Model) -> Model | None:
        smaller = ModelFilter(
            family=model.family, max_parameter_count=largest_draft(model), mixture_of_experts=False
        )
        listing = Listing(smaller, "parameter_count", limit=DRAFTS_LOOKED_AT, revision=self.revision)
        return choose_draft(model, self._read(listing))

    def _find_siblings(self, model: Model) -> tuple[Model, ...]:
        smaller = ModelFilter(family=model.family, max_parameter_count=most_parameters(model))
        listing = Listing(
            smaller, "parameter_count", limit=SIBLINGS_LOOKED_AT, revision=self.revision, descending=True
        )
        return smaller_siblings(model, self._read(listing))

    def _read(self, listing: Listing) -> list[Model]:
        """The models of a page that this release can read."""
        found = map(_readable, self._store.models.page(listing).entries)
        return [model for model in found if model is not None]


def _readable(entry: ModelEntry) -> Model | None:
    """The model of an entry; None where this release cannot read a config that another one stored."""
    try:
        return entry.model
    except (InvalidFieldsError, UnsupportedConfigError):
        return None


class CatalogCache:
    """Hands out snapshots of the catalog. Threads may share it."""

    def __init__(
        self,
        store: CatalogStore,
        *,
        max_age_s: float = MAX_AGE_S,
        stale_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Writes through `store` are seen at once, those of others within `max_age_s` while the database
        answers. While it does not, questions that may have a stale catalog get the last one until it is
        `stale_s` old. `clock` tells seconds.
        """
        self._store = store
        self._max_age_s = max_age_s
        self._stale_s = stale_s
        self._clock = clock
        self._lock = threading.Lock()
        self._checked: _Checked | None = None
        self._failed_at: float | None = None
        self._past_lock = threading.Lock()
        self._past: OrderedDict[int, CatalogSnapshot] = OrderedDict()

    def snapshot(self, revision: int | None = None, *, may_be_stale: bool = False) -> CatalogSnapshot:
        """The catalog at a revision, or of at most `max_age_s` ago.

        Where it `may_be_stale` and the database is away, the last one that was known: its `unconfirmed_s`
        tells for how long. Raises RevisionOutOfRangeError, and DatabaseError when the current revision cannot
        be told.
        """
        if revision is not None:
            return self._at(revision)
        checked = self._checked
        if checked is not None and self._is_fresh(checked):
            self._store.database.observer.catalog_read(CatalogRead.CACHED)
            return checked.snapshot
        try:
            return self._looked_up(checked, may_be_stale=may_be_stale)
        except DatabaseUnavailableError:
            self._store.database.observer.catalog_read(CatalogRead.FAILED)
            raise

    def refresh(self) -> None:
        """Look whether the catalog changed, however short ago that was done. Raises DatabaseError."""
        with self._lock:
            self._check()

    def can_answer_stale(self) -> bool:
        """Whether there is a catalog for questions that may have a stale one."""
        checked = self._checked
        return checked is not None and self._age_s(checked) <= self._stale_s

    def _looked_up(self, seen: _Checked | None, *, may_be_stale: bool) -> CatalogSnapshot:
        """The current catalog by a look at the database, where nobody else had one meanwhile."""
        may_be_stale = may_be_stale and self.can_answer_stale()
        if may_be_stale and self._is_known_to_be_away():
            return self._stale()
        # Somebody else's look at a database that hangs takes long; nobody waits for it who need not.
        if not self._lock.acquire(timeout=STALE_PATIENCE_S if may_be_stale else -1):
            return self._stale()
        try:
            checked = self._checked
            if checked is not None and checked is not seen and self._is_fresh(checked):
                read = CatalogRead.CACHED
            else:
                read = self._check()
                checked = self._checked
        except DatabaseUnavailableError:
            if not may_be_stale:
                raise
            return self._stale()
        finally:
            self._lock.release()
        self._store.database.observer.catalog_read(read)
        assert checked is not None  # _check sets it
        return checked.snapshot

    def _check(self) -> CatalogRead:
        """Compare the revision in memory with the database's, and take that one. The caller has the lock."""
        checked = self._checked
        # Both are taken before the read: whatever is written during it will be looked for again.
        now, commit_count = self._clock(), self._store.database.commit_count
        try:
            with self._store.database.reading() as connection:
                revision = current_revision(connection)
                if checked is not None and checked.snapshot.revision == revision:
                    snapshot, read = checked.snapshot, CatalogRead.CONFIRMED
                else:
                    profiles = self._profiles_at(connection, as_of(connection))
                    snapshot, read = CatalogSnapshot(self._store, revision, profiles), CatalogRead.REFRESHED
        except DatabaseUnavailableError:
            self._failed_at = self._clock()
            raise
        self._checked, self._failed_at = _Checked(snapshot, now, commit_count), None
        self._store.database.observer.catalog_checked(revision)
        return read

    def _stale(self) -> CatalogSnapshot:
        """The last catalog that was known, marked with the time since."""
        checked = self._checked
        assert checked is not None  # can_answer_stale said so, and nothing takes it away
        self._store.database.observer.catalog_read(CatalogRead.STALE)
        return checked.snapshot.unconfirmed(self._age_s(checked))

    def _is_known_to_be_away(self) -> bool:
        """Whether somebody looked for the database in vain a short time ago."""
        failed_at = self._failed_at
        return failed_at is not None and self._clock() - failed_at <= AWAY_S

    def _at(self, revision: int) -> CatalogSnapshot:
        checked = self._checked
        if checked is not None and checked.snapshot.revision == revision:
            return checked.snapshot
        with self._past_lock:
            known = self._past.get(revision)
        if known is None:
            with self._store.database.reading() as connection:
                at = as_of(connection, revision)
                profiles = self._profiles_at(connection, at)
            known = CatalogSnapshot(self._store, at.revision, profiles)
        with self._past_lock:
            self._past[revision] = known
            self._past.move_to_end(revision)
            while len(self._past) > PAST_SNAPSHOTS:
                self._past.popitem(last=False)
        return known

    def _profiles_at(self, connection: Connection, at: AsOf) -> ProfileSet:
        """The profiles at a revision: those of the current snapshot where none has changed.

        What the estimator remembers, it remembers by the set of profiles. With another set after each write,
        of whatever entry, all would be worked out again, and what was remembered of the old ones be kept.
        """
        profiles = tuple(self._store.profiles.all_at(connection, at))
        checked = self._checked
        if checked is not None and checked.snapshot.profiles.profiles == profiles:
            return checked.snapshot.profiles
        return ProfileSet(profiles)

    def _is_fresh(self, checked: _Checked) -> bool:
        return (
            self._age_s(checked) <= self._max_age_s
            and checked.commit_count == self._store.database.commit_count
        )

    def _age_s(self, checked: _Checked) -> float:
        return self._clock() - checked.checked_at


@dataclass(frozen=True)
class _Checked:
    """A snapshot, when it was last found current, and after how many commits of this process."""

    snapshot: CatalogSnapshot
    checked_at: float
    commit_count: int
