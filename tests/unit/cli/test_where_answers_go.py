"""Answers go to stdout whole or the program says that they did not; what they quote is fit for a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ridgeline import errors
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1.hardware_pb2 import Hardware
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeClient

DEMO = ("llama-2-7b", "rtx-a6000", "--input-len", "2048")
ENTRY = "from ridgeline.cli import main; main()"
FULL = Path("/dev/full")

RED = "\x1b[31m"
BACKWARDS = "\u202e"


def run_into(home: Path, stdout: str, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'{before} exec "$@" {stdout}', "sh", sys.executable, "-c", ENTRY, *arguments],
        env={**os.environ, "RIDGELINE_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("models", "--help"),
        ("models", "list"),
        ("models", "list", "-o", "json"),
        ("hardware", "list", "-o", "csv"),
        ("hardware", "get", "h100"),
        ("models", "export", "llama-2-7b"),
        ("analyze", *DEMO),
        ("analyze", *DEMO, "-o", "json"),
        ("recommend", *DEMO),
        ("plot", "roofline", *DEMO),
    ],
    ids=" ".join,
)
def test_a_full_disk_is_one_sentence_and_no_no(home: Path, arguments: tuple[str, ...]) -> None:
    result = run_into(home, f">{FULL}", *arguments)
    assert result.stderr == "Error: The answer cannot be written to stdout: No space left on device.\n"
    assert result.returncode == 74


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_a_file_takes_in_part_is_noticed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    """A short write is no error to the system; containers often tell Python to write without a buffer."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    listed = ("models", "list", "-o", "json")
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert run_into(home, f">{whole}", *listed).returncode == 0
    result = run_into(home, f">{part}", *listed, before="ulimit -f 200;")
    assert 0 < part.stat().st_size < whole.stat().st_size
    assert result.stderr == "Error: The answer cannot be written to stdout: File too large.\n"
    assert result.returncode == 74


def test_a_sweep_goes_on_behind_the_last_batch_that_a_file_took_whole(home: Path, tmp_path: Path) -> None:
    rows, rest = tmp_path / "rows.csv", tmp_path / "rest"
    sweep = (
        "sweep", "--models", "llama-2-7b", "--hardware", "rtx-a6000", "--input-len", "1:9000:1",
        "-o", "csv", "--columns", "point,ttft_ms,error_message", "--resume", str(rest),
    )  # fmt: skip
    stopped = run_into(home, f">>{rows}", *sweep, before="ulimit -f 300;")
    assert stopped.returncode == 74
    assert rest.read_text().strip()
    assert rows.read_bytes().endswith(b"\n")
    assert run_into(home, f">>{rows}", *sweep).returncode == 0
    points = [int(row["point"]) for row in csv.DictReader(rows.read_text().splitlines(), strict=True)]
    assert points == list(range(9000))


def test_a_closed_stdout_is_told_before_anything_is_done(home: Path) -> None:
    result = run_into(home, ">&-", "hardware", "delete", "h100")
    assert result.stderr == "Error: The answer cannot be written to stdout: it is closed.\n"
    assert result.returncode == 74
    assert run_into(home, ">/dev/null", "hardware", "get", "h100").returncode == 0


def test_a_closed_stdin_is_refused_as_what_cannot_be_read(home: Path) -> None:
    result = run_into(home, "<&- >/dev/null", "models", "import", "-", "--id", "a/b")
    assert (result.returncode, result.stderr) == (2, "")


def showing(fake: FakeClient) -> None:
    """A catalog whose one device has a name that plays with the terminal."""
    device = Hardware(id="card", display_name=f"a{RED}b\n", notes=[f"c{BACKWARDS}d"], kind="gpu")
    fake.answers["get_hardware"] = lambda *_, **__: catalog.GetHardwareResponse(hardware=device)


def test_screens_show_control_characters_as_what_they_are(run: Run, fake: FakeClient) -> None:
    showing(fake)
    shown = run("hardware", "get", "card").stdout
    assert RED not in shown
    assert BACKWARDS not in shown
    assert r"a\x1b[31mb\n" in shown.splitlines()
    assert r"c\u202ed" in shown


def test_json_says_the_same_without_them(run: Run, fake: FakeClient) -> None:
    showing(fake)
    shown = run("hardware", "get", "card", "-o", "json").stdout
    assert RED not in shown
    assert BACKWARDS not in shown
    told = json.loads(shown)["hardware"]
    assert (told["display_name"], told["notes"]) == (f"a{RED}b\n", [f"c{BACKWARDS}d"])


def test_csv_keeps_values_in_a_pipe_and_escapes_them_at_a_terminal(
    run: Run, fake: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    showing(fake)
    (row,) = csv.DictReader(io.StringIO(run("hardware", "get", "card", "-o", "csv").stdout))
    assert row["display_name"] == f"a{RED}b\n"
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)
    assert RED not in run("hardware", "get", "card", "-o", "csv").stdout


def test_errors_show_them_as_what_they_are(run: Run, fake: FakeClient) -> None:
    fake.error = errors.NotFoundError(f"No model is named 'a{RED}b'.")
    assert run("analyze", *DEMO).stderr == "Error: No model is named 'a\\x1b[31mb'.\n"
    assert RED not in run("plot", f"x{RED}").stderr


def test_a_name_with_a_line_break_stays_on_its_line(run: Run, fake: FakeClient, tmp_path: Path) -> None:
    fake.answers["import_entries"] = lambda entries, **_: catalog.ImportEntriesResponse(
        outcomes=[catalog.ImportOutcome(name=entry.name, id=entry.model.id) for entry in entries]
    )
    folder = tmp_path / f"a\nb{RED}"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    first, *_ = run("models", "import", str(folder)).stdout.splitlines()
    assert r"a\nb\x1b[31m" in first
    assert first.endswith("config.json")
