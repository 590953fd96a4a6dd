"""Pages of list requests and the tokens that join them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

from google.protobuf.message import Message

from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.errors import InvalidPageTokenError
from ridgeline_server.store.entries import Cursor

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

MAX_PAGE_BYTES = 2 * 2**20
"""A page ends early at this size: gRPC clients refuse messages over 4 MiB unless told otherwise."""

TOKEN_PROBLEM = "does not belong to this query; give the next_page_token of its page before, or none"

MAX_REVISION = 2**31 - 1


@dataclass(frozen=True)
class PageToken:
    """Where a page starts: after which entry, and in which revision of the catalog."""

    after: Cursor
    revision: int


def query_digest(request: Message) -> str:
    """What a token must belong to: the request without its page fields."""
    query = type(request)()
    query.CopyFrom(request)
    for field in ("page_size", "page_token"):
        query.ClearField(field)
    text = query.DESCRIPTOR.full_name.encode() + b"\0" + query.SerializeToString(deterministic=True)
    return hashlib.sha256(text).hexdigest()[:16]


def read_page(checks: Checks, page_size: int, page_token: str, digest: str) -> tuple[int, PageToken | None]:
    """How many entries to give, and where they start; None at the beginning.

    A token of another query raises InvalidPageTokenError when nothing else is wrong, which `checks` then
    holds with it.
    """
    checks.whole("page_size", page_size, 0, MAX_PAGE_SIZE)
    token = _decoded(page_token, digest) if page_token else None
    if page_token and token is None:
        if not checks.violations:
            raise InvalidPageTokenError(TOKEN_PROBLEM)
        checks.add("page_token", TOKEN_PROBLEM)
    return page_size or DEFAULT_PAGE_SIZE, token


def page_token(digest: str, token: PageToken) -> str:
    """The text of a token."""
    content = [digest, token.revision, token.after.id, token.after.value]
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


def _decoded(text: str, digest: str) -> PageToken | None:
    try:
        content = json.loads(base64.b64decode(text, b"-_", validate=True))
        of_query, revision, entry_id, value = content
    except (binascii.Error, ValueError, TypeError, RecursionError):
        return None
    known = of_query == digest and type(revision) is int and 0 <= revision <= MAX_REVISION
    if known and isinstance(entry_id, str) and isinstance(value, float | int | str | None):
        return PageToken(Cursor(entry_id, value), revision)
    return None
