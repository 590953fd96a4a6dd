"""What holds for every rpc, read from the contract's descriptors: a new rpc is tested without a new line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import TypeAlias

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import ridgeline
from ridgeline import errors
from ridgeline.embedded import EmbeddedTransport
from ridgeline.v1 import (
    analysis_service_pb2,
    catalog_service_pb2,
    measurement_service_pb2,
    recommendation_service_pb2,
)
from ridgeline.wire import WireTransport
from ridgeline_server.app import Server
from ridgeline_server.rpc.dispatch import SERVICES, Method, service_methods
from ridgeline_server.store.startup import open_catalog
from tests.rpc.conftest import running

CONTRACT: tuple[ServiceDescriptor, ...] = tuple(
    service
    for file in (
        catalog_service_pb2,
        analysis_service_pb2,
        recommendation_service_pb2,
        measurement_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
)
RPCS = {f"{service.full_name}/{method.name}": method for service in CONTRACT for method in service.methods}
every_rpc = pytest.mark.parametrize("rpc", RPCS)

RawCall: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"

SECRET = "secret of the implementation"


@pytest.fixture(scope="module")
def methods(seeded_database_url: str) -> Iterator[dict[str, Method]]:
    """The handlers of all rpcs."""
    store = open_catalog(seeded_database_url)
    yield service_methods(store)
    store.close()


@pytest.fixture(scope="module")
def server(methods: dict[str, Method]) -> Iterator[Server]:
    """A server that answers them."""
    with running(methods) as server:
        yield server


@pytest.fixture(scope="module")
def transports(
    server: Server, seeded_database_url: str
) -> Iterator[dict[str, WireTransport | EmbeddedTransport]]:
    """Both ways to the service."""
    wire, embedded = WireTransport(server.address, 20.0), EmbeddedTransport(seeded_database_url)
    yield {"wire": wire, "embedded": embedded}
    wire.close()
    embedded.close()


def test_every_service_of_the_contract_is_served() -> None:
    assert {service.full_name for service in SERVICES} == {service.full_name for service in CONTRACT}


@every_rpc
def test_it_has_a_handler(rpc: str, methods: dict[str, Method]) -> None:
    handled = (methods[rpc].request_type.DESCRIPTOR, methods[rpc].response_type.DESCRIPTOR)
    assert handled == (RPCS[rpc].input_type, RPCS[rpc].output_type)


@every_rpc
def test_the_python_client_has_a_method_for_it(rpc: str) -> None:
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", RPCS[rpc].name).lower()
    assert callable(getattr(ridgeline.Client, name))


@every_rpc
@pytest.mark.parametrize("way", ["wire", "embedded"])
def test_an_empty_request_is_answered_or_told_what_it_lacks(
    rpc: str, way: str, transports: dict[str, WireTransport | EmbeddedTransport]
) -> None:
    if RPCS[rpc].name.startswith("List"):
        _call(transports[way], RPCS[rpc])
        return
    with pytest.raises(errors.InvalidArgumentError) as raised:
        _call(transports[way], RPCS[rpc])
    assert raised.value.reason == "INVALID_FIELD"
    assert raised.value.violations
    assert all(v.field and v.description for v in raised.value.violations)


@every_rpc
def test_a_fault_shows_nothing_but_an_id_that_the_log_has_too(
    rpc: str, methods: dict[str, Method], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Message) -> Message:
        raise RuntimeError(SECRET)

    method = methods[rpc]
    faulty = Method(rpc, method.request_type, method.response_type, broken, method.streams)
    with running({rpc: faulty}) as server, grpc.insecure_channel(server.address) as channel:
        # On the wire a stream without a message looks like a unary call that fails.
        call: RawCall = channel.unary_unary(f"/{rpc}")
        with (
            caplog.at_level(logging.ERROR, "ridgeline_server"),
            pytest.raises(grpc.RpcError) as raised,
        ):
            call(b"", timeout=20)

    assert raised.value.code() is grpc.StatusCode.INTERNAL
    trailers = {item.key: item.value for item in raised.value.trailing_metadata()}
    everything_sent = f"{raised.value.details()}{trailers}"
    assert SECRET not in everything_sent
    assert "RuntimeError" not in everything_sent
    assert "Traceback" not in everything_sent
    request_id = _error_info(trailers["grpc-status-details-bin"]).metadata["request_id"]
    assert request_id in caplog.text
    assert SECRET in caplog.text


def test_health_answers_for_every_service(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        for service in ("", *(service.full_name for service in CONTRACT)):
            response = check(health_pb2.HealthCheckRequest(service=service), timeout=20)
            assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_describes_every_rpc(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        described = ProtoReflectionDescriptorDatabase(channel)
        assert {service.full_name for service in CONTRACT} <= set(described.get_services())
        for service in CONTRACT:
            file = described.FindFileContainingSymbol(service.full_name)
            rpcs = {m.name for s in file.service if s.name == service.name for m in s.method}
            assert rpcs == {m.name for m in service.methods}


def test_bytes_that_are_no_message_are_refused_without_a_fault(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        call: RawCall = channel.unary_unary("/ridgeline.v1.AnalysisService/Analyze")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"\xff\xff", timeout=20)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    trailers = {item.key: item.value for item in raised.value.trailing_metadata()}
    assert _error_info(trailers["grpc-status-details-bin"]).reason == "INVALID_FIELD"


def _call(transport: WireTransport | EmbeddedTransport, method: MethodDescriptor) -> Message:
    request, response_type = GetMessageClass(method.input_type)(), GetMessageClass(method.output_type)
    name = f"{method.containing_service.full_name}/{method.name}"
    if method.server_streaming:
        return next(transport.stream(name, request, response_type))
    return transport.call(name, request, response_type)


def _error_info(status_details: bytes) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(status_details).details:
        if detail.Unpack(info):
            return info
    raise AssertionError("the status has no ErrorInfo")
