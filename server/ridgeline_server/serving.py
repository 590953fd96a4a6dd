"""Serves in this process: the database is opened, the server made of the settings, and run to its stop."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ridgeline_server.app import Server, serve_until_signal
from ridgeline_server.rpc.dispatch import service_methods
from ridgeline_server.securing import authentication, server_credentials
from ridgeline_server.settings import Settings
from ridgeline_server.store.engines import builtin_engines
from ridgeline_server.store.startup import open_catalog


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until a signal; `announce` gets the address. Raises DatabaseError, ListenError and
    CertificateError.
    """
    configure_logging(settings)
    with opened(settings) as server:
        serve_until_signal(server, settings.grace_s, announce, settings.drain_s)


def configure_logging(settings: Settings) -> None:
    """Log to standard error from the level of the settings on."""
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(process)d %(name)s %(message)s",
    )


@contextmanager
def opened(settings: Settings, listen: str | None = None) -> Iterator[Server]:
    """A server that has its address and does not answer yet, on an open database.

    `listen` is an address that this process shares with others. Raises DatabaseError and ListenError.
    """
    store = open_catalog(settings.database_url, threads=settings.calls)
    try:
        server = Server(
            service_methods(store, max_sweep_rows=settings.sweep_max_rows),
            listen or settings.listen,
            settings.threads,
            [authentication(settings, store.tokens)],
            stream_threads=settings.stream_threads,
            write_threads=settings.write_threads,
            shares_port=listen is not None,
            credentials=server_credentials(settings),
            max_request_bytes=settings.max_request_bytes,
        )
        keep_what_stays()
        yield server
    finally:
        store.close()


def keep_what_stays() -> None:
    """Take modules and catalogs out of what the garbage collector looks through: it found nothing in them,
    and every full look stopped all calls for a sixth of a second.
    """
    builtin_engines()
    gc.collect()
    gc.freeze()
