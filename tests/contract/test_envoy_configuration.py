"""deploy/envoy: what Envoy itself accepts, and what it is told of each rpc of the contract."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ridgeline.v1 import (
    analysis_service_pb2,
    catalog_service_pb2,
    measurement_service_pb2,
    recommendation_service_pb2,
)
from tests.contract.conftest import Tool

CONTRACT = (
    analysis_service_pb2,
    catalog_service_pb2,
    measurement_service_pb2,
    recommendation_service_pb2,
)

WRITING = ("Create", "Update", "Delete", "Import", "Calibrate")
"""How the rpcs begin whose repetition may do something twice."""

RPCS = sorted(
    (f"/{service.full_name}/{method.name}", method.server_streaming)
    for module in CONTRACT
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)

STREAMS = sorted({"/ridgeline.v1.AnalysisService/Sweep", *(path for path, streams in RPCS if streams)})

NOTHING_ARRIVED = {"connect-failure", "refused-stream", "reset-before-request"}
"""Reasons to try again that say that no replica has begun."""

Load = Callable[[str], Any]


@pytest.fixture(scope="module")
def load(repository: Path) -> Load:
    """Reads a file of deploy/envoy."""

    def load(name: str) -> Any:
        return yaml.safe_load((repository / "deploy" / "envoy" / name).read_text(encoding="utf-8"))

    return load


def host_of(load: Load) -> dict[str, Any]:
    """The one virtual host of routes.yaml."""
    (resource,) = load("routes.yaml")["resources"]
    (host,) = resource["virtual_hosts"]
    found: dict[str, Any] = host
    return found


def route_of(host: dict[str, Any], path: str) -> dict[str, Any]:
    """The first route that takes a path, as Envoy chooses."""
    for route in host["routes"]:
        match route["match"]:
            case {"path": str(exact)}:
                taken = path == exact
            case {"prefix": str(prefix)}:
                taken = path.startswith(prefix)
            case {"safe_regex": {"regex": str(expression)}}:
                taken = re.fullmatch(expression, path) is not None
            case other:
                raise AssertionError(f"a test of routes knows no match by {other}")
        if taken:
            found: dict[str, Any] = route["route"]
            return found
    raise AssertionError(f"no route takes {path}")


def retried_on(host: dict[str, Any], path: str) -> set[str]:
    """When a call is tried again."""
    policy = route_of(host, path).get("retry_policy", host["retry_policy"])
    return set(policy["retry_on"].split(","))


def test_envoy_accepts_the_configuration(tool: Tool) -> None:
    result = tool(["envoy", "--mode", "validate", "--config-path", "deploy/envoy/envoy.yaml"])
    assert result.returncode == 0, result.stderr


def test_both_kinds_of_listeners_differ_in_the_certificate_alone(load: Load) -> None:
    plain, encrypted = load("listeners.yaml"), load("listeners-tls.yaml")
    (chain,) = encrypted["resources"][0]["filter_chains"]
    transport = chain.pop("transport_socket")
    assert plain == encrypted
    assert transport["typed_config"]["common_tls_context"]["alpn_protocols"] == ["h2"]
    (secret,) = transport["typed_config"]["common_tls_context"]["tls_certificate_sds_secret_configs"]
    assert secret["name"] == load("certificate.yaml")["resources"][0]["name"]


@pytest.mark.parametrize("path", [path for path, _ in RPCS])
def test_only_calls_that_write_nothing_are_repeated_once_they_may_have_begun(load: Load, path: str) -> None:
    writes = path.rpartition("/")[2].startswith(WRITING)
    assert (retried_on(host_of(load), path) > {"connect-failure", "reset"}) is not writes
    if writes:
        assert retried_on(host_of(load), path) <= NOTHING_ARRIVED


def test_an_rpc_that_envoy_does_not_know_counts_as_writing(load: Load) -> None:
    assert retried_on(host_of(load), "/ridgeline.v1.CatalogService/Rewrite") <= NOTHING_ARRIVED


def test_the_deadline_of_a_call_is_its_caller_s(load: Load) -> None:
    for route in host_of(load)["routes"]:
        assert route["route"]["timeout"] == "0s"
        assert "max_stream_duration" not in route["route"]


@pytest.mark.parametrize("path", STREAMS)
def test_streams_may_be_silent_for_longer_than_calls(load: Load, path: str) -> None:
    route = route_of(host_of(load), path)
    (chain,) = load("listeners.yaml")["resources"][0]["filter_chains"]
    general = chain["filters"][0]["typed_config"]["stream_idle_timeout"]
    assert float(route["idle_timeout"].removesuffix("s")) > float(general.removesuffix("s"))


def test_nobody_outside_of_the_container_reaches_the_admin_interface(load: Load) -> None:
    assert load("envoy.yaml")["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
