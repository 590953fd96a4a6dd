"""Puts together what observes one server, as its settings say."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import Engine

from ridgeline_server.observability.exposition import FOLDER_VARIABLE, MetricsServer
from ridgeline_server.observability.metrics import Metrics
from ridgeline_server.observability.tracing import Tracing, otlp_tracing
from ridgeline_server.rpc.interceptors.observation import Observation
from ridgeline_server.settings import Settings
from ridgeline_server.store.catalog_store import CatalogStore

logger = logging.getLogger(__name__)


@contextmanager
def observing(settings: Settings, store: CatalogStore) -> Iterator[Observation]:
    """Observe a store and, by the interceptor, the calls of a server on it.

    Metrics are served here unless this process is a worker whose parent serves them. Raises
    MetricsListenError and TracingError.
    """
    metrics = Metrics()
    store.database.observe(metrics.store)
    metrics.store.watch_pool(store.database.engine)
    with ExitStack() as opened:
        tracing = None
        if settings.tracing:
            tracing = _traced(store.database.engine)
            opened.callback(tracing.close)
        if settings.metrics_listen is not None and FOLDER_VARIABLE not in os.environ:
            metrics.observe_process()
            server = MetricsServer(metrics.registry, settings.metrics_listen)
            opened.callback(server.close)
            logger.info("metrics are at http://%s/metrics", server.address)
        yield Observation(metrics.calls, tracing)


def _traced(engine: Engine) -> Tracing:
    tracing = otlp_tracing()
    # It needs OpenTelemetry's packages, which are there now.
    from ridgeline_server.observability.statement_spans import watch_statements

    watch_statements(engine)
    return tracing
