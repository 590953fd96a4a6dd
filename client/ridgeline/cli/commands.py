"""The kinds of commands: a group that loads its commands when they are used, and help in sections."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import IO, Any

import click

from ridgeline.cli import printable


class ReaderLeftError(click.ClickException):
    """Whoever read stdout has closed it, as `head` does. Nobody is left to be told."""

    exit_code = 141
    """What shells give to programs ended by SIGPIPE."""

    def __init__(self) -> None:
        super().__init__("")

    def show(self, file: IO[Any] | None = None) -> None:
        """Say nothing."""


class UnwritableError(click.ClickException):
    """Stdout, or the file that is named, does not take the answer: the disk is full, or it is closed."""

    exit_code = 74
    """EX_IOERR of sysexits.h."""

    def __init__(self, problem: str, where: str = "stdout") -> None:
        super().__init__(f"The answer cannot be written to {where}: {problem}.")


@contextmanager
def answering() -> Iterator[None]:
    """Runs a command until all of its answer is written: a stdout that does not take it has its own code.

    What errors quote is made fit for a terminal.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError as error:
        _drop_unwritten()
        raise ReaderLeftError from error
    except OSError as error:
        if error.filename is not None:
            raise
        _drop_unwritten()
        raise UnwritableError(error.strerror or str(error)) from error
    except click.ClickException as error:
        # click declares it final; usage errors and failures have no other text in common.
        error.message = printable.text(error.message)  # type: ignore[misc]
        raise


def _drop_unwritten() -> None:
    """What is still buffered must not be written, and fail again, when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


KEPT = "\b\n"
"""click leaves the lines of a paragraph alone that begins with a backspace."""


def kept_paragraphs(text: str | None) -> str | None:
    r"""Help whose paragraphs keep their lines after a `\b`, which raw docstrings hold as two characters."""
    return text.replace("\\b\n", KEPT) if text else text


class HelpGroup(click.Group):
    """A group whose help is a raw docstring."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.help = kept_paragraphs(self.help)


class LazyGroup(HelpGroup):
    """A group whose commands live in modules that are imported when a command is named.

    `lazy` maps a command's name to `module:attribute` and the first sentence of its help, so that listing the
    commands imports none.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are explained."""
        del ctx
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        del ctx
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the command line; --help and --version answer here."""
        with answering():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with answering():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands' names with their first sentences."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in self._lazy.items()])


class SectionOption(click.Option):
    """An option that --help lists under a heading of its own."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionCommand(click.Command):
    """A command whose help is a raw docstring and lists its options by section."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.help = kept_paragraphs(self.help)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, sections in the order of their first option."""
        sections: dict[str, list[tuple[str, str]]] = {}
        others: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or isinstance(parameter, click.Argument):
                continue
            if isinstance(parameter, SectionOption):
                sections.setdefault(parameter.section, []).append(record)
            else:
                others.append(record)
        for section, records in {**sections, "Other options": others}.items():
            with formatter.section(section):
                formatter.write_dl(records)
