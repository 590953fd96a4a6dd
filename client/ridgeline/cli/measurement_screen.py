"""Shows measurements at a terminal, and what an import of them did."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from ridgeline.cli import parts, printable, styles
from ridgeline.cli.catalog import differences, screens
from ridgeline.cli.catalog.import_screen import MARGIN, reasons
from ridgeline.files import MEASUREMENT_COLUMNS, measurement_cells
from ridgeline.plots import units, words
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1.errors_pb2 import ErrorReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

    from ridgeline.cli.measurement_import import Report
    from ridgeline.files import MeasurementTable
    from ridgeline.v1.measurement_pb2 import Measurement
    from ridgeline.v1.measurement_service_pb2 import GetMeasurementResponse, ListMeasurementsResponse

COLUMNS = ("model", "hardware", "engine", "weights", "phase", "load", "in/out", "metric", "value")
LEAST_NEEDED = ("engine", "weights", "in/out", "phase", "load")
"""Columns that a narrow terminal does without, first to last: figures are never cut."""
MOST_ID = 24
"""Characters of an id on one line."""

MOST_SENTENCES = 20
"""Of refusals, remarks and changes each, so many are told at a terminal."""
MOST_RANGES = 4
"""Ranges of lines that a sentence is told of, before the rest is counted."""


def show_list(response: ListMeasurementsResponse, console: Console) -> None:
    """A line for each measurement."""
    if response.measurements:
        console.print(_table(response.measurements, console))
    counted = screens.counted(len(response.measurements), "measurement")
    parts.paragraph(
        console, f"{counted}. `ridgeline measurements get ID` tells the source.", styles.QUIET, left=0
    )


def _table(measurements: Sequence[Measurement], console: Console) -> Table:
    """The measurements with as many columns as there is room for."""
    rows = [(measurement.id, _cells(measurement)) for measurement in measurements]
    endless = console.options.update(max_width=10_000)
    kept = list(COLUMNS)
    for least_needed in LEAST_NEEDED:
        table = _table_of(rows, kept, console)
        if console.measure(table, options=endless).maximum <= console.width:
            return table
        kept.remove(least_needed)
    return _table_of(rows, kept, console)


def _table_of(rows: Iterable[tuple[str, dict[str, str]]], columns: Sequence[str], console: Console) -> Table:
    table = screens.table(console)
    table.add_column("Measurement", overflow="fold", max_width=MOST_ID)
    for name in columns:
        figure = name in ("load", "in/out", "value")
        table.add_column(name, justify="right" if figure else "left", no_wrap=figure, overflow="fold")
    for measurement_id, cells in rows:
        table.add_row(measurement_id, *(cells[name] for name in columns))
    return table


def _cells(measurement: Measurement) -> dict[str, str]:
    """What each column tells of a measurement."""
    cells = measurement_cells(measurement)

    def cell(column: str) -> str:
        return str(cells.get(column, ""))

    model = measurement.model_id.rpartition("/")[2] or measurement.model_published
    device = measurement.hardware_id or measurement.hardware_published
    number = measurement.n_devices
    lengths, rate = [cell("isl"), cell("osl")], cell("request_rate")
    return {
        "model": model,
        "hardware": f"{number:,} x {device}" if number > 1 else device,
        "engine": measurement.engine,
        "weights": measurement.weight_format or measurement.weight_dtype,
        "phase": cell("phase"),
        "load": cell("batch") or cell("concurrency") or (f"{rate}/s" if rate else ""),
        "in/out": "/".join(length or "?" for length in lengths) if any(lengths) else "",
        "metric": cell("metric"),
        "value": units.digits(measurement.value, 4),
    }


def show_one(response: GetMeasurementResponse, console: Console) -> None:
    """All that is known of one measurement, by the columns of tables."""
    measurement = response.measurement
    console.print(Text(printable.line(measurement.id), styles.HEADING))
    cells = measurement_cells(measurement)
    stated = [column for column in MEASUREMENT_COLUMNS[1:] if column in cells]
    day, first_day = (time.ToJsonString()[:10] for time in (measurement.update_time, measurement.create_time))
    again = f", first on {first_day}" if first_day != day else ""
    rows: list[tuple[str, str | Text]] = [(column, str(cells[column])) for column in stated]
    rows.append(("imported", f"by {measurement.principal} on {day}{again}"))
    screens.facts(rows, console)


def show_import(report: Report, console: Console, *, dry_run: bool, replace: bool) -> None:
    """What was refused and why, what changed, what is to be known besides, and how many rows there are of
    each outcome. Rows of which the same is said share a sentence.
    """
    counts: Counter[str] = Counter()
    refusals, remarks, changes = _Sentences(), _Sentences(), _Sentences()
    taken = False
    for outcome, (table, line) in zip(report.outcomes, report.places, strict=True):
        action = words.name(catalog.ImportAction.DESCRIPTOR, outcome.action)
        counts[action] += 1
        taken = taken or outcome.error.reason == ErrorReason.ERROR_REASON_NAME_TAKEN
        for reason in reasons(outcome):
            missing = reason.partition(":")[0] in table.missing_columns
            refusals.add(f"{reason} (there is no such column)" if missing else reason, table, line)
        for remark in outcome.remarks:
            remarks.add(remark, table, line)
        for told in differences.lines(outcome.changes):
            changes.add(f"{outcome.id}: {told}", table, line)
    refusals.show("refused", console)
    changes.show("updated", console)
    remarks.show("remark", console)
    told = ", ".join(f"{count:,} {action}" for action, count in counts.items()) or "nothing to import"
    if dry_run:
        told = f"dry run, nothing was written; it would be {told}"
    parts.paragraph(console, f"{told[:1].upper()}{told[1:]}.", left=0)
    if taken and not replace:
        parts.paragraph(console, "--replace overwrites measurements of the same id.", left=0)


class _Sentences:
    """What is said of rows, each sentence with the lines of its rows."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], list[int]] = {}

    def add(self, sentence: str, table: MeasurementTable, line: int) -> None:
        """Say it of a row."""
        self._lines.setdefault((sentence, table.name), []).append(line)

    def show(self, what: str, console: Console) -> None:
        """The first of the sentences, and how many more there are."""
        mark = Text(what.ljust(MARGIN), styles.ACTIONS.get(what, styles.WARNING))
        for (sentence, name), lines in list(self._lines.items())[:MOST_SENTENCES]:
            parts.paragraph(
                console, f"{printable.line(name)}, {_lines(lines)}: {sentence}", left=MARGIN, mark=mark
            )
        more = len(self._lines) - MOST_SENTENCES
        if more > 0:
            parts.paragraph(
                console,
                f"{more:,} more of such sentences; -o csv tells all, row by row.",
                styles.QUIET,
                left=MARGIN,
            )


def _lines(lines: Sequence[int]) -> str:
    """`line 7`, `lines 2-9, 14`, and of many the first ranges with the number of all."""
    ranges: list[list[int]] = []
    for line in dict.fromkeys(lines):
        if ranges and line == ranges[-1][1] + 1:
            ranges[-1][1] = line
        else:
            ranges.append([line, line])
    shown = [f"{first:,}" if first == last else f"{first:,}-{last:,}" for first, last in ranges[:MOST_RANGES]]
    count = len(set(lines))
    more = f" and more, {count:,} in all" if len(ranges) > MOST_RANGES else ""
    return f"{'line' if count == 1 else 'lines'} {', '.join(shown)}{more}"
