"""Every rpc of the contract has a class, and a new one cannot be served without."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor

from ridgeline_server.rpc.call_classes import CallClass, call_classes
from ridgeline_server.rpc.dispatch import SERVICES


def service(method: str, *, streams: bool = False) -> ServiceDescriptor:
    """A service with one rpc."""
    file = descriptor_pb2.FileDescriptorProto(name="x.proto", package="x", syntax="proto3")
    file.message_type.add(name="Message")
    file.service.add(name="Service").method.add(
        name=method, input_type=".x.Message", output_type=".x.Message", server_streaming=streams
    )
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
    ("method", "streams", "expected"),
    [
        ("GetThing", False, CallClass.UNARY),
        ("Sweep", True, CallClass.STREAM),
        ("DeleteThings", False, CallClass.WRITE),
    ],
)
def test_the_class_is_read_from_the_descriptor(method: str, streams: bool, expected: CallClass) -> None:
    assert call_classes([service(method, streams=streams)]) == {f"x.Service/{method}": expected}


@pytest.mark.parametrize("method", ["Frobnicate", "getThing", "UpdaterThing"])
def test_an_rpc_that_tells_neither_reading_nor_writing_is_an_error(method: str) -> None:
    with pytest.raises(ValueError, match=f"{method}.*READING or WRITING"):
        call_classes([service(method)])
