"""How commands of `ridgeline-server` end when they cannot do what they were asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 4


@contextmanager
def database_errors() -> Iterator[None]:
    """End the command with one sentence when the database cannot do what is asked."""
    from ridgeline_server.store.errors import DatabaseError

    try:
        yield
    except DatabaseError as error:
        fail(str(error), exit_code_of(error))


def exit_code_of(error: Exception) -> int:
    """The exit code for an error of the database."""
    from ridgeline_server.store.errors import DatabaseLockedError, DatabaseUnavailableError, DatabaseUrlError

    match error:
        case DatabaseUrlError():
            return EXIT_USAGE
        case DatabaseUnavailableError() | DatabaseLockedError():
            return EXIT_UNAVAILABLE
    return EXIT_FAILED


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """End the command with a sentence on standard error."""
    click.echo(f"ridgeline-server: {message}", err=True)
    raise SystemExit(code)
