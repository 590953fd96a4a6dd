"""Imports entries in chunks, and loses no word of what became of each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click

from ridgeline.cli import output, session
from ridgeline.cli.catalog import sources
from ridgeline.cli.catalog.sources import STDIN, Entry
from ridgeline.cli.catalog.writing import dry_run
from ridgeline.cli.commands import SectionOption
from ridgeline.cli.options import together

if TYPE_CHECKING:
    from ridgeline.cli.catalog.kinds import Kind
    from ridgeline.cli.catalog.sources import Source
    from ridgeline.client import Client
    from ridgeline.errors import RidgelineError
    from ridgeline.v1.catalog_service_pb2 import EntryToImport, ImportEntriesResponse, ImportOutcome
    from ridgeline.v1.measurement_service_pb2 import MeasurementOutcome

F = TypeVar("F", bound=Callable[..., Any])

_import = partial(click.option, cls=SectionOption, section="Import")

MANY = 5
"""Entries from which a progress bar is worth its line."""

CSV_COLUMNS = ("name", "id", "action", "reason", "message", "changed", "remarks")


@dataclass
class Report:
    """What became of entries, in their order.

    `unfinished` counts those that were read and of which nobody knows: the call that carried them failed.
    """

    outcomes: list[ImportOutcome] = field(default_factory=list)
    catalog_revision: int = 0
    unfinished: int = 0


def options(function: F) -> F:
    """What to import, and how."""
    return together(
        click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR|-..."),
        _import(
            "--replace",
            is_flag=True,
            help="Overwrite entries of the same id; without it they are refused.",
        ),
        _import(
            "--all-or-nothing",
            is_flag=True,
            help="Write nothing when one entry is refused; up to 1,000 entries, in one transaction.",
        ),
        dry_run("Import"),
        click.option(
            "-o",
            "--output",
            cls=SectionOption,
            section="Answer",
            type=click.Choice(("table", "json", "csv")),
            default="table",
            show_default=True,
            help="Form of the report.",
        ),
    )(function)


def run(kind: Kind, given: Mapping[str, Any], ctx: click.Context, *, only_one: str = "") -> None:
    """Imports what the command was given, tells what became of it, and exits with the first refusal's code.

    What was acknowledged is told even when a later call fails or the user interrupts. `only_one` is the
    option that makes sense for a single entry.
    """
    from ridgeline.errors import RidgelineError

    files = sources.files(kind, given["paths"])
    if only_one:
        # Stdin and pipes can be read once; what they hold besides is refused as taken.
        read = [file for file in files if file != STDIN and Path(file).is_file()]
        count = len(files) - len(read) + sum(sources.entries(kind, file)[0] for file in read)
        if count > 1:
            raise click.UsageError(f"{only_one} names one {kind.noun}, but {count:,} were given.")
    report = Report()
    failure: RidgelineError | KeyboardInterrupt | None = None
    with session.client(given["server"], given["timeout"]) as client:
        try:
            with _Progress(len(files)) as progress:
                _write(client, kind, given, progress.through(kind, files), report)
        except (RidgelineError, KeyboardInterrupt) as error:
            failure = error
    if report.outcomes or failure is None:
        _tell(report, given)
    if failure is not None:
        raise told_with_the_known(failure, len(report.outcomes), report.unfinished, "entries") from failure
    ctx.exit(first_code(report.outcomes))


def _write(
    client: Client, kind: Kind, given: Mapping[str, Any], found: Iterator[Source], report: Report
) -> None:
    if given["all_or_nothing"]:
        _write_all(client, kind, given, list(found), report)
        return
    from ridgeline.catalog_requests import chunks

    waiting: list[Source] = []

    def readable() -> Iterator[EntryToImport]:
        for source in found:
            waiting.append(source)
            if isinstance(source.read, Entry):
                yield to_import(kind, source)

    for chunk in chunks(readable()):
        report.unfinished = len(chunk)
        response = client.import_entries(
            chunk, allow_existing=given["replace"], validate_only=given["dry_run"]
        )
        report.unfinished = 0
        # The chunk's last entry may not be the last that was read: the one after it opens the next.
        _record(kind, report, waiting, response)
    _record(kind, report, waiting, None)


def _write_all(
    client: Client, kind: Kind, given: Mapping[str, Any], found: list[Source], report: Report
) -> None:
    from ridgeline.catalog_requests import MAX_IMPORT_ENTRIES
    from ridgeline.v1 import catalog_service_pb2 as catalog

    if len(found) > MAX_IMPORT_ENTRIES:
        raise click.UsageError(
            f"--all-or-nothing writes in one request, which takes {MAX_IMPORT_ENTRIES:,} entries, and "
            f"{len(found):,} were given: check all of them with --dry-run, then leave it out, so that they "
            "are written in parts."
        )
    readable = [to_import(kind, source) for source in found if isinstance(source.read, Entry)]
    whole = len(readable) == len(found)
    report.unfinished = len(readable)
    response = catalog.ImportEntriesResponse()
    if readable:
        response = client.import_entries(
            readable,
            allow_existing=given["replace"],
            all_or_nothing=True,
            # An entry that could not even be read is refused already; the others are only judged.
            validate_only=given["dry_run"] or not whole,
        )
    report.unfinished = 0
    if not whole and not given["dry_run"]:
        for outcome in response.outcomes:
            if outcome.action in (catalog.IMPORT_ACTION_CREATED, catalog.IMPORT_ACTION_UPDATED):
                outcome.action = catalog.IMPORT_ACTION_NOT_WRITTEN
    _record(kind, report, found, response)


def to_import(kind: Kind, source: Source) -> EntryToImport:
    """An entry that could be read, as the request carries it."""
    from ridgeline.v1.catalog_service_pb2 import EntryToImport

    assert isinstance(source.read, Entry)
    return EntryToImport(name=source.name, **{kind.field: source.read.message})


def _record(
    kind: Kind, report: Report, waiting: list[Source], response: ImportEntriesResponse | None
) -> None:
    """Takes an answer's outcomes down, and those of entries between them that could not be read."""
    told = iter(response.outcomes if response is not None else ())
    left = len(response.outcomes) if response is not None else 0
    if response is not None and response.catalog_revision:
        report.catalog_revision = response.catalog_revision
    while waiting:
        source = waiting[0]
        if isinstance(source.read, Entry):
            if not left:
                return
            outcome = next(told)
            left -= 1
            remarks = [*source.read.remarks, *outcome.remarks]
            del outcome.remarks[:]
            outcome.remarks.extend(remarks)
            report.outcomes.append(outcome)
        else:
            report.outcomes.append(_refusal(kind, source.name, source.read))
        del waiting[0]


def _refusal(kind: Kind, name: str, error: RidgelineError) -> ImportOutcome:
    """The outcome of an entry that could not be read."""
    from ridgeline.v1 import catalog_service_pb2 as catalog
    from ridgeline.v1.errors_pb2 import ErrorReason

    outcome = catalog.ImportOutcome(name=name, action=catalog.IMPORT_ACTION_REFUSED)
    outcome.error.reason = ErrorReason.ERROR_REASON_INVALID_FIELD
    outcome.error.message = error.message
    for violation in error.violations:
        inside = "" if violation.field == kind.field else violation.field.removeprefix(f"{kind.field}.")
        outcome.error.wrong_fields.add(field=inside, description=violation.description)
    return outcome


class _Progress:
    """A bar over the entries of files, on a terminal's stderr when there are many."""

    def __init__(self, file_count: int) -> None:
        # A file counts as one entry until it is opened.
        self._bar = click.progressbar(
            length=file_count, label="Importing", file=sys.stderr, hidden=not sys.stderr.isatty()
        )
        self._read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._read >= MANY:
            self._bar.render_finish()

    def through(self, kind: Kind, files: list[str]) -> Iterator[Source]:
        """The entries of the files, each read when it is needed."""
        for file in files:
            count, found = sources.entries(kind, file)
            self._bar.length = (self._bar.length or 0) + count - 1
            for source in found:
                yield source
                self._read += 1
                if self._read >= MANY:
                    self._bar.update(self._read - self._bar.pos)


def first_code(outcomes: Iterable[ImportOutcome | MeasurementOutcome]) -> int:
    """The exit code of the first refusal; that of an answer when there is none."""
    from ridgeline.v1 import catalog_service_pb2 as catalog
    from ridgeline.v1.errors_pb2 import ErrorReason

    for outcome in outcomes:
        if outcome.action == catalog.IMPORT_ACTION_REFUSED:
            reason = ErrorReason.Name(outcome.error.reason).removeprefix("ERROR_REASON_")
            return session.refusal_code(reason)
    return session.ANSWER


def rows(outcomes: Iterable[ImportOutcome | MeasurementOutcome]) -> Iterator[dict[str, object]]:
    """One row for each outcome."""
    from ridgeline import jsonform
    from ridgeline.cli.catalog import differences
    from ridgeline.cli.catalog.import_screen import reasons

    for outcome in outcomes:
        told = jsonform.to_dict(outcome)
        error = jsonform.to_dict(outcome.error) if outcome.HasField("error") else {}
        yield {
            **told,
            "reason": error.get("reason", ""),
            "message": "; ".join(reasons(outcome)),
            "changed": "; ".join(differences.lines(outcome.changes)),
            "remarks": "; ".join(outcome.remarks),
        }


def _tell(report: Report, given: Mapping[str, Any]) -> None:
    from ridgeline.v1.catalog_service_pb2 import ImportEntriesResponse

    if given["output"] == "json":
        output.write_json(
            ImportEntriesResponse(outcomes=report.outcomes, catalog_revision=report.catalog_revision)
        )
    elif given["output"] == "csv":
        output.write_csv(CSV_COLUMNS, rows(report.outcomes))
    else:
        from ridgeline.cli.catalog import import_screen

        import_screen.show(report, output.console(), dry_run=given["dry_run"], replace=given["replace"])


def told_with_the_known(
    failure: RidgelineError | KeyboardInterrupt, told_count: int, unfinished: int, noun: str
) -> BaseException:
    """The failure with what is known so far: of how many it was told what became of them, and of how many
    that were sent it is not.
    """
    known = f"{told_count:,} {noun} are as told on stdout"
    doubt = f", of {unfinished:,} it is not known what became of them" if unfinished else ""
    said = f"{known}{doubt}. Repeat the command for the rest: what is stored already is unchanged."
    if isinstance(failure, KeyboardInterrupt):
        click.echo(f"Interrupted: {said}", err=True)
        return failure
    refused = session.failure(failure)
    return type(refused)(f"{refused.message}\n{said}")
