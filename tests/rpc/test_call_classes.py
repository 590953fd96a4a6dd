"""Every rpc of the contract has a class, by what the contract says of it."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor

from ridgeline_server.rpc.call_classes import CallClass, call_classes
from ridgeline_server.rpc.dispatch import SERVICES


def service(*, changes_nothing: bool, streams: bool) -> ServiceDescriptor:
    """A service with one rpc."""
    file = descriptor_pb2.FileDescriptorProto(name="x.proto", package="x", syntax="proto3")
    file.message_type.add(name="Message")
    method = file.service.add(name="Service").method.add(
        name="Do", input_type=".x.Message", output_type=".x.Message", server_streaming=streams
    )
    if changes_nothing:
        method.options.idempotency_level = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[no-untyped-call]
    found: ServiceDescriptor = pool.FindServiceByName("x.Service")  # type: ignore[no-untyped-call]
    return found


def test_all_rpcs_have_one() -> None:
    classes = call_classes(SERVICES)
    assert len(classes) == sum(len(service.methods) for service in SERVICES)
    assert classes["ridgeline.v1.AnalysisService/Analyze"] is CallClass.UNARY
    assert classes["ridgeline.v1.CatalogService/ImportEntries"] is CallClass.WRITE
    assert classes["ridgeline.v1.MeasurementService/Calibrate"] is CallClass.WRITE
    assert classes["ridgeline.v1.MeasurementService/ValidateMeasurements"] is CallClass.UNARY


@pytest.mark.parametrize(
    ("changes_nothing", "streams", "expected"),
    [
        (True, False, CallClass.UNARY),
        (True, True, CallClass.STREAM),
        (False, False, CallClass.WRITE),
        (False, True, CallClass.WRITE),
    ],
)
def test_an_rpc_that_does_not_say_otherwise_may_write(
    changes_nothing: bool, streams: bool, expected: CallClass
) -> None:
    found = call_classes([service(changes_nothing=changes_nothing, streams=streams)])
    assert found == {"x.Service/Do": expected}
