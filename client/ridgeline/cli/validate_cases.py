"""`ridgeline validate --cases`: measured changes beside what is predicted of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from ridgeline import jsonform
from ridgeline.cli import output, parts, printable, session, styles
from ridgeline.cli.catalog import screens
from ridgeline.files import CaseTable
from ridgeline.plots import units
from ridgeline.v1.measured_case_pb2 import CasePrediction, CaseSummary, ValidateCasesResponse

if TYPE_CHECKING:
    from rich.console import Console

    from ridgeline.files.cases import CaseRow

CSV_COLUMNS = ("case_id", "predicted_speedup", "low", "high", "verdict", "unanswered_reason")
CHANGES = ("helps", "neutral", "hurts")
MOST_REASONS = 20


def show(given: Mapping[str, Any]) -> None:
    """Answers the command with its options."""
    with session.client(given["server"], given["timeout"]) as client, CaseTable(given["path"]) as table:
        rows = list(table)
        asked = [row.case for row in rows if not row.violations]
        answer = ValidateCasesResponse(catalog_revision=given["catalog_revision"] or 0)
        if asked:
            answer = client.validate_cases(asked, catalog_revision=answer.catalog_revision)
    found = iter(list(answer.predictions))
    del answer.predictions[:]
    answer.predictions.extend(_unread(row) if row.violations else next(found) for row in rows)
    if given["output"] == "csv":
        output.write_csv(CSV_COLUMNS, map(_cells, answer.predictions))
    elif given["output"] == "json":
        output.write_json(answer)
    else:
        _show(answer, output.console())


def _unread(row: CaseRow) -> CasePrediction:
    """A row that is not asked about."""
    case = row.case
    return CasePrediction(
        case_id=case.case_id or f"line-{row.line}",
        measured_speedup=case.speedup if isfinite(case.speedup) else 0.0,
        technique=case.technique,
        case_class=case.case_class,
        unanswered_reason="; ".join(
            f"{wrong.field}: {wrong.description}" if wrong.field else f"the row {wrong.description}"
            for wrong in row.violations
        ),
    )


def _cells(prediction: CasePrediction) -> dict[str, object]:
    """A row of the CSV; what is not told is empty."""
    told = jsonform.to_dict(prediction)
    cells = {column: told.get(column, "") for column in CSV_COLUMNS}
    cells["verdict"] = "" if cells["verdict"] == "UNSPECIFIED" else str(cells["verdict"]).lower()
    return cells


def _show(answer: ValidateCasesResponse, console: Console) -> None:
    """How right the directions and sizes are, by class and technique, then what was not answered and why."""
    if not answer.predictions:
        parts.paragraph(console, "The table has no rows.", left=0)
        return
    parts.paragraph(console, _overall(answer.overall), styles.HEADING, left=0)
    parts.paragraph(console, f"Catalog revision {answer.catalog_revision}.", styles.QUIET, left=0)
    for heading, summaries in (("class", answer.classes), ("mechanism of", answer.techniques)):
        if summaries:
            console.print()
            _show_summaries(heading, summaries, console)
    mechanism = next((found for found in answer.classes if found.group == "mechanism"), None)
    if mechanism is not None and mechanism.answered:
        console.print()
        _show_confusion(mechanism, console)
    _show_unanswered(answer.predictions, console)


def _overall(summary: CaseSummary) -> str:
    answered = f"{summary.answered:,} of {screens.counted(summary.cases, 'case')} answered"
    if not summary.answered:
        return f"{answered}."
    return (
        f"{answered}; of {summary.effects:,} effects over 15% {units.percent(summary.right_sign_share)} have "
        f"the right direction, of {summary.harms:,} that hurt {units.percent(summary.foreseen_harm_share)} "
        f"are foreseen; the size is off by {units.percent(summary.median_error)} in the median."
    )


def _show_summaries(heading: str, summaries: Iterable[CaseSummary], console: Console) -> None:
    table = screens.table(console)
    table.add_column(heading, overflow="fold")
    for name in ("cases", "answered", "right", "of", "foreseen", "of", "median", "inside", "width"):
        table.add_column(name, justify="right", no_wrap=True)
    for found in summaries:
        figures = ["-"] * 7
        if found.answered:
            figures = [
                units.percent(found.right_sign_share) if found.effects else "-",
                f"{found.effects:,}",
                units.percent(found.foreseen_harm_share) if found.harms else "-",
                f"{found.harms:,}",
                units.percent(found.median_error),
                units.percent(found.covered_share),
                units.factor(found.median_width),
            ]
        table.add_row(printable.line(found.group), f"{found.cases:,}", f"{found.answered:,}", *figures)
    console.print(table)


def _show_confusion(summary: CaseSummary, console: Console) -> None:
    """How often each change was measured, by what was predicted."""
    counts = {(count.measured, count.predicted): count.cases for count in summary.counts}
    table = screens.table(console)
    table.add_column(f"{summary.group}: measured", overflow="fold")
    for predicted in CHANGES:
        table.add_column(f"predicted {predicted}", justify="right", no_wrap=True)
    for measured in CHANGES:
        table.add_row(measured, *(f"{counts.get((measured, predicted), 0):,}" for predicted in CHANGES))
    console.print(table)


def _show_unanswered(predictions: Iterable[CasePrediction], console: Console) -> None:
    """The reasons of cases without an answer, the commonest first, each with one of its cases."""
    by_reason: dict[str, list[CasePrediction]] = {}
    for prediction in predictions:
        if prediction.unanswered_reason:
            by_reason.setdefault(prediction.unanswered_reason, []).append(prediction)
    if not by_reason:
        return
    console.print()
    parts.paragraph(console, "Not answered", styles.HEADING, left=0)
    reasons = sorted(by_reason.items(), key=lambda entry: -len(entry[1]))
    for reason, cases in reasons[:MOST_REASONS]:
        counted, example = screens.counted(len(cases), "case"), printable.line(cases[0].case_id)
        parts.paragraph(console, f"{counted}, such as {example}: {printable.line(reason)}")
    if len(reasons) > MOST_REASONS:
        more = f"{len(reasons) - MOST_REASONS:,} more of such reasons; -o csv tells all, case by case."
        parts.paragraph(console, more, styles.QUIET)
