"""What the screens of devices and models share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from ridgeline.cli import parts, styles
from ridgeline.plots import words
from ridgeline.v1 import types_pb2

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

YOURS = "yours"
MARGIN = 2


def table(console: Console) -> Table:
    """A table without lines, with wider gaps where there is room."""
    made = parts.plain_table()
    made.padding = (0, 2 if console.width >= parts.ROOMY else 1, 0, 0)
    return made


def facts(rows: Sequence[tuple[str, str | Text]], console: Console) -> None:
    """Names with what is said of each, one below the other."""
    width = max(len(name) for name, _ in rows) + MARGIN
    for name, said in rows:
        parts.paragraph(console, said, left=width, mark=Text(name, styles.QUIET))


def remarks(doubts: Iterable[str], notes: Iterable[str], console: Console) -> None:
    """What is suspicious or assumed, then notes."""
    for doubt in doubts:
        parts.paragraph(console, doubt, mark=Text("!", styles.WARNING))
    for note in notes:
        parts.paragraph(console, note, styles.QUIET, mark=Text("-"))


def counted(count: int, noun: str) -> str:
    """`1 device`, `88 devices`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def origin(value: int) -> str:
    """`yours` for what a user added or changed."""
    return YOURS if value == types_pb2.ORIGIN_USER else ""


def bookkeeping(entry: object, revision: int) -> str:
    """Whose entry it is, since when, and the revision that was read."""
    owner = words.name(types_pb2.Origin.DESCRIPTOR, entry.origin)  # type: ignore[attr-defined]
    changed = entry.update_time.ToJsonString()[:10]  # type: ignore[attr-defined]
    return f"{owner}, last changed {changed}; catalog revision {revision}"
