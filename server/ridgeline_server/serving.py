"""Serves in this process: the database is opened, the server made of the settings, and run to its stop."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ridgeline_server.app import Server, serve_until_signal
from ridgeline_server.database_watch import DatabaseWatch
from ridgeline_server.observability.logs import configure_logs
from ridgeline_server.observing import observing
from ridgeline_server.rpc.dispatch import service_methods
from ridgeline_server.securing import authentication, server_credentials
from ridgeline_server.settings import Settings
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.engines import builtin_engines
from ridgeline_server.store.startup import open_catalog


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until a signal; `announce` gets the address. Raises DatabaseError, ListenError and
    CertificateError.
    """
    configure_logs(settings.log_format, settings.log_level)
    with opened(settings) as server:
        serve_until_signal(server, settings.grace_s, announce, settings.drain_s)


@contextmanager
def opened(settings: Settings, listen: str | None = None) -> Iterator[Server]:
    """A server that has its address and does not answer yet, on an open database.

    `listen` is an address that this process shares with others. Raises DatabaseError and ListenError.
    """
    store = open_catalog(
        settings.database_url,
        threads=settings.calls,
        pool_size=settings.database_pool_size,
        pool_wait_s=settings.database_pool_wait_s,
        statement_timeout_s=settings.database_timeout_s,
    )
    cache = CatalogCache(store, max_age_s=settings.catalog_max_age_s, stale_s=settings.catalog_stale_s)
    try:
        with observing(settings, store, is_worker=listen is not None) as observation:
            server = Server(
                service_methods(store, cache, max_sweep_rows=settings.sweep_max_rows),
                listen or settings.listen,
                settings.threads,
                [observation, authentication(settings, store.tokens)],
                stream_threads=settings.stream_threads,
                write_threads=settings.write_threads,
                shares_port=listen is not None,
                credentials=server_credentials(settings),
                max_request_bytes=settings.max_request_bytes,
                channelz=settings.channelz,
            )
            tune_interpreter()
            with DatabaseWatch(cache, server.health, server.services):
                yield server
    finally:
        store.close()


YOUNG_OBJECTS = 20_000
"""Objects that are made between two looks of the garbage collector at the young ones. An advice makes
and drops thousands and leaves no cycles; at Python's own 700 the collector looked eight times for each.
"""


TURN_S = 0.0005
"""For how long a thread works on while another one wants to. The thread that takes calls in, and refuses what
is too much, is one among those that answer: at Python's own 5 ms it came too seldom in an overload, calls
piled up before it where nobody counts them, and answers stayed late for ten seconds after the overload.
"""


def tune_interpreter() -> None:
    """Set up the garbage collector and the turns of threads for a process that answers calls."""
    keep_what_stays()
    sys.setswitchinterval(TURN_S)


def keep_what_stays() -> None:
    """Take modules and catalogs out of what the garbage collector looks through: it found nothing in them,
    and every full look stopped all calls for a sixth of a second. It looks for new garbage less often, too.
    """
    builtin_engines()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
