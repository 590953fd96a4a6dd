"""The service's metrics, for Prometheus.

Labels have bounded values alone: rpcs that the server has, status codes, techniques, verdicts. Nothing that a
caller may make up becomes one.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from ridgeline_server.observability.call_metrics import CallMetrics
from ridgeline_server.observability.store_metrics import StoreMetrics


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        # Nobody asks when a metric was made, and each would be told so.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.calls = CallMetrics(self.registry)
        self.store = StoreMetrics(self.registry)

    def observe_process(self) -> None:
        """Tell memory, CPU time, open files and garbage collections of this process too."""
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
