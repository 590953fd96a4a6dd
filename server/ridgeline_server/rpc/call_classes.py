"""Tells for each rpc of the contract which threads answer it: those of unary calls, of streams or of writes.

The classes are read from the contract's descriptors: an rpc that does not say there that it changes nothing
(`idempotency_level = NO_SIDE_EFFECTS`) may write.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions


class CallClass(Enum):
    """What calls are limited by. Each class has threads of its own, so that none takes another's."""

    UNARY = "unary calls"
    STREAM = "streams"
    WRITE = "writes"


def call_classes(services: Iterable[ServiceDescriptor]) -> dict[str, CallClass]:
    """The class of each rpc, by `package.Service/Method`."""
    return {
        f"{service.full_name}/{method.name}": _class_of(method)
        for service in services
        for method in service.methods
    }


def _class_of(method: MethodDescriptor) -> CallClass:
    options: MethodOptions = method.GetOptions()
    if options.idempotency_level != MethodOptions.NO_SIDE_EFFECTS:
        return CallClass.WRITE
    return CallClass.STREAM if method.server_streaming else CallClass.UNARY
