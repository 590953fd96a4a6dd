"""Shows what an import did: a line for each entry, what changed or was refused beneath it, and the counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from ridgeline.cli import parts, styles
from ridgeline.cli.catalog import differences
from ridgeline.plots import words
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1.errors_pb2 import ErrorReason

if TYPE_CHECKING:
    from rich.console import Console

    from ridgeline.cli.catalog.importing import Report
    from ridgeline.v1.catalog_service_pb2 import ImportOutcome
    from ridgeline.v1.measurement_service_pb2 import MeasurementOutcome

MARGIN = 13
"""Columns of the widest action."""


def show(report: Report, console: Console, *, dry_run: bool, replace: bool) -> None:
    """Every outcome, then how many there are of each kind."""
    counts: Counter[str] = Counter()
    taken = False
    for outcome in report.outcomes:
        action = words.name(catalog.ImportAction.DESCRIPTOR, outcome.action).replace("_", " ")
        counts[action] += 1
        taken = taken or outcome.error.reason == ErrorReason.ERROR_REASON_NAME_TAKEN
        _show_outcome(outcome, action, console)
    told = ", ".join(f"{count:,} {action}" for action, count in counts.items()) or "nothing to import"
    if dry_run:
        told = f"dry run, nothing was written; it would be {told}"
    elif report.catalog_revision:
        told += f"; catalog revision {report.catalog_revision}"
    parts.paragraph(console, f"{told[:1].upper()}{told[1:]}.", left=0)
    if taken and not replace:
        parts.paragraph(console, "--replace overwrites entries of the same id.", left=0)


def _show_outcome(outcome: ImportOutcome, action: str, console: Console) -> None:
    named = outcome.id or outcome.name
    line = Text(action.ljust(MARGIN), styles.ACTIONS.get(action, "")).append(named, "not bold default")
    if outcome.name != named:
        line.append(f"  {outcome.name}", styles.QUIET)
    # One line for each entry, however long its path: it is searched for and copied.
    console.print(line, soft_wrap=True)
    if outcome.action == catalog.IMPORT_ACTION_UPDATED:
        for told in differences.lines(outcome.changes):
            parts.paragraph(console, told, left=MARGIN)
    for reason in reasons(outcome):
        parts.paragraph(console, reason, left=MARGIN)
    if outcome.action != catalog.IMPORT_ACTION_UNCHANGED:
        for remark in outcome.remarks:
            parts.paragraph(console, remark, styles.QUIET, left=MARGIN)


def reasons(outcome: ImportOutcome | MeasurementOutcome) -> list[str]:
    """Why it was refused: each wrong field with its sentence, or the one sentence that there is."""
    if outcome.action != catalog.IMPORT_ACTION_REFUSED:
        return []
    told = []
    for wrong in outcome.error.wrong_fields:
        field = wrong.field.removeprefix("hardware.").removeprefix("model.")
        told.append(f"{field}: {wrong.description}" if field else wrong.description)
    return told or [outcome.error.message]
