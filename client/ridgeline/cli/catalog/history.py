"""Who changed which entry when, and what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ridgeline.cli import output, session
from ridgeline.cli.commands import SectionOption
from ridgeline.cli.options import LARGEST, together

if TYPE_CHECKING:
    from rich.console import Console

    from ridgeline.cli.catalog.kinds import Kind
    from ridgeline.client import Client
    from ridgeline.v1.catalog_service_pb2 import Change, ListChangesResponse

F = TypeVar("F", bound=Callable[..., Any])

_which = partial(click.option, cls=SectionOption, section="Which changes")

CSV_COLUMNS = ("catalog_revision", "time", "principal", "id", "action", "field", "before", "after")


def options(function: F) -> F:
    """Which changes to list."""
    return together(
        _which(
            "--since",
            type=click.IntRange(0, LARGEST),
            default=0,
            metavar="REVISION",
            help="Only what was written after this revision.",
        ),
        _which("--by", default="", metavar="WHO", help="Only what this principal wrote."),
        _which("--limit", type=click.IntRange(1, LARGEST), metavar="N", help="The newest N [default: all]."),
    )(function)


def show(kind: Kind, given: Mapping[str, Any]) -> None:
    """The changes of an entry, or of all entries of a kind, newest first."""
    with session.client(given["server"], given["timeout"]) as client:
        name = given["name"] or ""
        response = _changes(client, kind, name, given)
        if name and not response.changes:
            # No entry of this id was written: the name may be an alias, or nobody's.
            name = kind.entry(kind.get(client, name)).id
            response = _changes(client, kind, name, given)
    if given["output"] == "json":
        output.write_json(response)
    elif given["output"] == "csv":
        output.write_csv(CSV_COLUMNS, rows(response.changes))
    else:
        _show(response, output.console(), whole=bool(name))


def _changes(client: Client, kind: Kind, name: str, given: Mapping[str, Any]) -> ListChangesResponse:
    return client.list_changes(
        kind=kind.field,
        entry_id=name,
        after_revision=given["since"],
        principal=given["by"],
        limit=given["limit"],
    )


def rows(changes: Iterable[Change]) -> Iterator[dict[str, object]]:
    """One row for each field that a change touched, and one for a change without fields."""
    from ridgeline import jsonform

    for change in changes:
        told = jsonform.to_dict(change)
        for field in told["changes"] or [{}]:  # type: ignore[attr-defined]  # the message's own list
            yield {**told, **field}


def _show(response: ListChangesResponse, console: Console, *, whole: bool) -> None:
    """A line for each change, with the fields before and after when one entry is shown."""
    from rich.text import Text

    from ridgeline.cli import parts, styles
    from ridgeline.cli.catalog import differences, screens
    from ridgeline.plots import words
    from ridgeline.v1.catalog_service_pb2 import ChangeAction

    for change in response.changes:
        action = words.name(ChangeAction.DESCRIPTOR, change.action)
        line = Text(f"{change.catalog_revision:>8}  {change.time.ToJsonString()[:16].replace('T', ' ')}  ")
        line.append(f"{action:<8}", styles.ACTIONS.get(action, "")).append(f"  {change.id}")
        line.append(f"  {change.principal}", styles.QUIET)
        console.print(line, soft_wrap=True)
        if action != "updated":
            continue
        if whole:
            for told in differences.lines(change.changes):
                parts.paragraph(console, told, left=12)
        else:
            parts.paragraph(console, ", ".join(differences.fields(change.changes)), styles.QUIET, left=12)
    changes = screens.counted(len(response.changes), "change")
    parts.paragraph(
        console,
        f"{changes}, times in UTC; catalog revision {response.catalog_revision}.",
        styles.QUIET,
        left=0,
    )
