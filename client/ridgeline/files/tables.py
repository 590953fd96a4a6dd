"""Reads tables: CSV with a header, plain or compressed by gzip, row by row as they are needed.

A column is a field of one of the contract's messages, and a cell what that field holds. What a message must
be beyond that is the service's to judge.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TextIO

from google.protobuf.descriptor import FieldDescriptor

from ridgeline import jsonform
from ridgeline.errors import FieldViolation, InvalidArgumentError

STDIN = "-"

LIKELY = 0.75
"""How alike the names of columns are of which one may be meant for the other."""

_GZIP = b"\x1f\x8b"
_IN_CAPITALS = frozenset({"tier"})
_WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)


class Table:
    """The rows of one table, read as they are needed. Close it, or use it as a context manager.

    `rows_are` says in messages what the rows are; `known` are the columns that they have, `passed_over` those
    that say nothing about them.
    """

    rows_are = "rows"
    known: Collection[str] = ()
    passed_over: Collection[str] = ()

    def __init__(self, path: str | Path) -> None:
        """Open a file, or stdin for `-`, and read its header.

        Raises InvalidArgumentError for what cannot be read, or has other columns: unknown ones are named, all
        of them.
        """
        self.name = "stdin" if str(path) == STDIN else str(path)
        self._opened = ExitStack()
        self._lines = 0
        self.size_bytes = 0
        """Bytes of the file as it lies there; 0 for stdin and pipes."""
        try:
            self._raw = self._open(path)
            text = self._text()
            self._reader = csv.reader(text, strict=True)
            self.columns = self._header()
        except BaseException:
            self.close()
            raise

    @property
    def read_bytes(self) -> int:
        """Bytes of the file that were read so far."""
        return self._raw.tell() if self.size_bytes else 0

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """The rows that are not blank: the line where each begins, and its cells. Raises InvalidArgumentError
        where the text is no CSV.
        """
        while (cells := self._next()) is not None:
            line, self._lines = self._lines + 1, self._reader.line_num
            if any(cell.strip() for cell in cells):
                yield line, [cell.strip() for cell in cells]

    def misfit(self, cells: Sequence[str]) -> FieldViolation | None:
        """What is wrong with a row that has not a cell for each column; None where it has."""
        if len(cells) == len(self.columns):
            return None
        return FieldViolation(
            "",
            f"has {len(cells)} cells, and the header has {len(self.columns)}; give each column a cell, "
            'and quote text with commas: "a, b"',
        )

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, path: str | Path) -> IO[bytes]:
        if str(path) == STDIN:
            stdin: TextIO | None = sys.stdin
            if stdin is None:
                raise self._wrong("cannot be read: it is closed")
            return stdin.buffer
        try:
            opened = Path(path).open("rb")  # noqa: SIM115  # closed with the table
            self._opened.callback(opened.close)
            if opened.seekable():
                self.size_bytes = opened.seek(0, io.SEEK_END)
                opened.seek(0)
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else error
            raise self._wrong(f"cannot be read: {problem}") from None
        return opened

    def _text(self) -> IO[str]:
        """The decompressed text; the CSV reader counts its lines."""
        raw: Any = self._raw
        buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)
        binary: Any = buffered
        if buffered.peek(len(_GZIP))[: len(_GZIP)] == _GZIP:
            binary = gzip.GzipFile(fileobj=buffered)
        text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
        # Stdin is not ours to close.
        self._opened.callback(text.detach)
        return text

    def _next(self) -> list[str] | None:
        """The cells of the next row; None after the last."""
        try:
            return next(self._reader, None)
        except csv.Error as error:
            problem = f"is no CSV{self._where()}: {error}"
        except UnicodeDecodeError as error:
            # What lies before the piece that was decoded has been read, but for the start of a line.
            line = self._reader.line_num + 1 + error.object[: error.start].count(b"\n")
            problem = (
                f"is not a text in UTF-8, as line {line:,} shows; save it as CSV in UTF-8, plain or by gzip"
            )
        except EOFError:
            problem = f"is cut off{self._where()}: its gzip data end too early; copy or compress it again"
        except (gzip.BadGzipFile, zlib.error) as error:
            problem = f"is damaged{self._where()}: its gzip data cannot be read ({error}); copy it again"
        except OSError as error:
            problem = f"cannot be read{self._where()}: {error}"
        raise self._wrong(problem)

    def _where(self) -> str:
        """The last line that was read, where there is one."""
        return f" after line {self._lines:,}" if self._lines else ""

    def _header(self) -> list[str]:
        cells = self._next()
        self._lines = self._reader.line_num
        columns = [cell.strip() for cell in cells or ()]
        if not any(columns):
            raise self._wrong(f"has no header; its first line has to name columns: {self._all_columns()}")
        unknown = [
            column for column in columns if column not in self.known and column not in self.passed_over
        ]
        if len(unknown) == len(columns):
            hint = (
                "; separate cells by commas" if len(columns) == 1 and re.search(r"[;\t|]", columns[0]) else ""
            )
            raise self._wrong(
                f"is no table of {self.rows_are}: its first line names none of their columns{hint}. They are "
                f"{self._all_columns()}"
            )
        problems = []
        if unknown:
            named = ", ".join(self._named(column) for column in dict.fromkeys(unknown))
            problems.append(
                f"has columns that {self.rows_are} do not have: {named}. Rename or remove them; the columns "
                f"are {self._all_columns()}"
            )
        problems += [f"has the column {shown(column)} twice; keep one" for column in _twins(columns)]
        if problems:
            raise self._wrong(*problems)
        return columns

    def _wrong(self, *problems: str) -> InvalidArgumentError:
        described = [FieldViolation("", f"{self.name} {problem}") for problem in problems]
        return InvalidArgumentError(f"The file {self.name} cannot be used.", "INVALID_FIELD", described)

    def _named(self, column: str) -> str:
        """A column that there is not, with the one that may be meant."""
        near = get_close_matches(column.lower(), self.known, n=1, cutoff=LIKELY)
        return f"{shown(column)} (did you mean {near[0]}?)" if near else shown(column)

    def _all_columns(self) -> str:
        return ", ".join(self.known)


def cell_value(field: FieldDescriptor, text: str) -> object:
    """What a cell says in terms of its field; None when the field cannot hold it."""
    if field.enum_type is not None:
        return jsonform.enum_number(field.enum_type, text) or None
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return text
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return float(text) if _NUMBER.fullmatch(text) else None
    # Tables that went through floating-point columns have 1024.0 for 1024.
    if _WHOLE.fullmatch(text) and len(text) < 20:
        number = int(text.partition(".")[0])
        return number if jsonform.fits_int32(number) else None
    return None


def wanted(field: FieldDescriptor) -> str:
    """What a field can hold, in words."""
    if field.enum_type is not None:
        names = jsonform.enum_choices(field.enum_type)
        return ", ".join(name.upper() if field.name in _IN_CAPITALS else name for name in names)
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return "a number, with a point before its fraction"
    return f"a whole number up to {jsonform.INT32_MAX:,}"


def written(field: FieldDescriptor, value: object) -> object:
    """A field's value as a cell."""
    if field.enum_type is None or field.name in _IN_CAPITALS:
        return value
    return str(value).lower()


def _twins(columns: Sequence[str]) -> list[str]:
    return [column for column in dict.fromkeys(columns) if columns.count(column) > 1]


def shown(text: str) -> str:
    """A text of a file in a message."""
    return json.dumps(text if len(text) <= 60 else f"{text[:60]}…", ensure_ascii=False)
