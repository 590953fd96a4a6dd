"""What is known of a database that is away, and who may find out whether it is back."""

from __future__ import annotations

import threading

import pytest

from ridgeline_server.store.errors import DatabaseUnreachableError, PoolExhaustedError
from ridgeline_server.store.reachability import Reachability

AWAY = DatabaseUnreachableError("it does not answer", "start it", "here")
LIMIT_S = 10.0


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reachability(clock: Clock) -> Reachability:
    return Reachability(retry_s=1.0, clock=clock)


def fail(reachability: Reachability) -> None:
    """A connection that cannot be made."""
    with pytest.raises(DatabaseUnreachableError), reachability.connecting():
        raise AWAY


def test_connections_are_tried_as_long_as_they_are_made(reachability: Reachability) -> None:
    with reachability.connecting(), reachability.connecting():
        pass


def test_for_a_while_after_a_failure_all_fail_with_its_words_and_none_is_tried(
    reachability: Reachability, clock: Clock
) -> None:
    fail(reachability)
    clock.now += 0.9
    with (
        pytest.raises(DatabaseUnreachableError, match="it does not answer") as raised,
        reachability.connecting(),
    ):
        pytest.fail("tried")
    assert raised.value is not AWAY  # threads that raise one object would add to each other's traceback


def test_afterwards_one_at_a_time_tries(reachability: Reachability, clock: Clock) -> None:
    fail(reachability)
    clock.now += 1.1
    with reachability.connecting(), pytest.raises(DatabaseUnreachableError), reachability.connecting():
        pytest.fail("tried beside another")
    with reachability.connecting(), reachability.connecting():
        pass


def test_a_try_that_fails_begins_the_wait_anew(reachability: Reachability, clock: Clock) -> None:
    fail(reachability)
    clock.now += 1.1
    fail(reachability)
    clock.now += 0.9
    with pytest.raises(DatabaseUnreachableError), reachability.connecting():
        pytest.fail("tried too early")


@pytest.mark.parametrize("error", [PoolExhaustedError("all in use", "wait", "here"), KeyboardInterrupt()])
def test_a_try_that_shows_nothing_leaves_room_for_the_next(
    reachability: Reachability, clock: Clock, error: BaseException
) -> None:
    fail(reachability)
    clock.now += 1.1
    with pytest.raises(type(error)), reachability.connecting():
        raise error
    clock.now += 1.1
    with reachability.connecting():
        pass


def test_a_full_pool_is_no_outage(reachability: Reachability) -> None:
    with pytest.raises(PoolExhaustedError), reachability.connecting():
        raise PoolExhaustedError("all in use", "wait", "here")
    with reachability.connecting():
        pass


def test_of_many_threads_one_tries(reachability: Reachability, clock: Clock) -> None:
    fail(reachability)
    clock.now += 1.1
    together, let_go = threading.Barrier(8), threading.Event()
    tries: list[int] = []
    refused = threading.Semaphore(0)

    def ask(number: int) -> None:
        together.wait(LIMIT_S)
        try:
            with reachability.connecting():
                tries.append(number)
                let_go.wait(LIMIT_S)
        except DatabaseUnreachableError:
            refused.release()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(7):
        assert refused.acquire(timeout=LIMIT_S)
    let_go.set()
    for thread in threads:
        thread.join(LIMIT_S)
    assert len(tries) == 1
