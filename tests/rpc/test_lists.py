"""Filters and orders of lists over the service."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline.errors import RidgelineError
from ridgeline.v1 import catalog_service_pb2 as pb
from ridgeline.v1 import types_pb2
from tests.rpc import samples
from tests.rpc.ask import Ask

NO_DTYPE: Any = 99


@pytest.fixture
def catalog(ask: Ask) -> Ask:
    """Two devices and two models."""
    slow, fast = samples.device("slow"), samples.device("fast")
    slow.vendor, slow.bandwidth_bytes_per_s, slow.kind = "Acme", 1e12, "npu"
    for device in (slow, fast):
        ask("CreateHardware", pb.CreateHardwareRequest(hardware=device))
    for entry_id in ("a/m", "b/m"):
        ask("CreateModel", pb.CreateModelRequest(model=samples.model(entry_id)))
    return ask


@pytest.mark.parametrize(
    ("chosen", "ids"),
    [
        ({}, ["fast", "slow"]),
        ({"vendor": " ACME "}, ["slow"]),
        ({"kind": "gpu"}, ["fast"]),
        ({"dtypes": [types_pb2.DTYPE_BF16, types_pb2.DTYPE_INT8]}, ["fast", "slow"]),
        ({"dtypes": [types_pb2.DTYPE_FP8]}, []),
        ({"min_memory_bytes": 1e12}, []),
        ({"min_bandwidth_bytes_per_s": 1.5e12}, ["fast"]),
        ({"origin": types_pb2.ORIGIN_BUILTIN}, []),
    ],
)
def test_devices_are_filtered(catalog: Ask, chosen: dict[str, Any], ids: list[str]) -> None:
    listed = catalog("ListHardware", pb.ListHardwareRequest(filter=pb.HardwareFilter(**chosen)))
    assert [device.id for device in listed.hardware] == ids


@pytest.mark.parametrize(
    ("chosen", "ids"),
    [
        ({"family": "Llama"}, ["a/m", "b/m"]),
        ({"min_parameter_count": 1e9}, []),
        ({"max_parameter_count": 1e9}, ["a/m", "b/m"]),
        ({"min_context_len": 0}, ["a/m", "b/m"]),
        ({"weight_dtype": types_pb2.DTYPE_BF16, "mixture_of_experts": False}, ["a/m", "b/m"]),
        ({"mixture_of_experts": True}, []),
    ],
)
def test_models_are_filtered(catalog: Ask, chosen: dict[str, Any], ids: list[str]) -> None:
    listed = catalog("ListModels", pb.ListModelsRequest(filter=pb.ModelFilter(**chosen)))
    assert [model.id for model in listed.models] == ids


@pytest.mark.parametrize(
    ("order_by", "ids"),
    [
        ("", ["fast", "slow"]),
        ("id desc", ["slow", "fast"]),
        ("bandwidth_bytes_per_s", ["slow", "fast"]),
        ("  bandwidth_bytes_per_s   desc ", ["fast", "slow"]),
        ("update_time asc", ["slow", "fast"]),
    ],
)
def test_devices_are_ordered(catalog: Ask, order_by: str, ids: list[str]) -> None:
    listed = catalog("ListHardware", pb.ListHardwareRequest(order_by=order_by))
    assert [device.id for device in listed.hardware] == ids


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (pb.ListHardwareRequest(order_by="colour"), ["order_by"]),
        (pb.ListHardwareRequest(order_by="id descending"), ["order_by"]),
        (pb.ListHardwareRequest(filter=pb.HardwareFilter(kind="toaster", dtypes=[NO_DTYPE])),
         ["filter.kind", "filter.dtypes[0]"]),
        (pb.ListHardwareRequest(filter=pb.HardwareFilter(min_memory_bytes=float("nan"))),
         ["filter.min_memory_bytes"]),
        (pb.ListHardwareRequest(filter=pb.HardwareFilter(vendor="\0")), ["filter.vendor"]),
        (pb.ListModelsRequest(filter=pb.ModelFilter(min_parameter_count=2, max_parameter_count=1)),
         ["filter.min_parameter_count"]),
        (pb.ListModelsRequest(order_by="bandwidth_bytes_per_s", page_size=-1), ["page_size", "order_by"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_all_at_once(catalog: Ask, request_: Any, fields: list[str]) -> None:
    rpc = "ListModels" if isinstance(request_, pb.ListModelsRequest) else "ListHardware"
    with pytest.raises(RidgelineError) as raised:
        catalog(rpc, request_)
    assert [violation.field for violation in raised.value.violations] == fields
    assert all("give" in violation.description or "leave" in violation.description
               for violation in raised.value.violations)  # fmt: skip


@pytest.mark.parametrize("change", [{"order_by": "id desc"}, {"catalog_revision": 4},
                                    {"filter": pb.HardwareFilter(kind="gpu")}])  # fmt: skip
def test_a_token_belongs_to_its_query(catalog: Ask, change: dict[str, Any]) -> None:
    token = catalog("ListHardware", pb.ListHardwareRequest(page_size=1)).next_page_token
    with pytest.raises(RidgelineError) as raised:
        catalog("ListHardware", pb.ListHardwareRequest(page_token=token, **change))
    assert raised.value.reason == "INVALID_PAGE_TOKEN"
