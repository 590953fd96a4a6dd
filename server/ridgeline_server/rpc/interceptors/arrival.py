"""Ends calls whose request does not come.

grpcio gives a call its thread before its request has arrived, and lets the thread wait for it: a caller that
opens a call and says no more would keep a thread for as long as it likes. So requests are taken as streams of
one message, whose handler has the call in its hands while it waits. On the wire there is no difference.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from ridgeline_server.rpc.interceptors.around import Continuation, Handler, Wrapped, wrapped

logger = logging.getLogger(__name__)

REQUEST_WAIT_S = 60.0
"""For a request to arrive whole; the largest that is read takes as long at ten megabits a second."""


class Arrival(grpc.ServerInterceptor):
    """Handlers inside of this one only see calls whose request has come. Those outside of it see all, so that
    it is known who calls before a thread waits for them.
    """

    def __init__(self, wait_s: float = REQUEST_WAIT_S) -> None:
        self._watch = _Watch(wait_s)
        self._wrapped = Wrapped(self._arriving)

    def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The handler behind a wait for its request that has an end."""
        handler = continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        return self._wrapped.of(handler_call_details.method, handler)

    def start(self) -> None:
        """Start the thread that looks after calls, before the server starts."""
        self._watch.start()

    def close(self) -> None:
        """End that thread, after the server has stopped."""
        self._watch.close()

    def _arriving(self, name: str, handler: Handler) -> Handler:
        def unary(handle: Callable[..., Any]) -> Callable[..., Any]:
            def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
                return handle(self._arrived(name, requests, context), context)

            return answer

        def stream(handle: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
            def responses(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
                yield from handle(self._arrived(name, requests, context), context)

            return responses

        return wrapped(handler, stream if handler.response_streaming else unary, request_streaming=True)

    def _arrived(self, name: str, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """The request. Raises what ends the call where none comes: the caller left, was too slow, sent more
        than is read, or closed its side without one, which is told as grpcio tells it.
        """
        try:
            with self._watch.over(name, context) as watched:
                for request in requests:
                    return request
            # Requests of a cancelled call may just end, too.
            ended = watched.is_late
        except grpc.RpcError:
            ended = True
        if ended:
            # The call is over; its code is for those who observe it.
            context.abort(grpc.StatusCode.CANCELLED, "The request did not come.")
        return context.abort(grpc.StatusCode.UNIMPLEMENTED, f'"{name}" requires exactly one request message.')


@dataclass
class _Watched:
    """A call whose request is to come until `due_s` on the clock; `is_late` once it was cancelled."""

    name: str
    due_s: float
    is_late: bool = False


class _Watch:
    """Cancels the calls that are over it for too long. All may be for the same time, so that the first that
    came is the first to be late.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._waiting: dict[grpc.ServicerContext, _Watched] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="rpc-arrival", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    @contextmanager
    def over(self, name: str, context: grpc.ServicerContext) -> Iterator[_Watched]:
        """Watch over a call during the block."""
        watched = _Watched(name, time.monotonic() + self._wait_s)
        with self._lock:
            self._waiting[context] = watched
        try:
            yield watched
        finally:
            with self._lock:
                self._waiting.pop(context, None)

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(self._wait_s / 10):
            for name in self._cancelled():
                logger.warning("%s ended: its request did not come within %g s", name, self._wait_s)

    def _cancelled(self) -> list[str]:
        """The names of those that are late, which are cancelled and watched no longer: under the lock, so
        that none is cancelled once its request has come.
        """
        late: list[tuple[grpc.ServicerContext, _Watched]] = []
        with self._lock:
            for context, watched in self._waiting.items():
                if watched.due_s > time.monotonic():
                    break
                late.append((context, watched))
            for context, watched in late:
                watched.is_late = True
                context.cancel()
                del self._waiting[context]
        return [watched.name for _, watched in late]
