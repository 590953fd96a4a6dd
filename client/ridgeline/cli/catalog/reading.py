"""Shows entries: lists and single ones, as they are or as they were."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ridgeline.cli import output, session
from ridgeline.cli.commands import SectionOption
from ridgeline.cli.options import REVISION

if TYPE_CHECKING:
    from ridgeline.cli.catalog.kinds import Kind
    from ridgeline.client import Client

F = TypeVar("F", bound=Callable[..., Any])


def revision(section: str) -> Callable[[F], F]:
    """The option that reads the past."""
    return click.option(
        "--revision",
        cls=SectionOption,
        section=section,
        type=REVISION,
        metavar="N",
        help="Read the catalog as it was at this revision.",
    )


def show_list(kind: Kind, given: Mapping[str, Any], query: Mapping[str, Any]) -> None:
    """All entries that match, in the form that was asked for."""
    asked = {key: value for key, value in query.items() if value is not None and value != ()}
    asked |= {"catalog_revision": given["revision"] or 0, "limit": given["limit"]}
    with session.client(given["server"], given["timeout"]) as client:
        response = kind.list(client, asked)
        unknown = "" if kind.entries(response) else _unknown_group(client, kind, asked)
    if given["output"] == "json":
        output.write_json(response)
    elif given["output"] == "csv":
        output.write_csv(kind.csv_columns, kind.rows(kind.entries(response)))
    else:
        from ridgeline.cli import parts

        console = output.console()
        kind.show_list(response, console)
        if unknown:
            parts.paragraph(console, unknown, left=0)


def show_entry(kind: Kind, given: Mapping[str, Any]) -> None:
    """One entry, in the form that was asked for."""
    from ridgeline.errors import NotFoundError

    with session.client(given["server"], given["timeout"]) as client:
        try:
            response = kind.get(client, given["name"], given["revision"] or 0)
        except NotFoundError as error:
            removed = "" if given["revision"] else _removed(client, kind, given["name"])
            raise session.Unknown(f"{session.failure(error).message}{removed}") from error
    if given["output"] == "json":
        output.write_json(response)
    elif given["output"] == "csv":
        output.write_csv(kind.csv_columns, kind.rows([kind.entry(response)]))
    else:
        kind.show_entry(response, output.console())


def _unknown_group(client: Client, kind: Kind, asked: Mapping[str, Any]) -> str:
    """The groups that there are, such as vendors, when the one that was asked for is none of them."""
    wanted = asked.get(kind.group)
    if not wanted:
        return ""
    every = kind.entries(kind.list(client, {"catalog_revision": asked["catalog_revision"]}))
    known = sorted({getattr(entry, kind.group) for entry in every} - {""}, key=str.lower)
    if str(wanted).strip().lower() in map(str.lower, known):
        return ""
    return f"--{kind.group}: no {kind.noun} has {wanted!r}; there are {', '.join(known) or 'none'}."


def _removed(client: Client, kind: Kind, name: str) -> str:
    """What brings an entry back that was removed; empty for one that never was."""
    from ridgeline.errors import RidgelineError
    from ridgeline.v1.catalog_service_pb2 import CHANGE_ACTION_DELETED

    try:
        written = client.list_changes(kind=kind.field, entry_id=name, limit=1).changes
    except RidgelineError:
        return ""  # That there is no such entry is the answer; this would only have added to it.
    if not written or written[0].action != CHANGE_ACTION_DELETED:
        return ""
    revision = written[0].catalog_revision
    return (
        f"\nIt was removed at catalog revision {revision}; `ridgeline {kind.plural} restore {name} "
        f"--revision {revision - 1}` brings it back."
    )
