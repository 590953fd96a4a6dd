"""Writes entries out: as one JSON on stdout, or a file for each in the catalog's own format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ridgeline.cli import printable, session
from ridgeline.cli.catalog.reading import revision
from ridgeline.cli.commands import SectionOption
from ridgeline.cli.options import together

if TYPE_CHECKING:
    from ridgeline.cli.catalog.kinds import Kind

F = TypeVar("F", bound=Callable[..., Any])


def options(function: F) -> F:
    """What to export, and where to."""
    return together(
        click.argument("names", nargs=-1, metavar="[NAME]..."),
        click.option(
            "--to",
            cls=SectionOption,
            section="Export",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Write a file for each into this folder, in the catalog's own format [default: one JSON on "
            "stdout].",
        ),
        revision("Export"),
    )(function)


def run(kind: Kind, given: Mapping[str, Any]) -> None:
    """Exports the entries that were named, or all."""
    read = given["revision"] or 0
    with session.client(given["server"], given["timeout"]) as client:
        if given["names"]:
            by_id: dict[str, Any] = {}
            for name in given["names"]:
                # All of them as they were at the revision of the first.
                response = kind.get(client, name, read)
                read = response.catalog_revision
                by_id.setdefault(kind.entry(response).id, kind.entry(response))
            found = list(by_id.values())
        else:
            response = kind.list(client, {"catalog_revision": read})
            found, read = list(kind.entries(response)), response.catalog_revision
    if given["to"] is None:
        stated = {kind.plural: [kind.stated(entry) for entry in found]}
        click.echo(printable.json_text(json.dumps(stated, indent=2, ensure_ascii=False)))
        return
    write_files(kind, found, given["to"])
    files = "1 file" if len(found) == 1 else f"{len(found):,} files"
    click.echo(f"Wrote {files} into {given['to']} (catalog revision {read}).")


def write_files(kind: Kind, entries: Iterable[Any], folder: Path) -> None:
    """One file for each entry, named by its id with `__` for its `/`. Raises click.UsageError for a folder
    that cannot be written.
    """
    taken: set[str] = set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for entry in entries:
            stem = entry.id.replace("/", "__")
            # `a/b` and `a__b` may both be there, and file systems may not tell upper from lower case.
            names = (stem, *(f"{stem}.{number}" for number in range(2, 1000)))
            name = next(name for name in names if name.lower() not in taken)
            taken.add(name.lower())
            (folder / f"{name}.json").write_text(kind.text(entry), encoding="utf-8", newline="\n")
    except OSError as error:
        raise click.UsageError(f"{folder} cannot be written: {error.strerror}.") from error


def without(message: Any, computed: frozenset[str]) -> dict[str, object]:
    """An entry as JSON, without what the catalog computes or keeps itself and without what is empty."""
    from ridgeline import jsonform

    return {
        name: value
        for name, value in jsonform.to_dict(message).items()
        if name not in computed and value not in ("", [])
    }
