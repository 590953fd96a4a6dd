"""Lets long work ask whether its answer is still wanted, without knowing who wants it.

Whoever calls the core says by `until` how to find out; long loops call `check_wanted` in each
round, or go over `while_wanted(items)`. Where nobody said anything, as in a script, work always goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

_check: ContextVar[Callable[[], None] | None] = ContextVar("ridgeline_patience", default=None)


class NoLongerWantedError(Exception):
    """Nobody waits for the answer any more."""


class OutOfTimeError(NoLongerWantedError):
    """The answer was wanted by a time that has passed."""


def check_wanted() -> None:
    """Go on, or raise the NoLongerWantedError of whoever does not wait any more.

    Costs a tenth of a microsecond where nobody said how to find out, and two where a call of gRPC did.
    """
    check = _check.get()
    if check is not None:
        check()


def while_wanted(items: Iterable[T]) -> Iterator[T]:
    """The items one by one, each only if the work on them is still wanted."""
    for item in items:
        check_wanted()
        yield item


@contextmanager
def until(check: Callable[[], None]) -> Iterator[None]:
    """Work on as long as `check()` does not raise NoLongerWantedError."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


@contextmanager
def to_the_end() -> Iterator[None]:
    """Work on whoever waits: what was begun here is not to be left half done."""
    token = _check.set(None)
    try:
        yield
    finally:
        _check.reset(token)
