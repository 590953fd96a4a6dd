"""The gRPC server: the rpcs, health and reflection on one address, from start to a graceful stop."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import grpc
from grpc_channelz.v1 import channelz_pb2
from grpc_channelz.v1.channelz import add_channelz_servicer
from grpc_reflection.v1alpha import reflection

from ridgeline_server.connections import CONNECTION_OPTIONS
from ridgeline_server.health import MAX_WATCHERS, SERVICE_NAME, Health
from ridgeline_server.rpc.call_classes import call_classes
from ridgeline_server.rpc.dispatch import SERVICES, Method
from ridgeline_server.rpc.interceptors.admission import Admission, default_limits
from ridgeline_server.rpc.interceptors.arrival import REQUEST_WAIT_S, Arrival
from ridgeline_server.rpc.interceptors.patience import Patience
from ridgeline_server.rpc.interceptors.readable import Readable
from ridgeline_server.rpc.wire import add_to_server
from ridgeline_server.settings import Settings

logger = logging.getLogger(__name__)

MAX_CALLS_BEYOND = 1000
"""Calls beyond those that are admitted, such as refusals under way; a backstop far above sensible loads."""

REFLECTION_THREADS = 4
"""Clients that read the contract at the same time; each has a thread for as long as its stream is open."""

STREAM_THREADS: int = Settings.model_fields["stream_threads"].default
WRITE_THREADS: int = Settings.model_fields["write_threads"].default

MAX_REQUEST_BYTES: int = Settings.model_fields["max_request_bytes"].default
"""Holds an import of a thousand entries, each several times as large as real ones."""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_BIND_PROBLEMS = {
    errno.EADDRINUSE: "the port is in use; stop what uses it, or set RIDGELINE_LISTEN to another port",
    errno.EACCES: "this user may not use the port; set RIDGELINE_LISTEN to one from 1024 on",
    errno.EADDRNOTAVAIL: "this machine does not have the address; set RIDGELINE_LISTEN to one it has",
}


class ListenError(OSError):
    """The server cannot listen on its address."""


class Server:
    """One gRPC server. Start it, and stop it once."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        listen: str,
        threads: int,
        interceptors: Sequence[grpc.ServerInterceptor] = (),
        *,
        stream_threads: int = STREAM_THREADS,
        write_threads: int = WRITE_THREADS,
        shares_port: bool = False,
        credentials: grpc.ServerCredentials | None = None,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        channelz: bool = False,
        request_wait_s: float = REQUEST_WAIT_S,
    ) -> None:
        """Bind the address, HOST:PORT. Port 0 takes a free one. Raises ListenError.

        Each class of calls has threads of its own. Those `interceptors` see every call, the first one before
        the second; the server's own stand inside of them: a request has `request_wait_s` to arrive, the call
        is given threads or refused, bytes that are no message are refused, and work learns that nobody waits
        for it any more. `shares_port` is for processes that a
        supervisor has reserved the port for. Without credentials it serves in clear text. `channelz` lets
        callers look into the server's sockets.
        """
        limits = default_limits(threads, stream_threads, write_threads)
        self.admission = Admission(call_classes(SERVICES), limits)
        self._arrival = Arrival(request_wait_s)
        self._pool = ThreadPoolExecutor(REFLECTION_THREADS, thread_name_prefix="rpc-reflection")
        self._server = grpc.server(
            self._pool,
            interceptors=[*interceptors, self._arrival, self.admission, Readable(), Patience()],
            options=[
                # A second server on the same port must fail, not share it by chance.
                ("grpc.so_reuseport", int(shares_port)),
                ("grpc.max_receive_message_length", max_request_bytes),
                ("grpc.enable_channelz", int(channelz)),
                *CONNECTION_OPTIONS,
            ],
            maximum_concurrent_rpcs=sum(limit.calls for limit in limits.values())
            + MAX_WATCHERS
            + MAX_CALLS_BEYOND,
        )
        add_to_server(methods, self._server)
        self.services = sorted({name.partition("/")[0] for name in methods})
        self.health = Health(self.services)
        self.health.add_to_server(self._server)
        names = [*self.services, SERVICE_NAME, reflection.SERVICE_NAME]
        if channelz:
            add_channelz_servicer(self._server)
            names.append(channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name)
        reflection.enable_server_reflection(names, self._server)
        if not shares_port:
            try_bind(listen)
        self.port = self._bind(listen, credentials)
        self.address = f"{listen.rpartition(':')[0]}:{self.port}"

    def start(self) -> None:
        """Answer calls, and say so in health."""
        self._arrival.start()
        self._server.start()
        self.health.serving()

    def stop(self, grace_s: float, drain_s: float = 0.0) -> None:
        """Tell health watchers, refuse new calls, and let those in flight finish within `grace_s`.

        New calls are answered for another `drain_s` after health said that there are to be none: whoever
        balances load looks at health only now and then.
        """
        self.health.stopping()
        time.sleep(drain_s)
        self._server.stop(grace_s).wait()
        self._pool.shutdown(wait=False)
        self.admission.close()
        self._arrival.close()
        self.health.close()

    def _bind(self, listen: str, credentials: grpc.ServerCredentials | None) -> int:
        try:
            if credentials is not None:
                return self._server.add_secure_port(listen, credentials)
            return self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise ListenError(f"The server cannot listen on {listen}: {error}") from None


def serve_until_signal(
    server: Server, grace_s: float, announce: Callable[[str], None], drain_s: float = 0.0
) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully. A second signal ends the process at once."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for again in _STOP_SIGNALS:
            signal.signal(again, signal.SIG_DFL)
        stop.set()

    for number in _STOP_SIGNALS:
        signal.signal(number, on_signal)
    serve_until(stop, server, grace_s, announce, drain_s)


def serve_until(
    stop: threading.Event,
    server: Server,
    grace_s: float,
    announce: Callable[[str], None],
    drain_s: float = 0.0,
) -> None:
    """Serve until the event is set, then stop gracefully."""
    server.start()
    announce(server.address)
    stop.wait()
    logger.info("stopping: calls in flight have %g s to finish", grace_s)
    server.stop(grace_s, drain_s)


def try_bind(listen: str) -> None:
    """Bind the address for a moment: gRPC itself would only log why it cannot. Raises ListenError."""
    bound(listen).close()


def bound(listen: str) -> socket.socket:
    """A socket that has the address and does not listen. Raises ListenError."""
    host, _, port = listen.rpartition(":")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        try:
            # Connections of a server that has just stopped may linger.
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
        except BaseException:
            found.close()
            raise
    except OSError as error:
        problem = _BIND_PROBLEMS.get(error.errno or 0)
        if isinstance(error, socket.gaierror):
            problem = "its host has no address; name this machine, such as 127.0.0.1"
        raise ListenError(
            f"The server cannot listen on {listen}: {problem or error.strerror or error}."
        ) from None
    return found
