"""Envoy itself, with the configuration that ships, in front of servers on loopback.

Only addresses, ports and the folder of the files differ, and one limit that a test cannot wait for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.contract.replicas import free_port

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "envoy"

ENVOY = Path(sys.executable).parent / "envoy"

OPTIONS = ("--concurrency", "2", "--disable-hot-restart", "--file-flush-interval-msec", "50")

LIMIT_S = 20.0
"""How long anything may take that Envoy does within a second or a few; only a hang takes as long."""


class LoadBalancer:
    """A running Envoy."""

    def __init__(self, ports: Mapping[int, int], log: Path) -> None:
        """`ports` says which port of loopback stands for one of the configuration's."""
        self.ports = ports
        self.address = f"127.0.0.1:{ports[50051]}"
        self._log = log

    def admin(self, path: str) -> Any:
        """What the admin interface answers in JSON."""
        return json.loads(self._get(f"http://127.0.0.1:{self.ports[9901]}{path}"))

    def replicas(self, name: str) -> dict[str, int]:
        """A figure of each replica, by its address: `rq_total`, `rq_active`."""
        (cluster,) = (
            found
            for found in self.admin("/clusters?format=json")["cluster_statuses"]
            if found["name"] == "ridgeline"
        )
        return {
            "{address}:{port_value}".format(**host["address"]["socket_address"]): next(
                int(stat.get("value", 0)) for stat in host["stats"] if stat["name"] == name
            )
            for host in cluster["host_statuses"]
        }

    def healthy(self) -> int:
        """How many replicas it sends calls to."""
        return self.counter("cluster.ridgeline.membership_healthy")

    def counter(self, name: str) -> int:
        """One of its own figures."""
        for stat in self.admin(f"/stats?format=json&filter=^{name}$")["stats"]:
            if stat.get("name") == name:
                return int(stat["value"])
        return 0

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait for what it will do soon."""
        deadline = time.monotonic() + LIMIT_S
        while not reached():
            assert time.monotonic() < deadline, self._log.read_text(encoding="utf-8")
            time.sleep(0.02)

    def log(self) -> str:
        """What it has written."""
        return self._log.read_text(encoding="utf-8")

    @staticmethod
    def _get(url: str) -> bytes:
        with urllib.request.urlopen(url, timeout=LIMIT_S) as response:
            content: bytes = response.read()
            return content


@contextmanager
def balancing(
    folder: Path,
    replicas: Sequence[str],
    *,
    listeners: str = "listeners.yaml",
    changed: Callable[[str, Any], None] = lambda name, content: None,
) -> Iterator[LoadBalancer]:
    """Envoy in front of replicas at these addresses.

    `changed` may change what a file holds before it is read.
    """
    ports = {port: free_port() for port in (50051, 9901, 9902)}
    for name in ("envoy.yaml", "listeners.yaml", "listeners-tls.yaml", "routes.yaml", "certificate.yaml"):
        content = yaml.safe_load((SHIPPED / name).read_text(encoding="utf-8"))
        changed(name, content)
        text = json.dumps(_on_loopback(content, ports, replicas)).replace("/etc/envoy", str(folder))
        (folder / name).write_text(text, encoding="utf-8")
    (folder / listeners).rename(folder / "listeners.yaml")
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [ENVOY, "--config-path", folder / "envoy.yaml", *OPTIONS], stdout=output, stderr=output
        )
    balancer = LoadBalancer(ports, log)
    try:
        balancer.wait_until(lambda: process.poll() is None and _is_live(balancer))
        balancer.wait_until(lambda: balancer.healthy() == len(replicas))
        yield balancer
    finally:
        process.kill()
        process.wait()


def _is_live(balancer: LoadBalancer) -> bool:
    try:
        return len(balancer.admin("/listeners?format=json")["listener_statuses"]) == 2
    except OSError:
        return False


def _on_loopback(content: Any, ports: Mapping[int, int], replicas: Sequence[str]) -> Any:
    """The configuration with ports of this machine, and with the replicas in place of their common name."""
    if isinstance(content, list):
        return [_on_loopback(part, ports, replicas) for part in content]
    if not isinstance(content, dict):
        return content
    if content.get("lb_endpoints") == [_endpoint("server", 50051)]:
        pairs = (address.rpartition(":") for address in replicas)
        return {**content, "lb_endpoints": [_endpoint(host, int(port)) for host, _, port in pairs]}
    if "port_value" in content:
        return {"address": "127.0.0.1", "port_value": ports[content["port_value"]]}
    return {name: _on_loopback(part, ports, replicas) for name, part in content.items()}


def _endpoint(host: str, port: int) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
