"""Lists what was written to the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from ridgeline.v1 import catalog_service_pb2 as pb
from ridgeline_server.rpc.checks import MAX_NAME_LENGTH, Checks
from ridgeline_server.rpc.entry_kinds import EntryKind
from ridgeline_server.rpc.errors import InvalidPageTokenError
from ridgeline_server.rpc.pages import (
    MAX_PAGE_BYTES,
    MAX_REVISION,
    TOKEN_PROBLEM,
    PageToken,
    page_token,
    query_digest,
    read_page,
)
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.entries import Cursor
from ridgeline_server.store.errors import Resource
from ridgeline_server.store.history import Change, ChangeAction, ChangeKey, ChangeQuery, list_changes

_KINDS = {
    Resource.HARDWARE: pb.ENTRY_KIND_HARDWARE,
    Resource.MODEL: pb.ENTRY_KIND_MODEL,
    Resource.EFFICIENCY_PROFILE: pb.ENTRY_KIND_EFFICIENCY_PROFILE,
}
_FROM_PROTO = {number: kind for kind, number in _KINDS.items()}
_ACTIONS = {
    ChangeAction.CREATED: pb.CHANGE_ACTION_CREATED,
    ChangeAction.UPDATED: pb.CHANGE_ACTION_UPDATED,
    ChangeAction.DELETED: pb.CHANGE_ACTION_DELETED,
}


def changes_response(
    request: pb.ListChangesRequest, store: CatalogStore, kinds: Mapping[Resource, EntryKind[Any, Any]]
) -> pb.ListChangesResponse:
    """One page of changes, newest first."""
    digest = query_digest(request)
    checks = Checks()
    limit, token = read_page(checks, request.page_size, request.page_token, digest)
    if request.kind and request.kind not in _FROM_PROTO:
        checks.add(
            "kind",
            f"is {request.kind}, which is no value of its enum; give HARDWARE, MODEL or EFFICIENCY_PROFILE",
        )
    checks.text("id", request.id, MAX_NAME_LENGTH)
    checks.text("principal", request.principal, MAX_NAME_LENGTH)
    if request.id and not request.kind:
        checks.add("kind", "is not set, and ids of several kinds may be alike; give the kind of the entry")
    checks.whole("after_revision", request.after_revision, 0, MAX_REVISION)
    checks.raise_if_any()
    messages: list[pb.Change] = []
    size = 0

    def fits(change: Change) -> bool:
        nonlocal size
        messages.append(_change_message(change, kinds[change.key.resource]))
        size += messages[-1].ByteSize()
        return size <= MAX_PAGE_BYTES

    page = list_changes(
        store,
        ChangeQuery(
            resource=_FROM_PROTO.get(request.kind),
            entry_id=request.id,
            principal=request.principal,
            after_revision=request.after_revision,
            before=None if token is None else _key(token),
            limit=limit,
        ),
        fits,
    )
    response = pb.ListChangesResponse(changes=messages[: len(page.changes)], catalog_revision=page.revision)
    if page.next_before is not None:
        last = page.next_before
        response.next_page_token = page_token(
            digest, PageToken(Cursor(last.id, last.resource), last.revision)
        )
    return response


def _key(token: PageToken) -> ChangeKey:
    try:
        return ChangeKey(token.revision, Resource(str(token.after.value)), token.after.id)
    except ValueError:
        raise InvalidPageTokenError(TOKEN_PROBLEM) from None


def _change_message(change: Change, resource: EntryKind[Any, Any]) -> pb.Change:
    time = Timestamp()
    time.FromDatetime(change.time)
    return pb.Change(
        catalog_revision=change.key.revision,
        time=time,
        principal=change.principal,
        kind=_KINDS[change.key.resource],
        id=change.key.id,
        action=_ACTIONS[change.action],
        changes=resource.changes(change.before, change.after),
    )
