"""Puts a context manager around the handlers of calls.

An interceptor of grpcio runs on the thread that takes calls in, before any handler; it may only choose which
handler answers. What is to hold while a handler works is therefore wrapped around the handler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import grpc

Entered = Callable[[grpc.ServicerContext], AbstractContextManager[object]]

POOL = "experimental_thread_pool"
"""The attribute by which grpcio finds the thread pool that a handler has to itself."""


def around(handler: grpc.RpcMethodHandler[Any, Any], entered: Entered) -> grpc.RpcMethodHandler[Any, Any]:
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


def in_pool(
    handler: grpc.RpcMethodHandler[Any, Any], pool: ThreadPoolExecutor
) -> grpc.RpcMethodHandler[Any, Any]:
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

    def __init__(
        self, wrap: Callable[[str, grpc.RpcMethodHandler[Any, Any]], grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        self._wrap = wrap
        self._known: dict[str, tuple[grpc.RpcMethodHandler[Any, Any], grpc.RpcMethodHandler[Any, Any]]] = {}

    def of(self, name: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of the rpc `name`, wrapped."""
        known = self._known.get(name)
        if known is None or known[0] is not handler:
            known = self._known[name] = (handler, self._wrap(name, handler))
        return known[1]


_MAKERS: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""What makes a handler, by whether requests and responses are streams."""


def _behaviour(handler: grpc.RpcMethodHandler[Any, Any]) -> Callable[..., Any]:
    """The one function of a handler that is set."""
    found: Callable[..., Any] | None = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    assert found is not None
    return found


def wrapped(
    handler: grpc.RpcMethodHandler[Any, Any],
    wrap: Callable[[Callable[..., Any]], Callable[..., Any]],
    reader: Callable[[bytes], Any] | None = None,
) -> grpc.RpcMethodHandler[Any, Any]:
    """The handler with its function wrapped, which keeps its thread pool, and its reader or another one."""
    handle = _behaviour(handler)
    inside = wrap(handle)
    pool = getattr(handle, POOL, None)
    if pool is not None:
        setattr(inside, POOL, pool)
    make = _MAKERS[handler.request_streaming, handler.response_streaming]
    return make(inside, reader or handler.request_deserializer, handler.response_serializer)
