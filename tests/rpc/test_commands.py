"""The command `ridgeline-server`, as a person at a terminal or a container runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

import ridgeline
from ridgeline_server.settings import Settings

LIMIT_S = 60.0


def environment(**settings: str) -> dict[str, str]:
    """The test's environment with these of Ridgeline's settings and no others."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("RIDGELINE_")}
    return {**outside, **settings}


def run(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ridgeline_server", *words],
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )


@contextmanager
def serving(**settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running `serve` on a free port, with its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ridgeline_server", "serve"],
        env=environment(RIDGELINE_LISTEN="127.0.0.1:0", **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"Listening on (127\.0\.0\.1:\d+)\n", line)
        assert match is not None, line + process.communicate(timeout=LIMIT_S)[1]
        yield process, match[1]
    finally:
        process.kill()
        process.communicate()


def test_from_nothing_to_answers_and_back_to_nothing(empty_database_url: str) -> None:
    database = {"RIDGELINE_DATABASE_URL": empty_database_url}
    for command, said in (
        (["migrate"], "Migrated the schema from nothing to revision"),
        (["migrate"], "The schema is current"),
        (["seed", "--dry-run"], "hardware rtx-a6000: new in this release"),
        (["seed", "--dry-run"], "nothing was written; the catalog stays at revision 0"),
        (["seed"], "created"),
        (["seed"], "unchanged"),
        (["check"], "can be served"),
    ):
        result = run(*command, **database)
        assert result.returncode == 0, result.stderr
        assert said in result.stdout
        assert not result.stderr
    with serving(**database) as (process, address):
        with ridgeline.connect(address) as client:
            assert (
                client.analyze("llama-2-7b", "rtx-a6000", input_len=64).model_id == "meta-llama/Llama-2-7b-hf"
            )
        healthy = run("health", RIDGELINE_LISTEN=address)
        assert (healthy.returncode, healthy.stdout) == (0, "SERVING\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
        silent = run("health", RIDGELINE_LISTEN=address)
        assert silent.returncode == 4
        assert address in silent.stderr


@pytest.mark.parametrize("command", ["serve", "seed", "check"])
def test_a_database_without_schema_names_the_command_that_helps(command: str, tmp_path: Path) -> None:
    result = run(command, RIDGELINE_HOME=str(tmp_path), RIDGELINE_LISTEN="127.0.0.1:0")
    assert result.returncode == 1
    assert "ridgeline-server migrate" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_database_that_does_not_answer_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"postgresql://ridgeline:hunter2@127.0.0.1:{port}/ridgeline"
    for command in ("migrate", "seed", "check", "serve"):
        result = run(command, RIDGELINE_DATABASE_URL=url)
        assert result.returncode == 4
        assert len(result.stderr.splitlines()) == 1
        assert "hunter2" not in result.stderr


def test_a_port_in_use_is_one_sentence(seeded_database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run("serve", RIDGELINE_DATABASE_URL=seeded_database_url, RIDGELINE_LISTEN=listen)
    assert result.returncode == 1
    assert result.stderr == (
        f"ridgeline-server: The server cannot listen on {listen}: the port is in use; "
        "stop what uses it, or set RIDGELINE_LISTEN to another port.\n"
    )


@contextmanager
def collecting() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """The address of a collector of OpenTelemetry's, and what it got."""
    got: list[ExportTraceServiceRequest] = []

    def export(
        request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        got.append(request)
        return ExportTraceServiceResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        export, ExportTraceServiceRequest.FromString, ExportTraceServiceResponse.SerializeToString
    )
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"Export": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}", got
    server.stop(0).wait()


def test_what_happens_is_told_in_logs_metrics_and_traces(seeded_database_url: str) -> None:
    observed = {
        "RIDGELINE_LOG_FORMAT": "json",
        "RIDGELINE_METRICS_LISTEN": "127.0.0.1:0",
        "RIDGELINE_TRACING": "true",
    }
    with (
        collecting() as (collector, exports),
        serving(
            RIDGELINE_DATABASE_URL=seeded_database_url, OTEL_EXPORTER_OTLP_ENDPOINT=collector, **observed
        ) as (process, address),
        ridgeline.connect(address) as client,
    ):
        with pytest.raises(ridgeline.errors.NotFoundError) as raised:
            client.analyze("no-such-model-anywhere", "rtx-a6000", input_len=128)
        assert process.stderr is not None
        url = re.search(r"http://127\.0\.0\.1:\d+/metrics", process.stderr.readline())
        assert url is not None
        # A call is counted when its answer is under way.
        counted = r'grpc_server_handled_total\{grpc_code="NOT_FOUND",grpc_method="Analyze",.*\} 1\.0'
        metrics, end = "", time.monotonic() + LIMIT_S
        while not re.search(counted, metrics):
            assert time.monotonic() < end
            with urllib.request.urlopen(url[0], timeout=LIMIT_S) as response:
                metrics = response.read().decode()
        process.send_signal(signal.SIGTERM)
        lines = [json.loads(line) for line in process.stderr]
        assert process.wait(LIMIT_S) == 0
    assert "ridgeline_database_connections_limit 20.0" in metrics
    (call,) = [line for line in lines if line["logger"] == "ridgeline_server.access"]
    assert call["request_id"] == raised.value.request_id
    assert (call["code"], call["pid"]) == ("NOT_FOUND", process.pid)
    spans = [
        span
        for export in exports
        for resource in export.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {span.trace_id.hex() for span in spans if span.name.endswith("/Analyze")} == {call["trace_id"]}


def test_metrics_on_a_port_in_use_are_one_sentence(seeded_database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run(
            "serve",
            RIDGELINE_DATABASE_URL=seeded_database_url,
            RIDGELINE_LISTEN="127.0.0.1:0",
            RIDGELINE_METRICS_LISTEN=listen,
        )
    assert result.returncode == 1
    assert result.stderr == (
        f"ridgeline-server: Metrics cannot be served on {listen}: Address already in use; set "
        "RIDGELINE_METRICS_LISTEN to an address that this machine has and a port that is free.\n"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RIDGELINE_LISTEN", "50051"),
        ("RIDGELINE_METRICS_LISTEN", "9464"),
        ("RIDGELINE_LOG_FORMAT", "xml"),
        ("RIDGELINE_TRACING", "perhaps"),
        ("RIDGELINE_DATABASE_POOL_SIZE", "0"),
        ("RIDGELINE_CATALOG_MAX_AGE_S", "-1"),
        ("RIDGELINE_LISTEN", "localhost:http"),
        ("RIDGELINE_LISTEN", "localhost:99999"),
        ("RIDGELINE_THREADS", "0"),
        ("RIDGELINE_THREADS", "many"),
        ("RIDGELINE_GRACE_S", "nan"),
        ("RIDGELINE_LOG_LEVEL", "loud"),
        ("RIDGELINE_THREAD", "16"),
        ("RIDGELINE_CONFIG", "absent.toml"),
        ("RIDGELINE_DATABASE_URL", "mysql://u:hunter2@h/d"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_wrong_usage(name: str, value: str) -> None:
    result = run("check", **{name: value})
    assert result.returncode == 2
    assert "hunter2" not in result.stderr
    assert name in result.stderr or "database" in result.stderr


def test_help_teaches_the_settings_and_the_exit_codes() -> None:
    text = run("--help").stdout
    told = set(re.findall(r"RIDGELINE_[A-Z_]+\b", text))
    assert told == {
        "RIDGELINE_CONFIG",
        *(f"RIDGELINE_{name.upper()}" for name in Settings.model_fields),
    }
    for command in ("serve", "migrate", "seed", "check", "health"):
        assert command in text
        assert run(command, "--help").returncode == 0
    assert "Exit codes" in text


def test_help_and_health_do_not_wait_for_the_service_to_load() -> None:
    code = (
        "import sys\n"
        "from ridgeline_server.__main__ import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "assert not {'grpc', 'numpy', 'alembic', 'sqlalchemy'} & sys.modules.keys()\n"
        "import ridgeline_server.health_client\n"
        "assert not {'numpy', 'alembic', 'sqlalchemy'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=LIMIT_S)
