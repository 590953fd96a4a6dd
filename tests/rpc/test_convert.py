"""Answers mirror the domain field by field, and enums map both ways: read from the contract's descriptors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from enum import StrEnum
from typing import Any

import pytest
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from ridgeline.v1 import (
    analysis_service_pb2,
    common_pb2,
    efficiency_profile_pb2,
    errors_pb2,
    hardware_pb2,
    measured_case_pb2,
    measurement_pb2,
    model_pb2,
    recommendation_service_pb2,
    types_pb2,
)
from ridgeline_server.advisor.advice import recommend
from ridgeline_server.advisor.results import Advice, ExplainedTechnique, Freedom, Goal, Plan
from ridgeline_server.domain.deployment import CostBasis, Deployment, DeploymentRequest, Offload
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import WeightFormat
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.resolve import resolve_deployment
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.tensors import ModuleClass
from ridgeline_server.domain.workload import Load, Slo, Workload
from ridgeline_server.roofline.analysis import analyze
from ridgeline_server.roofline.constants import UsedProfile
from ridgeline_server.roofline.memory.device import Memory
from ridgeline_server.roofline.results import Analysis
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.convert import enums, hardware, models, profiles
from ridgeline_server.rpc.convert.answers import analyze_response, explain_response, recommend_response
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.engines import builtin_engines
from ridgeline_server.store.startup import open_catalog
from tests.rpc import samples

MAPS = {name: value for name, value in vars(enums).items() if isinstance(value, enums.EnumMap)}

NOT_CONVERTED = {errors_pb2.ErrorReason.DESCRIPTOR.full_name: "reasons are told by rpc/errors.py"}


def enums_of_the_contract() -> Iterator[EnumDescriptor]:
    for file in (
        analysis_service_pb2,
        common_pb2,
        efficiency_profile_pb2,
        errors_pb2,
        hardware_pb2,
        measured_case_pb2,
        measurement_pb2,
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
    sendable = {v.number for v in enum_map.wire.values if v.number}
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
        Freedom(
            load=True,
            devices=True,
            max_accuracy_loss=0.1,
            unknown_accuracy=False,
            hardware=(catalog.hardware("h100-sxm"),),
        ),
    )


@pytest.fixture(scope="module", params=[CostBasis.IDEAL, CostBasis.EXPECTED])
def rich(request: pytest.FixtureRequest, seeded_database_url: str) -> Analysis:
    """An analysis with every part of a deployment in it: many devices, a draft, offloading, an engine."""
    store = open_catalog(seeded_database_url)
    catalog = CatalogCache(store).snapshot()
    store.close()
    model, device = catalog.model("deepseek-v3"), catalog.hardware("h200-sxm")
    stated = DeploymentRequest(
        formats=(WeightFormat(ModuleClass.EXPERTS, Dtype.INT8, 128),),
        parallel=Parallelism(tp=2, pp=2, ep=4, attention_dp=2, dp=2),
        chunk_tokens=512,
        prefix_hit_rate=0.25,
        kv_keep_ratio=0.5,
        kv_window=1500,
        speculation=Speculation(Draft.MODEL, 2, 0.65, catalog.model("deepseek-r1"), Dtype.INT4),
        offload=Offload(0.1, 0.2, 5e10),
        sparse_weights=True,
        skipped_layer_share=0.125,
        expert_popularity_spread=0.5,
        node_bandwidth_bytes_per_s=1e11,
        engine=builtin_engines().find("vLLM", "0.19.0"),
        memory_utilization=0.9,
        eager=True,
    )
    return analyze(
        model,
        device,
        Workload(64, 2000, 200, load=Load.CLOSED_LOOP),
        resolve_deployment(stated, model, device),
        catalog.profiles,
        request.param,
        with_flips=True,
    )


TOLD_DIFFERENTLY = {
    "analysis": {"model", "hardware"},
    "deployment": {"compute_dtype", "weight_scale_bits", "engine", "memory_utilization"},
    "profile_use": {"profile"},
    "format": {"scale_bits"},
    "speculation": {"model", "weight_dtype"},
    "workload": {"batch", "load"},
    "memory": {"ranges", "contexts"},
    "plan": {"hardware"},
}
"""Fields of the domain's objects that an answer names by their ids, tells in other fields, or leaves out."""
WIRE_NAMES = {"occurrences": "count", "formats": "module_formats", "module": "module_class"}


def assert_mirrored(value: Any, message: Any, path: str) -> None:
    """Every field of a domain object stands in its message with the same value."""
    if isinstance(value, Deployment):
        asked = ("", "") if value.engine is None else (value.engine.asked_engine, value.engine.asked_version)
        assert (message.engine, message.engine_version) == asked
        assert message.memory_utilization == value.memory_share
        skipped = TOLD_DIFFERENTLY["deployment"]
    elif isinstance(value, WeightFormat):
        skipped = TOLD_DIFFERENTLY["format"]
    elif isinstance(value, Speculation):
        if value.model is None:
            assert not message.HasField("draft_model")
        else:
            assert message.draft_model == common_pb2.ModelSelector(id=value.model.id)
        assert message.draft_weight_dtype == enums.DTYPE.number(value.weight_dtype)
        skipped = TOLD_DIFFERENTLY["speculation"]
    elif isinstance(value, Workload):
        kind = "concurrency" if value.load is Load.CLOSED_LOOP else "batch"
        assert message.WhichOneof("load") == kind
        assert getattr(message, kind) == value.batch
        skipped = TOLD_DIFFERENTLY["workload"]
    elif isinstance(value, UsedProfile):
        assert message.profile_id == value.profile.id
        assert message.evidence_count == value.profile.evidence_count
        skipped = TOLD_DIFFERENTLY["profile_use"]
    elif isinstance(value, Memory):
        ranges = value.ranges
        middles = ranges.activations.value, ranges.non_torch.value, ranges.cuda_graphs.value
        assert message.max_context_len == value.max_context_len
        assert (message.activations_bytes, message.non_torch_bytes, message.cuda_graph_bytes) == middles
        skipped = TOLD_DIFFERENTLY["memory"]
    elif isinstance(value, Plan):
        assert value.hardware is None or f"({value.hardware.id})" in message.interactions[0]
        skipped = TOLD_DIFFERENTLY["plan"]
    elif path.endswith(("baseline", "analysis")):
        assert (message.model_id, message.hardware_id) == (value.model.id, value.hardware.id)
        skipped = TOLD_DIFFERENTLY["analysis"]
    else:
        skipped = set()
    names = [f.name for f in fields(value)] if is_dataclass(value) else list(value._fields)
    for name in names:
        if name in skipped:
            continue
        assert_same(getattr(value, name), message, WIRE_NAMES.get(name, name), f"{path}.{name}")


def assert_same(value: Any, message: Message, name: str, path: str) -> None:
    field = message.DESCRIPTOR.fields_by_name[name]
    if value is None and field.enum_type is not None:
        assert getattr(message, name) == 0, path
        return
    if value is None:
        if not isinstance(message, common_pb2.Workload) or name != "decode_keys":
            assert field.has_presence, path
            assert not message.HasField(name), path
        return
    told = getattr(message, name)
    if isinstance(value, Slo):
        for limit in ("ttft_ms", "tpot_ms"):
            assert_same(getattr(value, limit), told, limit, f"{path}.{limit}")
    elif isinstance(value, StrEnum) and field.enum_type is not None:
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


def test_an_explanation_has_every_figure_of_both_sides(advice: Advice) -> None:
    baseline = advice.baseline
    judged = next(r for r in advice.recommendations if r.effects)
    explained = ExplainedTechnique(baseline, judged, baseline.prefill, baseline.decode)
    response = explain_response(explained, 7)
    assert_mirrored(explained, response, "explained")
    assert response.catalog_revision == 7
    assert not explain_response(replace(explained, after=None), 7).HasField("after")


def test_an_answer_has_every_figure_of_many_devices(rich: Analysis) -> None:
    response = analyze_response(rich, 7)
    assert_mirrored(rich, response, "analysis")
    assert response.deployment.speculation.acceptance_rate_source.startswith("arXiv:2211.17192")
    sent = [operator for stage in response.stages for operator in stage.operators if operator.message_bytes]
    assert {operator.name for operator in sent} >= {"all_reduce", "all_to_all"}
    assert all(stage.flips for stage in response.stages)


def test_a_deployment_of_an_answer_has_no_field_that_nothing_fills(rich: Analysis) -> None:
    deployment = analyze_response(rich, 7).deployment
    formats = next(f for f in deployment.module_formats if f.module_class == "experts")
    for message in (deployment, deployment.parallel, deployment.speculation, deployment.offload, formats):
        filled = {field.name for field, _ in message.ListFields()}
        empty = {field.name for field in message.DESCRIPTOR.fields} - filled
        assert empty <= {"activation_dtype"}, message.DESCRIPTOR.name


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
        allowed = {"flips", "message_bytes", "requests_waiting"}
        if advice.baseline.basis is CostBasis.IDEAL:
            allowed |= {"profiles", "not_modelled", *predicted}
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
