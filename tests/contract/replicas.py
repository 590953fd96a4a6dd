"""The services of docker-compose.yml as processes of this machine.

Commands, settings and health checks are its own and the Dockerfile's; only the database's address and the
ports differ.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
"""docker-compose.yml's stop_grace_period of the server."""


class Image:
    """Runs commands as the image would, on the database of one test."""

    def __init__(self, repository: Path, compose: dict[str, Any], database_url: str) -> None:
        dockerfile = (repository / "deploy" / "Dockerfile").read_text(encoding="utf-8")
        (entrypoint,) = re.findall(r"^ENTRYPOINT (\[.*\])$", dockerfile, flags=re.MULTILINE)
        self._entrypoint: list[str] = json.loads(entrypoint)
        self._services: dict[str, dict[str, Any]] = compose["services"]
        self._database_url = database_url

    def command(self, service: str) -> list[str]:
        """The service's process: the image's entry point with the service's arguments."""
        return _installed([*self._entrypoint, *self._services[service]["command"]])

    def health_command(self, service: str) -> list[str]:
        """The service's health check."""
        kind, *words = self._services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        return _installed(words)

    def environment(self, service: str, listen: str) -> dict[str, str]:
        """The service's settings, without those of whoever runs the tests."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("RIDGELINE_")}
        stated: dict[str, str] = self._services[service]["environment"]
        assert stated["RIDGELINE_DATABASE_URL"].startswith("postgresql+psycopg://")
        return {
            **outside,
            **stated,
            "RIDGELINE_DATABASE_URL": self._database_url,
            "RIDGELINE_LISTEN": listen,
            # Replicas share this machine, where each has a container of its own.
            "RIDGELINE_METRICS_LISTEN": "127.0.0.1:0",
            # One process each, so that a signal reaches what answers.
            "RIDGELINE_WORKERS": "1",
        }

    def run(self, service: str) -> subprocess.CompletedProcess[str]:
        """Run a one-shot service to its end."""
        return subprocess.run(
            self.command(service),
            env=self.environment(service, "127.0.0.1:0"),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def is_healthy(self, service: str, listen: str) -> bool:
        """What the service's health check says of the server at `listen`."""
        check = subprocess.run(
            self.health_command(service),
            env=self.environment(service, listen),
            capture_output=True,
            check=False,
            timeout=30,
        )
        return check.returncode == 0


class Replica:
    """One server of an image on a loopback port, which it keeps when it is started again."""

    def __init__(self, image: Image, service: str, log: Path) -> None:
        """Start it; `wait_until_listening` or its health check tell when it answers."""
        self.address = f"127.0.0.1:{free_port()}"
        self._image = image
        self._service = service
        self._log = log
        self.process = self._started()

    def start_again(self) -> None:
        """Start it anew, after it has ended, and wait until it listens."""
        assert self.process.poll() is not None
        self.process = self._started()
        self.wait_until_listening()

    def wait_until_healthy(self) -> None:
        """Wait for what the service's own health check says."""
        self._wait(lambda: self._image.is_healthy(self._service, self.address))

    def wait_until_listening(self) -> None:
        """Wait until the port takes connections, which costs no process as the health check does."""
        host, _, port = self.address.rpartition(":")

        def listens() -> bool:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
            except OSError:
                return False
            return True

        self._wait(listens)

    def end(self) -> None:
        """Kill it where it still runs."""
        self.process.kill()
        self.process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            return subprocess.Popen(
                self._image.command(self._service),
                env=self._image.environment(self._service, self.address),
                stdout=output,
                stderr=output,
            )

    def _wait(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not reached():
            assert self.process.poll() is None, self._log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, self._log.read_text(encoding="utf-8")
            time.sleep(0.05)


def free_port() -> int:
    """A port of loopback that nobody used a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _installed(words: Sequence[str]) -> list[str]:
    """The command as this environment has it, where the image finds it on its PATH."""
    return [str(Path(sys.executable).parent / words[0]), *words[1:]]
