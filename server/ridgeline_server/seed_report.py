"""Tells what seeding does, or would do, to the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ridgeline_server.rpc.convert import hardware, models, profiles
from ridgeline_server.rpc.convert.changes import field_changes
from ridgeline_server.store.errors import Resource
from ridgeline_server.store.seed import SeedDifference, SeedOutcome, SeedReport

MAX_SHOWN = 160
"""Characters of a value that a line shows."""

_MESSAGES: dict[Resource, Any] = {
    Resource.HARDWARE: hardware.entry_message,
    Resource.MODEL: models.entry_message,
    Resource.EFFICIENCY_PROFILE: profiles.entry_message,
}

_HEADINGS = {
    "created": "new in this release",
    "updated": "changed in this release",
    "removed": "no longer in this release",
    "kept_user_changes": "yours; stays, though this release ships",
    "kept_deleted": "removed by a user; stays so",
}


def summary(report: SeedReport) -> Iterator[str]:
    """A line for each resource: how many entries were treated how."""
    for name, outcome in (
        ("hardware", report.hardware),
        ("models", report.models),
        ("efficiency profiles", report.profiles),
    ):
        said = ", ".join(f"{len(ids)} {what}" for what, ids in _counts(outcome).items() if ids)
        yield f"{name}: {said or 'none'}"


def differences(found: Iterable[SeedDifference[Any]]) -> Iterator[str]:
    """A line for each entry that a release has otherwise, and one for each field that differs."""
    for difference in found:
        yield f"{difference.resource} {difference.entry_id}: {_HEADINGS[difference.action]}"
        if difference.before is None or difference.after is None:
            continue
        to_message = _MESSAGES[difference.resource]
        computed = models.COMPUTED if difference.resource is Resource.MODEL else ()
        changes = field_changes(to_message(difference.before), to_message(difference.after), computed)
        for change in changes:
            yield f"  {change.field}: {_cut(change.before)} -> {_cut(change.after)}"


def _counts(outcome: SeedOutcome) -> dict[str, tuple[str, ...]]:
    return {
        "created": outcome.created,
        "updated": outcome.updated,
        "removed": outcome.removed,
        "kept as users changed them": outcome.kept_user_changes,
        "kept removed": outcome.kept_deleted,
        "unchanged": outcome.unchanged,
    }


def _cut(value: str) -> str:
    shown = value or "nothing"
    return shown if len(shown) <= MAX_SHOWN else f"{shown[: MAX_SHOWN - 1]}…"
