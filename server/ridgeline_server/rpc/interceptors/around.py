"""Puts a context manager around the handlers of calls.

An interceptor of grpcio runs on the thread that takes calls in, before any handler; it may only choose which
handler answers. What is to hold while a handler works is therefore wrapped around the handler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import grpc

Entered = Callable[[grpc.ServicerContext], AbstractContextManager[object]]

POOL = "experimental_thread_pool"
"""The attribute by which grpcio finds the thread pool that a handler has to itself."""


def around(handler: grpc.RpcMethodHandler[Any, Any], entered: Entered) -> grpc.RpcMethodHandler[Any, Any]:
    """The handler inside of `entered(context)`: from its start until it returned, or its stream ended.

    Streams of requests do not exist in the contract and are left as they are.
    """
    if handler.unary_unary is not None:
        return grpc.unary_unary_rpc_method_handler(
            _unary(handler.unary_unary, entered), handler.request_deserializer, handler.response_serializer
        )
    if handler.unary_stream is not None:
        return grpc.unary_stream_rpc_method_handler(
            _stream(handler.unary_stream, entered), handler.request_deserializer, handler.response_serializer
        )
    return handler


def _unary(handle: Callable[..., Any], entered: Entered) -> Callable[..., Any]:
    def unary(request: Any, context: grpc.ServicerContext) -> Any:
        with entered(context):
            return handle(request, context)

    return _with_pool_of(handle, unary)


def _stream(handle: Callable[..., Iterator[Any]], entered: Entered) -> Callable[..., Iterator[Any]]:
    def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        with entered(context):
            yield from handle(request, context)

    return _with_pool_of(handle, stream)


def _with_pool_of(handle: Callable[..., Any], wrapped: Callable[..., Any]) -> Callable[..., Any]:
    pool = getattr(handle, POOL, None)
    if pool is not None:
        setattr(wrapped, POOL, pool)
    return wrapped
