"""In whose name the catalog is written. Every write is recorded with its principal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

LOCAL = "local"
"""Whoever calls in this process."""

ANONYMOUS = "anonymous"
"""A caller over the wire who did not prove a name."""

_PRINCIPAL: ContextVar[str] = ContextVar("principal", default=LOCAL)


@dataclass
class NotedPrincipal:
    """Who acted last; empty as long as nobody did."""

    name: str = ""


_NOTED: ContextVar[NotedPrincipal | None] = ContextVar("noted_principal", default=None)


def principal() -> str:
    """The principal that this thread acts for."""
    return _PRINCIPAL.get()


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Write in another's name within the block."""
    token = _PRINCIPAL.set(name)
    noted = _NOTED.get()
    if noted is not None:
        noted.name = name
    try:
        yield
    finally:
        _PRINCIPAL.reset(token)


@contextmanager
def noting_principal() -> Iterator[NotedPrincipal]:
    """Learn who acted within the block, from outside of where that is found out."""
    noted = NotedPrincipal()
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)
