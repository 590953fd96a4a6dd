"""`ridgeline-server check` tells what is wrong with a deployment, and what helps."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline_server.checkup import access, all_checks, database, host
from ridgeline_server.checkup.all_checks import exit_code, look_over
from ridgeline_server.checkup.finding import Finding, Severity
from ridgeline_server.rpc.dispatch import Method
from ridgeline_server.settings import Settings
from ridgeline_server.store.database import database_url as parsed_url
from ridgeline_server.store.database import sqlite_path
from tests.rpc.conftest import running
from tests.rpc.test_commands import run

ANALYZE = "ridgeline.v1.AnalysisService/Analyze"


def looked_over(url: str, listen: str = "127.0.0.1:0", **settings: int | str) -> dict[str, Finding]:
    """What each check finds."""
    found = list(look_over(Settings.model_validate({"database_url": url, "listen": listen, **settings})))
    by_check = {finding.check: finding for finding in found}
    assert len(by_check) == len(found)
    return by_check


def test_nothing_is_wrong_with_a_seeded_catalog(seeded_database_url: str) -> None:
    found = looked_over(seeded_database_url)
    assert found.keys() == {"database", "catalog", "file", "access", "address", "cores"}
    assert {finding.severity for finding in found.values()} == {Severity.OK}
    assert exit_code(found.values()) == 0


def test_a_catalog_that_was_never_seeded_is_a_warning(database_url: str) -> None:
    found = looked_over(database_url)
    assert found["database"].severity is Severity.OK
    assert found["catalog"].severity is Severity.WARNING
    assert "ridgeline-server seed" in found["catalog"].remedy
    assert exit_code(found.values()) == 0


def test_a_database_without_schema_is_an_error_and_is_looked_at_no_further(empty_database_url: str) -> None:
    found = looked_over(empty_database_url)
    assert found.keys() == {"database", "access", "address", "cores"}
    assert found["database"].severity is Severity.ERROR
    assert "ridgeline-server migrate" in found["database"].sentence
    assert exit_code(found.values()) == 1


def test_a_database_that_does_not_answer_has_an_exit_code_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = looked_over(f"postgresql://ridgeline:hunter2@127.0.0.1:{port}/ridgeline")
    assert exit_code(found.values()) == 4
    assert "hunter2" not in found["database"].sentence


@pytest.mark.parametrize("database_kind", ["postgresql"])
@pytest.mark.parametrize(
    ("workers", "severity", "told"),
    [
        (1, Severity.OK, "1 workers with 20 connections each may take 20 of the 97"),
        (3, Severity.WARNING, "a second server like this one would find too few"),
        (5, Severity.WARNING, "may take 100 of the 97"),
    ],
)
def test_connections_are_counted_over_all_workers(
    database_url: str, workers: int, severity: Severity, told: str
) -> None:
    finding = looked_over(database_url, workers=workers)["connections"]
    assert finding.severity is severity
    assert told in finding.message


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_clocks_that_differ_are_told(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked_over(database_url)["clock"].severity is Severity.OK
    monkeypatch.setattr(database, "MAX_CLOCK_DIFFERENCE_S", -1.0)
    assert "clock is" in looked_over(database_url)["clock"].message


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda path, patch: path.chmod(0o666), "every user"),
        (
            lambda path, patch: patch.setattr(database, "_file_system", lambda _: "nfs4"),
            "network file system",
        ),
        (lambda path, patch: patch.setattr(database, "MIN_FREE_BYTES", 2**62), "MiB left"),
    ],
)
def test_a_sqlite_file_in_a_bad_place_is_a_warning(
    database_url: str,
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = sqlite_path(parsed_url(database_url))
    assert path is not None
    spoil(path, monkeypatch)
    finding = looked_over(database_url)["file"]
    assert finding.severity is Severity.WARNING
    assert told in finding.message


def test_a_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    assert database._file_system(Path("/proc/self/status")) == "proc"
    assert database._file_system(tmp_path / "file") not in ("", "proc")


def test_a_port_that_something_else_has_is_an_error(seeded_database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = looked_over(seeded_database_url, f"127.0.0.1:{taken.getsockname()[1]}")
    assert found["address"].severity is Severity.ERROR
    assert "RIDGELINE_LISTEN" in found["address"].remedy
    assert exit_code(found.values()) == 1


def test_a_port_for_metrics_that_something_else_has_is_an_error(seeded_database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        metrics_listen = f"127.0.0.1:{taken.getsockname()[1]}"
        found = looked_over(seeded_database_url, metrics_listen=metrics_listen)["metrics"]
        assert found.severity is Severity.ERROR
        assert found.message == f"Metrics cannot be served on {metrics_listen}: the port is in use"
        assert "RIDGELINE_METRICS_LISTEN" in found.remedy
        methods = {ANALYZE: Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, lambda _: AnalyzeResponse())}
        with running(methods) as server:
            served = looked_over(seeded_database_url, server.address, metrics_listen=metrics_listen)
    assert served["metrics"].severity is Severity.OK
    free = looked_over(seeded_database_url, metrics_listen="127.0.0.1:0")["metrics"]
    assert free.severity is Severity.OK
    assert "metrics" not in looked_over(seeded_database_url)


def test_a_server_that_already_serves_there_is_fine(seeded_database_url: str) -> None:
    methods = {ANALYZE: Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, lambda _: AnalyzeResponse())}
    with running(methods) as server:
        finding = looked_over(seeded_database_url, server.address)["address"]
    assert finding.severity is Severity.OK
    assert "SERVING" in finding.message


def test_more_workers_than_cores_are_a_warning(
    seeded_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert looked_over(seeded_database_url, workers=2)["cores"].severity is Severity.OK
    assert looked_over(seeded_database_url, workers=3)["cores"].severity is Severity.WARNING


def test_the_command_tells_programs_too(database_url: str) -> None:
    result = run("check", "-o", "json", RIDGELINE_DATABASE_URL=database_url, RIDGELINE_LISTEN="127.0.0.1:0")
    assert result.returncode == 0
    findings = json.loads(result.stdout)
    assert {"severity": "warning", "check": "catalog"}.items() <= next(
        finding.items() for finding in findings if finding["check"] == "catalog"
    )
    assert all(finding["remedy"] for finding in findings if finding["severity"] != "ok")


def test_every_check_is_run() -> None:
    """One that was written and not named would never be."""
    written = {
        name
        for module in (access, database, host)
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__ and name[0] != "_"
    }
    named = {check.__name__ for check in (*all_checks.CHECKS, *all_checks.DATABASE_CHECKS)}
    assert named == written
