"""Puts together what observes one server, as its settings say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import Engine

from ridgeline_server.observability.exposition import MetricsServer, WorkersMetrics
from ridgeline_server.observability.metrics import Metrics
from ridgeline_server.observability.tracing import Tracing, otlp_tracing
from ridgeline_server.rpc.interceptors.observation import Observation
from ridgeline_server.settings import Settings
from ridgeline_server.store.catalog_store import CatalogStore

logger = logging.getLogger(__name__)


@contextmanager
def observing(settings: Settings, store: CatalogStore, *, is_worker: bool = False) -> Iterator[Observation]:
    """Observe a store and, by the interceptor, the calls of a server on it.

    A worker's metrics are served by its parent, see `observing_workers`. Raises MetricsListenError and
    TracingError.
    """
    metrics = Metrics()
    store.database.observe(metrics.store)
    metrics.store.watch_pool(store.database.engine)
    with ExitStack() as opened:
        tracing = None
        if settings.tracing:
            tracing = _traced(store.database.engine)
            opened.callback(tracing.close)
        if settings.metrics_listen is not None and not is_worker:
            metrics.observe_process()
            server = MetricsServer(metrics.registry, settings.metrics_listen)
            opened.callback(server.close)
            _announce(server.address)
        yield Observation(metrics.calls, tracing)


@contextmanager
def observing_workers(settings: Settings) -> Iterator[Callable[[int], None]]:
    """Serve the sums of the metrics of processes that are spawned within the block.

    Gives what is to be called with the id of each process that ended. Raises MetricsListenError.
    """
    if settings.metrics_listen is None:
        yield lambda pid: None  # noqa: ARG005
        return
    with WorkersMetrics(settings.metrics_listen) as metrics:
        _announce(metrics.address)
        yield metrics.worker_ended


def _announce(address: str) -> None:
    logger.info("metrics are at http://%s/metrics", address)


def _traced(engine: Engine) -> Tracing:
    tracing = otlp_tracing()
    # It needs OpenTelemetry's packages, which are there now.
    from ridgeline_server.observability.statement_spans import watch_statements

    watch_statements(engine)
    return tracing
