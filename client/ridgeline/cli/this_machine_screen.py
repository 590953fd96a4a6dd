"""Shows what this machine attained, how sure that is, what follows for operators, and what was saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from ridgeline.cli import parts, printable, styles
from ridgeline.cli.catalog import screens
from ridgeline.plots import units, words
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1.efficiency_profile_pb2 import OperatorClass

if TYPE_CHECKING:
    from rich.console import Console

    from ridgeline.embedded import MachineReport
    from ridgeline.v1.catalog_service_pb2 import ImportEntriesResponse
    from ridgeline.v1.efficiency_profile_pb2 import EfficiencyProfile, Estimate

DISTURBED_SHARE = 0.25
"""Doubtful timings from which the whole measurement is told to be disturbed."""
MOST_SKIPPED = 6
LEAST_LAUNCH_US = 0.002
"""Launches below are the floor of a fit (0.001): the timings tell none."""


def show(
    report: MachineReport,
    response: ImportEntriesResponse,
    console: Console,
    *,
    dry_run: bool,
    removed: Sequence[str],
    calibrated_count: int,
) -> None:
    """The attained figures, the constants that follow, the doubts, the receipt."""
    hardware = report.hardware
    name = hardware.display_name or hardware.id
    parts.paragraph(
        console, printable.line(f"{name} ({', '.join(report.libraries)})"), styles.HEADING, left=0
    )
    _show_attained(report, console)
    console.print()
    _show_profiles(report.profiles, console)
    console.print()
    _show_doubts(report, console)
    _show_receipt(report, response, console, dry_run=dry_run, removed=removed)
    if calibrated_count:
        counted = screens.counted(calibrated_count, "profile")
        parts.paragraph(
            console,
            f"{counted} of {hardware.id} that measured rows made rest on what was attained before: run "
            f"`ridgeline calibrate --hardware {hardware.id}` again.",
            mark=Text("!", styles.WARNING),
        )


def _show_attained(report: MachineReport, console: Console) -> None:
    table = screens.table(console)
    table.add_column("Attained", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("how sure", overflow="fold")
    for rate in report.rates:
        sure = _sureness(rate.timing_count, rate.doubtful_count)
        table.add_row(f"{words.dtype(rate.dtype)} products", units.si(rate.flops_per_s, "FLOP/s"), sure)
    sure = _sureness(report.timing_count, report.doubtful_count)
    table.add_row("memory", units.si(report.hardware.bandwidth_bytes_per_s, "B/s"), f"the best of all {sure}")
    for launch in report.launches:
        sure = "" if launch.is_trusted else "disturbed"
        table.add_row(f"a launch by {launch.how}", f"{units.digits(launch.time_us)} us", sure)
    console.print(table)


def _sureness(count: int, doubtful: int) -> str:
    told = screens.counted(count, "timing")
    return f"{told}, {doubtful:,} disturbed" if doubtful else told


def _show_profiles(profiles: Sequence[EfficiencyProfile], console: Console) -> None:
    """What operators cost on the machine, relative to what it attained, with ranges."""
    table = screens.table(console)
    table.add_column("Operators", overflow="fold")
    for name in ("launch us", "of the rate", "of the memory", "timings"):
        table.add_column(name, justify="right", no_wrap=True)
    for profile in profiles:
        operators = words.name(OperatorClass.DESCRIPTOR, profile.operator_class).replace("_", " ")
        told = f"{operators} {words.dtype(profile.dtype)}" if profile.dtype else operators
        launch_us = profile.launch_time_us.value
        table.add_row(
            told,
            units.digits(launch_us, 2) if launch_us >= LEAST_LAUNCH_US else "-",
            _range(profile.compute_efficiency),
            _range(profile.memory_efficiency),
            f"{profile.evidence_count:,}",
        )
    if profiles:
        console.print(table)
    else:
        parts.paragraph(console, "Too few timings for any efficiency profile: generic ones hold.", left=0)


def _range(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} - {estimate.high:.2f})"


def _show_doubts(report: MachineReport, console: Console) -> None:
    """What was disturbed or left out, and what to do about it."""
    if report.doubtful_count >= DISTURBED_SHARE * report.timing_count:
        remedy = (
            "repeat it while the machine is quieter"
            if report.uses_cpu_time
            else "stop other work and repeat it, or measure one thread (--threads 1), whose CPU time other "
            "work disturbs least"
        )
        parts.paragraph(
            console,
            f"This measurement was disturbed: other work ran during {report.doubtful_count:,} of "
            f"{screens.counted(report.timing_count, 'timing')}. Best rates are lower bounds then, and the "
            f"ranges are wide: {remedy}.",
            mark=Text("!", styles.WARNING),
        )
    measured = {words.dtype(rate.dtype) for rate in report.rates}
    if not any(library.startswith("torch ") for library in report.libraries):
        parts.paragraph(
            console,
            f"Products were measured in {', '.join(sorted(measured))} alone: where torch is installed, "
            "16-bit and int8 formats and attention are measured too. Until then generic profiles hold for "
            "them.",
            styles.QUIET,
            mark=Text("-"),
        )
    for skipped in report.skipped[:MOST_SKIPPED]:
        parts.paragraph(console, f"Not measured: {printable.line(skipped)}.", styles.QUIET, mark=Text("-"))
    more = len(report.skipped) - MOST_SKIPPED
    if more > 0:
        parts.paragraph(console, f"{more:,} more were not measured; -o json tells all.", styles.QUIET)


def _show_receipt(
    report: MachineReport,
    response: ImportEntriesResponse,
    console: Console,
    *,
    dry_run: bool,
    removed: Sequence[str],
) -> None:
    if any(outcome.action == catalog.IMPORT_ACTION_REFUSED for outcome in response.outcomes):
        return
    hardware_id = report.hardware.id
    profiles = screens.counted(len(report.profiles), "efficiency profile")
    gone = (
        f"; {screens.counted(len(removed), 'profile')} of an earlier measurement removed" if removed else ""
    )
    if dry_run:
        told = f"Dry run, nothing was written; it would be the device {hardware_id} and {profiles}{gone}."
    else:
        told = (
            f"Saved the device {hardware_id} and {profiles}{gone}. Ask `ridgeline analyze MODEL "
            f"{hardware_id}`."
        )
    parts.paragraph(console, told, left=0)
