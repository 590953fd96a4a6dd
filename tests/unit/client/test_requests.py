"""What the Python client sends, and what it cannot send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from google.protobuf.message import Message

from ridgeline import errors, questions
from ridgeline.client import Client
from ridgeline.v1 import (
    analysis_service_pb2,
    catalog_service_pb2,
    common_pb2,
    recommendation_service_pb2,
    types_pb2,
)
from ridgeline.v1.hardware_pb2 import Hardware, PeakRate

R = TypeVar("R", bound=Message)


class Recorder:
    """A transport that keeps what it should send, and answers with nothing."""

    target = "nowhere"

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    def call(self, method: str, request: Message, response_type: type[R]) -> R:
        """Keep a copy of the request."""
        kept = type(request)()
        kept.CopyFrom(request)
        self.sent.append((method, kept))
        return response_type()

    def stream(self, method: str, request: Message, response_type: type[R]) -> Iterator[R]:
        raise AssertionError(f"{method} is not asked here")

    def pause(self, seconds: float) -> None:
        raise AssertionError("nothing is tried again here")

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def client(recorder: Recorder) -> Client:
    return Client(recorder)


def test_a_plain_question_states_only_what_was_said(client: Client, recorder: Recorder) -> None:
    client.analyze("llama-2-7b", "rtx-a6000", input_len=2048)
    assert recorder.sent == [
        (
            "ridgeline.v1.AnalysisService/Analyze",
            analysis_service_pb2.AnalyzeRequest(
                model=common_pb2.ModelSelector(id="llama-2-7b"),
                hardware=common_pb2.HardwareSelector(id="rtx-a6000"),
                workload=common_pb2.Workload(batch=1, input_len=2048, output_len=128),
                deployment=common_pb2.Deployment(),
                basis=common_pb2.COST_BASIS_EXPECTED,
            ),
        )
    ]


def test_every_argument_reaches_its_field(client: Client, recorder: Recorder) -> None:
    client.recommend(
        "m",
        "h",
        batch=2,
        input_len=3,
        output_len=4,
        decode_keys=5,
        weights="int4",
        weight_group_size=0,
        lm_head="INT8",
        activations="bf16",
        kv="Fp8",
        attention="unfused",
        ideal=True,
        slo_ttft_ms=6,
        slo_tpot_ms=7.5,
        overrides={
            "memory_bytes": 8,
            "price_usd_per_hour": "0.5",
            "clock_hz": "1.2e9",
            "peaks.int8": 9e12,
            "peaks": {"bf16": 1e12},
        },
        goal="memory",
        allow_load_change=True,
        allow_devices_change=True,
        max_devices=8,
        max_accuracy_loss=0.02,
        allow_unknown_accuracy=True,
        allow_hardware_change=True,
        other_hardware=["h2", {"id": "h3"}],
        allow_model_change=True,
        other_models=["m2", "m3"],
        assumed={"prefix_hit_rate": "0.5", "kv_keep_ratio": 0.25, "kv_window": "512"},
        draft_model="small",
    )
    assert recorder.sent == [
        (
            "ridgeline.v1.RecommendationService/Recommend",
            recommendation_service_pb2.RecommendRequest(
                model=common_pb2.ModelSelector(id="m"),
                hardware=common_pb2.HardwareSelector(
                    id="h",
                    overrides=common_pb2.HardwareOverrides(
                        memory_bytes=8,
                        price_usd_per_hour=0.5,
                        clock_hz=1.2e9,
                        peaks=[
                            PeakRate(dtype=types_pb2.DTYPE_INT8, flops_per_s=9e12),
                            PeakRate(dtype=types_pb2.DTYPE_BF16, flops_per_s=1e12),
                        ],
                    ),
                ),
                workload=common_pb2.Workload(
                    batch=2,
                    input_len=3,
                    output_len=4,
                    decode_keys=5,
                    slo=common_pb2.ServiceLevelObjective(ttft_ms=6, tpot_ms=7.5),
                ),
                deployment=common_pb2.Deployment(
                    weight_dtype=types_pb2.DTYPE_INT4,
                    weight_group_size=0,
                    lm_head_dtype=types_pb2.DTYPE_INT8,
                    activation_dtype=types_pb2.DTYPE_BF16,
                    kv_dtype=types_pb2.DTYPE_FP8,
                    attention=common_pb2.ATTENTION_KERNEL_UNFUSED,
                ),
                basis=common_pb2.COST_BASIS_IDEAL,
                goal=recommendation_service_pb2.GOAL_MEMORY,
                allow_load_change=True,
                allow_devices_change=True,
                max_devices=8,
                max_accuracy_loss=0.02,
                allow_unknown_accuracy=True,
                allow_hardware_change=True,
                other_hardware=[
                    common_pb2.HardwareSelector(id="h2"),
                    common_pb2.HardwareSelector(inline=Hardware(id="h3")),
                ],
                allow_model_change=True,
                other_models=[common_pb2.ModelSelector(id="m2"), common_pb2.ModelSelector(id="m3")],
                assumed=recommendation_service_pb2.AssumedFigures(
                    prefix_hit_rate=0.5, kv_keep_ratio=0.25, kv_window=512
                ),
                draft_model=common_pb2.ModelSelector(id="small"),
            ),
        )
    ]


def test_every_option_of_a_deployment_reaches_its_field(client: Client, recorder: Recorder) -> None:
    client.analyze(
        "m",
        "h",
        input_len=1,
        concurrency=16,
        module_formats={"experts": "mxfp4", "mlp": "INT4:g64", "attention": "fp8:g128:fp8"},
        tp=8,
        pp=2,
        ep=4,
        attention_dp=3,
        dp=5,
        chunk_tokens=2048,
        prefix_hit_rate=0.5,
        kv_keep_ratio=0.25,
        kv_window=700,
        draft="small",
        draft_tokens=3,
        acceptance_rate=0.7,
        offload_weights=0.1,
        offload_kv=0.2,
        host_bandwidth_bytes_per_s=5e10,
        sparse_weights=True,
        skip_layers=0.3,
        expert_spread=1.5,
        node_bandwidth_bytes_per_s=1e11,
        engine="vllm@0.19.0",
        memory_utilization=0.85,
        eager=True,
    )
    ((_, request),) = recorder.sent
    assert request.workload == common_pb2.Workload(concurrency=16, input_len=1, output_len=128)
    assert request.deployment == common_pb2.Deployment(
        module_formats=[
            common_pb2.ModuleFormat(module_class="experts", dtype=types_pb2.DTYPE_MXFP4),
            common_pb2.ModuleFormat(module_class="mlp", dtype=types_pb2.DTYPE_INT4, group_size=64),
            common_pb2.ModuleFormat(
                module_class="attention",
                dtype=types_pb2.DTYPE_FP8,
                group_size=128,
                activation_dtype=types_pb2.DTYPE_FP8,
            ),
        ],
        parallel=common_pb2.Parallelism(tp=8, pp=2, ep=4, attention_dp=3, dp=5),
        chunk_tokens=2048,
        prefix_hit_rate=0.5,
        kv_keep_ratio=0.25,
        kv_window=700,
        speculation=common_pb2.Speculation(
            draft=common_pb2.DRAFT_MODEL,
            tokens=3,
            acceptance_rate=0.7,
            draft_model=common_pb2.ModelSelector(id="small"),
        ),
        offload=common_pb2.Offload(weight_share=0.1, kv_share=0.2, host_bandwidth_bytes_per_s=5e10),
        sparse_weights=True,
        skipped_layer_share=0.3,
        expert_popularity_spread=1.5,
        node_bandwidth_bytes_per_s=1e11,
        engine="vllm",
        engine_version="0.19.0",
        memory_utilization=0.85,
        eager=True,
    )


def test_no_field_of_a_deployment_is_left_without_an_option(client: Client, recorder: Recorder) -> None:
    stated: dict[str, Any] = {
        name: 1 for name in questions.DEPLOYMENT_OPTIONS if name not in ("draft", "engine", "module_formats")
    }
    stated |= dict.fromkeys(("weights", "lm_head", "activations", "kv", "draft_weights"), "int8") | {
        "attention": "fused"
    }
    stated |= {"module_formats": {"mlp": "fp8:g1:fp8"}, "draft": "small", "engine": "vllm@1"}
    stated["sparse_weights"] = stated["eager"] = True
    client.analyze("m", "h", input_len=1, **stated)
    ((_, request),) = recorder.sent

    def unset(message: Message) -> set[str]:
        filled = {field.name for field, _ in message.ListFields()}
        return {field.name for field in message.DESCRIPTOR.fields} - filled

    deployment = request.deployment
    assert unset(deployment) == unset(deployment.parallel) == unset(deployment.offload) == set()
    assert unset(deployment.speculation) == {"acceptance_rate_source"}, "output only"
    assert unset(deployment.module_formats[0]) == set()


@pytest.mark.parametrize(
    ("draft", "expected"),
    [
        ("ngram", common_pb2.Speculation(draft=common_pb2.DRAFT_NGRAM, tokens=3)),
        ("Heads", common_pb2.Speculation(draft=common_pb2.DRAFT_HEADS, tokens=3)),
        (
            {"model_type": "llama"},
            common_pb2.Speculation(
                draft=common_pb2.DRAFT_MODEL,
                tokens=3,
                draft_model=common_pb2.ModelSelector(config_json='{\n  "model_type": "llama"\n}'),
            ),
        ),
    ],
    ids=["ngram", "heads", "a config"],
)
def test_a_draft_is_a_kind_or_a_model(
    client: Client, recorder: Recorder, draft: Any, expected: common_pb2.Speculation
) -> None:
    client.analyze("m", "h", input_len=1, draft=draft, draft_tokens=3)
    ((_, request),) = recorder.sent
    assert request.deployment.speculation == expected


def test_none_states_nothing(client: Client, recorder: Recorder) -> None:
    nothing: Any = dict.fromkeys(questions.DEPLOYMENT_OPTIONS)
    client.analyze("m", "h", input_len=1, batch=None, concurrency=None, **nothing)
    client.analyze("m", "h", input_len=1)
    (_, first), (_, second) = recorder.sent
    assert first == second


def test_what_contradicts_itself_is_told_with_everything_else(client: Client, recorder: Recorder) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.analyze(
            "m",
            "h",
            input_len=1,
            batch=2,
            concurrency=3,
            tp=1.5,  # type: ignore[arg-type]
            prefix_hit_rate="often",  # type: ignore[arg-type]
            sparse_weights="no",  # type: ignore[arg-type]
            module_formats={"mlp": "int5", "experts": "g64"},
            acceptance_rate=0.5,
        )
    assert recorder.sent == []
    assert [v.field for v in raised.value.violations] == [
        "workload.concurrency",
        "deployment.module_formats.mlp",
        "deployment.module_formats.experts",
        "deployment.sparse_weights",
        "deployment.parallel.tp",
        "deployment.prefix_hit_rate",
        "deployment.speculation.acceptance_rate",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"input_len": 1, "tensor_parallel": 2}, "'tensor_parallel'"), ({}, "'input_len'")],
    ids=["unknown", "missing"],
)
def test_an_argument_that_there_is_not_is_a_type_error(
    client: Client, arguments: dict[str, Any], said: str
) -> None:
    for ask in (client.analyze, client.recommend):
        with pytest.raises(TypeError, match=said):
            ask("m", "h", **arguments)


def test_what_the_server_must_judge_is_sent_as_it_is(client: Client, recorder: Recorder) -> None:
    client.analyze("", "", batch=0, input_len=-1, output_len=0, slo_ttft_ms=float("nan"))
    ((_, request),) = recorder.sent
    assert (request.workload.batch, request.workload.input_len) == (0, -1)


def test_numpys_numbers_are_numbers(client: Client, recorder: Recorder) -> None:
    client.analyze("m", "h", batch=np.int64(4), input_len=np.int32(8), slo_ttft_ms=np.float64(1.5))  # type: ignore[arg-type]
    ((_, request),) = recorder.sent
    assert (request.workload.batch, request.workload.input_len, request.workload.slo.ttft_ms) == (4, 8, 1.5)


def test_everything_that_the_wire_cannot_carry_is_told_at_once(client: Client, recorder: Recorder) -> None:
    arguments: dict[str, Any] = {
        "batch": 2**31,
        "input_len": 1.5,
        "output_len": True,
        "decode_keys": "many",
        "weights": "int5",
        "weight_group_size": -(2**40),
        "kv": 8,
        "attention": "flash",
        "slo_ttft_ms": "soon",
        "slo_tpot_ms": 10**400,
        "overrides": {"speed": 1, "memory_bytes": "8 GiB", "peaks.bf17": 1, "peaks.int8": "fast"},
        "goal": "world peace",
    }
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.recommend(3, None, **arguments)  # type: ignore[arg-type]
    assert recorder.sent == []
    assert [v.field for v in raised.value.violations] == [
        "model",
        "hardware.inline",
        "hardware.overrides.speed",
        "hardware.overrides.memory_bytes",
        "hardware.overrides.peaks.bf17",
        "hardware.overrides.peaks.int8",
        "workload.batch",
        "workload.input_len",
        "workload.output_len",
        "workload.decode_keys",
        "workload.slo.ttft_ms",
        "workload.slo.tpot_ms",
        "deployment.weight_dtype",
        "deployment.kv_dtype",
        "deployment.attention",
        "deployment.weight_group_size",
        "goal",
    ]
    assert "2,147,483,647" in str(raised.value)
    assert "int4" in str(raised.value)


def test_half_a_surrogate_pair_cannot_be_sent(client: Client) -> None:
    for ask in (lambda: client.analyze("\ud800", "h", input_len=1), lambda: client.get_model("\udfff")):
        with pytest.raises(errors.InvalidArgumentError):
            ask()


def test_a_config_that_is_no_json_cannot_be_sent(client: Client) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.analyze({"hidden_size": object()}, "h", input_len=1)
    assert [v.field for v in raised.value.violations] == ["model.config_json"]


def test_a_name_stays_a_name_and_a_file_is_read(
    client: Client, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").mkdir()
    for path in ("plain", "config.json", "folder/config.json"):
        (tmp_path / path).write_text(json.dumps({"from": path}), encoding="utf-8")
    for source in ("meta-llama/Llama-2-7b-hf", "empty", "plain", "config.json", "folder", Path("folder")):
        client.analyze(source, "h", input_len=1)
    models = [request.model for _, request in recorder.sent]
    assert [m.id for m in models] == ["meta-llama/Llama-2-7b-hf", "empty", "", "", "", ""]
    assert [json.loads(m.config_json)["from"] for m in models[2:]] == [
        "plain",
        "config.json",
        "folder/config.json",
        "folder/config.json",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b" " * (2**20 + 1), "1,048,576 bytes"),
    ],
    ids=["missing", "binary", "too large"],
)
def test_a_file_that_cannot_be_a_config_is_told_with_its_path(
    client: Client, tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.analyze(str(path), "h", input_len=1)
    (violation,) = raised.value.violations
    assert violation.field == "model"
    assert str(path) in violation.description
    assert said in violation.description


@pytest.mark.parametrize("content", ["{", "[]", "3", "[" * 100_000])
def test_a_device_file_that_holds_no_object_is_told(client: Client, tmp_path: Path, content: str) -> None:
    path = tmp_path / "device.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.analyze("m", path, input_len=1)
    assert str(path) in str(raised.value)


def test_a_device_as_message_or_mapping_is_sent_inline(client: Client, recorder: Recorder) -> None:
    client.analyze("m", Hardware(id="x", memory_bytes=1), input_len=1)
    client.analyze("m", {"id": "x", "memory_bytes": 1}, input_len=1)
    first, second = (request.hardware for _, request in recorder.sent)
    assert first == second == common_pb2.HardwareSelector(inline=Hardware(id="x", memory_bytes=1))


def test_a_list_follows_its_pages() -> None:
    pages = [
        catalog_service_pb2.ListHardwareResponse(
            hardware=[Hardware(id=name)], next_page_token=token, catalog_revision=revision
        )
        for name, token, revision in (("a", "t1", 4), ("b", "t2", 5), ("c", "", 5))
    ]
    asked: list[str] = []

    class Paged(Recorder):
        def call(self, method: str, request: Message, response_type: type[R]) -> R:
            assert isinstance(request, catalog_service_pb2.ListHardwareRequest)
            asked.append(request.page_token)
            page = pages[len(asked) - 1]
            assert isinstance(page, response_type)
            return page

    merged = Client(Paged()).list_hardware()
    assert asked == ["", "t1", "t2"]
    assert [device.id for device in merged.hardware] == ["a", "b", "c"]
    assert (merged.next_page_token, merged.catalog_revision) == ("", 5)


def test_one_field_to_update_is_not_read_as_its_letters(client: Client, recorder: Recorder) -> None:
    client.update_hardware(Hardware(id="x"), fields="vendor")
    ((_, request),) = recorder.sent
    assert list(request.update_mask.paths) == ["vendor"]


def test_entries_of_a_wrong_type_are_told(client: Client) -> None:
    calls: list[Any] = [client.create_hardware, client.create_model, client.import_model]
    for call in calls:
        with pytest.raises(errors.InvalidArgumentError) as raised:
            call(5)
        assert "int" in str(raised.value)
