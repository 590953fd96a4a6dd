"""Shows how far predictions are from measurements: in all, by groups, and which rows have none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ridgeline.cli import parts, printable, styles
from ridgeline.cli.catalog import screens
from ridgeline.plots import units

if TYPE_CHECKING:
    from rich.console import Console

    from ridgeline.v1.measurement_service_pb2 import (
        ErrorSummary,
        MeasurementPrediction,
        SummarizeErrorsResponse,
        ValidateMeasurementsResponse,
    )

MOST_REASONS = 20
COLUMNS = ("rows", "answered", "median", "mean", "p90", "ideal", "inside", "width")


def show(answer: ValidateMeasurementsResponse, errors: SummarizeErrorsResponse, console: Console) -> None:
    """A line over all rows, a table for each grouping, then what was not answered and why."""
    if not answer.predictions:
        parts.paragraph(console, "The table has no rows.", left=0)
        return
    parts.paragraph(console, overall(errors.overall), styles.HEADING, left=0)
    parts.paragraph(console, f"Catalog revision {answer.catalog_revision}.", styles.QUIET, left=0)
    for grouping in errors.groupings:
        console.print()
        show_summaries(grouping.name.replace("_", " "), grouping.summaries, console)
    _show_unanswered(answer.predictions, console)


def overall(summary: ErrorSummary) -> str:
    """The errors of a group in a sentence."""
    answered = f"{summary.answered:,} of {screens.counted(summary.rows, 'row')} answered"
    if not summary.answered:
        return f"{answered}."
    return (
        f"{answered}; error {units.percent(summary.median_error)} in the median, "
        f"{units.percent(summary.mean_error)} on average, {units.percent(summary.ninetieth_error)} at the "
        f"90th percentile (datasheet roofline: {units.percent(summary.median_ideal_error)} in the median); "
        f"{units.percent(summary.covered_share)} lie inside of their interval, which is "
        f"{units.factor(summary.median_width)}x wide in the median."
    )


def show_summaries(heading: str, summaries: Iterable[ErrorSummary], console: Console) -> None:
    """A row for each group."""
    table = screens.table(console)
    table.add_column(heading, overflow="fold")
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for summary in summaries:
        figures = ["-"] * 6
        if summary.answered:
            shares = (
                summary.median_error,
                summary.mean_error,
                summary.ninetieth_error,
                summary.median_ideal_error,
                summary.covered_share,
            )
            figures = [*map(units.percent, shares), f"{units.factor(summary.median_width)}x"]
        answered = units.percent(summary.answered / summary.rows)
        table.add_row(printable.line(summary.group), f"{summary.rows:,}", answered, *figures)
    console.print(table)


def _show_unanswered(predictions: Iterable[MeasurementPrediction], console: Console) -> None:
    """The reasons of rows without an answer, the commonest first, each with one of its rows."""
    by_reason: dict[str, list[MeasurementPrediction]] = {}
    for prediction in predictions:
        if prediction.unanswered_reason:
            by_reason.setdefault(prediction.unanswered_reason, []).append(prediction)
    if not by_reason:
        return
    console.print()
    parts.paragraph(console, "Not answered", styles.HEADING, left=0)
    reasons = sorted(by_reason.items(), key=lambda entry: -len(entry[1]))
    for reason, rows in reasons[:MOST_REASONS]:
        counted = screens.counted(len(rows), "row")
        parts.paragraph(console, f"{counted}, such as {_example(rows[0])}: {printable.line(reason)}")
    more = len(reasons) - MOST_REASONS
    if more > 0:
        parts.paragraph(
            console, f"{more:,} more of such reasons; -o csv tells all, row by row.", styles.QUIET
        )


def _example(prediction: MeasurementPrediction) -> str:
    """The name of a row without an answer, with its interval where that lies too far apart."""
    name = printable.line(prediction.id)
    if not prediction.HasField("low"):
        return name
    return f"{name} ({units.digits(prediction.low)} - {units.digits(prediction.high)})"
