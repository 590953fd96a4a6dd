"""A server that is asked four times what it can answer refuses what is over, at once, and stays well."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline_server.app import Server
from ridgeline_server.rpc.dispatch import Method

ANALYZE = "ridgeline.v1.AnalysisService/Analyze"
THREADS = 4
WORK_S = 0.05
RATE = 4 * THREADS / WORK_S
DURATION_S = 3.0
WAIT_LIMIT_S = 2.0
"""Calls without a limit on how many may wait would wait for three times as long as the load lasts."""
LIMIT_S = 30.0


def answer(request: Message) -> Message:
    """An answer that takes a while."""
    time.sleep(WORK_S)
    return AnalyzeResponse()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of known capacity."""
    server = Server(
        {ANALYZE: Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, answer)}, "127.0.0.1:0", THREADS
    )
    server.start()
    yield server
    server.stop(0)


class OpenLoad:
    """Calls that are sent at a rate, whatever becomes of those before."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._call: Any = channel.unary_unary(f"/{ANALYZE}")
        self.outcomes: Counter[str] = Counter()
        self.answered_s: list[float] = []
        self.refused_s: list[float] = []
        self._ended = threading.Semaphore(0)

    def send(self) -> int:
        """Send calls for a while; gives how many."""
        start, sent = time.monotonic(), 0
        while (passed := time.monotonic() - start) < DURATION_S:
            while sent < RATE * passed:
                self._send_one()
                sent += 1
            time.sleep(0.002)
        return sent

    def _send_one(self) -> None:
        begun = time.monotonic()

        def ended(future: Any) -> None:
            code = future.code()
            took_s = time.monotonic() - begun
            self.outcomes[code.name] += 1
            if code is grpc.StatusCode.OK:
                self.answered_s.append(took_s)
            else:
                self.refused_s.append(took_s)
            self._ended.release()

        self._call.future(b"", timeout=LIMIT_S).add_done_callback(ended)

    def wait(self, count: int) -> None:
        """Wait until so many calls have ended."""
        for _ in range(count):
            assert self._ended.acquire(timeout=LIMIT_S)


def test_four_times_its_capacity_is_refused_without_harm(server: Server) -> None:
    healthy: list[int] = []
    over = threading.Event()

    def watch() -> None:
        with grpc.insecure_channel(server.address) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            while not over.is_set():
                healthy.append(check(health_pb2.HealthCheckRequest(), timeout=LIMIT_S).status)
                time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with grpc.insecure_channel(server.address) as channel:
        load = OpenLoad(channel)
        load.wait(load.send())
        over.set()
        watcher.join(LIMIT_S)
        # It has recovered with the last call that was under way.
        call: Any = channel.unary_unary(f"/{ANALYZE}")
        call(b"", timeout=LIMIT_S)
    assert load.outcomes.keys() == {"OK", "RESOURCE_EXHAUSTED"}
    assert load.outcomes["RESOURCE_EXHAUSTED"] > load.outcomes["OK"] / 2
    assert load.outcomes["OK"] > THREADS
    for times in (load.answered_s, load.refused_s):
        assert sorted(times)[len(times) * 99 // 100] < WAIT_LIMIT_S
    assert healthy
    assert set(healthy) == {health_pb2.HealthCheckResponse.SERVING}
