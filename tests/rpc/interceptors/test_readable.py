"""Bytes that are no message are a wrong request, in unary calls and in streams."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest
from ridgeline_server.rpc.interceptors.readable import Readable

LIMIT_S = 20.0


@pytest.fixture
def channel() -> Iterator[grpc.Channel]:
    """A channel to a unary rpc and a stream that take an AnalyzeRequest."""

    def unary(request: AnalyzeRequest, context: grpc.ServicerContext) -> bytes:
        return request.hardware.id.encode()

    def stream(request: AnalyzeRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield request.hardware.id.encode()

    read = AnalyzeRequest.FromString
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary, read),
        "Stream": grpc.unary_stream_rpc_method_handler(stream, read),
    }
    pool = ThreadPoolExecutor(2)
    server = grpc.server(pool, interceptors=[Readable()])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait()
    pool.shutdown()


def asked(channel: grpc.Channel, rpc: str, data: bytes) -> bytes:
    """The first answer."""
    if rpc == "Stream":
        stream: Any = channel.unary_stream("/test.Service/Stream")
        first: bytes = next(stream(data, timeout=LIMIT_S))
        return first
    call: Any = channel.unary_unary("/test.Service/Unary")
    answer: bytes = call(data, timeout=LIMIT_S)
    return answer


@pytest.mark.parametrize("rpc", ["Unary", "Stream"])
def test_a_message_is_read(rpc: str, channel: grpc.Channel) -> None:
    request = AnalyzeRequest()
    request.hardware.id = "x100"
    assert asked(channel, rpc, request.SerializeToString()) == b"x100"


@pytest.mark.parametrize("rpc", ["Unary", "Stream"])
@pytest.mark.parametrize("data", [b"\xff\xff", b"\x0a\x05ab", b"\x0a\x04\x0a\x02\xff\xfe"])
def test_what_is_none_is_a_wrong_request(rpc: str, data: bytes, channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        asked(channel, rpc, data)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(raised.value)  # type: ignore[arg-type]
    assert status is not None
    wrong = error_details_pb2.BadRequest()
    assert any(detail.Unpack(wrong) for detail in status.details)
    assert "no message of this call" in wrong.field_violations[0].description
