"""`ridgeline calibrate --reset`: removes what calibrating by measured rows has written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from ridgeline.cli import output, parts, printable, session, styles
from ridgeline.cli.catalog import screens
from ridgeline.plots import words
from ridgeline.v1 import efficiency_profile_pb2

if TYPE_CHECKING:
    from ridgeline.client import Client
    from ridgeline.measurement_requests import MeasurementChoice
    from ridgeline.v1.efficiency_profile_pb2 import EfficiencyProfile

CALIBRATED = "calibrated-"
"""How the ids of profiles begin that measured rows made."""
MOST_TOLD = 30
CSV_COLUMNS = ("id", "hardware_id", "engine", "model_id", "operator_class", "evidence_count")


def run(given: Mapping[str, Any]) -> None:
    """Remove the calibrated profiles of a device, an engine or all, and tell which. Raises the failures of
    the command line.
    """
    engine, _, version = (given["engine"] or "").partition("@")
    if version:
        raise click.UsageError(f"--reset is of all releases of an engine: give --engine {engine}.")
    with session.client(given["server"], given["timeout"]) as client:
        response = client.list_efficiency_profiles()
        calibrated = [each for each in response.efficiency_profiles if each.id.startswith(CALIBRATED)]
        hardware_id = given["hardware"]
        # What was calibrated of a device outlives it: its profiles are removed by the id that they have.
        if hardware_id not in {profile.hardware_id for profile in calibrated}:
            hardware_id = session.device_id(client, hardware_id)
        chosen = _chosen(calibrated, hardware_id, engine.lower())
        revision = response.catalog_revision
        if not given["dry_run"]:
            revision = _remove(client, chosen) or revision
    if given["output"] == "json":
        output.write_fields(
            {
                "removed": [_cells(profile) for profile in chosen],
                "catalog_revision": revision,
                "dry_run": given["dry_run"],
            }
        )
    elif given["output"] == "csv":
        output.write_csv(CSV_COLUMNS, map(_cells, chosen))
    else:
        _show(chosen, len(calibrated), given, revision)


def calibrated_devices(client: Client, ids: Sequence[str], choice: MeasurementChoice) -> list[str]:
    """The devices of measurements, those with these ids or all that match a choice, of which there are
    calibrated profiles.
    """
    profiles = client.iter_efficiency_profiles()
    devices = sorted({each.hardware_id for each in profiles if each.id.startswith(CALIBRATED)})
    if ids:
        found = _devices_of(client, ids) if devices else set()
        return [device for device in devices if device in found]
    return [device for device in devices if _has_measurements(client, choice, device)]


def _devices_of(client: Client, ids: Sequence[str]) -> set[str]:
    """The devices of measurements; those that there are not are for others to tell."""
    from ridgeline.errors import RidgelineError

    found = set()
    for name in ids:
        with suppress(RidgelineError):
            found.add(client.get_measurement(name).measurement.hardware_id)
    return found


def _has_measurements(client: Client, choice: MeasurementChoice, device: str) -> bool:
    if choice.get("hardware_id", device) != device:
        return False
    of_device: MeasurementChoice = {**choice, "hardware_id": device}
    return bool(client.list_measurements(**of_device, limit=1).measurements)


def _chosen(
    calibrated: Sequence[EfficiencyProfile], hardware_id: str | None, engine: str
) -> list[EfficiencyProfile]:
    """Those of a device and an engine. Those of a device with any engine rest on the rows of all of them, and
    go with the last.
    """
    of_device = [each for each in calibrated if hardware_id in (None, each.hardware_id)]
    if not engine:
        return of_device
    others = {
        (each.hardware_id, each.operator_class) for each in of_device if each.engine not in ("", engine)
    }
    mine = {(each.hardware_id, each.operator_class) for each in of_device if each.engine == engine}
    return [
        each
        for each in of_device
        if each.engine == engine
        or (not each.engine and (each.hardware_id, each.operator_class) in mine - others)
    ]


def _remove(client: Client, profiles: Sequence[EfficiencyProfile]) -> int:
    """Remove profiles one by one, and give the catalog's last revision; 0 where none was left to remove.
    Raises the failures of the command line, with how many were removed before.
    """
    from ridgeline.errors import NotFoundError, RidgelineError

    revision = 0
    for done, profile in enumerate(profiles):
        try:
            revision = client.delete_efficiency_profile(profile.id, etag=profile.etag).catalog_revision
        except NotFoundError:
            continue
        except RidgelineError as error:
            failure = session.failure(error)
            before = f"{done:,} of {len(profiles):,} profiles were removed before"
            raise type(failure)(f"{failure.message} {before}; repeat the command.") from error
    return revision


def _cells(profile: EfficiencyProfile) -> dict[str, object]:
    """A profile as a row of the CSV."""
    enum = efficiency_profile_pb2.OperatorClass.DESCRIPTOR
    told: dict[str, object] = {name: getattr(profile, name) for name in CSV_COLUMNS}
    told["operator_class"] = words.name(enum, profile.operator_class).replace(" ", "_")
    return told


def _show(removed: Sequence[EfficiencyProfile], known: int, given: Mapping[str, Any], revision: int) -> None:
    console = output.console()
    for profile in removed[:MOST_TOLD]:
        counted = screens.counted(profile.evidence_count, "row")
        parts.paragraph(console, f"{printable.line(profile.id)}: {counted}")
    if len(removed) > MOST_TOLD:
        more = f"{len(removed) - MOST_TOLD:,} more; -o json tells all."
        parts.paragraph(console, more, styles.QUIET)
    counted = screens.counted(len(removed), "calibrated profile")
    if not removed:
        chosen = [f"--{name} {given[name]}" for name in ("hardware", "engine") if given[name]]
        of = f" of {' '.join(chosen)}" if chosen else ""
        others = f"; the catalog has {known:,} others" if known else ""
        told = f"There is no calibrated profile{of}{others}."
    elif given["dry_run"]:
        told = f"Dry run, nothing was removed; it would be {counted}."
    else:
        told = (
            f"Removed {counted} (catalog revision {revision}). Measurements stay, and the next calibration "
            "counts them again: `ridgeline measurements delete` removes wrong ones."
        )
    parts.paragraph(console, told, left=0)
