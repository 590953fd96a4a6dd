"""The call that this thread answers, and the id under which logs, traces and errors tell of it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

REQUEST_ID_KEY = "x-request-id"
"""The metadata that a caller names a call by, and in which the answer names it."""

_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
"""What a caller may call a call: ids of all common kinds, nothing that could garble a line of a log."""


def _uncounted(rows: int) -> None:
    """Nobody counts."""


@dataclass(frozen=True)
class Call:
    """One call over the wire. `trace_id` is empty unless the call is traced; `count_rows` hears of rows that
    its stream sends.
    """

    request_id: str
    trace_id: str = ""
    count_rows: Callable[[int], None] = _uncounted


_CALL: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call | None:
    """The call that is being answered here; None outside of calls over the wire."""
    return _CALL.get()


def count_rows(rows: int) -> None:
    """Say that the stream of the call that is answered here sends so many more rows of results."""
    call = _CALL.get()
    if call is not None:
        call.count_rows(rows)


def new_request_id() -> str:
    """An id that no other call has."""
    return secrets.token_hex(8)


def request_id_of(given: str | None) -> str:
    """The id of a call whose caller gave this one, or none; one that is not sane is replaced."""
    return given if given is not None and _SANE_ID.fullmatch(given) else new_request_id()


@contextmanager
def answering(call: Call) -> Iterator[Call]:
    """Answer a call within the block."""
    token = _CALL.set(call)
    try:
        yield call
    finally:
        _CALL.reset(token)
