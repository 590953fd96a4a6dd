"""How long after an overload a server answers as before.

A caller asks one question after the other, before, during and after an overload: questions of another process
that begin at random moments, four times as many as the server answers at most, whatever becomes of those
before. All are distinct. The overload ends with its last question; recovery lasts until the first of several
answers in a row that took no longer than the slowest one before the overload, counted to the moment at which
its question was sent. Callers, server and whatever else runs share the machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc

from benchmarks.bench_scaling import RPCS, Serving, encoded
from ridgeline_server.settings import Settings
from ridgeline_server.store.startup import open_embedded_catalog

TIMES_CAPACITY = 4
CALLERS = 4
"""Threads that call without a pause, to learn what the server answers at most."""
LEARNING_S = 5.0
BEFORE = 40
"""Calls whose slowest one tells what is usual."""
IN_A_ROW = 5
PAUSE_S = 0.02
LIMIT_S = 60.0


@dataclass(frozen=True)
class Probe:
    """One call of the caller that measures: when it was sent, and what it took; refused ones are infinite."""

    sent_s: float
    took_s: float


def questions(rpc: str, first: int) -> Iterator[bytes]:
    """Questions as bytes, no two of them alike, from a number on."""
    for block in count(first, 1000):
        yield from encoded(RPCS[rpc], block, 1000)


def capacity_per_s(port: int, rpc: str) -> float:
    """Calls a second that the server answers at most."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.unary_unary(f"/{rpc}")

        def repeat(caller: int) -> int:
            done, asked = 0, questions(rpc, 100_000 * (1 + caller))
            while time.perf_counter() < end:
                ask(next(asked), timeout=LIMIT_S)
                done += 1
            return done

        begin = time.perf_counter()
        end = begin + LEARNING_S
        with ThreadPoolExecutor(CALLERS) as pool:
            done = sum(pool.map(repeat, range(CALLERS)))
        return done / (time.perf_counter() - begin)


def overload(port: int, rpc: str, rate_per_s: float, duration_s: float, first: int, pipe: Connection) -> None:
    """Send questions at a rate for a while. Tells when the last one was sent, how many there were, and, when
    all have ended, how many of them were refused. Raises grpc.RpcError for any other failure.
    """
    drawn, asked = random.Random(first), questions(rpc, first)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.unary_unary(f"/{rpc}")
        calls = []
        due = begin = time.monotonic()
        while (due := due + drawn.expovariate(rate_per_s)) < begin + duration_s:
            time.sleep(max(0.0, due - time.monotonic()))
            calls.append(ask.future(next(asked), timeout=LIMIT_S))
        pipe.send((time.monotonic(), len(calls)))
        failures = [failure for call in calls if (failure := call.exception()) is not None]
        for failure in failures:
            if failure.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise failure
        pipe.send(len(failures))


def probe(ask: Any, question: bytes) -> Probe:
    """Ask once, and pause. Raises grpc.RpcError for what is neither answered nor refused."""
    sent_s = time.monotonic()
    try:
        ask(question, timeout=LIMIT_S)
        took_s = time.monotonic() - sent_s
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        took_s = float("inf")
    time.sleep(PAUSE_S)
    return Probe(sent_s, took_s)


def recovery_s(probes: list[Probe], end_s: float, usual_s: float) -> float | None:
    """Seconds from the end of the overload until answers are as before; None while they are not."""
    after = [each for each in probes if each.sent_s >= end_s]
    for place in range(len(after) - IN_A_ROW + 1):
        if all(each.took_s <= usual_s for each in after[place : place + IN_A_ROW]):
            return after[place].sent_s - end_s
    return None


@dataclass(frozen=True)
class Round:
    """One overload: its calls and the refused ones of them, what is usual, and how long recovery took."""

    sent: int
    refused: int
    usual_s: float
    recovery_s: float


def one_round(port: int, rpc: str, rate_per_s: float, duration_s: float, number: int) -> Round:
    """Overload the server once. Raises RuntimeError where it does not recover."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    first = 1_000_000 * (1 + number)
    asked = questions(rpc, first)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.unary_unary(f"/{rpc}")
        usual_s = max(probe(ask, next(asked)).took_s for _ in range(BEFORE))
        process = context.Process(
            target=overload, args=(port, rpc, rate_per_s, duration_s, first + 500_000, theirs), daemon=True
        )
        process.start()
        probes: list[Probe] = []
        while not ours.poll():
            probes.append(probe(ask, next(asked)))
        end_s, sent = ours.recv()
        while (found_s := recovery_s(probes, end_s, usual_s)) is None:
            if time.monotonic() > end_s + LIMIT_S:
                raise RuntimeError(f"calls do not take {usual_s:.3f} s again")
            probes.append(probe(ask, next(asked)))
        refused = ours.recv()
        process.join()
    return Round(sent, refused, usual_s, found_s)


def main() -> None:
    """Print what each round took, and the median and the longest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="overloads of each rpc")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of an overload")
    parser.add_argument(
        "--threads",
        type=int,
        default=Settings.model_fields["threads"].default,
        help="unary calls that the server answers at once",
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        open_embedded_catalog(f"sqlite:///{Path(folder) / 'ridgeline.sqlite3'}").close()
        with closing(Serving(1, folder, RIDGELINE_THREADS=str(arguments.threads))) as server:
            for rpc in RPCS:
                most = capacity_per_s(server.port, rpc)
                print(f"{rpc.rpartition('/')[2]}: at most {most:.1f} calls/s, then {TIMES_CAPACITY} x that")
                found = []
                for number in range(arguments.rounds):
                    each = one_round(server.port, rpc, TIMES_CAPACITY * most, arguments.seconds, number)
                    found.append(each.recovery_s)
                    print(
                        f"  {each.sent} calls in {arguments.seconds:g} s, {each.refused} refused; "
                        f"up to {1e3 * each.usual_s:.0f} ms before, as before {each.recovery_s:.2f} s after",
                        flush=True,
                    )
                print(f"  median {statistics.median(found):.2f} s, longest {max(found):.2f} s")
                print(f"  load averages {', '.join(f'{each:.1f}' for each in os.getloadavg())}", flush=True)


if __name__ == "__main__":
    main()
