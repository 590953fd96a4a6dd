"""The file by which a sweep at a terminal goes on where an earlier run of the same command stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ridgeline.cli.commands import UnwritableError
from ridgeline.whole_file import whole_file

if TYPE_CHECKING:
    from ridgeline.sweeps import Sweep

MAX_TOKEN_BYTES = 4096


class ResumeFile:
    """Holds the token of the last batch that was written, from the first batch to the last but one."""

    def __init__(self, path: Path) -> None:
        """Read it, and see that it can be written; `token` is empty where there is no file, or nothing in it.

        Raises click.BadParameter for a file that holds something else, and UnwritableError.
        """
        self._path = path
        self.token = ""
        try:
            with path.open("rb") as file:
                data = file.read(MAX_TOKEN_BYTES + 1)
        except FileNotFoundError:
            self._write("")
            self._write(None)
            return
        except OSError as error:
            raise click.BadParameter(f"{str(path)!r} cannot be read: {error.strerror}.") from None
        text = data.decode("ascii", "replace").strip()
        if len(data) > MAX_TOKEN_BYTES or not all(part.isalnum() or part in "-_" for part in text):
            raise click.BadParameter(
                f"{str(path)!r} holds no token of a sweep; name the file of an earlier run, or a new one."
            )
        self.token = text
        self._write(text)

    def move(self, swept: Sweep) -> None:
        """Let the next run begin behind the batch that was taken last; anew behind the last of all.

        Raises UnwritableError.
        """
        self._write(None if swept.rows_done == swept.rows_total else swept.resume_token)

    def _write(self, token: str | None) -> None:
        """Keep a token; None: there is nothing left to go on with."""
        try:
            if token is None:
                self._path.unlink(missing_ok=True)
            else:
                with whole_file(self._path) as part:
                    part.write_text(f"{token}\n", encoding="ascii")
        except OSError as error:
            raise UnwritableError(error.strerror or str(error), str(self._path)) from error
