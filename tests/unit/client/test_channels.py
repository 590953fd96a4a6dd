"""The channel: where it connects, what it tries again, how long calls may take."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import ridgeline
from ridgeline import channels
from ridgeline.errors import InvalidArgumentError, UnavailableError
from ridgeline.wire import WireTransport

RPCS = {f"{method.containing_service.full_name}/{method.name}": method for method in channels.methods()}
WRITES = ("Create", "Update", "Delete", "Import", "Calibrate")


@pytest.mark.parametrize("rpc", RPCS)
def test_every_rpc_that_does_not_write_says_that_it_changes_nothing(rpc: str) -> None:
    assert channels.changes_nothing(RPCS[rpc]) is not RPCS[rpc].name.startswith(WRITES)


@pytest.mark.parametrize(
    "target",
    [
        "localhost:1",
        "dns:///ridgeline.svc:50051",
        "[::1]:50051",
        "ipv4:10.0.0.1:50051,10.0.0.2:50051",
        "ipv6:[::1]:1",
    ],
)
def test_targets_that_can_be_meant(target: str) -> None:
    channels.hosts_of(target)


@pytest.mark.parametrize(
    "target",
    [
        "localhost",
        "http://localhost:1",
        "localhost:0",
        "localhost:65536",
        "ipv4:a:1",
        "ipv4:10.0.0.1",
        "a b:1",
    ],
)
def test_targets_that_cannot(target: str) -> None:
    with pytest.raises(InvalidArgumentError, match="address"):
        channels.hosts_of(target)


@pytest.mark.parametrize(
    ("target", "policy"),
    [("localhost:1", "pick_first"), ("dns:///a:1", "round_robin"), ("ipv4:10.0.0.1:1", "round_robin")],
)
def test_all_servers_of_a_name_are_used_in_turn_where_that_is_asked_for(target: str, policy: str) -> None:
    config = json.loads(dict(channels.channel_options(target))["grpc.service_config"])
    assert config["loadBalancingConfig"] == [{policy: {}}]


@pytest.mark.parametrize(
    ("rpc", "limit_s"),
    [
        ("AnalysisService/Analyze", 30),
        ("MeasurementService/Calibrate", 300),
        ("CatalogService/ImportEntries", 300),
    ],
)
def test_calls_about_many_rows_may_take_longer(rpc: str, limit_s: float) -> None:
    assert channels.time_limit_s(f"ridgeline.v1.{rpc}", None) == limit_s
    assert channels.time_limit_s(f"ridgeline.v1.{rpc}", 7) == 7


class Flaky:
    """Fails every rpc some times before it answers, and counts how often it was asked."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def handlers(self, service: str) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
        return {
            method.name: grpc.unary_stream_rpc_method_handler(self._answer(rpc))
            for rpc, method in RPCS.items()
            if method.containing_service.full_name == service
        }

    def _answer(self, rpc: str) -> Any:
        def answer(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            with self._lock:
                self.asked[rpc] += 1
            if self.asked[rpc] <= self.failures:
                context.abort(grpc.StatusCode.UNAVAILABLE, "for a moment")
            yield b""

        return answer


@pytest.fixture
def flaky() -> Iterator[tuple[Flaky, str]]:
    flaky, pool = Flaky(2), ThreadPoolExecutor(8)
    server = grpc.server(pool)
    for service in {method.containing_service.full_name for method in RPCS.values()}:
        handler = grpc.method_handlers_generic_handler(service, flaky.handlers(service))
        server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield flaky, f"127.0.0.1:{port}"
    server.stop(None).wait()
    pool.shutdown()


def call(transport: WireTransport, rpc: str, method: MethodDescriptor) -> Message:
    request, response = GetMessageClass(method.input_type)(), GetMessageClass(method.output_type)
    if method.server_streaming:
        return next(transport.stream(rpc, request, response))
    return transport.call(rpc, request, response)


def is_tried_again(method: MethodDescriptor) -> bool:
    """Sweeps go on where they broke off, by a token."""
    return channels.changes_nothing(method) and not method.server_streaming


def test_what_changes_nothing_is_tried_again_and_nothing_else(flaky: tuple[Flaky, str]) -> None:
    server, address = flaky
    transport = WireTransport(address, 20.0)

    def ask(rpc: str) -> None:
        method = RPCS[rpc]
        if is_tried_again(method):
            call(transport, rpc, method)
            return
        with pytest.raises(UnavailableError):
            call(transport, rpc, method)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, RPCS))
    assert server.asked == {rpc: 3 if is_tried_again(method) else 1 for rpc, method in RPCS.items()}
    transport.close()


def test_calls_go_to_all_addresses() -> None:
    servers, pool = [], ThreadPoolExecutor(4)
    counted: Counter[int] = Counter()
    for number in range(2):
        server = grpc.server(pool)

        def answer(request: bytes, context: grpc.ServicerContext, number: int = number) -> bytes:
            counted[number] += 1
            return b""

        handler = grpc.method_handlers_generic_handler(
            "ridgeline.v1.CatalogService", {"GetHardware": grpc.unary_unary_rpc_method_handler(answer)}
        )
        server.add_generic_rpc_handlers((handler,))
        servers.append((server, server.add_insecure_port("127.0.0.1:0")))
        server.start()
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for _, port in servers)
    with ridgeline.connect(target, timeout_s=20) as client:
        while min(counted[0], counted[1]) < 3:
            client.get_hardware("x")
            assert counted.total() < 10_000
    for server, _ in servers:
        server.stop(None).wait()
    pool.shutdown()


def test_threads_share_a_client(flaky: tuple[Flaky, str]) -> None:
    server, address = flaky
    server.failures = 0
    with ridgeline.connect(address, timeout_s=20) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: client.get_hardware("x"), range(200)))
    assert server.asked["ridgeline.v1.CatalogService/GetHardware"] == 200
