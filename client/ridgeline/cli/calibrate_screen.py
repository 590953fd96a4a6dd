"""Shows what measured rows change: their own predictions, their neighbours', and how far off all are now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ridgeline.cli import calibrate_notices, parts, printable, styles
from ridgeline.cli.catalog import screens
from ridgeline.plots import units, words
from ridgeline.v1 import efficiency_profile_pb2, measurement_pb2

if TYPE_CHECKING:
    from rich.console import Console

    from ridgeline.v1.measurement_service_pb2 import (
        CalibratedProfile,
        CalibratedRow,
        CalibrateResponse,
        ErrorSummary,
        MeasurementPrediction,
    )

MOST_ROWS = 20
MOST_PROFILES = 30
MOST_UNUSED = 10
TIMES = {"prefill time": "prefill", "decode time": "decode", "first token time": "first token"}
LEAST_OFF = 0.005
"""What rounds to no difference in percent, and changes no factor that is shown."""


def show(response: CalibrateResponse, console: Console, *, dry_run: bool) -> None:
    """The given rows before and now, the factors, the errors, and what was written."""
    if len(response.rows) == 1:
        _show_one(response.rows[0], console)
    elif response.rows:
        _show_rows(response, console)
    _show_refits(response, console)
    _show_factors(response, console)
    _show_memory(response, console)
    _show_errors(response, console)
    show_unused(response, console)
    calibrate_notices.show(response, console)
    _show_written(response, console, dry_run=dry_run)


def _show_one(row: CalibratedRow, console: Console) -> None:
    before, now = row.before, row.now
    metric = words.name(measurement_pb2.MeasurementMetric.DESCRIPTOR, before.metric).replace(" ", "_")
    heading = f"{before.model_id} on {before.hardware_id}, {before.engine}: {metric}"
    parts.paragraph(console, printable.line(heading), styles.HEADING, left=0)
    rows: list[tuple[str, str | Text]] = [("measured", units.digits(before.measured))]
    rows += [("before", _figure(before)), ("now", Text(_figure(now), styles.HEADING))]
    screens.facts(rows, console)
    for assumption in now.assumptions:
        parts.paragraph(console, f"Assumed: {printable.line(assumption)}.", styles.QUIET, left=0)
    console.print()


def _figure(prediction: MeasurementPrediction) -> str:
    """A prediction with its interval, and how far it is from what was measured."""
    if not prediction.HasField("predicted"):
        return f"no answer: {printable.line(prediction.unanswered_reason)}"
    off = prediction.predicted / prediction.measured - 1
    told = f"{abs(off):.0%} {'over' if off > 0 else 'under'} what was measured"
    if abs(off) < LEAST_OFF:
        told = "as measured"
    ends = f"{units.digits(prediction.low)} - {units.digits(prediction.high)}"
    return f"{units.digits(prediction.predicted)} ({ends}), {told}"


def _show_rows(response: CalibrateResponse, console: Console) -> None:
    table = screens.table(console)
    table.add_column("Row", overflow="fold")
    for name in ("measured", "before", "now", "low - high"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in response.rows[:MOST_ROWS]:
        before, now = row.before, row.now
        cells = [units.digits(before.measured), "-", "-", "-"]
        if before.HasField("predicted"):
            cells[1] = units.digits(before.predicted)
        if now.HasField("predicted"):
            cells[2:] = [units.digits(now.predicted), f"{units.digits(now.low)} - {units.digits(now.high)}"]
        table.add_row(printable.line(before.id), *cells)
    console.print(table)
    more = len(response.rows) - MOST_ROWS
    if more > 0:
        parts.paragraph(console, f"{more:,} more rows; -o csv tells all.", styles.QUIET)
    console.print()


def _show_refits(response: CalibrateResponse, console: Console) -> None:
    """The engines whose constants were fitted, and those where factors alone predict better."""
    for tried in response.refits:
        engine = " ".join(filter(None, (tried.engine, tried.since_version)))
        where = printable.line(f"{engine} on {tried.hardware_id}")
        left_out = "whose model was left out" if tried.left_out_by == "model" else "that were left out"
        errors = (
            f"rows {left_out} are {units.percent(tried.refit_error)} off in the median, "
            f"{units.percent(tried.factors_error)} with factors alone"
        )
        rows = screens.counted(tried.rows, "row")
        if tried.kept:
            told = f"Constants of {where} are fitted to its {rows} of prefills and decode steps: {errors}."
        else:
            told = (
                f"Constants of {where} stay as they are, since a fit to its {rows} of prefills and decode "
                f"steps predicts some of them worse: {errors}."
            )
        parts.paragraph(console, told, left=0)
    if response.refits:
        console.print()


def _show_factors(response: CalibrateResponse, console: Console) -> None:
    """What predicted times are multiplied by, from the settings that were measured to what they say of
    others.
    """
    table = screens.table(console)
    table.add_column("Predicted times", overflow="fold")
    table.add_column("of", no_wrap=True)
    for name in ("before", "now", "low - high", "rows"):
        table.add_column(name, justify="right", no_wrap=True)
    factors = [made for made in response.profiles if "time_factor" in made.profile.further_constants]
    shown = list(reversed(factors))[:MOST_PROFILES]
    for made in shown:
        factor = made.profile.further_constants["time_factor"]
        operator_class = words.name(
            efficiency_profile_pb2.OperatorClass.DESCRIPTOR, made.profile.operator_class
        ).replace("_", " ")
        moved = abs(factor.value - made.factor_before) > LEAST_OFF
        table.add_row(
            printable.line(_setting(made)),
            TIMES[operator_class.removeprefix("expert ")],
            units.times(made.factor_before),
            Text(units.times(factor.value), styles.HEADING if moved else ""),
            f"{units.factor(factor.low)} - {units.factor(factor.high)}",
            f"{made.profile.evidence_count:,}",
        )
    if shown:
        console.print(table)
        more = len(factors) - len(shown)
        if more > 0:
            parts.paragraph(console, f"{more:,} more; -o json tells all.", styles.QUIET)
        console.print()


MEMORY = {
    "activation_factor": "activation peak",
    "non_torch_factor": "outside of torch",
    "cuda_graph_factor": "CUDA graphs",
}


def _show_memory(response: CalibrateResponse, console: Console) -> None:
    """What the sizes of an engine's memory are multiplied by, of any model."""
    table = screens.table(console)
    table.add_column("Predicted memory, any model", overflow="fold")
    table.add_column("of", no_wrap=True)
    for name in ("now", "low - high"):
        table.add_column(name, justify="right", no_wrap=True)
    for profile in (made.profile for made in response.profiles):
        engine = " ".join(filter(None, (profile.engine, profile.since_version)))
        for name in (name for name in MEMORY if name in profile.further_constants):
            factor = profile.further_constants[name]
            table.add_row(
                printable.line(f"{engine} on {profile.hardware_id}"),
                MEMORY[name],
                units.times(factor.value),
                f"{units.factor(factor.low)} - {units.factor(factor.high)}",
            )
    if table.row_count:
        console.print(table)
        console.print()


def _setting(made: CalibratedProfile) -> str:
    profile = made.profile
    if profile.model_id:
        stored, computed = (words.dtype(d) for d in (profile.weight_dtype, profile.dtype))
        formats = stored if stored == computed else f"{stored} weights, {computed}"
        engine = f", {profile.engine}" if profile.engine else ""
        return f"{profile.model_id} {formats} on {profile.hardware_id}{engine}"
    if profile.engine:
        return f"other models on {profile.hardware_id}, {profile.engine}"
    return f"other engines on {profile.hardware_id}"


def _show_errors(response: CalibrateResponse, console: Console) -> None:
    before, after = response.before, response.after
    counted = screens.counted(before.rows, "row")
    told = (
        f"Error of the {counted} of {_devices(response)}: {units.percent(before.median_error)} in the median"
    )
    if not response.HasField("after"):
        parts.paragraph(
            console,
            f"{told} before any calibration. What calibrating gains is not told: no row can be predicted "
            "from others as long as none shares its device.",
            left=0,
        )
        return
    parts.paragraph(
        console,
        f"{told} before any calibration, {units.percent(after.median_error)} when each is predicted from "
        f"all others; {units.percent(after.covered_share)} of them lie inside of their interval, which is "
        f"{units.factor(after.median_width)}x wide in the median.",
        left=0,
    )
    table = screens.table(console)
    table.add_column("", overflow="fold")
    for name in ("rows", "before", "after", "p90 before", "p90 after"):
        table.add_column(name, justify="right", no_wrap=True)
    groupings = [comparison.grouping for comparison in response.comparisons]
    for comparison in response.comparisons:
        if groupings.count(comparison.grouping) > 1:
            table.add_row(
                printable.line(comparison.before.group), *_changes(comparison.before, comparison.after)
            )
    if table.row_count:
        console.print(table)


def _changes(before: ErrorSummary, after: ErrorSummary) -> list[str]:
    errors = [
        units.percent(getattr(summary, name)) if summary.answered else "-"
        for name in ("median_error", "ninetieth_error")
        for summary in (before, after)
    ]
    return [f"{before.rows:,}", *errors]


def _devices(response: CalibrateResponse) -> str:
    devices = [c.before.group for c in response.comparisons if c.grouping == "hardware"]
    return devices[0] if len(devices) == 1 else screens.counted(len(devices), "device")


def show_unused(response: CalibrateResponse, console: Console) -> None:
    """Rows of these devices that could not be used, the commonest reason first."""
    for unused in response.unused[:MOST_UNUSED]:
        counted = screens.counted(unused.count, "row")
        example, reason = printable.line(unused.example_id), printable.line(unused.reason)
        told = f"Not used: {counted}, such as {example}: {reason}"
        parts.paragraph(console, told, styles.QUIET, left=0)
    more = sum(unused.count for unused in response.unused[MOST_UNUSED:])
    if more:
        parts.paragraph(
            console,
            f"Not used: {screens.counted(more, 'more row')}; -o json tells why.",
            styles.QUIET,
            left=0,
        )


def _show_written(response: CalibrateResponse, console: Console, *, dry_run: bool) -> None:
    rows = screens.counted(response.stored_count, "new measurement")
    profiles = screens.counted(len(response.profiles), "efficiency profile")
    if dry_run:
        told = f"Dry run, nothing was written; it would be {rows} and {profiles}."
    else:
        told = f"Stored {rows}; {profiles} in catalog revision {response.catalog_revision}."
    parts.paragraph(console, told, styles.QUIET, left=0)
