"""The services of docker-compose.yml do their work, in their order, on a real PostgreSQL.

Commands, order, settings, replicas and health check are read out of docker-compose.yml and deploy/Dockerfile;
only the database's address and the ports differ.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

import ridgeline
from ridgeline import errors
from tests.conftest import PostgresDatabases
from tests.contract.replicas import STOP_LIMIT_S, Image, Replica

OURS = ("migrate", "seed", "server")
"""The services of our own image."""


@dataclass(frozen=True)
class Stack:
    """What `docker compose up` would have started, and what its jobs printed."""

    image: Image
    jobs: dict[str, subprocess.CompletedProcess[str]]
    replicas: list[Replica]


@pytest.fixture(scope="module")
def stack(
    repository: Path,
    compose: dict[str, Any],
    postgres_databases: PostgresDatabases,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """Our own services, started in the order that docker-compose.yml asks for."""
    services = compose["services"]
    order = TopologicalSorter({name: service.get("depends_on", {}) for name, service in services.items()})
    url = postgres_databases.create(migrated=False)
    stack = Stack(Image(repository, compose, url), {}, [])
    log = tmp_path_factory.mktemp("servers") / "log"
    try:
        for name in order.static_order():
            if name not in OURS:
                continue
            if services[name]["restart"] == "no":
                stack.jobs[name] = stack.image.run(name)
                assert stack.jobs[name].returncode == 0, stack.jobs[name].stderr
                continue
            for _ in range(services[name]["deploy"]["replicas"]):
                replica = Replica(stack.image, name, log)
                stack.replicas.append(replica)
                replica.wait_until_healthy()
        yield stack
    finally:
        for replica in stack.replicas:
            replica.end()
        postgres_databases.drop(url)


def test_the_schema_is_made_and_then_the_catalog(stack: Stack) -> None:
    assert list(stack.jobs) == ["migrate", "seed"]
    assert "from nothing" in stack.jobs["migrate"].stdout
    assert re.search(r"hardware: \d+ created", stack.jobs["seed"].stdout)


def test_the_jobs_may_run_again_beside_the_servers(stack: Stack) -> None:
    migrated_again = stack.image.run("migrate")
    seeded_again = stack.image.run("seed")
    assert (migrated_again.returncode, seeded_again.returncode) == (0, 0)
    assert "current" in migrated_again.stdout
    assert not re.search(r"created|updated|removed", seeded_again.stdout)


def test_two_replicas_answer_alike(stack: Stack) -> None:
    assert len(stack.replicas) == 2
    answers = []
    for replica in stack.replicas:
        with ridgeline.connect(replica.address) as client:
            answers.append(client.recommend("llama-2-7b", "rtx-a6000", input_len=2048))
    assert answers[0].recommendations
    assert answers[0] == answers[1]


def test_what_one_replica_stores_the_other_reads_at_once(stack: Stack) -> None:
    writer, reader = stack.replicas
    with ridgeline.connect(writer.address) as one, ridgeline.connect(reader.address) as other:
        assert other.get_hardware("rtx-a6000").hardware.display_name
        mine = one.get_hardware("rtx-a6000").hardware
        mine.id = "rtx-a6000-of-ours"
        mine.display_name = "The A6000 under the desk"
        del mine.aliases[:]
        stored = one.create_hardware(mine)
        read = other.get_hardware("rtx-a6000-of-ours")
        assert read.hardware.display_name == "The A6000 under the desk"
        assert read.catalog_revision == stored.catalog_revision


def test_a_server_does_not_start_on_a_database_without_the_schema(
    repository: Path, compose: dict[str, Any], postgres_databases: PostgresDatabases
) -> None:
    url = postgres_databases.create(migrated=False)
    image = Image(repository, compose, url)
    refused = image.run("server")
    postgres_databases.drop(url)
    assert refused.returncode == 1
    assert "ridgeline-server migrate" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_replica_stops_when_told_and_the_other_serves_on(stack: Stack, compose: dict[str, Any]) -> None:
    stopped, other = stack.replicas
    assert compose["services"]["server"]["stop_grace_period"] == f"{STOP_LIMIT_S:g}s"
    stopped.process.send_signal(signal.SIGTERM)
    assert stopped.process.wait(timeout=STOP_LIMIT_S) == 0
    assert not stack.image.is_healthy("server", stopped.address)
    assert stack.image.is_healthy("server", other.address)
    with ridgeline.connect(stopped.address) as client, pytest.raises(errors.UnavailableError):
        client.list_hardware()
    with ridgeline.connect(other.address) as client:
        assert client.list_hardware().hardware
