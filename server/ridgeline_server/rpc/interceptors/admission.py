"""Takes as many calls as can be answered soon, and refuses the others at once.

Unary calls, streams and writes have threads of their own (`rpc/call_classes.py` tells which is which), so
that neither streams that last for minutes nor writers that wait for each other keep a unary call waiting. A
few calls of a class may wait for a thread; beyond those a call is refused with RESOURCE_EXHAUSTED and told
when to come back. Waiting longer would only make all calls late.

A refusal needs none of these threads. It is answered on threads of its own, before the request has been
read. Health and reflection are in no class and are never refused here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_status import rpc_status

from ridgeline_server.rpc.call_classes import CallClass
from ridgeline_server.rpc.errors import TooManyCallsError, status_of
from ridgeline_server.rpc.interceptors.around import Continuation, Handler, Wrapped, in_pool
from ridgeline_server.rpc.interceptors.bounded_pool import BoundedPool, Limit

MIN_DELAY_S = 0.05
MAX_DELAY_S = 10.0
"""Bounds of the delay that a refused caller is told."""

PUSHBACK = "grpc-retry-pushback-ms"
"""The trailer by which a server tells gRPC's own retries when to come back."""

REFUSING_THREADS = 2

MAX_WAIT_S = 0.5
"""The longest expected wait at which a unary call may still queue. A server that is offered too much is done
with what it took within a second, heavy calls or light ones.
"""


def default_limits(threads: int, stream_threads: int, write_threads: int) -> dict[CallClass, Limit]:
    """The limits of threads, with as many calls that may wait as each class can bear.

    Two unary calls may wait for each thread: a burst of three times what is answered at once is no overload,
    and who waits does so for the time of two calls, MAX_WAIT_S at most. Streams do not wait, because the one
    before may take minutes. Eight writes may wait for each thread: they are short, and follow one another
    anyway.
    """
    return {
        CallClass.UNARY: Limit(threads, 2 * threads, MAX_WAIT_S),
        CallClass.STREAM: Limit(stream_threads, 0),
        CallClass.WRITE: Limit(write_threads, 8 * write_threads),
    }


class Admission(grpc.ServerInterceptor):
    """Chooses the threads of each call, or refuses it.

    grpcio runs interceptors and submits calls on one and the same thread, so that nothing comes between the
    look at a pool's room and the call that takes it.
    """

    def __init__(self, classes: Mapping[str, CallClass], limits: Mapping[CallClass, Limit]) -> None:
        self._classes = {f"/{name}": kind for name, kind in classes.items()}
        self._pools = {kind: BoundedPool(f"rpc-{kind.name.lower()}", limits[kind]) for kind in CallClass}
        self._refusing = ThreadPoolExecutor(REFUSING_THREADS, thread_name_prefix="rpc-refused")
        self._admitted = Wrapped(self._in_own_pool)
        self._refused = {name: self._refusal(name, kind) for name, kind in self._classes.items()}

    @property
    def counts(self) -> dict[CallClass, int]:
        """The calls of each class that are answered now or wait for a thread."""
        return {kind: pool.count for kind, pool in self._pools.items()}

    def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The handler on the threads of its class; one that refuses where the class has no room."""
        name = handler_call_details.method
        handler = continuation(handler_call_details)
        kind = self._classes.get(name)
        if handler is None or kind is None:
            return handler
        if not self._pools[kind].has_room:
            return self._refused[name]
        return self._admitted.of(name, handler)

    def close(self) -> None:
        """Give the threads back, after the server has stopped."""
        for pool in (*self._pools.values(), self._refusing):
            pool.shutdown(wait=False)

    def _in_own_pool(self, name: str, handler: Handler) -> Handler:
        return in_pool(handler, self._pools[self._classes[name]])

    def _refusal(self, name: str, kind: CallClass) -> Handler:
        """A handler that refuses without waiting for the request: it takes a stream, and reads none of it."""
        pool = self._pools[kind]

        def refuse(requests: Iterator[Any], context: grpc.ServicerContext) -> None:  # noqa: ARG001
            # Spread over twice the wait, so that those who were refused together do not come back together.
            delay_s = min(max(pool.wait_s, MIN_DELAY_S), MAX_DELAY_S) * random.uniform(1, 2)
            error = TooManyCallsError(kind.value, pool.limit.threads, pool.count, delay_s)
            status = rpc_status.to_status(status_of(error, name))
            pushback = (PUSHBACK, str(round(delay_s * 1000)))
            context.set_trailing_metadata((*status.trailing_metadata, pushback))
            context.abort(status.code, status.details)

        return in_pool(grpc.stream_unary_rpc_method_handler(refuse), self._refusing)
