"""Finds and reads what an import was given: files, folders, stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ridgeline.cli.catalog.kinds import Kind
    from ridgeline.errors import RidgelineError

STDIN = "-"
MAX_BYTES = 2**28
"""More than an export of 100,000 entries has."""


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
            inside = kind.folder_files(Path(path))
            if not inside:
                raise click.UsageError(f"{path} holds no JSON file to import.")
            found |= dict.fromkeys(map(str, inside))
        elif Path(path).exists():
            found[path] = None
        else:
            raise click.UsageError(f"{path} does not exist; give a file, a folder, or - for stdin.")
    return list(found)


def entries(kind: Kind, file: str) -> tuple[int, Iterator[Source]]:
    """The entries in a file or in stdin: one, or several in a list under the kind's name as in an export.

    Gives their number, and each when it is needed.
    """
    from ridgeline.errors import RidgelineError

    named = printable(file)
    try:
        content = _object(_text(file))
    except RidgelineError as error:
        return 1, iter([Source(named, error)])
    path = None if file == STDIN else Path(file)
    several = content.get(kind.plural)
    if not isinstance(several, list):
        return 1, iter([_source(kind, named, content, path)])
    numbered = enumerate(several, 1)
    return len(several), (
        _source(kind, f"{named}, entry {number}", entry, None) for number, entry in numbered
    )


def printable(name: str) -> str:
    """A file's name as text: bytes in it that are no UTF-8 are escaped."""
    return name.encode(errors="backslashreplace").decode()


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
    try:
        if file == STDIN:
            return sys.stdin.read()
        with Path(file).open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
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
