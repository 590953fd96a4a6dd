"""A context manager around handlers, unary and streaming, over a real channel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from ridgeline_server.rpc.interceptors.around import POOL, around

LIMIT_S = 10.0


class Noting(grpc.ServerInterceptor):
    """Notes when calls are entered and left."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.left = threading.Event()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = continuation(handler_call_details)
        return None if handler is None else around(handler, self._entered)

    @contextmanager
    def _entered(self, context: grpc.ServicerContext) -> Iterator[None]:
        self.notes.append(f"in on {threading.current_thread().name.partition('_')[0]}")
        try:
            yield
        finally:
            self.notes.append("out")
            self.left.set()


@pytest.fixture
def noting() -> Noting:
    return Noting()


@pytest.fixture
def channel(noting: Noting) -> Iterator[grpc.Channel]:
    own = ThreadPoolExecutor(1, thread_name_prefix="own")

    def echo(request: bytes, context: grpc.ServicerContext) -> bytes:
        return request

    def fail(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.ABORTED, "no")

    def count(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        noting.notes.append("begun")
        for number in range(int(request)):
            yield str(number).encode()

    setattr(echo, POOL, own)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Count": grpc.unary_stream_rpc_method_handler(count),
    }
    pool = ThreadPoolExecutor(2, thread_name_prefix="shared")
    server = grpc.server(pool, interceptors=[noting])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait()
    own.shutdown()
    pool.shutdown()


def asked(channel: grpc.Channel, rpc: str, request: bytes) -> bytes:
    """The answer of a unary rpc."""
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/test.Service/{rpc}")
    return call(request, timeout=LIMIT_S)


def called(channel: grpc.Channel, count: bytes) -> Any:
    """The stream of a call of Count."""
    call: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/test.Service/Count")
    return call(count, timeout=LIMIT_S)


def test_a_unary_call_is_entered_on_its_own_pool_and_left(channel: grpc.Channel, noting: Noting) -> None:
    assert asked(channel, "Echo", b"x") == b"x"
    assert noting.notes == ["in on own", "out"]


def test_a_call_that_fails_is_left(channel: grpc.Channel, noting: Noting) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        asked(channel, "Fail", b"")
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert noting.notes == ["in on shared", "out"]


def test_a_stream_is_left_when_it_ended(channel: grpc.Channel, noting: Noting) -> None:
    assert list(called(channel, b"3")) == [b"0", b"1", b"2"]
    assert noting.notes == ["in on shared", "begun", "out"]


def test_a_stream_that_is_cancelled_is_left(channel: grpc.Channel, noting: Noting) -> None:
    stream = called(channel, b"1000000000")
    assert next(stream) == b"0"
    stream.cancel()
    assert noting.left.wait(LIMIT_S)
