"""Imports tables of measurements in chunks, and tells what became of their rows by line and column."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click

from ridgeline.cli import output, printable, session
from ridgeline.cli.catalog import importing
from ridgeline.cli.catalog.writing import dry_run
from ridgeline.cli.commands import SectionOption
from ridgeline.cli.options import together

if TYPE_CHECKING:
    from ridgeline.client import Client
    from ridgeline.errors import RidgelineError
    from ridgeline.files.measurements import MeasurementRow, MeasurementTable
    from ridgeline.v1.measurement_service_pb2 import MeasurementOutcome, MeasurementToImport

F = TypeVar("F", bound=Callable[..., Any])

Placed: TypeAlias = "tuple[MeasurementTable, MeasurementRow]"
"""A row with the table in which it stands."""

_import = partial(click.option, cls=SectionOption, section="Import")

LONG_BYTES = 2**17
"""Bytes of files from which a progress bar is worth its line."""


@dataclass
class Report:
    """What became of rows, in their order, and where they stood.

    `unfinished` counts those that were read and of which nobody knows: the call that carried them failed.
    """

    outcomes: list[MeasurementOutcome] = field(default_factory=list)
    places: list[tuple[MeasurementTable, int]] = field(default_factory=list)
    unfinished: int = 0


def options(function: F) -> F:
    """What to import, and how."""
    return together(
        click.argument("paths", nargs=-1, required=True, metavar="FILE|-..."),
        _import(
            "--replace",
            is_flag=True,
            help="Overwrite measurements of the same id; without it other ones are refused.",
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


def run(given: Mapping[str, Any], ctx: click.Context) -> None:
    """Imports the tables that the command was given, tells what became of them, and exits with the first
    refusal's code.

    Tables that are none are refused before anything is sent. What was acknowledged is told even when a later
    call fails or the user interrupts.
    """
    from ridgeline.errors import RidgelineError
    from ridgeline.files import MeasurementTable

    report = Report()
    failure: RidgelineError | KeyboardInterrupt | None = None
    with ExitStack() as opened:
        try:
            tables = [opened.enter_context(MeasurementTable(path)) for path in dict.fromkeys(given["paths"])]
        except RidgelineError as error:
            raise session.failure(error) from error
        with session.client(given["server"], given["timeout"]) as client:
            try:
                for chunk in _chunks(_rows(tables)):
                    report.unfinished = len(chunk)
                    report.outcomes += _write(client, chunk, given)
                    report.places += [(table, row.line) for table, row in chunk]
                    report.unfinished = 0
            except (RidgelineError, KeyboardInterrupt) as error:
                failure = error
        if report.outcomes or failure is None:
            _tell(report, given)
    if failure is not None:
        raise importing.told_with_the_known(
            failure, len(report.outcomes), report.unfinished, "rows"
        ) from failure
    ctx.exit(importing.first_code(report.outcomes))


def _rows(tables: Sequence[MeasurementTable]) -> Iterator[Placed]:
    """The rows of tables, behind a bar over their bytes where that is long work at a terminal."""
    whole = sum(table.size_bytes for table in tables)
    hidden = not sys.stderr.isatty() or whole < LONG_BYTES
    with click.progressbar(length=whole, label="Importing", file=sys.stderr, hidden=hidden) as bar:
        before = 0
        for table in tables:
            for row in table:
                yield table, row
                bar.update(before + table.read_bytes - bar.pos)
            before += table.size_bytes


def _chunks(rows: Iterable[Placed]) -> Iterator[list[Placed]]:
    """Rows in lists that one request can carry, read as they are needed."""
    from ridgeline.measurement_requests import chunks

    waiting: list[Placed] = []

    def requests() -> Iterator[MeasurementToImport]:
        for placed in rows:
            waiting.append(placed)
            yield _to_import(placed)

    for chunk in chunks(requests()):
        yield waiting[: len(chunk)]
        # The chunk's last row may not be the last that was read: the one after it opens the next.
        del waiting[: len(chunk)]


def _to_import(placed: Placed) -> MeasurementToImport:
    from ridgeline.v1.measurement_service_pb2 import MeasurementToImport

    table, row = placed
    return MeasurementToImport(name=f"{printable.line(table.name)}:{row.line}", measurement=row.measurement)


def _write(client: Client, chunk: Sequence[Placed], given: Mapping[str, Any]) -> list[MeasurementOutcome]:
    """The outcomes of a chunk's rows. Rows with cells that no field can hold are not written, but the service
    is asked what else is wrong with them.
    """
    outcomes: dict[int, MeasurementOutcome] = {}
    for broken in (False, True):
        places = [place for place, (_, row) in enumerate(chunk) if bool(row.violations) is broken]
        if not places:
            continue
        response = client.import_measurements(
            [_to_import(chunk[place]) for place in places],
            allow_replace=given["replace"],
            validate_only=given["dry_run"] or broken,
        )
        for place, outcome in zip(places, response.outcomes, strict=True):
            outcomes[place] = _refusal(chunk[place][1], outcome) if broken else outcome
    return [outcomes[place] for place in range(len(chunk))]


def _refusal(row: MeasurementRow, judged: MeasurementOutcome) -> MeasurementOutcome:
    """The outcome of a row with cells that no field can hold, from what the service says of the others."""
    from ridgeline.v1 import catalog_service_pb2 as catalog
    from ridgeline.v1.errors_pb2 import ErrorReason
    from ridgeline.v1.measurement_service_pb2 import MeasurementOutcome

    outcome = MeasurementOutcome(
        name=judged.name, id=row.measurement.id, action=catalog.IMPORT_ACTION_REFUSED
    )
    for violation in row.violations:
        outcome.error.wrong_fields.add(field=violation.field, description=violation.description)
    unread = {violation.field for violation in row.violations}
    # Of a row that is cut into the wrong cells nothing was read.
    if "" not in unread:
        outcome.error.wrong_fields.extend(
            wrong for wrong in judged.error.wrong_fields if wrong.field not in unread
        )
    outcome.error.reason = ErrorReason.ERROR_REASON_INVALID_FIELD
    fields = ", ".join(wrong.field for wrong in outcome.error.wrong_fields if wrong.field)
    outcome.error.message = f"The row has wrong cells{f': {fields}' if fields else ''}."
    return outcome


def _tell(report: Report, given: Mapping[str, Any]) -> None:
    if given["output"] == "json":
        from ridgeline.v1.measurement_service_pb2 import ImportMeasurementsResponse

        output.write_json(ImportMeasurementsResponse(outcomes=report.outcomes))
    elif given["output"] == "csv":
        output.write_csv(importing.CSV_COLUMNS, importing.rows(report.outcomes))
    else:
        from ridgeline.cli import measurement_screen

        measurement_screen.show_import(
            report, output.console(), dry_run=given["dry_run"], replace=given["replace"]
        )
