"""Connecting: to which server, and what is told when there is none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version

import grpc
import pytest

import ridgeline
from ridgeline import errors
from ridgeline.v1.model_pb2 import Model


@contextmanager
def silent_server() -> Iterator[str]:
    """The address of something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def unused_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_an_unreachable_server_is_told_with_its_address_and_the_ways_out() -> None:
    address = unused_address()
    with ridgeline.connect(address) as client, pytest.raises(errors.UnavailableError) as raised:
        client.get_hardware("t4")
    assert address in raised.value.message
    assert "ridgeline-server serve" in raised.value.message
    assert (raised.value.code, raised.value.reason) == ("UNAVAILABLE", "")


def test_a_name_without_an_address_is_told() -> None:
    with (
        ridgeline.connect("no-such-host.invalid:50051") as client,
        pytest.raises(errors.UnavailableError) as raised,
    ):
        client.get_hardware("t4")
    assert "name cannot be resolved" in raised.value.message


def test_a_server_that_does_not_answer_in_time_is_told() -> None:
    with (
        silent_server() as address,
        ridgeline.connect(address, timeout_s=0.2) as client,
        pytest.raises(errors.DeadlineExceededError) as raised,
    ):
        client.get_hardware("t4")
    assert "0.2 s" in raised.value.message
    assert address in raised.value.message


def test_a_grpc_server_of_another_kind_is_told() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with ridgeline.connect(f"127.0.0.1:{port}") as client, pytest.raises(errors.RidgelineError) as raised:
        client.get_hardware("t4")
    server.stop(0)
    assert raised.value.code == "UNIMPLEMENTED"
    assert "no Ridgeline server" in raised.value.message


class Taking(grpc.GenericRpcHandler):
    """Takes any call whose request it can receive."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")


def test_a_request_that_is_too_large_for_the_server_is_told_with_its_size() -> None:
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Taking()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    models = [Model(id=f"m{number}", config_json="x" * 2**20) for number in range(5)]
    with ridgeline.connect(f"127.0.0.1:{port}") as client:
        assert client.import_entries(models[:2]).outcomes == []
        with pytest.raises(errors.RidgelineError) as raised:
            client.import_entries(models)
    server.stop(0)
    assert raised.value.code == "RESOURCE_EXHAUSTED"
    assert "takes no request of 5.0 MiB at once" in raised.value.message


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIDGELINE_SERVER", "ridgeline.example:50051")
    with ridgeline.connect() as client:
        assert client.target == "ridgeline.example:50051"
    with ridgeline.connect("127.0.0.1:1") as client:
        assert client.target == "127.0.0.1:1"


@pytest.mark.parametrize("address", ["localhost:50051", "[::1]:50051", "dns:///server:50051", "10.0.0.1:1"])
def test_addresses_that_can_be_meant(address: str) -> None:
    with ridgeline.connect(address) as client:
        assert client.target == address


@pytest.mark.parametrize(
    "address",
    ["", "localhost", "localhost:", ":50051", "http://localhost:50051", "h:0", "h:65536", "a b:1", "::1:5"],
)
def test_an_address_that_cannot_be_meant_is_a_wrong_field(address: str) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        ridgeline.connect(address)
    assert [v.field for v in raised.value.violations] == ["server"]


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_cannot_be_meant_is_a_wrong_field(timeout_s: float) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        ridgeline.connect("h:1", timeout_s=timeout_s)
    assert [v.field for v in raised.value.violations] == ["timeout_s"]


def test_a_server_and_a_database_exclude_each_other() -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        ridgeline.connect("h:1", database_url="sqlite:///x")
    assert [v.field for v in raised.value.violations] == ["database_url"]


def test_the_version_is_the_installed_one() -> None:
    assert ridgeline.__version__ == version("ridgeline")
    assert set(ridgeline.__all__) == {"Client", "__version__", "connect", "errors", "jsonform"}
    for name in ridgeline.__all__:
        assert getattr(ridgeline, name)
    with pytest.raises(AttributeError):
        _ = ridgeline.no_such_name


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import ridgeline", ["google.protobuf", "grpc", "numpy", "sqlalchemy"]),
        ("import ridgeline.v1.common_pb2", ["grpc", "ridgeline.client"]),
        (
            "import ridgeline; ridgeline.connect('h:1').close()",
            ["numpy", "sqlalchemy", "ridgeline_server", "click"],
        ),
    ],
)
def test_a_light_start_loads_nothing_heavy(code: str, absent: list[str]) -> None:
    program = (
        f"import sys\n{code}\nloaded = sorted(set({absent!r}) & sys.modules.keys())\nassert loaded == []"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RIDGELINE_")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=60)
