"""A pool of threads: which calls it has room for, and what it does after one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ridgeline_server.rpc.interceptors.bounded_pool import BoundedPool, Limit, afterwards

LIMIT_S = 20.0


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_call_waits_only_where_those_before_it_are_soon_done() -> None:
    """What the calls before took tells; where a thread is free, nothing has to wait."""
    pool = BoundedPool("waiting", Limit(1, 5, wait_s=0.01))
    let_go = threading.Event()
    try:
        for seconds, has_room in ((0.05, False), (0.0, True)):
            for _ in range(50):
                pool.submit(time.sleep, seconds).result()
            wait_until(lambda: pool.count == 0)
            assert pool.has_room
            pool.submit(let_go.wait, LIMIT_S)
            assert pool.has_room == has_room
            let_go.set()
            wait_until(lambda: pool.count == 0)
            let_go.clear()
    finally:
        let_go.set()
        pool.shutdown()


@pytest.fixture
def pool() -> Iterator[BoundedPool]:
    """A pool of one thread."""
    made = BoundedPool("one", Limit(1, 5))
    yield made
    made.shutdown()


def test_what_is_left_is_done_after_the_call_on_its_thread(pool: BoundedPool) -> None:
    done: list[tuple[str, int]] = []

    def note(what: str) -> None:
        done.append((what, threading.get_ident()))

    def call() -> int:
        afterwards(lambda: note("first"))
        afterwards(lambda: note("second"))
        note("call")
        return threading.get_ident()

    thread = pool.submit(call).result(LIMIT_S)
    assert done == [("call", thread), ("first", thread), ("second", thread)]
    pool.submit(note, "next").result(LIMIT_S)
    assert len(done) == 4


def test_a_call_that_fails_leaves_what_it_left(pool: BoundedPool) -> None:
    done: list[str] = []

    def call() -> None:
        afterwards(lambda: done.append("left"))
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  # there is no message
        pool.submit(call).result(LIMIT_S)
    assert done == ["left"]


def test_one_that_fails_is_logged_and_the_rest_is_done(
    pool: BoundedPool, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    def fail() -> None:
        raise KeyError("a verdict that nobody knows")

    def call() -> str:
        afterwards(fail)
        afterwards(lambda: done.append("left"))
        return "answer"

    with caplog.at_level(logging.ERROR):
        assert pool.submit(call).result(LIMIT_S) == "answer"
    assert done == ["left"]
    assert any(record.exc_info for record in caplog.records)


def test_outside_of_a_pool_it_is_done_at_once() -> None:
    done: list[str] = []
    afterwards(lambda: done.append("done"))
    assert done == ["done"]
