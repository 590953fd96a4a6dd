"""The command `ridgeline`: analyse, recommend, look after the catalog, draw."""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from typing import TextIO

INTERRUPTED = 130
"""What shells give to programs ended by SIGINT; click's own 1 means a "no" here."""


def main() -> None:
    """Run the command that `sys.argv` names and exit with its code."""
    import click

    from ridgeline.cli.commands import UnwritableError
    from ridgeline.cli.root import root

    sys.stdout, sys.stderr = _noticing(sys.stdout), _noticing(sys.stderr)
    streams: tuple[TextIO | None, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        if stream is not None:
            # A terminal without a character shows `?` in its place; that is no reason to fail.
            stream.reconfigure(errors="replace")  # type: ignore[attr-defined]
    try:
        if streams[0] is None:
            raise UnwritableError("it is closed")
        code = root.main(standalone_mode=False)
    except click.ClickException as error:
        with suppress(OSError):  # When stderr is full too, the code is all that can be told.
            error.show()
        code = error.exit_code
    except click.Abort:
        code = INTERRUPTED
    sys.exit(code)


def _noticing(stream: TextIO) -> TextIO:
    """A stream that notices what its file does not take. With PYTHONUNBUFFERED it writes past any buffer, and
    Python drops what a full disk leaves over of a write without a word.
    """
    raw = getattr(stream, "buffer", None)
    if not isinstance(raw, io.RawIOBase):
        return stream
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, stream.encoding, stream.errors, line_buffering=True)
