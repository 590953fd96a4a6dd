"""Turns: one thread at a time, in the order in which they asked."""

from __future__ import annotations

import threading
import time

import pytest

from ridgeline_server.store.turns import Turns

LONG_S = 30.0


def test_those_who_wait_have_their_turns_in_the_order_in_which_they_asked() -> None:
    turns, order, asked = Turns(), list[int](), threading.Semaphore(0)

    def take(number: int) -> None:
        asked.release()
        with turns.own(LONG_S):
            order.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(20)]
    with turns.own(LONG_S):
        for thread in threads:
            thread.start()
            asked.acquire()
            time.sleep(0.005)
    for thread in threads:
        thread.join(LONG_S)
    assert order == list(range(20))


def test_one_at_a_time_has_the_turn() -> None:
    turns, inside, most = Turns(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with turns.own(LONG_S):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert (inside, most) == (0, 1)


def test_who_waits_too_long_gives_up_and_is_passed_over() -> None:
    turns = Turns()
    with turns.own(LONG_S), pytest.raises(TimeoutError, match=r"within 0\.01 s"), turns.own(0.01):
        pass
    with turns.own(0.01):
        pass


def test_a_turn_ends_with_a_failure_in_it() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="failed"), turns.own(LONG_S):
        raise ValueError("failed")
    with turns.own(0.01):
        pass
