"""Metrics of calls, under the names that gRPC servers in Go and Java use, so that known dashboards show them.

Status codes are labelled as the contract writes them (`INVALID_ARGUMENT`), which is Java's way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_BUCKETS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)

OF_RPC = ("grpc_type", "grpc_service", "grpc_method")

UNARY = "unary"
SERVER_STREAM = "server_stream"
BIDI_STREAM = "bidi_stream"


@dataclass(frozen=True)
class Rpc:
    """One rpc as labels name it. `is_probe` are those of orchestrators and tools, not of users."""

    grpc_type: str
    service: str
    method: str
    is_probe: bool = False


UNKNOWN_RPC = Rpc(UNARY, "unknown", "unknown")
"""All rpcs that the server does not have: their names are a caller's to choose, so they make no labels."""


class CallMetrics:
    """Counts and times calls by rpc, and advice by technique."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._started = Counter(
            "grpc_server_started", "Calls that came in, answered or not.", OF_RPC, registry=registry
        )
        self._handled = Counter(
            "grpc_server_handled",
            "Calls that ended, by status code.",
            (*OF_RPC, "grpc_code"),
            registry=registry,
        )
        self._handling = Histogram(
            "grpc_server_handling_seconds",
            "Seconds from a call's arrival to its end.",
            OF_RPC,
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._sent = Counter(
            "grpc_server_msg_sent", "Messages that were made for callers.", OF_RPC, registry=registry
        )
        self._in_flight = Gauge(
            "ridgeline_calls_in_flight",
            "Calls that are being answered; open streams are those of grpc_type server_stream.",
            OF_RPC,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._rows = Counter(
            "ridgeline_rows_streamed", "Rows of results that streams have sent.", OF_RPC, registry=registry
        )
        self._recommendations = Counter(
            "ridgeline_recommendations",
            "Techniques that advice judged, by verdict.",
            ("technique", "verdict"),
            registry=registry,
        )
        # Finding a child by its labels costs more than counting in it.
        self.of_rpc = cache(self._of_rpc)
        self.recommendation = cache(self._recommendations.labels)

    def _of_rpc(self, rpc: Rpc) -> RpcMetrics:
        labels = (rpc.grpc_type, rpc.service, rpc.method)
        return RpcMetrics(
            started=self._started.labels(*labels),
            handled=cache(lambda code: self._handled.labels(*labels, code)),
            handling=self._handling.labels(*labels),
            sent=self._sent.labels(*labels),
            in_flight=self._in_flight.labels(*labels),
            rows=self._rows.labels(*labels) if rpc.grpc_type == SERVER_STREAM else None,
        )


@dataclass(frozen=True)
class RpcMetrics:
    """The metrics of one rpc; `handled` takes the name of a status code, and only a stream sends `rows`."""

    started: Counter
    handled: Callable[[str], Counter]
    handling: Histogram
    sent: Counter
    in_flight: Gauge
    rows: Counter | None
