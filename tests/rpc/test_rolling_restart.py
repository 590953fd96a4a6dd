"""Two replicas are stopped and started again in turn under load, and no call fails.

What is asked of the client: that it spreads calls over both addresses and watches their health, as gRPC does
by itself under the service config below. A client that does not watch health may lose a call that reaches a
server in the moment of its stop.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline_server.app import Server
from ridgeline_server.rpc.dispatch import Method

ANALYZE = "ridgeline.v1.AnalysisService/Analyze"
CALLERS = 4
DRAIN_S = 0.5
LIMIT_S = 20.0
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "ridgeline.v1.AnalysisService"},
}


class Replica:
    """A server on one address, and how many calls it has answered."""

    def __init__(self) -> None:
        self.answered = 0
        self._server = self._started("127.0.0.1:0")
        self.address = self._server.address

    def restart(self) -> None:
        """Stop gracefully and start anew on the same address."""
        self.stop()
        self._server = self._started(self.address)

    def stop(self) -> None:
        """Stop gracefully."""
        self._server.stop(LIMIT_S, DRAIN_S)

    def _started(self, listen: str) -> Server:
        methods = {ANALYZE: Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, self._answer)}
        server = Server(methods, listen, threads=4)
        server.start()
        return server

    def _answer(self, request: Message) -> Message:
        time.sleep(0.005)
        self.answered += 1
        return AnalyzeResponse()


class Load:
    """Callers that ask one question after the other until they are told to stop."""

    def __init__(self, addresses: list[str]) -> None:
        self.outcomes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._channel = grpc.insecure_channel(
            f"ipv4:{','.join(addresses)}",
            options=[
                ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_reconnect_backoff_ms", 200),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
            ],
        )
        self._call: Any = self._channel.unary_unary(f"/{ANALYZE}")
        self._callers = [threading.Thread(target=self._ask) for _ in range(CALLERS)]
        for caller in self._callers:
            caller.start()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                self._call(b"", timeout=LIMIT_S)
                outcome = "answered"
            except grpc.RpcError as error:
                outcome = f"{error.code().name}: {error.details()}"
            with self._lock:
                self.outcomes[outcome] += 1

    def stop(self) -> None:
        """Let the callers end."""
        self._stop.set()
        for caller in self._callers:
            caller.join(LIMIT_S)
        self._channel.close()


def wait_until_all_answer(replicas: list[Replica]) -> None:
    """Wait until every replica gets calls, as an orchestrator does before it stops the next one."""
    before = [replica.answered for replica in replicas]
    end = time.monotonic() + LIMIT_S
    while not all(replica.answered > had + 20 for replica, had in zip(replicas, before, strict=True)):
        if time.monotonic() > end:
            pytest.fail("a replica that was started again got no calls")
        time.sleep(0.01)


def test_no_call_fails_while_replicas_restart_in_turn() -> None:
    replicas = [Replica(), Replica()]
    load = Load([replica.address for replica in replicas])
    for replica in (*replicas, *replicas):
        wait_until_all_answer(replicas)
        replica.restart()
    load.stop()
    for replica in replicas:
        replica.stop()
    assert load.outcomes.pop("answered") > 100
    assert not load.outcomes
