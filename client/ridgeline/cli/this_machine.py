"""`ridgeline calibrate --this-machine`: measures the machine that it runs on, and saves it as a device."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ridgeline.cli import options, output, session
from ridgeline.cli.commands import SectionOption

if TYPE_CHECKING:
    from ridgeline.client import Client
    from ridgeline.embedded import MachineReport
    from ridgeline.v1.catalog_service_pb2 import ImportEntriesResponse
    from ridgeline.v1.efficiency_profile_pb2 import EfficiencyProfile

F = TypeVar("F", bound=Callable[..., Any])

_machine = partial(click.option, cls=SectionOption, section="This machine")

DEFAULT_ID = "this-machine"
ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}")
"""A catalog id that leaves room for the names of its profiles."""
OPTIONS = ("threads", "thorough", "gpu", "hardware_id")
"""What is said of this machine and of nothing else."""


def machine_options(function: F) -> F:
    """How this machine is measured."""
    return options.together(
        _machine("--this-machine", is_flag=True, help="Measure this machine and save it as a device."),
        _machine(
            "--threads",
            type=click.IntRange(1),
            metavar="N",
            help="Threads to compute on [default: all cores]. One is timed by CPU time, which other work "
            "disturbs least.",
        ),
        _machine("--thorough", is_flag=True, help="More shapes and rounds: minutes, not one."),
        _machine("--gpu", is_flag=True, help="The first GPU that torch sees, not the processor."),
        _machine("--id", "hardware_id", metavar="ID", help=f"The device's id [default: {DEFAULT_ID}]."),
    )(function)


def run(given: Mapping[str, Any]) -> None:
    """Measure, save, tell. Raises the failures of the command line."""
    from ridgeline.v1 import types_pb2

    if given["output"] == "csv":
        raise click.UsageError("-o csv is of rows; --this-machine is told as table or json.")
    hardware_id = given["hardware_id"] or DEFAULT_ID
    if not ID.fullmatch(hardware_id):
        raise click.UsageError(
            f"--id {hardware_id!r}: give up to 40 lower-case letters, digits, '.' and '-', such as my-server."
        )
    with session.client(given["server"], given["timeout"]) as client:
        # A shipped device is refused before the minute that measuring takes, not after it.
        if _origin(client, hardware_id) == types_pb2.ORIGIN_BUILTIN:
            raise click.UsageError(
                f"--id {hardware_id} is a device of the shipped catalog; give another id to this machine."
            )
        report = _measure(given, hardware_id)
        stale, calibrated = _of_before(client, hardware_id, report.profiles)
        response = client.import_entries(
            (report.hardware, *report.profiles),
            allow_existing=True,
            all_or_nothing=True,
            validate_only=given["dry_run"],
        )
        refused = _refusals(response)
        if not refused and not given["dry_run"]:
            for profile in stale:
                client.delete_efficiency_profile(profile.id, etag=profile.etag)
    if given["output"] == "json":
        output.write_fields(_fields(report, response))
    else:
        from ridgeline.cli import this_machine_screen

        this_machine_screen.show(
            report,
            response,
            output.console(),
            dry_run=given["dry_run"],
            removed=[profile.id for profile in stale],
            calibrated_count=len(calibrated),
        )
    if refused:
        raise session.Refused("\n".join(["The catalog refused what was measured:", *refused]))


def _origin(client: Client, hardware_id: str) -> int | None:
    """Whose device has the id; None for nobody's."""
    from ridgeline.errors import NotFoundError

    try:
        hardware = client.get_hardware(hardware_id).hardware
    except NotFoundError:
        return None
    return hardware.origin


def _measure(given: Mapping[str, Any], hardware_id: str) -> MachineReport:
    from ridgeline import embedded
    from ridgeline.errors import MissingServerError

    bar = click.progressbar(
        length=1, label="Measuring this machine", file=sys.stderr, hidden=not sys.stderr.isatty()
    )

    def told(done: int, count: int, label: str) -> None:
        bar.length, bar.label = count, f"Measuring {label}"
        bar.update(done - bar.pos)

    try:
        with bar:
            return embedded.measure_this_machine(
                hardware_id,
                threads=given["threads"],
                thorough=given["thorough"],
                gpu=given["gpu"],
                told=told,
            )
    except MissingServerError as error:
        raise session.Refused(error.message) from error
    except ValueError as error:
        raise session.Refused(f"This machine cannot be measured so: {error}.") from error
    except RuntimeError as error:
        raise session.Failure(f"Measuring failed: {error}.") from error


def _of_before(
    client: Client, hardware_id: str, made: Sequence[EfficiencyProfile]
) -> tuple[list[EfficiencyProfile], list[EfficiencyProfile]]:
    """Profiles of the device that an earlier measurement made and this one did not, and those that measured
    rows of engines made beside them.
    """
    ours = {profile.id for profile in made}
    old = [p for p in client.iter_efficiency_profiles() if p.hardware_id == hardware_id and p.id not in ours]
    stale = [p for p in old if p.id.startswith(f"{hardware_id}-") and not p.engine and not p.model_id]
    return stale, [p for p in old if p not in stale]


def _refusals(response: ImportEntriesResponse) -> list[str]:
    from ridgeline.cli.catalog.import_screen import reasons

    return [
        f"  {outcome.id or outcome.name}: {reason}"
        for outcome in response.outcomes
        for reason in reasons(outcome)
    ]


def _fields(report: MachineReport, response: ImportEntriesResponse) -> dict[str, object]:
    """The report and the receipt as JSON values."""
    from ridgeline import jsonform
    from ridgeline.plots import words

    return {
        "hardware": jsonform.to_dict(report.hardware),
        "efficiency_profiles": [jsonform.to_dict(profile) for profile in report.profiles],
        "attained": [
            {
                "dtype": words.dtype(rate.dtype).upper(),
                "flops_per_s": rate.flops_per_s,
                "source": rate.source,
                "timing_count": rate.timing_count,
                "doubtful_count": rate.doubtful_count,
            }
            for rate in report.rates
        ],
        "launches": [
            {"how": launch.how, "time_us": launch.time_us, "is_trusted": launch.is_trusted}
            for launch in report.launches
        ],
        "uses_cpu_time": report.uses_cpu_time,
        "timing_count": report.timing_count,
        "doubtful_count": report.doubtful_count,
        "skipped": list(report.skipped),
        "libraries": list(report.libraries),
        **jsonform.to_dict(response),
    }
