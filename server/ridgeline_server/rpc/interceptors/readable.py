"""Refuses bytes that are no message as what they are, a wrong request.

grpcio answers them with INTERNAL, which is for faults of the service, and logs a traceback for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError
from ridgeline_server.rpc.errors import status_of
from ridgeline_server.rpc.interceptors.around import Continuation, Handler, Wrapped, wrapped


@dataclass(frozen=True)
class Unreadable:
    """Stands for a request that could not be read."""

    reason: str


class Readable(grpc.ServerInterceptor):
    """Handlers get requests that could be read."""

    def __init__(self) -> None:
        self._wrapped = Wrapped(_refusing)

    def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The handler behind a reader that does not raise."""
        handler = continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        return self._wrapped.of(handler_call_details.method, handler)


def _refusing(name: str, handler: Handler) -> Handler:
    read = handler.request_deserializer or bytes

    def reader(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError as error:
            return Unreadable(str(error))

    def refuse(request: Any, context: grpc.ServicerContext) -> None:
        if isinstance(request, Unreadable):
            told = f"is no message of this call: {request.reason}; send the message that the contract names"
            error = InvalidFieldsError([FieldViolation("request", told)])
            context.abort_with_status(rpc_status.to_status(status_of(error, name)))

    def answer(handle: Callable[..., Any]) -> Callable[..., Any]:
        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            refuse(request, context)
            return handle(request, context)

        return unary

    # A stream's handler is a generator; refusing before it is made ends the stream before its first message.
    return wrapped(handler, answer, request_deserializer=reader)
