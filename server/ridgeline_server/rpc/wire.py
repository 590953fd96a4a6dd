"""The rpcs as gRPC handlers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from ridgeline_server.rpc.dispatch import Method
from ridgeline_server.rpc.errors import StatusError
from ridgeline_server.store.errors import DatabaseError
from ridgeline_server.store.principals import ANONYMOUS, LOCAL, acting_as, principal

logger = logging.getLogger(__name__)


def add_to_server(methods: Mapping[str, Method], server: grpc.Server) -> None:
    """Let a server answer the rpcs."""
    by_service: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for name, method in methods.items():
        service, _, rpc = name.partition("/")
        handler, behaviour = (
            (grpc.unary_stream_rpc_method_handler, _streaming(method))
            if method.streams
            else (grpc.unary_unary_rpc_method_handler, _behaviour(method))
        )
        by_service.setdefault(service, {})[rpc] = handler(
            behaviour,
            request_deserializer=method.request_type.FromString,
            response_serializer=method.response_type.SerializeToString,
        )
    for service, handlers in by_service.items():
        # Both, as generated code does: registered methods are looked up faster, and generic handlers serve
        # clients of an unregistered channel.
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        server.add_registered_method_handlers(service, handlers)


def _behaviour(method: Method) -> Callable[[Message, grpc.ServicerContext], Message]:
    def answer(request: Message, context: grpc.ServicerContext) -> Message:
        try:
            with acting_as(_caller(context)):
                return method.answer(request)
        except StatusError as error:
            _abort(method, error, context)

    return answer


def _streaming(method: Method) -> Callable[[Message, grpc.ServicerContext], Iterator[Message]]:
    def answers(request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
        try:
            with acting_as(_caller(context)):
                yield from method.stream(request)
        except StatusError as error:
            _abort(method, error, context)

    return answers


def _abort(method: Method, error: StatusError, context: grpc.ServicerContext) -> NoReturn:
    if isinstance(error.__cause__, DatabaseError):
        # Where the database is, which callers are not told.
        logger.error("%s failed: %s", method.name, error.__cause__)
    context.abort_with_status(rpc_status.to_status(error.status))


def _caller(context: grpc.ServicerContext) -> str:
    """The name that authentication found, or else the transport vouches for: the first identity of a client
    certificate.
    """
    if principal() != LOCAL:
        return principal()
    identities = context.peer_identities()
    return next(iter(identities)).decode(errors="replace") if identities else ANONYMOUS
