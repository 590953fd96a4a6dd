"""What observing a call costs, and what a look at the catalog in memory saves.

CPU time of the whole process, client and server together, over rounds of calls that alternate between a
server that observes its calls and one that does not; the least of the rounds counts, since others use the
machine too.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.sdk.trace import TracerProvider

from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
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
ROUNDS = 20
CALLS = 50


@contextmanager
def calling(method: Method, interceptors: list[Any]) -> Iterator[Callable[[], None]]:
    """A round of calls to a server of one rpc."""
    server = Server({ANALYZE: method}, "127.0.0.1:0", 2, interceptors)
    server.start()
    request = AnalyzeRequest()
    request.model.id, request.hardware.id = "llama-2-7b", "rtx-a6000"
    request.workload.input_len = request.workload.output_len = 128
    with grpc.insecure_channel(server.address) as channel:
        ask = channel.unary_unary(f"/{ANALYZE}", AnalyzeRequest.SerializeToString, AnalyzeResponse.FromString)

        def call() -> None:
            for _ in range(CALLS):
                ask(request)

        call()
        yield call
    server.stop(0)


def cpu_us_per_call(work: Callable[[], None]) -> float:
    """CPU time of the process for one call of a round."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / CALLS * 1e6


def compare(name: str, method: Method) -> None:
    """Print what each way of observing adds to a call."""
    ways: dict[str, list[Any]] = {
        "unobserved": [],
        "counted, timed and logged as JSON": [Observation(Metrics().calls)],
        "and traced, spans dropped": [Observation(Metrics().calls, Tracing(TracerProvider()))],
    }
    with ExitStack() as opened:
        rounds = {way: opened.enter_context(calling(method, given)) for way, given in ways.items()}
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, work in rounds.items():
                times[way].append(cpu_us_per_call(work))
    plain = min(times["unobserved"])
    print(f"{name}: {plain:.0f} us of CPU a call, client included")
    for way, found in list(times.items())[1:]:
        print(f"  {way}: +{min(found) - plain:.0f} us = {min(found) / plain:.2f} x")


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
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        configure_logs("json", "info", log)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        url = f"sqlite:///{Path(folder) / 'bench.sqlite3'}"
        with closing(open_embedded_catalog(url)) as store:
            nothing = Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, lambda _: AnalyzeResponse())
            compare("An rpc that does nothing", nothing)
            compare("Analyze", service_methods(store)[ANALYZE])
        looks("SQLite", url)
        with private_cluster() as postgres_url:
            from ridgeline_migrations import upgrade

            upgrade(postgres_url)
            looks("PostgreSQL", postgres_url)


if __name__ == "__main__":
    main()
