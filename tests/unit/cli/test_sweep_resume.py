"""`ridgeline sweep --resume FILE`: runs that stop make the rows of one that does not, each row once."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import ridgeline
from ridgeline.embedded import EmbeddedTransport
from ridgeline.errors import InternalError
from tests.unit.cli.conftest import Run

SWEEP = (
    "sweep", "--models", "llama-2-7b", "--hardware", "rtx-a6000,no-such-device", "--batch", "1,2,4",
    "--input-len", "100", "-o", "csv", "--columns", "point,ttft_ms,error_reason",
)  # fmt: skip
POINTS = 6


class Stopping:
    """A transport whose streams have one point a message and fail after some of them, unless told not to."""

    target = "stopping"

    def __init__(self, inner: EmbeddedTransport, points: int) -> None:
        self._inner = inner
        self._points = points

    def call(self, method: str, request: Any, response_type: Any) -> Any:
        return self._inner.call(method, request, response_type)

    def stream(self, method: str, request: Any, response_type: Any) -> Iterator[Any]:
        request.batch_rows = 1
        for number, response in enumerate(self._inner.stream(method, request, response_type)):
            if number == self._points:
                raise InternalError("the stream stopped")
            yield response

    def pause(self, seconds: float) -> None:
        raise AssertionError("nothing is to be tried again")

    def close(self) -> None:
        """The fixture closes the other one."""


@pytest.fixture
def stop_after(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Lets every sweep stop after so many points."""
    with ExitStack() as opened:
        inner = EmbeddedTransport(f"sqlite:///{home / 'ridgeline.sqlite3'}")
        opened.callback(inner.close)

        def stop(points: int) -> None:
            client = ridgeline.Client(Stopping(inner, points))
            monkeypatch.setattr(ridgeline, "connect", lambda *_, **__: client)

        stop(POINTS)
        yield stop


def test_what_was_stopped_twice_has_each_row_once(
    ridgeline_command: Run, stop_after: Callable[[int], None], tmp_path: Path
) -> None:
    whole = ridgeline_command(*SWEEP).stdout
    assert [row["point"] for row in csv.DictReader(io.StringIO(whole))] == [str(n) for n in range(POINTS)]
    resume = tmp_path / "rest"
    stop_after(2)
    first = ridgeline_command(*SWEEP, "--resume", str(resume))
    second = ridgeline_command(*SWEEP, "--resume", str(resume))
    assert (first.exit_code, second.exit_code) == (5, 5)
    assert resume.read_text().strip()
    stop_after(POINTS)
    third = ridgeline_command(*SWEEP, "--resume", str(resume))
    assert first.stdout + second.stdout + third.stdout == whole
    assert not resume.exists()
    # Its two rows are those of the device that there is not.
    assert third.exit_code == 1
    assert "2 of 2 points were refused" in third.stderr


def test_a_whole_run_keeps_no_file(
    ridgeline_command: Run, stop_after: Callable[[int], None], tmp_path: Path
) -> None:
    resume = tmp_path / "rest"
    resume.touch()
    result = ridgeline_command(*SWEEP, "--resume", str(resume))
    assert result.exit_code == 0
    assert result.stdout == ridgeline_command(*SWEEP).stdout
    assert not list(tmp_path.glob("*rest*"))


def test_another_command_cannot_go_on(
    ridgeline_command: Run, stop_after: Callable[[int], None], tmp_path: Path
) -> None:
    resume = tmp_path / "rest"
    stop_after(2)
    ridgeline_command(*SWEEP, "--resume", str(resume))
    kept = resume.read_text()
    result = ridgeline_command(*SWEEP, "--output-len", "5", "--resume", str(resume))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--resume: belongs to another request" in result.stderr
    assert resume.read_text() == kept


@pytest.mark.parametrize("content", [b"not a token", b"\xff\xfe", b"a" * 5000])
def test_a_file_of_something_else_is_refused_and_stays(
    ridgeline_command: Run, stop_after: Callable[[int], None], tmp_path: Path, content: bytes
) -> None:
    resume = tmp_path / "rest"
    resume.write_bytes(content)
    result = ridgeline_command(*SWEEP, "--resume", str(resume))
    assert result.exit_code == 2
    assert "holds no token of a sweep" in result.stderr
    assert resume.read_bytes() == content


@pytest.mark.parametrize("form", [("-o", "table"), ("-o", "csv", "--out", "rows.csv"), ("-o", "arrow")])
def test_only_what_can_be_appended_to_goes_on(ridgeline_command: Run, form: tuple[str, ...]) -> None:
    result = ridgeline_command(*SWEEP, *form, "--resume", "rest")
    assert result.exit_code == 2
    assert not Path("rest").exists()
    assert not Path("rows.csv").exists()


def test_a_run_that_does_not_begin_leaves_no_file(
    ridgeline_command: Run, stop_after: Callable[[int], None], tmp_path: Path
) -> None:
    result = ridgeline_command(*SWEEP, "--catalog-revision", "99999", "--resume", str(tmp_path / "rest"))
    assert result.exit_code != 0
    assert not list(tmp_path.glob("*rest*"))


def test_a_file_that_cannot_be_kept_is_told(
    ridgeline_command: Run, stop_after: Callable[[int], None], tmp_path: Path
) -> None:
    result = ridgeline_command(*SWEEP, "--resume", str(tmp_path / "no-such-folder" / "rest"))
    assert (result.exit_code, result.stdout) == (74, "")
    assert "No such file" in result.stderr
