"""grpc.health.v1: whether the services answer, asked once or watched.

The servicer of grpcio-health-checking is not used. Its blocking Watch takes a thread from the calls, and its
non-blocking one deadlocks when a watcher leaves while a status is set: it sends while it holds the lock that
the watcher's leaving waits for, on the thread that would complete the sending (version 1.81.1).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health_pb2

from ridgeline_server.rpc.interceptors.around import in_pool

Request = health_pb2.HealthCheckRequest
Response = health_pb2.HealthCheckResponse

SERVICE_NAME = "grpc.health.v1.Health"

MAX_WATCHERS = 100
"""Streams of Watch that are open at the same time; each has a thread, which sleeps."""

CHECK_THREADS = 2


class Health:
    """The health of one server's services. Nothing is served until it is said.

    The empty name asks for the server as a whole, and the name of the health service itself whether there is
    a process that answers at all.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(("", SERVICE_NAME, *services))
        self._changed = threading.Condition()
        self._is_serving = False
        self._stopping = False
        self._unavailable: frozenset[str] = frozenset()
        self._watcher_count = 0
        # One thread more than there are watchers tells the next one that it is too many.
        self._pool = ThreadPoolExecutor(MAX_WATCHERS + 1, thread_name_prefix="health")
        # Of its own, so that no other call, and no watcher, keeps a probe waiting.
        self._checks = ThreadPoolExecutor(CHECK_THREADS, thread_name_prefix="health-check")

    def serving(self) -> None:
        """From now on calls are answered."""
        with self._changed:
            self._is_serving = True
            self._changed.notify_all()

    def unavailable(self, services: Iterable[str]) -> None:
        """These services, and no others, cannot answer at present, whatever else is served."""
        found = frozenset(services)
        with self._changed:
            if found != self._unavailable:
                self._unavailable = found
                self._changed.notify_all()

    def stopping(self) -> None:
        """No new calls are answered. Watchers are told and let go, so that a stop need not wait for them."""
        with self._changed:
            self._is_serving = False
            self._stopping = True
            self._changed.notify_all()

    def close(self) -> None:
        """Give the watchers' threads back, after the server has stopped."""
        self._pool.shutdown(wait=False)
        self._checks.shutdown(wait=False)

    def add_to_server(self, server: grpc.Server) -> None:
        """Let a server answer Check and Watch."""
        handlers: dict[str, grpc.RpcMethodHandler[Request, Response]] = {
            "Check": in_pool(
                grpc.unary_unary_rpc_method_handler(
                    self._check, Request.FromString, Response.SerializeToString
                ),
                self._checks,
            ),
            "Watch": in_pool(
                grpc.unary_stream_rpc_method_handler(
                    self._watch, Request.FromString, Response.SerializeToString
                ),
                self._pool,
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))

    def _check(self, request: Request, context: grpc.ServicerContext) -> Response:
        if request.service not in self._services:
            context.abort(grpc.StatusCode.NOT_FOUND, "The server has no service of this name.")
        return Response(status=self._of(request.service))

    def _watch(self, request: Request, context: grpc.ServicerContext) -> Iterator[Response]:
        with self._changed:
            self._watcher_count += 1
            too_many = self._watcher_count > MAX_WATCHERS
        try:
            if too_many:
                context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{MAX_WATCHERS} watchers are the most; ask with Check.",
                )
            yield from self._statuses(request.service, context)
        finally:
            with self._changed:
                self._watcher_count -= 1

    def _statuses(self, service: str, context: grpc.ServicerContext) -> Iterator[Response]:
        """A service's status, now and whenever it changes, until the watcher leaves or the server stops."""
        gone = threading.Event()

        def leave() -> None:
            gone.set()
            with self._changed:
                self._changed.notify_all()

        told: int | None = None
        if not context.add_callback(leave):
            return
        while not gone.is_set():
            status, last = self._next(service, told, gone)
            # Sent without the lock: the thread that completes a sending may wait for it in `leave`.
            if status != told:
                yield Response(status=status)
            if last:
                return
            told = status

    def _next(self, service: str, told: int | None, gone: threading.Event) -> tuple[int, bool]:
        """The status once it is news to a watcher, or the watching is over; and whether the server stops."""
        with self._changed:
            self._changed.wait_for(lambda: gone.is_set() or self._stopping or self._of(service) != told)
            return self._of(service), self._stopping

    def _of(self, service: str) -> int:
        if service not in self._services:
            return Response.SERVICE_UNKNOWN
        serves = self._is_serving and service not in self._unavailable
        return Response.SERVING if serves else Response.NOT_SERVING
