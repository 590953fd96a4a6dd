"""Long work gives up when nobody waits for it, and never otherwise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ridgeline_server.domain.patience import (
    NoLongerWantedError,
    check_wanted,
    to_the_end,
    until,
    while_wanted,
)


def leaving_after(checks: int) -> Callable[[], None]:
    """Somebody who has gone at the check after so many."""
    left = [checks]

    def check() -> None:
        if not left[0]:
            raise NoLongerWantedError
        left[0] -= 1

    return check


def test_work_that_nobody_limits_goes_on() -> None:
    check_wanted()
    assert list(while_wanted(range(3))) == [0, 1, 2]


def test_work_gives_up_at_the_next_check() -> None:
    items = while_wanted(range(5))
    with until(leaving_after(2)):
        assert [next(items), next(items)] == [0, 1]
        with pytest.raises(NoLongerWantedError):
            next(items)


def test_what_must_not_be_left_half_done_goes_on() -> None:
    with until(leaving_after(0)):
        with to_the_end():
            check_wanted()
        with pytest.raises(NoLongerWantedError):
            check_wanted()


def test_a_limit_ends_with_its_block() -> None:
    with until(leaving_after(0)):
        pass
    check_wanted()
