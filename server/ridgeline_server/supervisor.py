"""Runs several processes that answer on one port, and keeps as many running.

A Python process works on one core at a time, so a server of several cores is several processes. Each listens
on the same port with SO_REUSEPORT, and the kernel spreads new connections over them. They are spawned, not
forked: gRPC's threads and the database's connections would not survive a fork.

The supervisor holds the port without listening and does nothing but watch. A worker that dies is started
again after a pause that doubles; one that dies soon again and again ends the whole, because an orchestrator
sees a server that exits and none that is forever about to start. A worker whose supervisor dies stops.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from ridgeline_server.app import ListenError, bound, serve_until
from ridgeline_server.command_errors import EXIT_UNAVAILABLE, exit_code_of
from ridgeline_server.observability.logs import configure_logs
from ridgeline_server.observability.tracing import TracingError, otlp_tracing
from ridgeline_server.observing import observing_workers
from ridgeline_server.securing import server_credentials
from ridgeline_server.security.certificates import CertificateError
from ridgeline_server.serving import opened
from ridgeline_server.settings import Settings
from ridgeline_server.store.errors import DatabaseError
from ridgeline_server.store.startup import open_catalog

logger = logging.getLogger(__name__)

STABLE_S = 30.0
"""A worker that lived for this long was no failed start."""

MAX_FAILURES = 8
"""Starts in a row that may fail; with the pauses between them about half a minute."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0

KILL_AFTER_S = 5.0
"""Beyond the grace, a worker that still runs is killed."""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class WorkersFailedError(Exception):
    """The workers cannot be kept running."""


@dataclass
class Worker:
    """One place of a process: what runs there, or when something will."""

    number: int
    process: SpawnProcess | None = None
    connection: Connection | None = None
    is_listening: bool = False
    started_s: float = 0.0
    due_s: float = 0.0
    failures: int = 0


def supervise(settings: Settings, announce: Callable[[str], None]) -> None:
    """Run the workers until a signal; `announce` gets the address once all of them listen.

    Raises DatabaseError, CertificateError, TracingError and ListenError before any is started, and
    WorkersFailedError.
    """
    configure_logs(settings.log_format, settings.log_level)
    open_catalog(settings.database_url).close()
    server_credentials(settings)
    if settings.tracing:
        otlp_tracing().close()
    with reserved(settings.listen) as port_holder, observing_workers(settings) as worker_ended:
        host, port = settings.listen.rpartition(":")[0], port_holder.getsockname()[1]
        Supervisor(settings, f"{host}:{port}", worker_ended).run(announce)


def reserved(listen: str) -> socket.socket:
    """A socket that holds the address against other servers and shares it with this user's workers.

    Bound before it is made shareable: a second server, which binds alike, fails. Raises ListenError.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ListenError("This system cannot share a port between processes; set RIDGELINE_WORKERS to 1.")
    found = bound(listen)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return found


class Supervisor:
    """Starts, watches and stops the workers of one address."""

    def __init__(
        self, settings: Settings, listen: str, worker_ended: Callable[[int], None] = lambda _: None
    ) -> None:
        """`worker_ended` gets the process id of each worker that ended by itself."""
        self._settings = settings
        self._listen = listen
        self._worker_ended = worker_ended
        self._spawn = get_context("spawn")
        self._workers = [Worker(number) for number in range(settings.workers)]
        self._announced = False

    def run(self, announce: Callable[[str], None]) -> None:
        """Keep the workers running until a signal, then stop them gracefully. Raises WorkersFailedError."""
        stop, stopper = self._spawn.Pipe(duplex=False)
        _on_stop_signals(stopper)
        try:
            while not self._watch(stop):
                if not self._announced and all(worker.is_listening for worker in self._workers):
                    self._announced = True
                    announce(self._listen)
        finally:
            self._stop()

    def _watch(self, stop: Connection) -> bool:
        """Start what is due and wait for the next event. Whether it is the stop."""
        now_s = time.monotonic()
        for worker in self._workers:
            if worker.process is None and worker.due_s <= now_s:
                self._start(worker)
        pauses = [worker.due_s - now_s for worker in self._workers if worker.process is None]
        ready = wait([stop, *self._watched()], min(pauses, default=None))
        if stop in ready:
            return True
        for worker in self._workers:
            if worker.connection in ready and not worker.is_listening:
                self._heed(worker)
            if worker.process is not None and worker.process.sentinel in ready:
                self._bury(worker)
        return False

    def _heed(self, worker: Worker) -> None:
        """Note that a worker says that it listens; one that died says nothing."""
        assert worker.process is not None
        assert worker.connection is not None
        with suppress(EOFError):
            worker.connection.recv()
            worker.is_listening = True
            logger.info("worker %d, process %s, listens", worker.number, worker.process.pid)

    def _watched(self) -> Sequence[int | Connection]:
        """The ends of processes, and what those that start will say."""
        ends = [worker.process.sentinel for worker in self._workers if worker.process is not None]
        starting = [w.connection for w in self._workers if w.connection is not None and not w.is_listening]
        return [*ends, *starting]

    def _start(self, worker: Worker) -> None:
        ours, theirs = self._spawn.Pipe()
        worker.process = self._spawn.Process(
            target=work, args=(self._settings, self._listen, theirs), name=f"worker {worker.number}"
        )
        worker.process.start()
        theirs.close()
        worker.connection, worker.is_listening, worker.started_s = ours, False, time.monotonic()

    def _bury(self, worker: Worker) -> None:
        """Decide what follows the end of a process. Raises WorkersFailedError when nothing does."""
        assert worker.process is not None
        assert worker.connection is not None
        worker.process.join()
        code, pid = worker.process.exitcode or 0, worker.process.pid
        if pid is not None:
            self._worker_ended(pid)
        lived_s = time.monotonic() - worker.started_s
        worker.process.close()
        worker.connection.close()
        worker.process = worker.connection = None
        worker.is_listening = False
        worker.failures = 1 if lived_s >= STABLE_S else worker.failures + 1
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        if not self._announced:
            raise WorkersFailedError(f"Worker {worker.number} ended {how} before it listened; see its log.")
        # Without a database it is tried again for as long as it takes.
        if worker.failures > MAX_FAILURES and code != EXIT_UNAVAILABLE:
            raise WorkersFailedError(
                f"Worker {worker.number} ended {worker.failures} times within {STABLE_S:g} s of its start, "
                f"the last time {how}; the server gives up. See its log."
            )
        pause_s = min(FIRST_PAUSE_S * 2 ** min(worker.failures - 1, 30), LONGEST_PAUSE_S)
        worker.due_s = time.monotonic() + pause_s
        logger.error(
            "worker %d, process %s, ended %s; another one starts in %g s", worker.number, pid, how, pause_s
        )

    def _stop(self) -> None:
        """Let all workers stop at the same time, and kill those that do not."""
        running = [worker.process for worker in self._workers if worker.process is not None]
        for process in running:
            process.terminate()
        patience_s = self._settings.drain_s + self._settings.grace_s + KILL_AFTER_S
        end_s = time.monotonic() + patience_s
        for process in running:
            process.join(max(0.0, end_s - time.monotonic()))
            if process.is_alive():
                logger.error("process %s did not stop within %g s and is killed", process.pid, patience_s)
                process.kill()
                process.join()


def work(settings: Settings, listen: str, supervisor: Connection) -> None:
    """What a worker's process does: serve until SIGTERM, or until its supervisor is gone."""
    configure_logs(settings.log_format, settings.log_level)
    # A terminal sends SIGINT to all of its processes; the supervisor tells its workers what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_stop_when_alone, args=(supervisor, stop), daemon=True).start()
    try:
        with opened(settings, listen) as server:
            serve_until(stop, server, settings.grace_s, supervisor.send, settings.drain_s)
    except (DatabaseError, ListenError, CertificateError, TracingError) as error:
        logger.error("the worker cannot start: %s", error)
        raise SystemExit(exit_code_of(error)) from None


def _stop_when_alone(supervisor: Connection, stop: threading.Event) -> None:
    """Wait for the end of the supervisor, which says nothing before. One that is impatient ends both."""
    with suppress(OSError):
        supervisor.poll(None)
    if stop.is_set():
        os._exit(1)
    stop.set()


def _on_stop_signals(stopper: Connection) -> None:
    """Say something on the connection at the first signal; the second ends the process at once."""

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for again in _STOP_SIGNALS:
            signal.signal(again, signal.SIG_DFL)
        stopper.send(None)

    for number in _STOP_SIGNALS:
        signal.signal(number, on_signal)
