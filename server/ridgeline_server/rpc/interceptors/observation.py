"""Observes every call over the wire. The outermost of the interceptors.

What others refuse, and what the server does not have, is a call like any other. One whose request never
arrives (its caller left first or said nothing, or it is larger than the server takes) ends as CANCELLED.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from ridgeline_server.observability.call_metrics import (
    BIDI_STREAM,
    SERVER_STREAM,
    UNARY,
    UNKNOWN_RPC,
    CallMetrics,
    Rpc,
)
from ridgeline_server.observability.tracing import Tracing
from ridgeline_server.rpc.dispatch import SERVICES
from ridgeline_server.rpc.interceptors.around import Continuation, Handler, wrapped
from ridgeline_server.rpc.interceptors.observed_call import ObservedCall, observed

Behaviour = Callable[[Any, grpc.ServicerContext], Any]


class Observation(grpc.ServerInterceptor):
    """Observes the calls of one server."""

    def __init__(self, metrics: CallMetrics, tracing: Tracing | None = None) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._rpcs = _rpcs()

    def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """Wrap the handler that answers, and one that says so where there is none."""
        name = handler_call_details.method
        rpc = self._rpcs.get(name, UNKNOWN_RPC)
        metrics = self._metrics.of_rpc(rpc)
        metrics.started.inc()
        call = ObservedCall(
            rpc, name.removeprefix("/"), metrics, self._metrics, self._tracing, time.perf_counter()
        )
        return _observing(continuation(handler_call_details) or _UNIMPLEMENTED, call)


def _observing(handler: Handler, call: ObservedCall) -> Handler:
    """The handler with its conversion to bytes inside of what is observed, which is a part of the call's
    time.
    """
    answering = _stream if handler.response_streaming else _unary
    write = handler.response_serializer or _as_it_is
    return wrapped(handler, lambda handle: answering(handle, write, call), response_serializer=None)


def _unary(handle: Behaviour, write: Callable[[Any], bytes], call: ObservedCall) -> Behaviour:
    def unary(request: Any, context: grpc.ServicerContext) -> bytes:
        with observed(call, context):
            response = handle(request, context)
            call.answers(response)
            return write(response)

    return unary


def _stream(handle: Behaviour, write: Callable[[Any], bytes], call: ObservedCall) -> Behaviour:
    def stream(request: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
        with observed(call, context):
            for response in handle(request, context):
                call.sends()
                yield write(response)

    return stream


def _as_it_is(message: Any) -> Any:
    return message


def _unimplemented(request: bytes, context: grpc.ServicerContext) -> bytes:  # noqa: ARG001
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "The server has no rpc of this name.")


_UNIMPLEMENTED: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_unimplemented)


def _rpcs() -> Mapping[str, Rpc]:
    """The rpcs that a server may have, by the name that they are called by."""
    probes = [
        service
        for file in (health_pb2, reflection_pb2, channelz_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
    ]
    return {
        f"/{service.full_name}/{method.name}": _rpc(service, method.name, is_probe=service in probes)
        for service in (*SERVICES, *probes)
        for method in service.methods
    }


def _rpc(service: ServiceDescriptor, method_name: str, *, is_probe: bool) -> Rpc:
    method = service.methods_by_name[method_name]
    answers = SERVER_STREAM if method.server_streaming else UNARY
    return Rpc(BIDI_STREAM if method.client_streaming else answers, service.full_name, method_name, is_probe)
