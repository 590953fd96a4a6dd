"""Writes answers: at a terminal, as JSON, as CSV."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from ridgeline.cli import printable

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment


def console() -> Console:
    """Standard output for rich text: colours only at a terminal, lines no longer than it is wide, and no
    control characters but its own.
    """
    from rich.console import Console

    class Screen(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=printable.text(segment.text))

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Screen(file=sys.stdout, highlight=False, markup=False, emoji=False)


def write_json(*messages: Message) -> None:
    """The message as JSON, alone on stdout; several as one object with the fields of all."""
    from ridgeline import jsonform

    if len(messages) == 1:
        click.echo(printable.json_text(jsonform.to_json(messages[0])))
        return
    fields: dict[str, object] = {}
    for message in messages:
        fields |= jsonform.to_dict(message)
    write_fields(fields)


def write_fields(fields: Mapping[str, object]) -> None:
    """JSON values as one object, alone on stdout."""
    click.echo(printable.json_text(json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False)))


def write_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Rows as CSV with a header line; keys that a row lacks stay empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    written = text.getvalue()
    # In a file or a pipe values are kept as they are; click would take escape sequences out of them.
    click.echo(printable.text(written) if sys.stdout.isatty() else written, nl=False, color=True)
