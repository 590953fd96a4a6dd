"""What the rpcs of hardware, models and efficiency profiles have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ridgeline.v1.catalog_service_pb2 import FieldChange
from ridgeline.v1.efficiency_profile_pb2 import EfficiencyProfile
from ridgeline.v1.hardware_pb2 import Hardware
from ridgeline.v1.model_pb2 import Model
from ridgeline_server.rpc.checks import MAX_TEXT_LENGTH, Checks, shown
from ridgeline_server.rpc.convert.changes import field_changes
from ridgeline_server.rpc.errors import StaleEtagError
from ridgeline_server.rpc.masks import merged, read_mask
from ridgeline_server.rpc.pages import (
    MAX_PAGE_BYTES,
    MAX_REVISION,
    PageToken,
    page_token,
    query_digest,
    read_page,
)
from ridgeline_server.store.entries import E
from ridgeline_server.store.errors import EtagMismatchError
from ridgeline_server.store.listing import Filter, Listing
from ridgeline_server.store.repository import Repository
from ridgeline_server.store.versions import VersionCache

M = TypeVar("M", Hardware, Model, EfficiencyProfile)


@dataclass(frozen=True)
class EntryKind(Generic[E, M]):
    """One kind of entry: where it is stored and how it is converted. `field` holds it in requests.

    `computed` fields follow from others. `dependents` are cleared by a masked update that changes the field
    which they belong to, but not them: a new price must not keep the old one's day.
    """

    field: str
    repository: Repository[E]
    read: Callable[[Checks, M, str], E]
    write: Callable[[E], M]
    computed: tuple[str, ...] = ()
    dependents: Mapping[str, str] = dataclasses.field(default_factory=dict)
    _messages: VersionCache[str, Any] = dataclasses.field(
        default_factory=lambda: VersionCache(lambda message: int(message.ByteSize()))
    )

    def message(self, entry: E) -> M:
        """The stored entry as a message, which is shared and must not be changed."""
        found: M | None = self._messages.find([entry.etag]).get(entry.etag)
        if found is None:
            found = self.write(entry)
            self._messages.keep({entry.etag: found})
        return found

    def get(self, name: str, catalog_revision: int) -> tuple[M, int]:
        """The entry with an id or alias, and the catalog's revision."""
        checks = Checks()
        checks.text("id", name, MAX_TEXT_LENGTH, required=True)
        revision = read_revision(checks, catalog_revision)
        checks.raise_if_any()
        found = self.repository.get(name, revision=revision)
        return self.message(found.entry), found.revision

    def list_page(
        self, request: Any, read_filter: Callable[[Checks, Any], Filter]
    ) -> tuple[list[M], str, int]:
        """A page of entries, the next page's token, and the catalog's revision."""
        digest = query_digest(request)
        checks = Checks()
        limit, token = read_page(checks, request.page_size, request.page_token, digest)
        revision = read_revision(checks, request.catalog_revision)
        column, descending = self._read_order(checks, request.order_by)
        chosen = read_filter(checks, request)
        checks.raise_if_any()
        listing = Listing(
            filter=chosen,
            order_by=column,
            descending=descending,
            after=token.after if token else None,
            limit=limit,
            revision=token.revision if token else revision,
        )
        size = 0

        def fits(entry: E) -> bool:
            nonlocal size
            size += self.message(entry).ByteSize()
            return size <= MAX_PAGE_BYTES

        page = self.repository.page(listing, fits)
        next_token = page_token(digest, PageToken(page.after, page.revision)) if page.after else ""
        return [self.message(entry) for entry in page.entries], next_token, page.revision

    def create(self, message: M, *, validate_only: bool) -> tuple[M, int]:
        """Add an entry."""
        stored = self.repository.create(self.entry(message), dry_run=validate_only)
        return self.written(stored.entry, validate_only), stored.revision

    def update(
        self, message: M, paths: Sequence[str], *, allow_missing: bool, validate_only: bool
    ) -> tuple[M, int]:
        """Change an entry: the fields at `paths`, or all when there are none."""
        checks = Checks()
        mask = self._with_dependents(read_mask(checks, paths, message.DESCRIPTOR, self.computed))
        whole = None if mask else self.read(checks, message, self.field)
        if mask and not message.id:
            checks.add(f"{self.field}.id", "is empty; give the id of the entry to change")
        checks.raise_if_any()

        def change(current: E) -> E:
            return self.entry(merged(self.message(current), message, mask)) if whole is None else whole

        try:
            stored = self.repository.update(
                message.id,
                change,
                etag=message.etag,
                missing=(lambda: whole or self.entry(message)) if allow_missing else None,
                dry_run=validate_only,
            )
        except EtagMismatchError as error:
            raise self._stale(error) from error
        return self.written(stored.entry, validate_only), stored.revision

    def delete(self, entry_id: str, etag: str) -> int:
        """Remove an entry and give the catalog's new revision."""
        checks = Checks()
        checks.text("id", entry_id, MAX_TEXT_LENGTH, required=True)
        checks.raise_if_any()
        try:
            return self.repository.delete(entry_id, etag=etag)
        except EtagMismatchError as error:
            raise self._stale(error) from error

    def entry(self, message: M) -> E:
        """The entry in a message. Raises InvalidFieldsError."""
        checks = Checks()
        entry = self.read(checks, message, self.field)
        checks.raise_if_any()
        return entry

    def written(self, entry: E, validate_only: bool) -> M:
        """The entry as stored. What was only validated has no etag and no times that could be used."""
        if not validate_only:
            return self.message(entry)
        message = self.write(entry)
        message.ClearField("etag")
        message.ClearField("create_time")
        message.ClearField("update_time")
        return message

    def changes(self, before: E | None, after: E | None) -> list[FieldChange]:
        """The fields that two states of an entry differ in."""
        old, new = (None if entry is None else self.write(entry) for entry in (before, after))
        return field_changes(old, new, self.computed)

    def _stale(self, error: EtagMismatchError) -> StaleEtagError:
        changed = self.changes(error.stale, error.current) if error.stale is not None else []
        return StaleEtagError(error, [(change.field, change.before, change.after) for change in changed])

    def _with_dependents(self, mask: tuple[str, ...]) -> tuple[str, ...]:
        cleared: Iterator[str] = (
            dependent for path, dependent in self.dependents.items() if path in mask and dependent not in mask
        )
        return (*mask, *cleared)

    def _read_order(self, checks: Checks, order_by: str) -> tuple[str, bool]:
        column, _, direction = order_by.strip().partition(" ")
        known = ("id", *self.repository.orders)
        if (column and column not in known) or direction.strip() not in ("", "asc", "desc"):
            checks.add(
                "order_by",
                f"is {shown(order_by)}; give one of {', '.join(known)}, with ` desc` after it for the "
                "largest first",
            )
        return column, direction.strip() == "desc"


def read_revision(checks: Checks, catalog_revision: int) -> int | None:
    """The revision that a request names; None for the current one."""
    checks.whole("catalog_revision", catalog_revision, 0, MAX_REVISION)
    return catalog_revision or None
