"""Serves metrics over HTTP, on an address of their own.

A process that answers calls alone serves its own metrics. Of several workers on one host the parent serves
the sums: prometheus-client's multiprocess mode keeps each worker's values in files that the parent reads, so
that there is one address to scrape, a counter never falls when a worker is replaced, and a worker that hangs
hides nothing. A port for each worker would make every replica several targets, whose number a scraper would
have to know.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""By which prometheus-client finds the workers' files; it reads it once, when it is imported."""


class MetricsListenError(OSError):
    """Metrics cannot be served on their address."""


class MetricsServer:
    """Serves a registry at http://HOST:PORT/metrics, on threads of its own, until it is closed."""

    def __init__(self, registry: CollectorRegistry, listen: str) -> None:
        """Port 0 takes a free one. Raises MetricsListenError."""
        host, _, port = listen.rpartition(":")
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), registry)
        except OSError as error:
            raise MetricsListenError(
                f"Metrics cannot be served on {listen}: {error.strerror or error}; set "
                "RIDGELINE_METRICS_LISTEN to an address that this machine has and a port that is free."
            ) from None
        self.address = f"{host}:{self._server.server_port}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class WorkersMetrics:
    """Serves the sums over worker processes from their parent.

    Enter it before the workers start: they find the folder by their environment, and keep their metrics there
    without serving them. Tell it of each worker that ended, so that its gauges no longer count.
    """

    def __init__(self, listen: str) -> None:
        self._listen = listen

    def __enter__(self) -> Self:
        self._folder = tempfile.mkdtemp(prefix="ridgeline-metrics-")
        self._environment = os.environ.get(FOLDER_VARIABLE)
        os.environ[FOLDER_VARIABLE] = self._folder
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=self._folder)  # type: ignore[no-untyped-call]
        try:
            self._server = MetricsServer(registry, self._listen)
        except MetricsListenError:
            self._clear()
            raise
        self.address = self._server.address
        return self

    def worker_ended(self, pid: int) -> None:
        """Drop the gauges of a worker; its counters stay in the sums."""
        mark_process_dead(pid, self._folder)  # type: ignore[no-untyped-call]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        self._clear()

    def _clear(self) -> None:
        if self._environment is None:
            del os.environ[FOLDER_VARIABLE]
        else:
            os.environ[FOLDER_VARIABLE] = self._environment
        shutil.rmtree(self._folder)
