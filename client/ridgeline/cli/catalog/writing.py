"""Changes, removes and brings back single entries, and tells what was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ridgeline.cli import output, session
from ridgeline.cli.commands import SectionOption
from ridgeline.cli.options import REVISION

if TYPE_CHECKING:
    from ridgeline.cli.catalog.kinds import Kind

F = TypeVar("F", bound=Callable[..., Any])

_change = partial(click.option, cls=SectionOption, section="Change")


def dry_run(section: str = "Change") -> Callable[[F], F]:
    """The option that writes nothing."""
    return click.option(
        "--dry-run",
        cls=SectionOption,
        section=section,
        is_flag=True,
        help="Check everything, tell what would change, write nothing.",
    )


sets = partial(_change, "--set", "changes", multiple=True, metavar="FIELD=VALUE")
unsets = _change(
    "--unset", "cleared", multiple=True, metavar="FIELD", help="Make a field unknown again; repeatable."
)
restored = _change(
    "--revision",
    type=REVISION,
    required=True,
    metavar="N",
    help="The revision whose entry to write again.",
)
etag = _change(
    "--etag",
    default="",
    metavar="ETAG",
    help="Write only if this is still the entry's etag [default: the one that is read first].",
)
receipt = click.option(
    "-o",
    "--output",
    cls=SectionOption,
    section="Answer",
    type=click.Choice(("table", "json")),
    default="table",
    show_default=True,
    help="Form of the receipt.",
)


def create(kind: Kind, given: Mapping[str, Any], build: Callable[[], Any]) -> None:
    """Adds the entry that `build` makes."""
    with session.client(given["server"], given["timeout"]) as client:
        response = kind.create(client, build(), dry_run=given["dry_run"])
    done = "Would create" if given["dry_run"] else "Created"
    show_receipt(kind, response, given["output"], f"{done} {kind.entry(response).id}")


def update(kind: Kind, given: Mapping[str, Any], edit: Callable[[Any], Sequence[str]]) -> None:
    """Changes the entry by `edit`, which gives the names of the fields that it changed.

    The etag that was read goes with the write, so that a change made meanwhile is refused and not lost.
    """
    with session.client(given["server"], given["timeout"]) as client:
        entry = kind.entry(kind.get(client, given["name"]))
        changed = edit(entry)
        entry.etag = given["etag"] or entry.etag
        response = kind.update(client, entry, fields=changed, validate_only=given["dry_run"])
    done = "Would update" if given["dry_run"] else "Updated"
    show_receipt(kind, response, given["output"], f"{done} {', '.join(changed)} of {kind.entry(response).id}")


def delete(kind: Kind, given: Mapping[str, Any]) -> None:
    """Removes the entry, unless it changes between being read and being removed."""
    with session.client(given["server"], given["timeout"]) as client:
        entry = kind.entry(kind.get(client, given["name"]))
        response = kind.delete(client, entry.id, given["etag"] or entry.etag)
    _tell(response, given["output"], f"Deleted {entry.id}")


def restore(kind: Kind, given: Mapping[str, Any]) -> None:
    """Writes the entry as it was at a revision, whether it was changed or removed since."""
    from ridgeline.errors import NotFoundError

    with session.client(given["server"], given["timeout"]) as client:
        entry = kind.entry(kind.get(client, given["name"], given["revision"]))
        try:
            entry.etag = kind.entry(kind.get(client, entry.id)).etag
        except NotFoundError:
            entry.etag = ""
        response = kind.update(client, entry, allow_missing=True, validate_only=given["dry_run"])
    done = "Would restore" if given["dry_run"] else "Restored"
    show_receipt(
        kind, response, given["output"], f"{done} {entry.id} as it was at revision {given['revision']}"
    )


def show_receipt(kind: Kind, response: Any, form: str, sentence: str) -> None:
    """What a write did, and what is suspicious or assumed about the entry."""
    _tell(response, form, sentence)
    entry = kind.entry(response)
    doubts = [*entry.suspicions, *getattr(entry, "assumptions", ())]
    if form == "table" and doubts:
        from rich.text import Text

        from ridgeline.cli import parts, styles

        console = output.console()
        for doubt in doubts:
            parts.paragraph(console, doubt, mark=Text("!", styles.WARNING))


def _tell(response: Any, form: str, sentence: str) -> None:
    if form == "json":
        output.write_json(response)
    else:
        click.echo(f"{sentence} (catalog revision {response.catalog_revision}).")
