"""Puts a context manager around the handlers of calls.

An interceptor of grpcio runs on the thread that takes calls in, before any handler; it may only choose which
handler answers. What is to hold while a handler works is therefore wrapped around the handler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeAlias, TypedDict, Unpack

import grpc

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Handler | None]"
Entered = Callable[[grpc.ServicerContext], AbstractContextManager[object]]

POOL = "experimental_thread_pool"
"""The attribute by which grpcio finds the thread pool that a handler has to itself."""


def around(handler: Handler, entered: Entered) -> Handler:
    """The handler inside of `entered(context)`: from its start until it returned, or its stream ended."""

    def answer(handle: Callable[..., Any]) -> Callable[..., Any]:
        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            with entered(context):
                return handle(request, context)

        return unary

    def stream(handle: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def responses(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with entered(context):
                yield from handle(request, context)

        return responses

    return wrapped(handler, stream if handler.response_streaming else answer)


def in_pool(handler: Handler, pool: ThreadPoolExecutor) -> Handler:
    """The handler on the threads of a pool."""

    def same(handle: Callable[..., Any]) -> Callable[..., Any]:
        def in_own_pool(request: Any, context: grpc.ServicerContext) -> Any:
            return handle(request, context)

        return in_own_pool

    found = wrapped(handler, same)
    setattr(_behaviour(found), POOL, pool)
    return found


class Wrapped:
    """Wraps the handler of each rpc once: handlers stay the same from call to call."""

    def __init__(self, wrap: Callable[[str, Handler], Handler]) -> None:
        self._wrap = wrap
        self._known: dict[str, tuple[Handler, Handler]] = {}

    def of(self, name: str, handler: Handler) -> Handler:
        """The handler of the rpc `name`, wrapped."""
        known = self._known.get(name)
        if known is None or known[0] is not handler:
            known = self._known[name] = (handler, self._wrap(name, handler))
        return known[1]


_MAKERS: dict[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""What makes a handler, by whether requests and responses are streams."""


def _behaviour(handler: Handler) -> Callable[..., Any]:
    """The one function of a handler that is set."""
    found: Callable[..., Any] | None = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    assert found is not None
    return found


class Changes(TypedDict, total=False):
    """What else a handler has other than before, by the names of grpc.RpcMethodHandler."""

    request_streaming: bool
    request_deserializer: Callable[[bytes], Any] | None
    response_serializer: Callable[[Any], bytes] | None


def wrapped(
    handler: Handler, wrap: Callable[[Callable[..., Any]], Callable[..., Any]], **changes: Unpack[Changes]
) -> Handler:
    """The handler with its function wrapped, which keeps its thread pool."""
    handle = _behaviour(handler)
    inside = wrap(handle)
    pool = getattr(handle, POOL, None)
    if pool is not None:
        setattr(inside, POOL, pool)
    request_streaming = changes.get("request_streaming", handler.request_streaming)
    return _MAKERS[request_streaming, handler.response_streaming](
        inside,
        changes.get("request_deserializer", handler.request_deserializer),
        changes.get("response_serializer", handler.response_serializer),
    )
