"""A kind of entry: what the commands need to know of devices, or of models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from ridgeline.cli.catalog.sources import Entry
    from ridgeline.client import Client


@dataclass(frozen=True)
class Kind:
    """One kind of the catalog's entries.

    `field` holds an entry in messages and names the client's calls, `plural` is the command's name and holds
    the entries of a list, `noun` is the word for people, `group` the field whose values sort entries for
    people. `csv_columns` are the columns of `rows`.
    `folder_files` finds what to import in a folder, and `read` makes an entry of what a file or stdin holds,
    whose path it gets. `text` is an entry's file in the catalog's own format, `stated` its JSON
    without what the catalog computes.
    """

    field: str
    plural: str
    noun: str
    group: str
    csv_columns: tuple[str, ...]
    rows: Callable[[Iterable[Any]], Iterator[dict[str, object]]]
    show_list: Callable[[Any, Console], None]
    show_entry: Callable[[Any, Console], None]
    folder_files: Callable[[Path], list[Path]]
    read: Callable[[Mapping[str, Any], Path | None], Entry]
    text: Callable[[Any], str]
    stated: Callable[[Any], dict[str, object]]

    def get(self, client: Client, name: str, revision: int = 0) -> Any:
        """The response with the entry of that name."""
        return getattr(client, f"get_{self.field}")(name, catalog_revision=revision)

    def list(self, client: Client, query: Mapping[str, Any]) -> Any:
        """The response with all entries that match."""
        return getattr(client, f"list_{self.plural}")(**query)

    def create(self, client: Client, entry: Any, *, dry_run: bool) -> Any:
        """Add an entry."""
        return getattr(client, f"create_{self.field}")(entry, validate_only=dry_run)

    def update(self, client: Client, entry: Any, **how: Any) -> Any:
        """Change an entry."""
        return getattr(client, f"update_{self.field}")(entry, **how)

    def delete(self, client: Client, name: str, etag: str) -> Any:
        """Remove an entry."""
        return getattr(client, f"delete_{self.field}")(name, etag=etag)

    def entry(self, response: Any) -> Any:
        """The entry in a response."""
        return getattr(response, self.field)

    def entries(self, response: Any) -> Any:
        """The entries in a list's response."""
        return getattr(response, self.plural)
