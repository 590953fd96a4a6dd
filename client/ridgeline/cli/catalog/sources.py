"""Finds and reads what an import was given: files, folders, stdin."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from ridgeline.cli import printable

if TYPE_CHECKING:
    from ridgeline.cli.catalog.kinds import Kind
    from ridgeline.errors import RidgelineError

STDIN = "-"
MAX_BYTES = 2**28
"""More than an export of 100,000 entries has."""
MOST_FOLDERS = 100_000
MOST_LEVELS = 32
"""Where an import of a folder ends: the whole of Hugging Face's cache has fewer and is less deep."""


@dataclass(frozen=True)
class Entry:
    """A message to import; `remarks` tell what its file holds besides and was not taken."""

    message: Any
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One entry that an import was given: where it stood, and what was read there or why it cannot be."""

    name: str
    read: Entry | RidgelineError


def files(kind: Kind, paths: tuple[str, ...]) -> list[str]:
    """The files that paths name, those of folders one by one.

    Raises click.UsageError for a path that names none: that is a slip of the pen, and told before anything is
    written.
    """
    found: dict[str, None] = {}
    for path in paths:
        if path == STDIN:
            found[STDIN] = None
        elif Path(path).is_dir():
            inside = list(filter(_may_be_read, kind.folder_files(Path(path))))
            if not inside:
                raise click.UsageError(f"{path} holds no JSON file to import.")
            found |= dict.fromkeys(map(str, inside))
        elif Path(path).exists():
            found[path] = None
        else:
            raise click.UsageError(f"{path} does not exist; give a file, a folder, or - for stdin.")
    return list(found)


def _may_be_read(path: Path) -> bool:
    """Whether a folder's file is a regular one: a pipe or a device would be waited for."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True  # Reading it tells why it cannot be read.


def beneath(folder: Path, name: str) -> Iterator[Path]:
    """The files of a name in a folder and in its folders, without following links to folders.

    Raises click.UsageError for a folder that is too large or too deep to be meant.
    """
    start = len(folder.parts)
    for count, (place, inside, files) in enumerate(os.walk(folder), 1):
        inside.sort()
        deep = inside and len(Path(place).parts) - start >= MOST_LEVELS
        if count > MOST_FOLDERS or deep:
            reached = (
                f"has folders more than {MOST_LEVELS} deep"
                if deep
                else f"holds over {MOST_FOLDERS:,} folders"
            )
            raise click.UsageError(f"{folder} {reached}; import folders within it one by one.")
        if name in files:
            yield Path(place, name)


def entries(kind: Kind, file: str) -> tuple[int, Iterator[Source]]:
    """The entries in a file or in stdin: one, or several in a list under the kind's name as in an export.

    Gives their number, and each when it is needed.
    """
    from ridgeline.errors import RidgelineError

    named = printable.line(file)
    try:
        content = _object(_text(file))
    except RidgelineError as error:
        return 1, iter([Source(named, error)])
    # What came through a pipe cannot be read again, and has no place.
    path = Path(file) if file != STDIN and Path(file).is_file() else None
    several = content.get(kind.plural)
    if not isinstance(several, list):
        return 1, iter([_source(kind, named, content, path)])
    numbered = enumerate(several, 1)
    return len(several), (
        _source(kind, f"{named}, entry {number}", entry, None) for number, entry in numbered
    )


def _source(kind: Kind, name: str, content: Any, path: Path | None) -> Source:
    from ridgeline.errors import RidgelineError

    try:
        if not isinstance(content, Mapping):
            raise _unreadable("It is no JSON object")
        other = OTHERS[kind.plural]
        if any(key in content for key in other.keys):
            raise _unreadable(f"It holds a {other.noun}; import it with `ridgeline {other.plural} import`")
        return Source(name, kind.read(content, path))
    except RidgelineError as error:
        return Source(name, error)


@dataclass(frozen=True)
class _Other:
    """The kind of entry that a file may hold by mistake, and keys that give it away."""

    plural: str
    noun: str
    keys: tuple[str, ...]


OTHERS = {
    "hardware": _Other("models", "model", ("config", "config_json", "model_type", "models")),
    "models": _Other("hardware", "device", ("memory_bytes", "peaks", "peak_flops_per_s", "hardware")),
}


def _text(file: str) -> str:
    from ridgeline.files.reading import GGUF

    try:
        if file == STDIN:
            stdin: TextIO | None = sys.stdin
            if stdin is None:
                raise _unreadable("It cannot be read: it is closed")
            return stdin.read()
        with Path(file).open("rb") as opened:
            start = opened.read(len(GGUF))
            if start == GGUF:
                raise _unreadable(
                    "It is a GGUF file; give the config.json of the model that it was made from"
                )
            data = start + opened.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise _unreadable(f"It has more than {MAX_BYTES:,} bytes")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise _unreadable(f"It cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _unreadable("It is not a text in UTF-8; give a JSON file") from None


def _object(text: str) -> Mapping[str, Any]:
    from ridgeline.files.reading import parse_json

    try:
        content = parse_json(text)
    except ValueError as error:
        raise _unreadable(f"It {error}") from None
    if not isinstance(content, dict):
        raise _unreadable("It does not hold a JSON object")
    return content


def _unreadable(problem: str) -> RidgelineError:
    from ridgeline.errors import InvalidArgumentError

    return InvalidArgumentError(f"{problem}.", "INVALID_FIELD")
