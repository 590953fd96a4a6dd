"""Shows entries: lists and single ones, as they are or as they were."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ridgeline.cli import output, session
from ridgeline.cli.commands import SectionOption

if TYPE_CHECKING:
    from ridgeline.cli.catalog.kinds import Kind

F = TypeVar("F", bound=Callable[..., Any])


def revision(section: str) -> Callable[[F], F]:
    """The option that reads the past."""
    return click.option(
        "--revision",
        cls=SectionOption,
        section=section,
        type=click.IntRange(min=1),
        metavar="N",
        help="Read the catalog as it was at this revision.",
    )


def show_list(kind: Kind, given: Mapping[str, Any], query: Mapping[str, Any]) -> None:
    """All entries that match, in the form that was asked for."""
    asked = {key: value for key, value in query.items() if value is not None and value != ()}
    asked |= {"catalog_revision": given["revision"] or 0, "limit": given["limit"]}
    with session.client(given["server"], given["timeout"]) as client:
        response = kind.list(client, asked)
    if given["output"] == "json":
        output.write_json(response)
    elif given["output"] == "csv":
        output.write_csv(kind.csv_columns, kind.rows(kind.entries(response)))
    else:
        kind.show_list(response, output.console())


def show_entry(kind: Kind, given: Mapping[str, Any]) -> None:
    """One entry, in the form that was asked for."""
    with session.client(given["server"], given["timeout"]) as client:
        response = kind.get(client, given["name"], given["revision"] or 0)
    if given["output"] == "json":
        output.write_json(response)
    elif given["output"] == "csv":
        output.write_csv(kind.csv_columns, kind.rows([kind.entry(response)]))
    else:
        kind.show_entry(response, output.console())
