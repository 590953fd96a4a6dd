"""Filters of list requests."""

from __future__ import annotations

from typing import Any

from ridgeline.v1 import catalog_service_pb2 as pb
from ridgeline_server.domain.hardware import KINDS
from ridgeline_server.rpc.checks import MAX_NAME_LENGTH, Checks, Range, shown
from ridgeline_server.rpc.convert.enums import DTYPE, ORIGIN
from ridgeline_server.store.listing import Everything, Filter, HardwareFilter, ModelFilter

BOUND = Range(0.0, 1e300, "a number from 0 on")


def read_hardware_filter(checks: Checks, request: pb.ListHardwareRequest) -> Filter:
    """The devices that a request asks for. Use it when nothing is noted."""
    message = request.filter
    checks.text("filter.vendor", message.vendor, MAX_NAME_LENGTH)
    if message.kind and message.kind not in KINDS:
        checks.add("filter.kind", f"is {shown(message.kind)}; give {', '.join(KINDS)}")
    dtypes = [
        checks.enum(f"filter.dtypes[{place}]", number, DTYPE) for place, number in enumerate(message.dtypes)
    ]
    return HardwareFilter(
        vendor=message.vendor.strip(),
        kind=message.kind,
        dtypes=tuple(dict.fromkeys(dtype for dtype in dtypes if dtype is not None)),
        min_memory_bytes=_bound(checks, message, "min_memory_bytes"),
        min_bandwidth_bytes_per_s=_bound(checks, message, "min_bandwidth_bytes_per_s"),
        origin=checks.enum("filter.origin", message.origin, ORIGIN),
    )


def read_model_filter(checks: Checks, request: pb.ListModelsRequest) -> Filter:
    """The models that a request asks for. Use it when nothing is noted."""
    message = request.filter
    checks.text("filter.family", message.family, MAX_NAME_LENGTH)
    smallest = _bound(checks, message, "min_parameter_count")
    largest = _bound(checks, message, "max_parameter_count")
    if smallest is not None and largest is not None and smallest > largest:
        checks.add(
            "filter.min_parameter_count",
            f"is {smallest:.6g}, more than the {largest:.6g} of max_parameter_count; give a smaller one",
        )
    return ModelFilter(
        family=message.family.strip(),
        min_parameter_count=smallest,
        max_parameter_count=largest,
        min_context_len=_bound(checks, message, "min_context_len"),
        weight_dtype=checks.enum("filter.weight_dtype", message.weight_dtype, DTYPE),
        origin=checks.enum("filter.origin", message.origin, ORIGIN),
        mixture_of_experts=(message.mixture_of_experts if message.HasField("mixture_of_experts") else None),
    )


def no_filter(checks: Checks, request: Any) -> Filter:  # noqa: ARG001
    """Of a resource whose lists have none."""
    return Everything()


def _bound(checks: Checks, message: Any, name: str) -> float | None:
    if not message.HasField(name):
        return None
    value: float = getattr(message, name)
    checks.number(f"filter.{name}", value, BOUND)
    return value
