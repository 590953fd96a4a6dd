"""Server processes for the soaks: `ridgeline-server serve` as an operator runs it, and as SIGKILL ends it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO


class ServerProcess:
    """One running server on a free loopback port."""

    def __init__(self, database_url: str) -> None:
        """Start it and wait until it listens."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("RIDGELINE_")}
        self._log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # until the kill
        self._last_log = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ridgeline_server", "serve"],
            env={**outside, "RIDGELINE_LISTEN": "127.0.0.1:0", "RIDGELINE_DATABASE_URL": database_url},
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        match = re.fullmatch(r"Listening on (127\.0\.0\.1:\d+)\n", line)
        if match is None:
            self.kill()
            raise AssertionError(f"the server did not start: {line}{self.log()}")
        self.address = match[1]
        self.pid = self._process.pid

    def kill(self) -> None:
        """End it as a crash would: SIGKILL, no last word. Once it is dead nothing more happens."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._last_log = self.log()
        self._log.close()

    def log(self) -> str:
        """What it has written to its log."""
        if self._log.closed:
            return self._last_log
        self._log.seek(0)
        return self._log.read()

    def faults(self) -> str:
        """The part of its log that tells of a fault of its own; empty where there was none."""
        text = self.log()
        place = re.search(r"^.*(Traceback|failed, request )", text, re.MULTILINE)
        return text[place.start() :][:5000] if place else ""


@contextmanager
def servers(database_url: str, count: int) -> Iterator[list[ServerProcess]]:
    """That many servers on one database."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            server = ServerProcess(database_url)
            stack.callback(server.kill)
            found.append(server)
        yield found
