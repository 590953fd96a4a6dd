"""In whose name the catalog is written. Every write is recorded with its principal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LOCAL = "local"
"""Whoever calls in this process."""

ANONYMOUS = "anonymous"
"""A caller over the wire who did not prove a name."""

_PRINCIPAL: ContextVar[str] = ContextVar("principal", default=LOCAL)


def principal() -> str:
    """The principal that this thread acts for."""
    return _PRINCIPAL.get()


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Write in another's name within the block."""
    token = _PRINCIPAL.set(name)
    try:
        yield
    finally:
        _PRINCIPAL.reset(token)
