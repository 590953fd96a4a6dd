"""`ridgeline validate`: measured rows beside what is predicted, and how far off it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from ridgeline.cli import options, output, session
from ridgeline.cli.commands import SectionCommand, SectionOption

if TYPE_CHECKING:
    from ridgeline.client import Client
    from ridgeline.files.measurements import MeasurementRow, MeasurementTable
    from ridgeline.v1.measurement_service_pb2 import MeasurementPrediction, ValidateMeasurementsResponse

CSV_COLUMNS = ("id", "metric", "measured", "predicted", "low", "high", "profile_level", "unanswered_reason")
GROUPINGS = ("metric", "phase", "hardware", "model", "model_class", "engine", "level")
LONG_BYTES = 2**15
"""Bytes of a file from which a progress bar is worth its line."""


def _read_groupings(_ctx: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """The names that are given, each once. Raises click.BadParameter."""
    names = tuple(dict.fromkeys(name.strip().replace("-", "_") for name in value.split(",")))
    wrong = [name for name in names if name not in GROUPINGS]
    if wrong:
        raise click.BadParameter(f"{', '.join(map(repr, wrong))} is none of {', '.join(GROUPINGS)}.")
    return names


@click.command(cls=SectionCommand)
@click.argument("path", metavar="FILE|-")
@click.option(
    "--by",
    cls=SectionOption,
    section="Answer",
    callback=_read_groupings,
    default="metric,hardware,engine",
    show_default=True,
    metavar="NAME,...",
    help=f"What errors are told apart by: {', '.join(GROUPINGS)}.",
)
@click.option(
    "--cases",
    cls=SectionOption,
    section="Answer",
    is_flag=True,
    help="FILE is a table of changes that were measured before and after.",
)
@options.catalog_revision
@options.output
@options.connection
def validate(**given: Any) -> None:
    r"""Compare predictions with what was measured.

    FILE is a CSV table of measurements, plain or compressed by gzip, as `ridgeline measurements import`
    takes it (`ridgeline measurements import --help` has the columns); nothing is stored. Each row is
    predicted as `ridgeline analyze` would. Errors are |predicted / measured - 1|.

    \b
    Words:
      median, mean, p90  errors of half, of all on average, and that 90% keep to
      ideal              the median error of the datasheet roofline
      inside             rows whose figure lies within the predicted low and
                         high; 80% are meant to
      width              high over low, the median

    With --cases each row of FILE is one load before and after a change, with columns such as technique,
    engine, model_id, hardware_id, metric, before_weight_dtype, after_weight_dtype and speedup. Both sides are
    predicted, and their quotient is compared with the measured speedup: whether the direction is right, above
    all where a change hurt, and how near the size is.

    A row that cannot be predicted, or read, or that has the id of an earlier one, is told with the reason and
    stops nothing, and a row without an id by its line. The exit code is 0 also where no row is answered.

    \b
    Examples:
      ridgeline validate measured.csv.gz
      ridgeline validate ours.csv --by hardware,engine,phase
      ridgeline validate ours.csv -o csv > predicted.csv
      ridgeline validate --cases pairs.csv
      ridgeline measurements list --engine vllm -o csv | ridgeline validate -
    """
    if given["cases"]:
        from ridgeline.cli import validate_cases

        validate_cases.show(given)
        return
    from ridgeline.files import MeasurementTable
    from ridgeline.v1.measurement_service_pb2 import SummarizeErrorsResponse

    with session.client(given["server"], given["timeout"]) as client, MeasurementTable(given["path"]) as rows:
        answer = _predictions(client, rows, given["catalog_revision"] or 0)
        errors = SummarizeErrorsResponse()
        if answer.predictions and given["output"] != "csv":
            errors = client.summarize_errors(answer.predictions, by=given["by"])
    if given["output"] == "csv":
        output.write_csv(CSV_COLUMNS, map(_cells, answer.predictions))
    elif given["output"] == "json":
        output.write_json(answer, errors)
    else:
        from ridgeline.cli import validate_screen

        validate_screen.show(answer, errors, output.console())


def _predictions(client: Client, table: MeasurementTable, revision: int) -> ValidateMeasurementsResponse:
    """The predictions of all rows, behind a progress bar where that is long work at a terminal."""
    from ridgeline.v1.measurement_service_pb2 import ValidateMeasurementsResponse

    whole = ValidateMeasurementsResponse(catalog_revision=revision)
    ids: set[str] = set()
    hidden = not sys.stderr.isatty() or table.size_bytes < LONG_BYTES
    with click.progressbar(
        length=table.size_bytes, label="Predicting", file=sys.stderr, hidden=hidden
    ) as bar:
        for chunk in _chunks(table):
            reasons = [_reason(row, ids) for row in chunk]
            asked = [row.measurement for row, reason in zip(chunk, reasons, strict=True) if not reason]
            found: Iterator[MeasurementPrediction] = iter(())
            if asked:
                answer = client.validate_measurements(asked, catalog_revision=whole.catalog_revision)
                whole.catalog_revision = answer.catalog_revision
                found = iter(answer.predictions)
            for row, reason in zip(chunk, reasons, strict=True):
                prediction = _unread(row, reason) if reason else next(found)
                prediction.id = row.measurement.id or f"line-{row.line}"
                whole.predictions.append(prediction)
            bar.update(table.read_bytes - bar.pos)
    return whole


def _chunks(table: MeasurementTable) -> Iterator[list[MeasurementRow]]:
    """Rows in lists that one request can carry, those that cannot be read among them."""
    from ridgeline.measurement_requests import row_chunks

    waiting: list[MeasurementRow] = []

    def read() -> Iterator[Any]:
        for row in table:
            waiting.append(row)
            yield row.measurement

    for chunk in row_chunks(read()):
        yield waiting[: len(chunk)]
        # The row after the chunk's last may have been read: it opens the next.
        del waiting[: len(chunk)]


def _reason(row: MeasurementRow, ids: set[str]) -> str:
    """Why a row is not asked about; empty where it is. `ids` are those of earlier rows, and get its own."""
    if row.violations:
        return "; ".join(
            f"{wrong.field}: {wrong.description}" if wrong.field else f"the row {wrong.description}"
            for wrong in row.violations
        )
    name = row.measurement.id
    if name in ids:
        return "id: is that of an earlier row of the file; give each row its own, or none"
    if name:
        ids.add(name)
    return ""


def _unread(row: MeasurementRow, reason: str) -> MeasurementPrediction:
    """A row that is not asked about."""
    from ridgeline.v1.measurement_service_pb2 import MeasurementPrediction

    known = row.measurement
    return MeasurementPrediction(
        metric=known.metric,
        measured=known.value if isfinite(known.value) else 0.0,
        hardware_id=known.hardware_id,
        model_id=known.model_id,
        engine=" ".join(filter(None, (known.engine, known.engine_version))),
        phase=known.phase,
        unanswered_reason=reason,
    )


def _cells(prediction: MeasurementPrediction) -> dict[str, object]:
    """A row of the CSV; what is not told is empty."""
    from ridgeline import jsonform

    told = jsonform.to_dict(prediction)
    cells = {column: told.get(column, "") for column in CSV_COLUMNS}
    for column in ("metric", "profile_level"):
        cells[column] = "" if cells[column] == "UNSPECIFIED" else str(cells[column]).lower()
    return cells
