"""Answers mirror the domain field by field, and enums map both ways: read from the contract's descriptors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any

import pytest
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from ridgeline.v1 import (
    common_pb2,
    efficiency_profile_pb2,
    errors_pb2,
    hardware_pb2,
    model_pb2,
    recommendation_service_pb2,
    types_pb2,
)
from ridgeline_server.advisor.advice import recommend
from ridgeline_server.advisor.results import Advice, Goal
from ridgeline_server.domain.deployment import CostBasis, Deployment, DeploymentRequest
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.resolve import resolve_deployment
from ridgeline_server.domain.workload import Slo, Workload
from ridgeline_server.roofline.grid import UsedProfile
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.convert import enums, hardware, models, profiles
from ridgeline_server.rpc.convert.answers import recommend_response
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.startup import open_catalog
from tests.rpc import samples

MAPS = {name: value for name, value in vars(enums).items() if isinstance(value, enums.EnumMap)}

WITHOUT_MEMBER = {
    "BOUND_COMMUNICATION": "several devices come later",
}
"""Values that the contract names already and nothing sends yet."""

NOT_CONVERTED = {errors_pb2.ErrorReason.DESCRIPTOR.full_name: "reasons are told by rpc/errors.py"}


def enums_of_the_contract() -> Iterator[EnumDescriptor]:
    for file in (
        common_pb2,
        efficiency_profile_pb2,
        errors_pb2,
        hardware_pb2,
        model_pb2,
        recommendation_service_pb2,
        types_pb2,
    ):
        yield from file.DESCRIPTOR.enum_types_by_name.values()


def test_every_enum_of_the_contract_has_a_map() -> None:
    mapped = {enum_map.wire.full_name for enum_map in MAPS.values()}
    assert mapped == {e.full_name for e in enums_of_the_contract()} - NOT_CONVERTED.keys()


@pytest.mark.parametrize("name", MAPS)
def test_every_value_is_mapped_both_ways(name: str) -> None:
    enum_map: enums.EnumMap[Any] = MAPS[name]
    sendable = {v.number for v in enum_map.wire.values if v.number and v.name not in WITHOUT_MEMBER}
    assert set(enum_map.from_proto) == sendable
    assert {number: enum_map.to_proto[member] for number, member in enum_map.from_proto.items()} == {
        number: number for number in sendable
    }
    assert {member: enum_map.from_proto[number] for member, number in enum_map.to_proto.items()} == {
        member: member for member in enum_map.to_proto
    }


@pytest.fixture(scope="module", params=[CostBasis.IDEAL, CostBasis.EXPECTED])
def advice(request: pytest.FixtureRequest, seeded_database_url: str) -> Advice:
    """Advice with every optional part in it: a price, an SLO, notices, techniques that cannot be applied."""
    store = open_catalog(seeded_database_url)
    catalog = CatalogCache(store).snapshot()
    store.close()
    device = hardware.override(
        Checks(),
        catalog.hardware("rtx-a6000"),
        common_pb2.HardwareOverrides(price_usd_per_hour=0.8),
        "hardware.overrides",
    )
    assert device is not None
    model = catalog.model("llama-2-7b")
    return recommend(
        model,
        device,
        Workload(batch=2, input_len=4000, output_len=200, slo=Slo(ttft_ms=1.0)),
        resolve_deployment(DeploymentRequest(), model, device),
        catalog.profiles,
        request.param,
        Goal.THROUGHPUT,
        allow_load_change=True,
    )


TOLD_DIFFERENTLY = {
    "analysis": {"model", "hardware"},
    "deployment": {"compute_dtype", "weight_scale_bits"},
    "profile_use": {"profile"},
}
"""Fields of the domain's objects that an answer names by their ids, or leaves out."""


def assert_mirrored(value: Any, message: Any, path: str) -> None:
    """Every field of a domain object stands in its message with the same value."""
    if isinstance(value, Deployment):
        skipped = TOLD_DIFFERENTLY["deployment"]
    elif isinstance(value, UsedProfile):
        assert message.profile_id == value.profile.id
        assert message.evidence_count == value.profile.evidence_count
        skipped = TOLD_DIFFERENTLY["profile_use"]
    elif path.endswith(("baseline", "analysis")):
        assert (message.model_id, message.hardware_id) == (value.model.id, value.hardware.id)
        skipped = TOLD_DIFFERENTLY["analysis"]
    else:
        skipped = set()
    names = [f.name for f in fields(value)] if is_dataclass(value) else list(value._fields)
    for name in names:
        if name in skipped:
            continue
        wire_name = "count" if name == "occurrences" else name
        assert_same(getattr(value, name), message, wire_name, f"{path}.{name}")


def assert_same(value: Any, message: Message, name: str, path: str) -> None:
    field = message.DESCRIPTOR.fields_by_name[name]
    if value is None:
        if not isinstance(message, common_pb2.Workload) or name != "decode_keys":
            assert field.has_presence, path
            assert not message.HasField(name), path
        return
    told = getattr(message, name)
    if isinstance(value, Slo):
        for limit in ("ttft_ms", "tpot_ms"):
            assert_same(getattr(value, limit), told, limit, f"{path}.{limit}")
    elif isinstance(value, StrEnum):
        enum_map = next(m for m in MAPS.values() if m.wire.full_name == field.enum_type.full_name)
        assert enum_map.from_proto[told] is value, path
    elif field.is_repeated:
        assert len(told) == len(value), path
        for item, told_item in zip(value, told, strict=True):
            if isinstance(told_item, Message):
                assert_mirrored(item, told_item, path)
            else:
                assert told_item == item, path
    elif field.message_type is not None:
        assert message.HasField(name), path
        assert_mirrored(value, told, path)
    else:
        assert told == value, path


def test_an_answer_has_every_figure_of_the_advice(advice: Advice) -> None:
    response = recommend_response(advice, 7)
    assert_mirrored(advice, response, "advice")
    assert response.catalog_revision == response.baseline.catalog_revision == 7
    assert advice.plans
    memory = advice.baseline.memory
    told = response.baseline.memory
    assert (told.total_bytes, told.headroom_bytes, told.fits) == (
        memory.total_bytes,
        memory.headroom_bytes,
        memory.fits,
    )


def test_an_answer_has_no_field_that_nothing_fills(advice: Advice) -> None:
    """Fields that stay empty in this answer, although it has a price, an SLO and notices."""
    response = recommend_response(advice, 7)
    baseline = response.baseline
    for message in (
        response,
        baseline,
        baseline.stages[0],
        next(o for o in baseline.stages[0].operators if o.name == "q_proj"),
        baseline.metrics,
        baseline.memory,
        baseline.roof,
        baseline.roof.ceilings[0],
    ):
        filled = {field.name for field, _ in message.ListFields()}
        empty = {field.name for field in message.DESCRIPTOR.fields} - filled
        predicted = {
            "expected_time_ms",
            "low_time_ms",
            "high_time_ms",
            "step_overhead_ms",
            "expected_time_us",
        }
        allowed = {"profiles", *predicted} if advice.baseline.basis is CostBasis.IDEAL else set()
        assert empty <= allowed, message.DESCRIPTOR.name


def test_the_roof_has_a_ceiling_for_each_dtype_of_the_device(advice: Advice) -> None:
    roof = recommend_response(advice, 7).baseline.roof
    device: Hardware = advice.baseline.hardware
    assert roof.bandwidth_bytes_per_s == device.bandwidth_bytes_per_s
    assert {enums.DTYPE.from_proto[c.dtype]: c.flops_per_s for c in roof.ceilings} == device.peak_flops_per_s
    for ceiling in roof.ceilings:
        assert ceiling.ridge_point * roof.bandwidth_bytes_per_s == pytest.approx(ceiling.flops_per_s)


@pytest.mark.parametrize(
    ("message", "module"),
    [(samples.device("a", "b"), hardware), (samples.model("a", "b"), models), (samples.profile(), profiles)],
    ids=["hardware", "model", "efficiency_profile"],
)
def test_an_entry_survives_the_way_to_the_domain_and_back(message: Any, module: Any) -> None:
    checks = Checks()
    back = module.entry_message(module.read_entry(checks, message, "entry"))
    checks.raise_if_any()
    for name in ("origin", "etag", "create_time", "update_time", "suspicions", *samples.COMPUTED_OF_MODELS):
        if name in message.DESCRIPTOR.fields_by_name and not (name == "weight_dtype" and module is profiles):
            back.ClearField(name)
    assert back == message
    filled = {field.name for field, _ in message.ListFields()}
    computed = {"origin", "etag", "create_time", "update_time", "suspicions"}
    settable = {field.name for field in message.DESCRIPTOR.fields} - computed
    if module is models:
        settable -= set(samples.COMPUTED_OF_MODELS)
    assert filled == settable, "the sample must show every field"
