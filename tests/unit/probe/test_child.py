"""The child process: its environment, its command, its failures."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from ridgeline_server.probe.child import THREAD_VARIABLES, environment, probe_in_child
from ridgeline_server.probe.encoding import to_json
from tests.unit.probe.probes import probe, timing


def test_threads_are_told_to_every_library() -> None:
    told = environment(2, {"HOME": "/h", "OMP_NUM_THREADS": "8"})
    assert told["HOME"] == "/h"
    assert {told[name] for name in THREAD_VARIABLES} == {"2"}
    assert environment(None, {"HOME": "/h"}) == {"HOME": "/h"}


def test_options_become_a_command_and_its_output_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        assert options["env"]["OMP_NUM_THREADS"] == "2"
        return subprocess.CompletedProcess(command, 0, to_json(probe(timing())), "")

    monkeypatch.setattr("subprocess.run", run)
    assert probe_in_child(2, thorough=True, gpu=False) == probe(timing())
    assert commands[0][1:] == ["-m", "ridgeline_server.probe", "--threads", "2", "--thorough", "--no-gpu"]


def test_a_failure_ends_with_the_childs_last_words() -> None:
    with pytest.raises(RuntimeError, match=r"exit status 1: ValueError: threads is 0; this process"):
        probe_in_child(0)
