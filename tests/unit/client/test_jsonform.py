"""The mapping between messages and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from ridgeline import errors, jsonform
from ridgeline.v1 import (
    analysis_service_pb2,
    catalog_service_pb2,
    common_pb2,
    efficiency_profile_pb2,
    hardware_pb2,
    measurement_service_pb2,
    model_pb2,
    recommendation_service_pb2,
    types_pb2,
)

RESPONSES: tuple[Descriptor, ...] = tuple(
    method.output_type
    for file in (
        analysis_service_pb2,
        catalog_service_pb2,
        recommendation_service_pb2,
        measurement_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    # Streams carry Arrow, which is never printed as JSON.
    if not method.server_streaming
)


def sub_messages(descriptor: Descriptor, seen: set[str]) -> Iterator[Descriptor]:
    if descriptor.full_name not in seen:
        seen.add(descriptor.full_name)
        if not descriptor.GetOptions().map_entry:
            yield descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                yield from sub_messages(field.message_type, seen)


MESSAGES = [
    message
    for seen in [set[str]()]
    for response in RESPONSES
    for message in sub_messages(response, seen)
    if message.file.package == "ridgeline.v1"
]


@pytest.mark.parametrize("descriptor", MESSAGES, ids=lambda d: d.name)
def test_every_message_that_is_sent_holds_only_what_the_mapping_knows(descriptor: Descriptor) -> None:
    """Numbers are numbers: a 64-bit integer would have to be a string for JavaScript's sake."""
    known = {
        FieldDescriptor.TYPE_DOUBLE,
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_STRING,
        FieldDescriptor.TYPE_ENUM,
        FieldDescriptor.TYPE_MESSAGE,
    }
    assert {field.type for field in descriptor.fields} <= known
    maps = [
        f.message_type for f in descriptor.fields if f.message_type and f.message_type.GetOptions().map_entry
    ]
    assert all(
        [part.type for part in entry.fields]
        in (
            [FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_DOUBLE],
            [FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE],
        )
        for entry in maps
    )


@pytest.mark.parametrize("descriptor", MESSAGES, ids=lambda d: d.name)
def test_an_empty_message_prints_its_defaults_and_nothing_that_is_absent(descriptor: Descriptor) -> None:
    printed = jsonform.to_dict(GetMessageClass(descriptor)())
    assert list(printed) == [f.name for f in descriptor.fields if f.is_repeated or not f.has_presence]
    for value in printed.values():
        assert value in ("", 0, 0.0, False, "UNSPECIFIED") or value in ([], {})


def test_set_optionals_print_even_at_their_default() -> None:
    metric = analysis_service_pb2.Metric(ideal=1.5, expected=0.0)
    assert jsonform.to_dict(metric) == {"ideal": 1.5, "expected": 0.0}


def test_a_oneof_prints_the_member_that_is_set() -> None:
    assert jsonform.to_dict(common_pb2.ModelSelector(config_json="{}")) == {"config_json": "{}"}


def test_enums_print_without_their_prefix() -> None:
    stage = analysis_service_pb2.StageAnalysis(
        stage=types_pb2.STAGE_DECODE,
        bound=types_pb2.BOUND_MEMORY,
        bound_shares=[analysis_service_pb2.BoundShare(bound=types_pb2.BOUND_COMPUTE, share=1)],
    )
    printed = jsonform.to_dict(stage)
    assert (printed["stage"], printed["bound"]) == ("DECODE", "MEMORY")
    assert printed["bound_shares"] == [{"bound": "COMPUTE", "share": 1.0}]
    recommendation = recommendation_service_pb2.Recommendation(
        verdict=recommendation_service_pb2.VERDICT_NOT_APPLICABLE,
        reason_code=recommendation_service_pb2.REASON_CODE_NO_COMPUTE_UNIT,
    )
    printed = jsonform.to_dict(recommendation)
    assert (printed["verdict"], printed["reason_code"]) == ("NOT_APPLICABLE", "NO_COMPUTE_UNIT")
    assert jsonform.to_dict(common_pb2.Deployment())["attention"] == "UNSPECIFIED"


def test_a_value_of_a_newer_contract_prints_as_its_number() -> None:
    share = analysis_service_pb2.BoundShare(bound=99)  # type: ignore[arg-type]  # from a newer server
    assert jsonform.to_dict(share)["bound"] == 99


def test_timestamps_print_as_rfc_3339() -> None:
    device = hardware_pb2.Hardware()
    device.create_time.FromJsonString("2026-11-22T10:00:00.25Z")
    assert jsonform.to_dict(device)["create_time"] == "2026-11-22T10:00:00.250Z"


def test_text_is_json_that_people_can_read() -> None:
    device = hardware_pb2.Hardware(id="x", notes=["Größe"], memory_bytes=51539607552)
    text = jsonform.to_json(device)
    assert '"notes": [\n    "Größe"\n  ]' in text
    assert json.loads(text)["memory_bytes"] == 51539607552
    assert "\n" not in jsonform.to_json(device, indent=None)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (32.0, "32"),
        (0.0, "0"),
        (-0.0, "-0.0"),
        (-3.0, "-3"),
        (0.25, "0.25"),
        (51539607552.0, "51539607552"),
        (2.0**53, "9007199254740992"),
        (1e300, "1e+300"),
    ],
)
def test_a_whole_number_has_no_fraction_whatever_its_field(number: float, text: str) -> None:
    operator = analysis_service_pb2.OperatorAnalysis(count=number)
    assert f'"count": {text},' in jsonform.to_json(operator)
    back = json.loads(jsonform.to_json(operator))
    assert jsonform.from_dict(analysis_service_pb2.OperatorAnalysis, back) == operator


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_cannot_hold_is_null(number: float) -> None:
    text = jsonform.to_json(analysis_service_pb2.Metric(ideal=number), indent=None)
    assert json.loads(text) == {"ideal": None}


def values(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Any message of a type, sub-messages and unset optionals included."""

    def one(field: FieldDescriptor) -> st.SearchStrategy[object]:
        if field.message_type is not None:
            return values(field.message_type)
        if field.enum_type is not None:
            return st.sampled_from([value.number for value in field.enum_type.values])
        return {
            FieldDescriptor.CPPTYPE_STRING: st.text(max_size=5),
            FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
            FieldDescriptor.CPPTYPE_DOUBLE: st.floats(-1e300, 1e300),
            FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        }[field.cpp_type]

    if descriptor.full_name == "google.protobuf.Timestamp":
        return st.builds(GetMessageClass(descriptor), seconds=st.integers(0, 4_000_000_000))
    parts = {
        field.name: st.lists(one(field), max_size=2) if field.is_repeated else st.none() | one(field)
        for field in descriptor.fields
    }
    return st.builds(GetMessageClass(descriptor), **parts)


@given(values(hardware_pb2.Hardware.DESCRIPTOR))
def test_a_device_comes_back_from_its_json(message: hardware_pb2.Hardware) -> None:
    assert jsonform.from_dict(hardware_pb2.Hardware, json.loads(jsonform.to_json(message))) == message


@given(values(common_pb2.Deployment.DESCRIPTOR))
def test_a_deployment_comes_back_from_its_json(message: common_pb2.Deployment) -> None:
    assert jsonform.from_dict(common_pb2.Deployment, json.loads(jsonform.to_json(message))) == message


@pytest.mark.parametrize("name", ["int4", "INT4", "Int4", "DTYPE_INT4"])
def test_enum_names_are_read_in_any_case_and_with_their_prefix(name: str) -> None:
    assert jsonform.from_dict(common_pb2.Deployment, {"kv_dtype": name}).kv_dtype == types_pb2.DTYPE_INT4


def test_null_leaves_a_field_unset() -> None:
    device = jsonform.from_dict(hardware_pb2.Hardware, {"id": "x", "tdp_watts": None, "link": None})
    assert device == hardware_pb2.Hardware(id="x")


def test_everything_that_is_wrong_is_told_at_once_with_its_path() -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        jsonform.from_dict(
            hardware_pb2.Hardware,
            {
                "id": 5,
                "name": "no such field",
                "memory_bytes": "much",
                "tdp_watts": True,
                "release_year": 2020.5,
                "aliases": "one",
                "peaks": [{"dtype": "int5", "flops_per_s": None}, "fast", {"dtype": 4}],
                "link": [],
                "sources": [{"field": {}, "read": "x"}],
                "create_time": "yesterday",
                "vendor": "\ud800",
                "bandwidth_bytes_per_s": 10**400,
            },
            "hardware",
        )
    assert {v.field for v in raised.value.violations} == {
        "hardware.id",
        "hardware.name",
        "hardware.memory_bytes",
        "hardware.tdp_watts",
        "hardware.release_year",
        "hardware.aliases",
        "hardware.peaks[0].dtype",
        "hardware.peaks[1]",
        "hardware.peaks[2].dtype",
        "hardware.link",
        "hardware.sources[0].field",
        "hardware.sources[0].read",
        "hardware.create_time",
        "hardware.vendor",
        "hardware.bandwidth_bytes_per_s",
    }


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 10**30])
def test_a_whole_number_that_the_wire_cannot_carry_is_told(number: int) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        jsonform.from_dict(common_pb2.Workload, {"input_len": number})
    assert [v.field for v in raised.value.violations] == ["input_len"]
    assert "2,147,483,647" in raised.value.violations[0].description


def test_enum_choices_are_what_a_person_may_type() -> None:
    choices = jsonform.enum_choices(recommendation_service_pb2.Goal.DESCRIPTOR)
    assert choices == ["latency", "throughput", "cost", "memory"]
    assert jsonform.enum_number(types_pb2.Dtype.DESCRIPTOR, "int5") is None


def test_a_map_is_an_object_both_ways() -> None:
    totals = model_pb2.CheckpointTotals(element_count_by_dtype={"F32": 1, "BF16": 2})
    printed = jsonform.to_dict(totals)
    assert json.dumps(printed["element_count_by_dtype"]) == '{"BF16": 2, "F32": 1}'
    assert jsonform.from_dict(model_pb2.CheckpointTotals, printed) == totals


def test_a_map_of_messages_is_an_object_of_objects_both_ways() -> None:
    profile = efficiency_profile_pb2.EfficiencyProfile()
    profile.further_constants["time_factor"].MergeFrom(efficiency_profile_pb2.Estimate(value=1, high=1.5))
    profile.further_constants["passes"].SetInParent()
    printed = jsonform.to_dict(profile)
    assert json.dumps(printed["further_constants"]) == (
        '{"passes": {"value": 0, "low": 0, "high": 0}, "time_factor": {"value": 1, "low": 0, "high": 1.5}}'
    )
    assert jsonform.from_dict(efficiency_profile_pb2.EfficiencyProfile, printed) == profile


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([], "further_constants"),
        ({"passes": 1}, "further_constants.passes"),
        ({"passes": None}, "further_constants.passes"),
        ({"passes": {"low": "none"}}, "further_constants.passes.low"),
        ({"passes": {"mean": 1}}, "further_constants.passes.mean"),
    ],
)
def test_what_is_wrong_in_a_map_of_messages_is_named(value: object, field: str) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        jsonform.from_dict(efficiency_profile_pb2.EfficiencyProfile, {"further_constants": value})
    assert [violation.field for violation in raised.value.violations] == [field]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([], "element_count_by_dtype"),
        ({"BF16": "many"}, "element_count_by_dtype.BF16"),
        ({"BF16": None}, "element_count_by_dtype.BF16"),
    ],
)
def test_what_is_wrong_in_a_map_is_named(value: object, field: str) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        jsonform.from_dict(model_pb2.CheckpointTotals, {"element_count_by_dtype": value})
    assert [violation.field for violation in raised.value.violations] == [field]
