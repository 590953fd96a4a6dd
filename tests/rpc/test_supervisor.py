"""Several workers on one port: started, watched, replaced and stopped together."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ridgeline
from ridgeline.v1.analysis_service_pb2 import AnalyzeRequest, AnalyzeResponse
from ridgeline_server import supervisor
from ridgeline_server.app import ListenError, Server
from ridgeline_server.rpc.dispatch import Method
from ridgeline_server.settings import Settings
from ridgeline_server.supervisor import Supervisor, WorkersFailedError, reserved
from tests.rpc import dying
from tests.rpc.test_commands import environment, run

LIMIT_S = 60.0
ANALYZE = "ridgeline.v1.AnalysisService/Analyze"


class Supervised:
    """A running `serve --workers 2`."""

    def __init__(self, log: Path, database_url: str) -> None:
        self._log = log
        with log.open("w", encoding="utf-8") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ridgeline_server", "serve", "--workers", "2"],
                env=environment(RIDGELINE_LISTEN="127.0.0.1:0", RIDGELINE_DATABASE_URL=database_url),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.fullmatch(r"Listening on (127\.0\.0\.1:[1-9]\d*)\n", line)
        assert match is not None, line + self.log()
        self.address = match[1]

    def log(self) -> str:
        """What it wrote to standard error."""
        return self._log.read_text(encoding="utf-8")

    def workers(self) -> list[int]:
        """The processes that have listened, the newest of each worker."""
        found = dict(re.findall(r"worker (\d+), process (\d+), listens", self.log()))
        return [int(pid) for pid in found.values()]


@contextmanager
def supervised(log: Path, database_url: str) -> Iterator[Supervised]:
    """Run it and see that nothing of it is left."""
    server = Supervised(log, database_url)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()
        wait_until(lambda: not any(map(is_running, server.workers())))


def is_running(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what will be so."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def ask(address: str) -> str:
    """An answer of the server, over a connection of its own."""
    with ridgeline.connect(address) as client:
        return client.analyze("llama-2-7b", "rtx-a6000", input_len=64).model_id


def test_workers_share_a_port_are_replaced_and_stop_together(
    tmp_path: Path, seeded_database_url: str
) -> None:
    with supervised(tmp_path / "log", seeded_database_url) as server:
        assert server.address.partition(":")[2] != "0"
        first = server.workers()
        assert len(set(first)) == 2
        assert ask(server.address)

        with pytest.raises(ListenError, match="the port is in use"):
            Server({}, server.address, threads=1)

        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: first[0] not in server.workers())
        assert "ended by signal SIGKILL" in server.log()
        assert server.workers()[1] == first[1]
        for _ in range(6):
            assert ask(server.address)

        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(LIMIT_S) == 0
        assert not any(map(is_running, server.workers()))


def test_workers_do_not_outlive_their_supervisor(tmp_path: Path, seeded_database_url: str) -> None:
    with supervised(tmp_path / "log", seeded_database_url) as server:
        server.process.kill()
        wait_until(lambda: not any(map(is_running, server.workers())))


@pytest.mark.parametrize(
    ("dies", "told"),
    [
        (dying.before_listening, "ended with exit code 3 before it listened"),
        (dying.after_listening, "ended 3 times within 30 s of its start, the last time with exit code 3"),
    ],
)
def test_workers_that_keep_dying_end_the_server(
    dies: Callable[..., None], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "work", dies)
    monkeypatch.setattr(supervisor, "MAX_FAILURES", 2)
    # Signals are the main thread's, and a test's own.
    monkeypatch.setattr(supervisor, "_on_stop_signals", lambda stopper: None)
    announced: list[str] = []
    with pytest.raises(WorkersFailedError, match=told):
        Supervisor(Settings(workers=1), "127.0.0.1:1").run(announced.append)
    assert announced == (["127.0.0.1:1"] if dies is dying.after_listening else [])


def test_a_reserved_port_is_taken_for_other_servers_and_free_for_workers() -> None:
    methods = {ANALYZE: Method(ANALYZE, AnalyzeRequest, AnalyzeResponse, lambda _: AnalyzeResponse())}
    with reserved("127.0.0.1:0") as holder:
        listen = f"127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(ListenError, match="in use"):
            Server(methods, listen, threads=1)
        with pytest.raises(ListenError, match="in use"):
            reserved(listen)
        workers = [Server(methods, listen, threads=1, shares_port=True) for _ in range(2)]
        for worker in workers:
            worker.start()
        with pytest.raises(ListenError, match="in use"):
            reserved(listen)
        for worker in workers:
            worker.stop(0)


def test_a_number_of_workers_that_cannot_be_meant_is_wrong_usage() -> None:
    assert run("serve", "--workers", "0").returncode == 2
    told = run("serve", RIDGELINE_WORKERS="257")
    assert told.returncode == 2
    assert "RIDGELINE_WORKERS" in told.stderr
