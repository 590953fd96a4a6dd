"""What observing a call costs a server, and what a look at the catalog in memory saves.

CPU time of servers in processes of their own, over rounds of calls that alternate between one that observes
its calls and one that does not; the least of the rounds counts, since others use the machine too.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.sdk.trace import TracerProvider

from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline_migrations import upgrade
from ridgeline_server.app import Server
from ridgeline_server.observability.logs import configure_logs
from ridgeline_server.observability.metrics import Metrics
from ridgeline_server.observability.tracing import Tracing
from ridgeline_server.rpc.dispatch import Method, service_methods
from ridgeline_server.rpc.interceptors.observation import Observation
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.startup import open_catalog, open_embedded_catalog
from tests.private_postgres import private_cluster

ANALYZE = "ridgeline.v1.AnalysisService/Analyze"
UNOBSERVED = "unobserved"

TRACING: Mapping[str, Callable[[], Tracing | None]] = {
    "counted, timed and logged as JSON": lambda: None,
    "and traced, spans dropped": lambda: Tracing(TracerProvider()),
}
WAYS = (UNOBSERVED, *TRACING)

ROUNDS = 10
CALLS = 100


def serve(way: str, url: str, log: str, pipe: Connection) -> None:
    """A server of one rpc, Analyze on a database or, without one, an rpc that does nothing.

    It tells its port, and then the CPU time that it has used whenever it is asked.
    """
    with Path(log).open("w") as stream:
        configure_logs("json", "info", stream)
        methods = {ANALYZE: Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, lambda _: AnalyzeResponse())}
        if url:
            methods = service_methods(open_catalog(url))
        interceptors = [] if way == UNOBSERVED else [Observation(Metrics().calls, TRACING[way]())]
        server = Server({ANALYZE: methods[ANALYZE]}, "127.0.0.1:0", 2, interceptors)
        server.start()
        pipe.send(server.port)
        while pipe.recv():
            pipe.send(time.process_time())
        server.stop(0)


class Served:
    """A server in a process of its own."""

    def __init__(self, way: str, url: str, folder: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        log = str(Path(folder) / "log")
        context.Process(target=serve, args=(way, url, log, theirs), daemon=True).start()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self._pipe.recv()}")
        self._ask: Any = self._channel.unary_unary(
            f"/{ANALYZE}", AnalyzeRequest.SerializeToString, AnalyzeResponse.FromString
        )

    def cpu_us(self) -> float:
        """CPU time of the server for one call of a round."""
        request = AnalyzeRequest()
        request.model.id, request.hardware.id = "llama-2-7b", "rtx-a6000"
        request.workload.input_len = request.workload.output_len = 128
        began = self._used()
        for _ in range(CALLS):
            self._ask(request)
        return (self._used() - began) / CALLS * 1e6

    def close(self) -> None:
        """End the server."""
        self._channel.close()
        self._pipe.send("")

    def _used(self) -> float:
        self._pipe.send("CPU time")
        used: float = self._pipe.recv()
        return used


def compare(name: str, url: str, folder: str) -> None:
    """Print what each way of observing adds to a call."""
    with ExitStack() as opened:
        servers = {way: opened.enter_context(closing(Served(way, url, folder))) for way in WAYS}
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, served in servers.items():
                times[way].append(served.cpu_us())
    plain = min(times[UNOBSERVED])
    print(f"{name}: {plain:.0f} us of the server's CPU time a call")
    for way in TRACING:
        least = min(times[way])
        print(f"  {way}: +{least - plain:.0f} us = {least / plain:.2f} x")


def looks(name: str, url: str) -> None:
    """Print what a look at the catalog costs from memory and by the database."""
    with closing(open_catalog(url)) as store:
        from_memory = CatalogCache(store, max_age_s=3600.0)
        by_database = CatalogCache(store, max_age_s=0.0)

        def repeated(cache: CatalogCache) -> Callable[[], None]:
            def work() -> None:
                for _ in range(CALLS):
                    cache.snapshot()

            work()
            return work

        memory, database = repeated(from_memory), repeated(by_database)
        least = {
            "from memory": min(wall_us(memory) for _ in range(ROUNDS)),
            "by a look at the database": min(wall_us(database) for _ in range(ROUNDS)),
        }
    print(f"The current catalog on {name}: " + ", ".join(f"{way} {us:.1f} us" for way, us in least.items()))


def wall_us(work: Callable[[], None]) -> float:
    """Time of one look of a round."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) / CALLS * 1e6


def main() -> None:
    """Print costs in microseconds and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'bench.sqlite3'}"
        open_embedded_catalog(url).close()
        compare("An rpc that does nothing", "", folder)
        compare("Analyze", url, folder)
        looks("SQLite", url)
        with private_cluster() as postgres_url:
            upgrade(postgres_url)
            looks("PostgreSQL", postgres_url)


if __name__ == "__main__":
    main()
