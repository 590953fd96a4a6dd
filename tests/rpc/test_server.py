"""The server's life: where it listens, how it stops, what it says about its health meanwhile."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from ridgeline import errors
from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline.wire import WireTransport
from ridgeline_server.app import ListenError, Server
from ridgeline_server.rpc.dispatch import Method

ANALYZE = "ridgeline.v1.AnalysisService/Analyze"
LIMIT_S = 20.0


class SlowCall:
    """A handler that works until it is let go."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.let_go = threading.Event()
        self.methods = {ANALYZE: Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, self.handle)}

    def handle(self, request: Message) -> Message:
        """Say that it started, then wait."""
        self.started.set()
        assert self.let_go.wait(LIMIT_S)
        return AnalyzeResponse(model_id="the answer")


def watch_health(channel: grpc.Channel, service: str = "") -> Any:
    """The stream of a service's statuses."""
    watch = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    return watch(health_pb2.HealthCheckRequest(service=service), timeout=LIMIT_S)


def wait_until_refused(address: str) -> None:
    """Wait until a server takes no new connections."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return
        time.sleep(0.01)
    pytest.fail("the server still takes connections")


@pytest.fixture
def slow() -> Iterator[SlowCall]:
    """A slow call that is let go in the end."""
    slow = SlowCall()
    yield slow
    slow.let_go.set()


def test_a_stop_finishes_the_call_in_flight_and_refuses_new_ones(slow: SlowCall) -> None:
    server = Server(slow.methods, "127.0.0.1:0", threads=2)
    server.start()
    transport = WireTransport(server.address, LIMIT_S)
    with ThreadPoolExecutor(2) as pool:
        in_flight = pool.submit(transport.call, ANALYZE, AnalyzeRequest(), AnalyzeResponse)
        assert slow.started.wait(LIMIT_S)
        stopped = pool.submit(server.stop, LIMIT_S)
        wait_until_refused(server.address)
        assert not stopped.done()
        slow.let_go.set()
        assert in_flight.result(LIMIT_S).model_id == "the answer"
        stopped.result(LIMIT_S)
    transport.close()


def test_a_call_that_outlasts_the_grace_is_cut_off(slow: SlowCall) -> None:
    server = Server(slow.methods, "127.0.0.1:0", threads=2)
    server.start()
    transport = WireTransport(server.address, LIMIT_S)
    with ThreadPoolExecutor(1) as pool:
        in_flight = pool.submit(transport.call, ANALYZE, AnalyzeRequest(), AnalyzeResponse)
        assert slow.started.wait(LIMIT_S)
        server.stop(0.05)
        with pytest.raises(errors.RidgelineError):
            in_flight.result(LIMIT_S)
        slow.let_go.set()
    transport.close()


def test_a_stop_is_told_to_those_who_watch_its_health(slow: SlowCall) -> None:
    server = Server(slow.methods, "127.0.0.1:0", threads=2)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        statuses = watch_health(channel, "ridgeline.v1.AnalysisService")
        assert next(statuses).status == health_pb2.HealthCheckResponse.SERVING
        stopper = threading.Thread(target=server.stop, args=(LIMIT_S,))
        stopper.start()
        assert next(statuses).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert list(statuses) == []
        stopper.join(LIMIT_S)
        assert not stopper.is_alive()


def test_more_watchers_than_threads_leave_room_for_calls(slow: SlowCall) -> None:
    slow.let_go.set()
    server = Server(slow.methods, "127.0.0.1:0", threads=1)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        watchers = [watch_health(channel) for _ in range(5)]
        for watcher in watchers:
            assert next(watcher).status == health_pb2.HealthCheckResponse.SERVING
        transport = WireTransport(server.address, LIMIT_S)
        assert transport.call(ANALYZE, AnalyzeRequest(), AnalyzeResponse).model_id == "the answer"
        transport.close()
        # Watchers that leave at the same moment as the server stops must not hold each other up.
        for watcher in watchers:
            watcher.cancel()
        server.stop(0)


def test_watchers_beyond_the_limit_are_told_and_others_may_take_their_place(
    slow: SlowCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ridgeline_server.health.MAX_WATCHERS", 2)
    server = Server(slow.methods, "127.0.0.1:0", threads=1)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        first, second = watch_health(channel), watch_health(channel)
        next(first), next(second)
        with pytest.raises(grpc.RpcError) as raised:
            next(watch_health(channel))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            try:
                next(watch_health(channel))
                break
            except grpc.RpcError:
                time.sleep(0.01)
        else:
            pytest.fail("the place of a watcher that left was not given to another one")
    server.stop(0)


def test_an_unknown_service_has_no_health(slow: SlowCall) -> None:
    server = Server(slow.methods, "127.0.0.1:0", threads=1)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        watching = watch_health(channel, "no.such.Service")
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        with pytest.raises(grpc.RpcError) as raised:
            check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=LIMIT_S)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    server.stop(0)


def test_a_port_in_use_is_one_sentence(slow: SlowCall) -> None:
    first = Server(slow.methods, "127.0.0.1:0", threads=1)
    with pytest.raises(ListenError) as raised:
        Server(slow.methods, first.address, threads=1)
    first.stop(0)
    assert str(raised.value) == (
        f"The server cannot listen on {first.address}: the port is in use; stop what uses it, or set "
        "RIDGELINE_LISTEN to another port."
    )


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("203.0.113.7:50051", "this machine does not have the address"),
        ("no-such-host.invalid:1", "no address"),
    ],
)
def test_an_address_of_another_machine_is_told(slow: SlowCall, listen: str, said: str) -> None:
    with pytest.raises(ListenError, match=said):
        Server(slow.methods, listen, threads=1)


def test_a_server_listens_on_ipv6_too(slow: SlowCall) -> None:
    if not socket.has_ipv6 or not _has_ipv6_loopback():
        # A machine without IPv6 tells so instead of serving nobody.
        with pytest.raises(ListenError):
            Server(slow.methods, "[::1]:0", threads=1)
        return
    server = Server(slow.methods, "[::1]:0", threads=1)
    slow.let_go.set()
    server.start()
    transport = WireTransport(server.address, LIMIT_S)
    assert transport.call(ANALYZE, AnalyzeRequest(), AnalyzeResponse).model_id == "the answer"
    transport.close()
    server.stop(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_call_in_flight_and_exits_0(number: signal.Signals) -> None:
    program = """
import sys, time
from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline_server.app import Server, serve_until_signal
from ridgeline_server.rpc.dispatch import Method

NAME = "ridgeline.v1.AnalysisService/Analyze"

def slow(request):
    print("started", flush=True)
    time.sleep(0.5)
    return AnalyzeResponse(model_id="the answer")

server = Server({NAME: Method(NAME, AnalyzeRequest, AnalyzeResponse, slow)}, "127.0.0.1:0", threads=2)
serve_until_signal(server, 10, lambda address: print(address, flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        transport = WireTransport(process.stdout.readline().strip(), LIMIT_S)
        with ThreadPoolExecutor(1) as pool:
            in_flight = pool.submit(transport.call, ANALYZE, AnalyzeRequest(), AnalyzeResponse)
            assert process.stdout.readline() == "started\n"
            process.send_signal(number)
            assert in_flight.result(LIMIT_S).model_id == "the answer"
        transport.close()
        assert process.wait(LIMIT_S) == 0


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(("padding", "answered"), [(2**20 - 64, True), (2**20, False)])
def test_a_request_is_as_large_as_the_setting_allows(padding: int, answered: bool) -> None:
    methods = {ANALYZE: Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, lambda _: AnalyzeResponse())}
    server = Server(methods, "127.0.0.1:0", 1, max_request_bytes=2**20)
    server.start()
    request = AnalyzeRequest(launch_command="x" * padding)
    client = WireTransport(server.address, LIMIT_S)
    try:
        if answered:
            client.call(ANALYZE, request, AnalyzeResponse)
        else:
            with pytest.raises(errors.ResourceExhaustedError, match="RIDGELINE_MAX_REQUEST_BYTES"):
                client.call(ANALYZE, request, AnalyzeResponse)
    finally:
        client.close()
        server.stop(0)
