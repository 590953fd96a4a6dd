"""The child process: its environment, its command, its failures."""

from __future__ import annotations

import io
from typing import Any, Self

import pytest

from ridgeline_server.probe.child import THREAD_VARIABLES, environment, probe_in_child
from ridgeline_server.probe.encoding import to_json
from tests.unit.probe.probes import probe, timing


def test_threads_are_told_to_every_library() -> None:
    told = environment(2, {"HOME": "/h", "OMP_NUM_THREADS": "8"})
    assert told["HOME"] == "/h"
    assert {told[name] for name in THREAD_VARIABLES} == {"2"}
    assert environment(None, {"HOME": "/h"}) == {"HOME": "/h"}


class Child:
    """A process that says `errors` on stderr and `answer` on stdout, and ends with `returncode`."""

    def __init__(self, answer: str, errors: str = "", returncode: int = 0) -> None:
        self.answer, self.stderr, self.returncode = answer, io.StringIO(errors), returncode
        self.command: list[str] = []
        self.environment: dict[str, str] = {}

    def __call__(self, command: list[str], **options: Any) -> Self:
        self.command, self.environment = command, options["env"]
        options["stdout"].write(self.answer)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def test_options_become_a_command_and_its_output_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child(to_json(probe(timing())))
    monkeypatch.setattr("subprocess.Popen", child)
    assert probe_in_child(2, thorough=True, gpu=False) == probe(timing())
    assert child.command[1:] == ["-m", "ridgeline_server.probe", "--threads", "2", "--thorough", "--no-gpu"]
    assert child.environment["OMP_NUM_THREADS"] == "2"


def test_progress_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "probing 0/2 launches by numpy\nprobing 1/2 bandwidth by numpy\n"
    monkeypatch.setattr("subprocess.Popen", Child(to_json(probe(timing())), said))
    told: list[tuple[int, int, str]] = []
    probe_in_child(told=lambda *progress: told.append(progress))
    assert told == [(0, 2, "launches by numpy"), (1, 2, "bandwidth by numpy")]


def test_a_failure_ends_with_the_childs_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", Child("", "Traceback:\nMemoryError: 3 GiB\n", 1))
    with pytest.raises(RuntimeError, match=r"exit status 1: MemoryError: 3 GiB"):
        probe_in_child()


def test_what_the_machine_does_not_have_is_told_as_the_child_tells_it() -> None:
    with pytest.raises(ValueError, match=r"^threads is 0; this process may use 1 to"):
        probe_in_child(0)
