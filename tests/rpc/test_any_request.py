"""Requests that nobody thought of: none is answered by a fault, and no answer holds what is no number."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ridgeline.v1 import analysis_service_pb2, common_pb2, recommendation_service_pb2
from ridgeline.v1.hardware_pb2 import PeakRate
from ridgeline_server.advisor.registry import all_techniques
from ridgeline_server.rpc.dispatch import SERVICES
from ridgeline_server.rpc.embedding import EmbeddedService
from ridgeline_server.store.startup import open_embedded_catalog
from tests.rpc import samples

RPCS = {f"{service.full_name}/{method.name}": method for service in SERVICES for method in service.methods}

INT32 = st.integers(-(2**31), 2**31 - 1)
TELLING_NUMBERS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    5e-324,
    1e-6,
    1e6,
    2.0**20,
    2.0**50,
    1e18,
    1e21,
    1e308,
    math.inf,
    -math.inf,
    math.nan,
]
TELLING_TEXTS = [
    "",
    " ",
    "*",
    "id",
    "\0",
    "llama-2-7b",
    "rtx-a6000",
    "x100",
    "a/b",
    "../../etc/passwd",
    "notes",
    "peaks.bf16",
    "link.kind",
    "create_time",
    "{}",
    "[]",
    "null",
    json.dumps(samples.CONFIG),
    json.dumps({**samples.CONFIG, "num_hidden_layers": 4096, "hidden_size": 2**20}),
    json.dumps({**samples.CONFIG, "model_type": "\ud800"}),
    "2026-11-22",
    "gpu",
]

repeatable = settings(
    derandomize=True,
    max_examples=40,
    deadline=None,
    database=None,
    # Explaining a failure takes minutes with messages of this size.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@pytest.fixture(scope="module")
def service(shipped_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """The service on a seeded catalog of its own, which requests may change."""
    path = shutil.copy(shipped_sqlite_file, tmp_path_factory.mktemp("any"))
    service = EmbeddedService(open_embedded_catalog(f"sqlite:///{path}"))
    yield service
    service.close()


def messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Any message of a type, with the values that tell most of the bounds among them."""

    def one(field: FieldDescriptor) -> st.SearchStrategy[object]:
        if field.message_type is not None:
            return messages(field.message_type)
        if field.enum_type is not None:
            return st.sampled_from([*(value.number for value in field.enum_type.values), 99, -1])
        return {
            FieldDescriptor.CPPTYPE_STRING: st.sampled_from(TELLING_TEXTS) | st.text(max_size=8),
            FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
            FieldDescriptor.CPPTYPE_DOUBLE: st.sampled_from(TELLING_NUMBERS) | st.floats(),
            FieldDescriptor.CPPTYPE_INT32: st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)]) | INT32,
            FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        }[field.cpp_type]

    def build(values: dict[str, Any]) -> Message:
        oneofs = descriptor.oneofs_by_name.values()
        for oneof in oneofs:
            for extra in [f.name for f in oneof.fields if values.get(f.name) is not None][1:]:
                values[extra] = None
        return GetMessageClass(descriptor)(**values)

    def several(field: FieldDescriptor) -> st.SearchStrategy[object]:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            return st.dictionaries(one(key), one(value), max_size=3)
        return st.lists(one(field), max_size=3)

    return st.fixed_dictionaries(
        {
            field.name: several(field) if field.is_repeated else st.none() | one(field)
            for field in descriptor.fields
        }
    ).map(build)


def assert_no_fault(answer: Message | Status, request: Message) -> None:
    if isinstance(answer, Status):
        assert answer.code in (
            code_pb2.INVALID_ARGUMENT,
            code_pb2.NOT_FOUND,
            code_pb2.ALREADY_EXISTS,
            code_pb2.ABORTED,
            code_pb2.FAILED_PRECONDITION,
            code_pb2.OUT_OF_RANGE,
        ), f"{answer.message} to {request}"
        assert answer.ByteSize() < 5000
    else:
        assert_finite(answer)


def assert_finite(message: Message) -> None:
    """No NaN and no infinity in an answer, which JSON could not hold."""
    for field, value in message.ListFields():
        for item in value if field.is_repeated else [value]:
            if isinstance(item, Message):
                assert_finite(item)
            elif isinstance(item, float):
                assert math.isfinite(item), f"{message.DESCRIPTOR.name}.{field.name}"


def first_answer(service: EmbeddedService, rpc: str, sent: Message) -> Message | Status:
    """The answer, or the first of a stream's."""
    return next(service.stream(rpc, sent)) if RPCS[rpc].server_streaming else service.answer(rpc, sent)


@pytest.mark.parametrize("rpc", RPCS)
def test_no_request_meets_a_fault(rpc: str, service: EmbeddedService) -> None:
    @repeatable
    @given(messages(RPCS[rpc].input_type))
    def check(request: Message) -> None:
        # The wire drops what cannot be sent.
        sent = type(request).FromString(request.SerializeToString())
        assert_no_fault(first_answer(service, rpc, sent), sent)

    check()


SENSIBLE_LENGTHS = st.integers(1, 10_000) | st.sampled_from([1, 2, 100_000_000])
DEVICES = [
    "rtx-a6000",
    "h100-sxm",
    "t4",
    "a100-sxm-80gb",
    "tpu-v5e",
    "apple-m2",
    "mi300x",
    "b200-sxm",
    "epyc-9654",
]
MODELS = [
    "llama-2-7b",
    "gemma-2-2b-it",
    "opt-6.7b",
    "falcon-7b",
    "phi-2",
    "gpt2",
    "qwen3-32b-fp8",
    "mistral-7b",
]
ENUM = st.sampled_from


def sensible_questions(request_type: type[Message]) -> st.SearchStrategy[Message]:
    """Questions about catalog entries within the documented bounds."""
    dtypes = ENUM([0, 0, 0, 1, 3, 4, 5, 8, 9, 10, 11])
    overrides = st.builds(
        common_pb2.HardwareOverrides,
        bandwidth_bytes_per_s=st.none() | ENUM([1e6, 1e12, 1e18]),
        memory_bytes=st.none() | ENUM([2.0**20, 2.0**35, 2.0**50]),
        price_usd_per_hour=st.none() | ENUM([1e-6, 1.0, 1e6]),
        clock_hz=st.none() | ENUM([1e6, 1e9, 1e11]),
        peaks=st.none()
        | st.lists(
            st.builds(PeakRate, dtype=ENUM([3, 4, 5, 8]), flops_per_s=ENUM([1e6, 1e15, 1e21])),
            max_size=2,
            unique_by=lambda peak: peak.dtype,
        ),
    )
    more: dict[str, st.SearchStrategy[Any]] = {}
    if request_type is recommendation_service_pb2.RecommendRequest:
        more = {
            "goal": ENUM([0, 1, 2, 4]),
            "allow_load_change": st.booleans(),
            "allow_devices_change": st.booleans(),
            "max_devices": st.none() | ENUM([1, 8, 1_000_000]),
            "max_accuracy_loss": st.none() | ENUM([0.0, 0.05, 1.0]),
            "allow_unknown_accuracy": st.booleans(),
            "allow_hardware_change": st.booleans(),
            "allow_model_change": st.booleans(),
            "assumed": st.none()
            | st.builds(
                recommendation_service_pb2.AssumedFigures,
                heads_acceptance_rate=st.none() | ENUM([0.0, 0.5, 1.0]),
                mtp_acceptance_rate=st.none() | ENUM([0.0, 0.5, 1.0]),
                ngram_acceptance_rate=st.none() | ENUM([0.0, 0.5, 1.0]),
                prefix_hit_rate=st.none() | ENUM([0.0, 0.5, 1.0]),
                kv_keep_ratio=st.none() | ENUM([0.01, 0.5, 1.0]),
                skipped_layer_share=st.none() | ENUM([0.0, 0.5, 0.99]),
                kv_window=st.none() | ENUM([1, 512, 100_000_000]),
            ),
        }
    if request_type is recommendation_service_pb2.ExplainRequest:
        ids = [technique.id for technique in all_techniques()]
        more = {"goal": ENUM([0, 1, 2, 4]), "technique": ENUM(ids)}
    return st.builds(
        request_type,
        model=st.builds(common_pb2.ModelSelector, id=ENUM(MODELS)),
        hardware=st.builds(common_pb2.HardwareSelector, id=ENUM(DEVICES), overrides=st.none() | overrides),
        workload=st.builds(
            common_pb2.Workload,
            batch=ENUM([1, 2, 7, 64, 1_000_000]),
            input_len=SENSIBLE_LENGTHS,
            output_len=SENSIBLE_LENGTHS,
            decode_keys=st.none() | SENSIBLE_LENGTHS,
            slo=st.none()
            | st.builds(
                common_pb2.ServiceLevelObjective,
                ttft_ms=st.none() | ENUM([1e-6, 100.0, 1e9]),
                tpot_ms=st.none() | ENUM([1e-6, 20.0, 1e9]),
            ),
        ),
        deployment=st.builds(
            common_pb2.Deployment,
            weight_dtype=dtypes,
            activation_dtype=dtypes,
            kv_dtype=dtypes,
            lm_head_dtype=dtypes,
            weight_group_size=st.none() | ENUM([0, 1, 32, 128, 65536]),
            attention=ENUM([0, 1, 2]),
        ),
        basis=ENUM([0, 1, 2]),
        **more,
    )


@pytest.mark.parametrize(
    ("rpc", "request_type"),
    [
        ("ridgeline.v1.AnalysisService/Analyze", analysis_service_pb2.AnalyzeRequest),
        ("ridgeline.v1.RecommendationService/Recommend", recommendation_service_pb2.RecommendRequest),
        ("ridgeline.v1.RecommendationService/Explain", recommendation_service_pb2.ExplainRequest),
    ],
)
def test_every_question_within_the_bounds_has_a_finite_answer_or_a_reason(
    rpc: str, request_type: type[Message], service: EmbeddedService
) -> None:
    answered = 0

    @repeatable
    @given(sensible_questions(request_type))
    def check(request: Message) -> None:
        nonlocal answered
        answer = service.answer(rpc, request)
        answered += not isinstance(answer, Status)
        assert_no_fault(answer, request)

    check()
    assert answered > 5
