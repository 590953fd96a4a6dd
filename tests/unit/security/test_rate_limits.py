"""How often a caller may call, by a clock that is set by hand."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ridgeline_server.security import rate_limits
from ridgeline_server.security.errors import RateLimitedError
from ridgeline_server.security.rate_limits import RateLimits, peer_address


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.time_s


def taken(limits: RateLimits, caller: str, calls: int) -> int:
    """How many of so many calls are let through."""
    return sum(_is_let_through(limits, caller) for _ in range(calls))


def _is_let_through(limits: RateLimits, caller: str) -> bool:
    try:
        limits.take(caller)
    except RateLimitedError:
        return False
    return True


def test_a_burst_is_followed_by_the_rate() -> None:
    clock = Clock()
    limits = RateLimits(calls_per_s=10, burst=5, clock=clock)
    assert taken(limits, "a", 100) == 5
    clock.time_s = 1
    assert taken(limits, "a", 100) == 5
    clock.time_s = 1.25
    assert taken(limits, "a", 100) == 2
    clock.time_s = 1.3
    assert taken(limits, "a", 100) == 1


def test_over_a_long_time_the_rate_is_kept_and_refused_calls_do_not_count() -> None:
    clock = Clock()
    limits = RateLimits(calls_per_s=10, burst=5, clock=clock)
    let_through = 0
    for step in range(10_000):
        clock.time_s = step / 100
        let_through += taken(limits, "a", 1)
    assert let_through == pytest.approx(100 * 10 + 5, abs=2)


def test_a_refusal_tells_after_which_time_the_next_call_is_let_through() -> None:
    clock = Clock()
    limits = RateLimits(calls_per_s=0.5, burst=1, clock=clock)
    limits.take("a")
    clock.time_s = 0.5
    with pytest.raises(
        RateLimitedError, match=r"'a'.*0\.5 a second after the first 1; repeat after 1\.5 s"
    ) as raised:
        limits.take("a")
    clock.time_s += raised.value.delay_s
    limits.take("a")


def test_callers_do_not_take_from_each_other() -> None:
    limits = RateLimits(calls_per_s=1, burst=3, clock=Clock())
    assert (taken(limits, "a", 9), taken(limits, "b", 9)) == (3, 3)


def test_no_rate_is_no_limit() -> None:
    assert taken(RateLimits(calls_per_s=0, burst=1, clock=Clock()), "a", 1000) == 1000


def test_memory_is_bounded_and_forgets_who_has_not_called_for_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rate_limits, "MAX_CALLERS", 2)
    limits = RateLimits(calls_per_s=1, burst=1, clock=Clock())
    assert [taken(limits, caller, 1) for caller in "abac"] == [1, 1, 0, 1]
    assert len(limits._buckets) == 2
    assert [taken(limits, caller, 1) for caller in "ab"] == [0, 1]


def test_threads_together_get_no_more_than_one_would() -> None:
    limits = RateLimits(calls_per_s=1, burst=100, clock=Clock())
    start = threading.Barrier(4)

    def hurry() -> int:
        start.wait()
        return taken(limits, "a", 200)

    with ThreadPoolExecutor(4) as pool:
        assert sum(run.result() for run in [pool.submit(hurry) for _ in range(4)]) == 100


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:50123", "192.0.2.7"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:50123", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:50123", "2001:db8:1:2::/64"),
        ("ipv6:%5B::1%5D:50123", "::/64"),
        ("ipv6:[fe80::1%25eth0]:50123", "fe80::/64"),
        ("ipv6:[::ffff:192.0.2.7]:50123", "192.0.2.7"),
        ("unix:/run/ridgeline.sock", "unix:/run/ridgeline.sock"),
        ("", ""),
    ],
)
def test_callers_without_a_name_are_told_apart_by_address(peer: str, address: str) -> None:
    assert peer_address(peer) == address
