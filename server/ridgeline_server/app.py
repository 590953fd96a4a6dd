"""The gRPC server: the rpcs, health and reflection on one address, from start to a graceful stop."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import grpc
from grpc_channelz.v1 import channelz_pb2
from grpc_channelz.v1.channelz import add_channelz_servicer
from grpc_reflection.v1alpha import reflection

from ridgeline_server.health import SERVICE_NAME, Health
from ridgeline_server.rpc.dispatch import Method
from ridgeline_server.rpc.wire import add_to_server

logger = logging.getLogger(__name__)

MAX_QUEUED_CALLS = 1000
"""Calls that wait for a thread, health and reflection included; a backstop far above any sensible load."""

MAX_REQUEST_BYTES = 64 * 2**20
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
        channelz: bool = False,
    ) -> None:
        """Bind the address, HOST:PORT. Port 0 takes a free one. Raises ListenError.

        The first interceptor is the outermost. `channelz` lets callers look into the server's sockets.
        """
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="rpc")
        self._server = grpc.server(
            self._pool,
            interceptors=list(interceptors),
            # A second server on the same port must fail, not share it by chance.
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.enable_channelz", int(channelz)),
            ],
            maximum_concurrent_rpcs=threads + MAX_QUEUED_CALLS,
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
        self.port = self._bind(listen)
        self.address = f"{listen.rpartition(':')[0]}:{self.port}"

    def start(self) -> None:
        """Answer calls, and say so in health."""
        self._server.start()
        self.health.serving()

    def stop(self, grace_s: float) -> None:
        """Tell health watchers, refuse new calls, and let those in flight finish within `grace_s`."""
        self.health.stopping()
        self._server.stop(grace_s).wait()
        self._pool.shutdown(wait=False)
        self.health.close()

    def _bind(self, listen: str) -> int:
        _try_bind(listen)
        try:
            return self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise ListenError(f"The server cannot listen on {listen}: {error}") from None


def serve_until_signal(server: Server, grace_s: float, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully. A second signal ends the process at once."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for again in _STOP_SIGNALS:
            signal.signal(again, signal.SIG_DFL)
        stop.set()

    for number in _STOP_SIGNALS:
        signal.signal(number, on_signal)
    server.start()
    announce(server.address)
    stop.wait()
    logger.info("stopping: calls in flight have %g s to finish", grace_s)
    server.stop(grace_s)


def _try_bind(listen: str) -> None:
    """Bind the address for a moment: gRPC itself would only log why it cannot."""
    host, _, port = listen.rpartition(":")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        problem = _BIND_PROBLEMS.get(error.errno or 0)
        if isinstance(error, socket.gaierror):
            problem = "its host has no address; name this machine, such as 127.0.0.1"
        raise ListenError(
            f"The server cannot listen on {listen}: {problem or error.strerror or error}."
        ) from None
