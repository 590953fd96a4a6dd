"""Imports of many entries at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from google.rpc import error_details_pb2

from ridgeline.v1 import catalog_service_pb2 as pb
from ridgeline.v1.errors_pb2 import ErrorReason
from ridgeline_server.rpc.checks import Checks, config_name
from ridgeline_server.rpc.entry_kinds import EntryKind
from ridgeline_server.rpc.errors import status_of
from ridgeline_server.store.batch import Write, WriteAction, WriteOutcome, write_entries
from ridgeline_server.store.database import Database
from ridgeline_server.store.entries import ModelEntry

MAX_ENTRIES = 1000

METHOD = "ridgeline.v1.CatalogService/ImportEntries"

ACTIONS = {
    WriteAction.CREATED: pb.IMPORT_ACTION_CREATED,
    WriteAction.UPDATED: pb.IMPORT_ACTION_UPDATED,
    WriteAction.UNCHANGED: pb.IMPORT_ACTION_UNCHANGED,
    WriteAction.REFUSED: pb.IMPORT_ACTION_REFUSED,
    WriteAction.NOT_WRITTEN: pb.IMPORT_ACTION_NOT_WRITTEN,
}
"""What became of an entry, as the contract calls it."""


@dataclass
class _Item:
    """One entry of a request on its way: what is to be written, or what became of it."""

    request: pb.EntryToImport
    kind: EntryKind[Any, Any] | None = None
    entry: Any = None
    outcome: WriteOutcome[Any] | None = None
    error: Exception | None = None


def import_entries(
    request: pb.ImportEntriesRequest, kinds: Mapping[str, EntryKind[Any, Any]], database: Database
) -> pb.ImportEntriesResponse:
    """Writes the entries of a request. `kinds` are those by the field of an entry that holds them."""
    checks = Checks()
    if not request.entries:
        checks.add("entries", "is empty; give one entry at least")
    elif len(request.entries) > MAX_ENTRIES:
        checks.add(
            "entries",
            f"has {len(request.entries):,} entries; give {MAX_ENTRIES:,} at most, in several requests",
        )
    checks.raise_if_any()

    items = [_read(entry, kinds) for entry in request.entries]
    _refuse_twins(items)
    right = [item for item in items if item.error is None]
    refused_all = request.all_or_nothing and len(right) < len(items)
    outcomes, revision = write_entries(
        database,
        [Write(item.kind.repository, item.entry, _onto(item.entry)) for item in right if item.kind],
        allow_existing=request.allow_existing,
        all_or_nothing=request.all_or_nothing,
        dry_run=request.validate_only or refused_all,
    )
    for item, outcome in zip(right, outcomes, strict=True):
        lost = refused_all and outcome.action in (WriteAction.CREATED, WriteAction.UPDATED)
        item.outcome = replace(outcome, action=WriteAction.NOT_WRITTEN) if lost else outcome
        item.error = outcome.error
    return pb.ImportEntriesResponse(
        outcomes=[_outcome_message(item) for item in items], catalog_revision=revision
    )


def _read(request: pb.EntryToImport, kinds: Mapping[str, EntryKind[Any, Any]]) -> _Item:
    field = request.WhichOneof("entry")
    if field is None:
        checks = Checks()
        checks.add("entry", f"is not set; give {', '.join(kinds)}")
        return _Item(request, error=checks.error())
    kind = kinds[field]
    item = _Item(request, kind)
    message = getattr(request, field)
    if field == "model" and not message.id:
        message.id = _name_in_config(message.config_json)
    try:
        item.entry = kind.entry(message)
    except Exception as error:  # noqa: BLE001  # told with its entry, as the edge would for a call
        item.error = error
    return item


def _name_in_config(config_json: str) -> str:
    try:
        config = json.loads(config_json)
    except (ValueError, RecursionError):
        return ""
    return config_name(config) if isinstance(config, dict) else ""


def _refuse_twins(items: Sequence[_Item]) -> None:
    """An id that is given twice would be written twice, and only the order would tell which one stays."""
    first: dict[tuple[str, str], int] = {}
    for place, item in enumerate(items):
        if item.error is not None or item.kind is None:
            continue
        earlier = first.setdefault((item.kind.field, item.entry.id), place)
        if earlier != place:
            checks = Checks()
            name = items[earlier].request.name or f"entry {earlier + 1}"
            checks.add(f"{item.kind.field}.id", f"is {item.entry.id!r}, which {name} has too; give it once")
            item.error = checks.error()


def _onto(entry: Any) -> Callable[[Any], Any] | None:
    return partial(over_stored, entry) if isinstance(entry, ModelEntry) else None


def over_stored(entry: ModelEntry, current: ModelEntry) -> ModelEntry:
    """What replaces a stored model: a config that comes without names or remarks leaves those of the catalog,
    and the totals of its checkpoint as long as it is the same.
    """
    same = entry.config_json == current.config_json
    return replace(
        entry,
        display_name=entry.display_name or current.display_name,
        aliases=entry.aliases or current.aliases,
        notes=entry.notes or current.notes,
        source=entry.source or current.source,
        checkpoint=entry.checkpoint or (current.checkpoint if same else None),
    )


def _outcome_message(item: _Item) -> pb.ImportOutcome:
    message = pb.ImportOutcome(name=item.request.name)
    if item.kind is not None:
        message.id = getattr(item.request, item.kind.field).id
    if item.error is not None:
        message.action = pb.IMPORT_ACTION_REFUSED
        field = "" if item.kind is None else item.kind.field
        message.error.CopyFrom(entry_error(item.error, METHOD, field))
        return message
    outcome, kind = item.outcome, item.kind
    assert outcome is not None
    assert kind is not None
    message.action = ACTIONS[outcome.action]
    if outcome.before is not None:
        message.changes.extend(kind.changes(outcome.before, outcome.after))
    if outcome.after is not None:
        entry = kind.write(outcome.after)
        for field in ("suspicions", "assumptions"):
            message.remarks.extend(getattr(entry, field, ()))
    return message


def entry_error(error: Exception, method: str, field: str = "") -> pb.EntryError:
    """What a call of `method` for the entry alone, in its field, would fail with."""
    status = status_of(error, method)
    message = pb.EntryError(message=status.message)
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            message.reason = ErrorReason.Value(f"ERROR_REASON_{info.reason}")
        elif detail.Unpack(bad):
            message.wrong_fields.extend(
                pb.WrongField(
                    field=violation.field.removeprefix(f"{field}."), description=violation.description
                )
                for violation in bad.field_violations
            )
    return message
