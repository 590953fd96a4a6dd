"""Metrics over HTTP: of one process, and the sums over several workers from their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ridgeline_server.observability.call_metrics import UNARY, Rpc
from ridgeline_server.observability.exposition import (
    FOLDER_VARIABLE,
    MetricsListenError,
    MetricsServer,
    WorkersMetrics,
)
from ridgeline_server.observability.metrics import Metrics
from ridgeline_server.observing import observing_workers
from ridgeline_server.settings import Settings
from ridgeline_server.store.observer import CatalogRead

RPC = Rpc(UNARY, "ridgeline.v1.AnalysisService", "Analyze")
LABELS = {"grpc_type": RPC.grpc_type, "grpc_service": RPC.service, "grpc_method": RPC.method}
LIMIT_S = 60.0


def scraped(address: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples that an address serves, by name and labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=LIMIT_S) as response:
        text = response.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(address: str, name: str, labels: Mapping[str, str] = LABELS) -> float | None:
    """One sample of what an address serves."""
    return scraped(address).get((name, frozenset(labels.items())))


def test_one_process_serves_its_own_metrics() -> None:
    metrics = Metrics()
    metrics.observe_process()
    metrics.calls.of_rpc(RPC).handled("OK").inc()
    with closing(MetricsServer(metrics.registry, "127.0.0.1:0")) as server:
        assert value(server.address, "grpc_server_handled_total", {**LABELS, "grpc_code": "OK"}) == 1
        assert (value(server.address, "process_resident_memory_bytes", {}) or 0) > 1e6
        assert not any(name.endswith("_created") for name, _ in scraped(server.address))


def test_a_closed_server_gives_its_port_back() -> None:
    registry = Metrics().registry
    first = MetricsServer(registry, "127.0.0.1:0")
    first.close()
    MetricsServer(registry, first.address).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_an_address_that_cannot_be_had_is_told_with_the_setting(host: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        listen = f"{host}:{taken.getsockname()[1]}"
        with pytest.raises(MetricsListenError, match=f"{listen}.*RIDGELINE_METRICS_LISTEN"):
            MetricsServer(Metrics().registry, listen)


def work(pipe: Connection) -> None:
    """A worker that has answered two calls and is in a third, until it is told to stop or killed."""
    metrics = Metrics()
    of_rpc = metrics.calls.of_rpc(RPC)
    for _ in range(2):
        of_rpc.handled("OK").inc()
        of_rpc.handling.observe(0.02)
    of_rpc.in_flight.inc()
    metrics.store.catalog_read(CatalogRead.CACHED)
    metrics.store.catalog_checked(7)
    pipe.send("ready")
    pipe.recv()


@contextmanager
def worker() -> Iterator[BaseProcess]:
    """A worker process that is ready, as a supervisor spawns it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs,), daemon=True)
    process.start()
    try:
        assert ours.poll(LIMIT_S)
        ours.recv()
        yield process
    finally:
        process.kill()
        process.join(LIMIT_S)


def test_the_parent_serves_the_sums_over_its_workers_the_killed_ones_included() -> None:
    ok = {**LABELS, "grpc_code": "OK"}
    with WorkersMetrics("127.0.0.1:0") as metrics, worker() as first, worker():
        assert value(metrics.address, "grpc_server_handled_total", ok) == 4
        assert value(metrics.address, "grpc_server_handling_seconds_count") == 4
        assert value(metrics.address, "ridgeline_calls_in_flight") == 2
        assert value(metrics.address, "ridgeline_catalog_revision", {}) == 7
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        first.join(LIMIT_S)
        metrics.worker_ended(first.pid)
        # What it counted has happened; what it had in flight has not ended, and is no more.
        assert value(metrics.address, "grpc_server_handled_total", ok) == 4
        assert value(metrics.address, "ridgeline_calls_in_flight") == 1
        with worker():
            assert value(metrics.address, "grpc_server_handled_total", ok) == 6


def test_without_an_address_nothing_is_served_or_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with observing_workers(Settings()) as worker_ended:
        assert FOLDER_VARIABLE not in os.environ
        worker_ended(os.getpid())


def test_the_settings_name_the_address_of_the_sums(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    settings = Settings(metrics_listen="127.0.0.1:0")
    with observing_workers(settings) as worker_ended, worker() as process:
        address = caplog.messages[-1].removeprefix("metrics are at http://").removesuffix("/metrics")
        assert value(address, "ridgeline_calls_in_flight") == 1
        assert process.pid is not None
        worker_ended(process.pid)
        assert value(address, "ridgeline_calls_in_flight") is None


def test_the_workers_folder_is_there_for_as_long_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with WorkersMetrics("127.0.0.1:0"):
        folder = Path(os.environ[FOLDER_VARIABLE])
        assert folder.is_dir()
        with pytest.raises(MetricsListenError), WorkersMetrics("no-such-host.invalid:0"):
            pytest.fail("served")
        assert os.environ[FOLDER_VARIABLE] == str(folder)
    assert not folder.exists()
    assert FOLDER_VARIABLE not in os.environ
