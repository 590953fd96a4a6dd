"""Runs commands in this process: on a client that records, or on the service itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import ridgeline
from ridgeline.cli.root import root
from tests.unit.cli.fakes import FakeClient

Run = Callable[..., Result]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """The client that commands get instead of a real one."""
    client = FakeClient()
    monkeypatch.setattr(ridgeline, "connect", client.connect, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return client


@pytest.fixture
def run(fake: FakeClient) -> Run:
    """Run a command on the recording client."""

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(root, arguments, input=stdin, prog_name="ridgeline")

    return invoke


@pytest.fixture
def home(shipped_sqlite_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RIDGELINE_HOME of the test's own, with the shipped catalog."""
    own = tmp_path / "home"
    own.mkdir()
    shutil.copy(shipped_sqlite_file, own / "ridgeline.sqlite3")
    monkeypatch.setenv("RIDGELINE_HOME", str(own))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("RIDGELINE_SERVER", raising=False)
    monkeypatch.delenv("RIDGELINE_DATABASE_URL", raising=False)
    return own


@pytest.fixture
def ridgeline_command(home: Path) -> Run:
    """Run a command on the service in this process."""

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(root, arguments, input=stdin, prog_name="ridgeline")

    return invoke
