"""A TCP proxy in front of a Unix socket that a test makes swallow bytes, or cut connections."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

CHUNK_BYTES = 65536


class CutProxy:
    """Passes bytes both ways on a port of loopback until it is told otherwise."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._passes = True
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """From now on nothing arrives, in either direction, and nobody is told."""
        self._passes = False

    def cut(self) -> None:
        """Close every connection that there is."""
        sockets, self._sockets = self._sockets, []
        for connected in sockets:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Pass bytes again; what was swallowed is lost, so connections that missed some are cut."""
        self.cut()
        self._passes = True

    def close(self) -> None:
        """Let nobody in any more, and close what is open."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._target))
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with source, suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                if self._passes:
                    sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)
