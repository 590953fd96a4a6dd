"""The catalog as questions see it: one revision, in which names are looked up as domain objects."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Connection

from ridgeline_server.domain.draft_choice import choose_draft, largest_draft
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.siblings import most_parameters, smaller_siblings
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.entries import ModelEntry
from ridgeline_server.store.listing import Listing, ModelFilter
from ridgeline_server.store.revisions import AsOf, as_of, current_revision

MAX_STALENESS_S = 1.0
"""For how long another process's write may go unseen."""

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
        return self._store.hardware.get(name, revision=self.revision).entry.hardware

    def _find_model(self, name: str) -> Model:
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
        max_staleness_s: float = MAX_STALENESS_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` tells seconds; writes through `store` are seen at once, others within `max_staleness_s`."""
        self._store = store
        self._max_staleness_s = max_staleness_s
        self._clock = clock
        self._lock = threading.Lock()
        self._checked: _Checked | None = None
        self._past_lock = threading.Lock()
        self._past: OrderedDict[int, CatalogSnapshot] = OrderedDict()

    def snapshot(self, revision: int | None = None) -> CatalogSnapshot:
        """The catalog at a revision, or of at most `max_staleness_s` ago.

        Raises RevisionOutOfRangeError, and DatabaseError when the current revision cannot be told.
        """
        return self._current() if revision is None else self._at(revision)

    def _current(self) -> CatalogSnapshot:
        checked = self._checked
        if checked is not None and self._is_fresh(checked):
            return checked.snapshot
        with self._lock:
            checked = self._checked
            if checked is not None and self._is_fresh(checked):
                return checked.snapshot
            # Both are taken before the read: whatever is written during it will be looked for again.
            now, commit_count = self._clock(), self._store.database.commit_count
            with self._store.database.reading() as connection:
                revision = current_revision(connection)
                if checked is not None and checked.snapshot.revision == revision:
                    snapshot = checked.snapshot
                else:
                    profiles = self._profiles_at(connection, as_of(connection))
                    snapshot = CatalogSnapshot(self._store, revision, profiles)
            self._checked = _Checked(snapshot, now, commit_count)
            return snapshot

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
        age_s = self._clock() - checked.checked_at
        return age_s <= self._max_staleness_s and checked.commit_count == self._store.database.commit_count


@dataclass(frozen=True)
class _Checked:
    """A snapshot, when it was last found current, and after how many commits of this process."""

    snapshot: CatalogSnapshot
    checked_at: float
    commit_count: int
