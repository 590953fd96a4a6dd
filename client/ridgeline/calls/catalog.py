"""Many entries at once, and what was written before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ridgeline import catalog_requests
from ridgeline.calls.base import CATALOG, Calls, merged
from ridgeline.catalog_requests import ImportSource
from ridgeline.v1 import catalog_service_pb2 as catalog


class CatalogCalls(Calls):
    """Imports entries of all kinds, and lists the catalog's changes."""

    def import_entries(
        self,
        entries: Sequence[ImportSource],
        *,
        allow_existing: bool = False,
        all_or_nothing: bool = False,
        validate_only: bool = False,
    ) -> catalog.ImportEntriesResponse:
        """Write up to 1,000 entries in one transaction. The answer has an outcome for each, in their order.

        A refused entry is an outcome, not an error: its `error` tells why. It does not stop the others unless
        `all_or_nothing`. Entries of the same id are replaced with `allow_existing`; without it they are
        refused unless they are alike. `validate_only` tells what would change and writes nothing.

        Raises InvalidArgumentError for no entries or too many; `import_many` takes any number.
        """
        request = catalog.ImportEntriesRequest(
            entries=map(catalog_requests.to_import, entries),
            allow_existing=allow_existing,
            all_or_nothing=all_or_nothing,
            validate_only=validate_only,
        )
        return self._call(f"{CATALOG}/ImportEntries", request, catalog.ImportEntriesResponse)

    def import_many(
        self, entries: Iterable[ImportSource], *, allow_existing: bool = False, validate_only: bool = False
    ) -> Iterator[catalog.ImportEntriesResponse]:
        """Write any number of entries, a chunk in each transaction, and give each chunk's answer as it comes.

        What an answer tells is stored, whatever happens afterwards. Entries are taken from `entries` as they
        are needed. When a call fails, repeat the whole: what is stored already is UNCHANGED. See
        `import_entries`.
        """
        for chunk in catalog_requests.chunks(entries):
            yield self.import_entries(chunk, allow_existing=allow_existing, validate_only=validate_only)

    def list_changes(
        self,
        *,
        kind: str | None = None,
        entry_id: str = "",
        after_revision: int = 0,
        principal: str = "",
        limit: int | None = None,
    ) -> catalog.ListChangesResponse:
        """Who changed which entry when, and what: newest first, all pages in one response.

        `kind` is hardware, model or efficiency_profile; `entry_id`, which needs it, one entry's id.
        `after_revision` leaves out what that revision already had, `principal` what others wrote. Raises
        InvalidArgumentError.
        """
        return merged(self._change_pages(kind, entry_id, after_revision, principal, limit))

    def iter_changes(
        self,
        *,
        kind: str | None = None,
        entry_id: str = "",
        after_revision: int = 0,
        principal: str = "",
        limit: int | None = None,
    ) -> Iterator[catalog.Change]:
        """The same one by one: a page is asked for when its first change is."""
        pages = self._change_pages(kind, entry_id, after_revision, principal, limit)
        return (change for page in pages for change in page.changes)

    def _change_pages(
        self, kind: str | None, entry_id: str, after_revision: int, principal: str, limit: int | None
    ) -> Iterator[catalog.ListChangesResponse]:
        request, limit = catalog_requests.change_list(
            kind=kind, entry_id=entry_id, after_revision=after_revision, principal=principal, limit=limit
        )
        return self._pages(f"{CATALOG}/ListChanges", request, catalog.ListChangesResponse, "changes", limit)
