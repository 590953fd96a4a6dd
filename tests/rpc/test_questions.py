"""Analyze, Recommend and Explain: what they answer, and everything that can be wrong with the question."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ridgeline
from ridgeline import errors, jsonform
from ridgeline.v1 import analysis_service_pb2, common_pb2, hardware_pb2, recommendation_service_pb2, types_pb2
from tests.rpc import samples

INT32_MAX = 2**31 - 1


@pytest.fixture(params=["analyze", "recommend", "explain"])
def ask(request: pytest.FixtureRequest, client: ridgeline.Client) -> Callable[..., Any]:
    """The questions in turn, on each way in turn."""
    ask: Callable[..., Any] = getattr(client, request.param)
    return partial(ask, "weight-only-int4") if request.param == "explain" else ask


QUESTIONS: list[dict[str, Any]] = [
    {"model": "llama-2-7b", "hardware": "rtx-a6000", "input_len": 2048},
    {
        "model": "llama-2-7b",
        "hardware": "rtx-a6000",
        "input_len": 2048,
        "ideal": True,
        "attention": "unfused",
    },
    {
        "model": "Meta_Llama 3.1-8B".replace("Meta_", ""),
        "hardware": "H100 SXM",
        "input_len": 128_000,
        "kv": "int4",
    },
    {"model": "opt-6.7b", "hardware": "t4", "input_len": 100, "output_len": 1, "weights": "int8", "batch": 8},
    {
        "model": samples.CONFIG,
        "hardware": samples.device(),
        "input_len": 10,
        "slo_ttft_ms": 1e-3,
        "overrides": {"bandwidth_bytes_per_s": 1e12, "peaks.fp8": 1e15, "memory_bytes": 2.0**31},
    },
]


EVERYTHING: dict[str, Any] = {
    "module_formats": {"experts": "int4:g128", "shared_expert": "fp8:g128:fp8"},
    "tp": 2,
    "pp": 2,
    "ep": 4,
    "attention_dp": 2,
    "dp": 2,
    "chunk_tokens": 512,
    "prefix_hit_rate": 0.25,
    "kv_keep_ratio": 0.5,
    "kv_window": 200,
    "draft": "deepseek-r1",
    "draft_tokens": 2,
    "offload_weights": 0.1,
    "offload_kv": 0.2,
    "host_bandwidth_bytes_per_s": 5e10,
    "skip_layers": 0.125,
    "expert_spread": 0.5,
    "node_bandwidth_bytes_per_s": 1e11,
    "engine": "vllm@0.19.0",
    "memory_utilization": 0.85,
    "eager": True,
}
MANY_DEVICES: list[dict[str, Any]] = [
    {"model": "deepseek-v3", "hardware": "h200-sxm", "input_len": 500, "concurrency": 16, **EVERYTHING},
    {"model": "mixtral-8x7b", "hardware": "h100-sxm", "input_len": 500, "batch": 4, "tp": 2, "ep": 2},
    {
        "model": "gpt-oss-120b",
        "hardware": "h100-sxm",
        "input_len": 500,
        "draft": "ngram",
        "draft_tokens": 3,
        "acceptance_rate": 0.3,
    },
    {"model": "jamba-1.5-mini", "hardware": "h100-sxm", "input_len": 500, "tp": 4, "weights": "int8"},
    {"model": "llama-3.1-70b-instruct", "hardware": "h100-sxm", "input_len": 500, "tp": 4, "pp": 2},
]
"""A mixture of experts with latent attention, two others, a hybrid, and a dense model on eight devices."""


@pytest.mark.parametrize("question", [*QUESTIONS, *MANY_DEVICES])
@pytest.mark.parametrize("rpc", ["analyze", "recommend"])
def test_the_answer_over_the_wire_is_the_embedded_one(
    clients: dict[str, ridgeline.Client], rpc: str, question: dict[str, Any]
) -> None:
    wire, embedded = (getattr(clients[way], rpc)(**question) for way in ("wire", "embedded"))
    assert wire == embedded
    assert wire.SerializeToString(deterministic=True) == embedded.SerializeToString(deterministic=True)


@pytest.mark.parametrize("question", [*QUESTIONS, *MANY_DEVICES])
@pytest.mark.parametrize("technique", ["kv-cache-fp8", "fp8-compute"])
def test_an_explanation_judges_as_the_advice_does_on_either_way(
    clients: dict[str, ridgeline.Client], technique: str, question: dict[str, Any]
) -> None:
    wire, embedded = (clients[way].explain(technique, **question) for way in ("wire", "embedded"))
    assert wire == embedded
    advice = clients["embedded"].recommend(**question)
    assert wire.recommendation == next(r for r in advice.recommendations if r.technique == technique)
    assert wire.baseline == advice.baseline
    applicable = wire.recommendation.verdict != recommendation_service_pb2.VERDICT_NOT_APPLICABLE
    assert wire.HasField("after") is applicable


def test_a_technique_that_there_is_not_is_told_with_those_that_there_are(client: ridgeline.Client) -> None:
    for asked in ("weight-only-int3", ""):
        with pytest.raises(errors.InvalidArgumentError) as raised:
            client.explain(asked, "llama-2-7b", "rtx-a6000", input_len=0)
        assert [v.field for v in raised.value.violations] == ["technique", "workload.input_len"]
        (told, _) = (violation.description for violation in raised.value.violations)
        assert told.startswith(f'is "{asked}"; give one of ')
        assert {"fp8-compute", "weight-only-int8"} <= set(told.partition("one of ")[2].split(", "))


def test_no_explanation_is_given_of_an_open_loop(client: ridgeline.Client) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.explain("kv-cache-fp8", "llama-2-7b", "rtx-a6000", input_len=10, request_rate=1.0)
    assert [v.field for v in raised.value.violations] == ["workload.request_rate"]


def test_an_explanation_takes_what_is_stated_of_traffic(client: ridgeline.Client) -> None:
    def verdict(**stated: Any) -> Any:
        answer = client.explain("prefix-caching", "llama-2-7b", "rtx-a6000", input_len=4000, **stated)
        return answer.recommendation.verdict

    assert verdict() == recommendation_service_pb2.VERDICT_CONSIDER
    assert verdict(assumed={"prefix_hit_rate": 0.8}) == recommendation_service_pb2.VERDICT_APPLY
    with pytest.raises(errors.NotFoundError, match="no-such-model"):
        verdict(draft_model="no-such-model")


def test_an_answer_echoes_the_question_with_its_defaults(client: ridgeline.Client) -> None:
    answer = client.analyze("llama-2-7b", "rtx-a6000", input_len=2048, weights="int4")
    assert (answer.model_id, answer.hardware_id) == ("meta-llama/Llama-2-7b-hf", "rtx-a6000")
    assert answer.workload == common_pb2.Workload(batch=1, input_len=2048, output_len=128, decode_keys=2048)
    assert answer.deployment == common_pb2.Deployment(
        weight_dtype=types_pb2.DTYPE_INT4,
        weight_group_size=128,
        lm_head_dtype=types_pb2.DTYPE_FP16,
        activation_dtype=types_pb2.DTYPE_FP16,
        kv_dtype=types_pb2.DTYPE_FP16,
        attention=common_pb2.ATTENTION_KERNEL_FUSED,
        parallel=common_pb2.Parallelism(tp=1, pp=1, ep=1, attention_dp=1, dp=1),
        prefix_hit_rate=0,
        kv_keep_ratio=1,
        offload=common_pb2.Offload(weight_share=0, kv_share=0, host_bandwidth_bytes_per_s=25e9),
        skipped_layer_share=0,
        expert_popularity_spread=0,
        node_bandwidth_bytes_per_s=50e9,
        memory_utilization=1,
    )
    assert answer.basis == common_pb2.COST_BASIS_EXPECTED
    assert answer.catalog_revision > 0


def test_an_ideal_answer_has_no_expected_figures(client: ridgeline.Client) -> None:
    answer = client.analyze("llama-2-7b", "rtx-a6000", input_len=2048, ideal=True)
    assert answer.basis == common_pb2.COST_BASIS_IDEAL
    assert not answer.profiles
    printed = jsonform.to_json(answer)
    assert '"ideal_time_us"' in printed
    assert "expected_time" not in printed
    assert '"low"' not in jsonform.to_json(answer.metrics)


def test_an_expected_answer_names_the_profiles_it_rests_on(client: ridgeline.Client) -> None:
    answer = client.analyze("llama-2-7b", "rtx-a6000", input_len=2048)
    ids = {profile.id for profile in client.list_efficiency_profiles().efficiency_profiles}
    assert answer.profiles
    assert {use.profile_id for use in answer.profiles} <= ids


def test_the_documents_example_has_an_answer(client: ridgeline.Client) -> None:
    advice = client.recommend(
        "llama-2-7b",
        "rtx-a6000",
        batch=1,
        input_len=2048,
        max_accuracy_loss=0.05,
        allow_unknown_accuracy=True,
    )
    by_technique = {r.technique: r for r in advice.recommendations}
    assert by_technique["weight-only-int4"].verdict == recommendation_service_pb2.VERDICT_APPLY
    assert advice.plans
    assert advice.baseline.model_id == "meta-llama/Llama-2-7b-hf"


def test_recommend_contains_the_analysis_of_the_same_question(client: ridgeline.Client) -> None:
    question: dict[str, Any] = {"model": "mistral-7b", "hardware": "l40s", "input_len": 512, "batch": 4}
    assert client.recommend(**question).baseline == client.analyze(**question, flips=False)


def test_what_would_flip_a_stage_is_left_out_for_callers_in_a_hurry(client: ridgeline.Client) -> None:
    question: dict[str, Any] = {"model": "mistral-7b", "hardware": "l40s", "input_len": 512, "batch": 4}
    analysed = client.analyze(**question)
    for stage in analysed.stages:
        assert stage.flips
        stage.ClearField("flips")
    assert client.analyze(**question, flips=False) == analysed


def test_a_config_as_text_file_folder_or_dictionary_is_the_same_model(
    client: ridgeline.Client, tmp_path: Path
) -> None:
    config = {**samples.CONFIG, "_name_or_path": "example/Inline"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    answers = [
        client.analyze(source, "rtx-a6000", input_len=10)
        for source in (
            config,
            tmp_path / "config.json",
            str(tmp_path / "config.json"),
            str(tmp_path),
            tmp_path,
        )
    ]
    assert answers[0].model_id == "example/Inline"
    assert all(answer == answers[0] for answer in answers)


def test_a_catalog_model_given_inline_is_analysed_alike(client: ridgeline.Client) -> None:
    stored = client.get_model("llama-2-7b").model
    by_name = client.analyze("llama-2-7b", "rtx-a6000", input_len=64)
    inline = client.analyze(json.loads(stored.config_json), "rtx-a6000", input_len=64)
    assert list(inline.stages) == list(by_name.stages)


def test_a_catalog_device_given_inline_is_analysed_alike(client: ridgeline.Client) -> None:
    stored = client.get_hardware("rtx-a6000").hardware
    by_name = client.analyze("llama-2-7b", "rtx-a6000", input_len=64)
    assert client.analyze("llama-2-7b", stored, input_len=64) == by_name
    assert client.analyze("llama-2-7b", jsonform.to_dict(stored), input_len=64) == by_name


def test_an_override_changes_one_figure_for_one_question(client: ridgeline.Client) -> None:
    question: dict[str, Any] = {
        "model": "llama-2-7b",
        "hardware": "rtx-a6000",
        "input_len": 64,
        "ideal": True,
    }
    plain = client.analyze(**question)
    doubled = client.analyze(
        **question, overrides={"bandwidth_bytes_per_s": 2 * plain.roof.bandwidth_bytes_per_s}
    )
    assert doubled.metrics.tpot_ms.ideal == pytest.approx(plain.metrics.tpot_ms.ideal / 2, rel=0.01)
    assert client.analyze(**question) == plain


def test_overriding_memory_scales_what_is_usable_of_it(client: ridgeline.Client) -> None:
    inline = samples.device()
    whole = client.analyze(samples.CONFIG, inline, input_len=10).memory.usable_bytes
    half = client.analyze(
        samples.CONFIG, inline, input_len=10, overrides={"memory_bytes": inline.memory_bytes / 2}
    )
    assert half.memory.usable_bytes == pytest.approx(whole / 2)


def test_a_price_gives_a_cost(client: ridgeline.Client) -> None:
    free = client.analyze("llama-2-7b", "rtx-a6000", input_len=64)
    assert not free.metrics.HasField("cost_usd_per_million_output_tokens")
    paid = client.analyze("llama-2-7b", "rtx-a6000", input_len=64, overrides={"price_usd_per_hour": "0.8"})
    assert paid.metrics.cost_usd_per_million_output_tokens.expected == pytest.approx(
        0.8 / 3600 / paid.metrics.output_tokens_per_s.expected * 1e6
    )


def test_everything_that_is_wrong_with_a_question_is_told_at_once(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        ask(
            "llama-2-7b",
            "rtx-a6000",
            batch=0,
            input_len=-5,
            output_len=INT32_MAX,
            decode_keys=0,
            weight_group_size=-1,
            kv="tf32",
            slo_ttft_ms=float("nan"),
            slo_tpot_ms=-1,
        )
    assert raised.value.reason == "INVALID_FIELD"
    assert [v.field for v in raised.value.violations] == [
        "workload.batch",
        "workload.input_len",
        "workload.output_len",
        "workload.decode_keys",
        "workload.slo.ttft_ms",
        "workload.slo.tpot_ms",
        "deployment.kv_dtype",
        "deployment.weight_group_size",
    ]
    assert raised.value.violations[0].description == "is 0; give 1 to 1,000,000"


def test_wrong_overrides_are_told_even_when_the_device_is_unknown(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        ask(
            "no-such-model",
            "no-such-device",
            input_len=1,
            overrides={
                "bandwidth_bytes_per_s": float("inf"),
                "memory_bytes": "nan",
                "usable_memory_bytes": 1,
                "price_usd_per_hour": 0,
                "peaks.bf16": -1,
            },
        )
    assert [v.field for v in raised.value.violations] == [
        "hardware.overrides.bandwidth_bytes_per_s",
        "hardware.overrides.memory_bytes",
        "hardware.overrides.usable_memory_bytes",
        "hardware.overrides.price_usd_per_hour",
        "hardware.overrides.peaks[0].flops_per_s",
    ]


def test_usable_memory_cannot_exceed_the_devices(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        ask("llama-2-7b", "rtx-a6000", input_len=1, overrides={"usable_memory_bytes": 2.0**40})
    assert [v.field for v in raised.value.violations] == ["hardware.overrides.usable_memory_bytes"]


def test_an_inline_device_needs_its_figures_alone(ask: Callable[..., Any]) -> None:
    figures = hardware_pb2.Hardware(
        memory_bytes=2.0**33,
        bandwidth_bytes_per_s=1e11,
        peaks=[hardware_pb2.PeakRate(dtype=types_pb2.DTYPE_BF16, flops_per_s=1e13)],
    )
    ask(samples.CONFIG, figures, input_len=1)
    with pytest.raises(errors.InvalidArgumentError) as raised:
        ask(samples.CONFIG, hardware_pb2.Hardware(), input_len=1)
    assert [v.field for v in raised.value.violations] == [
        "hardware.inline.memory_bytes",
        "hardware.inline.bandwidth_bytes_per_s",
        "hardware.inline.peaks",
    ]


def test_figures_of_a_wrong_inline_device_can_be_overridden_wrongly_too(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        ask(
            samples.CONFIG,
            hardware_pb2.Hardware(
                bandwidth_bytes_per_s=1e11, usable_memory_bytes=1e9, peaks=samples.device().peaks
            ),
            input_len=1,
            overrides={"memory_bytes": 2.0**33, "price_usd_per_hour": -1},
        )
    assert [v.field for v in raised.value.violations] == [
        "hardware.inline.memory_bytes",
        "hardware.inline.usable_memory_bytes",
        "hardware.overrides.price_usd_per_hour",
    ]


def test_what_a_config_gets_wrong_is_named_by_its_keys(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        ask({**samples.CONFIG, "hidden_size": -64}, "rtx-a6000", batch=0, input_len=1)
    assert [v.field for v in raised.value.violations] == ["workload.batch", "model.config_json.hidden_size"]
    assert raised.value.reason == "INVALID_FIELD"


def test_an_architecture_that_is_not_modelled_is_refused_by_name(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        ask({**samples.CONFIG, "num_local_experts": 8}, "rtx-a6000", input_len=1)
    assert raised.value.reason == "UNSUPPORTED_CONFIG"
    assert "experts" in raised.value.violations[0].description


@pytest.mark.parametrize("question", MANY_DEVICES, ids=lambda question: question["model"])
def test_every_architecture_is_answered_on_its_devices(
    client: ridgeline.Client, question: dict[str, Any]
) -> None:
    answer = client.analyze(**question)
    parallel = answer.deployment.parallel
    devices = parallel.tp * parallel.pp * parallel.attention_dp * parallel.dp
    metrics = answer.metrics
    assert metrics.output_tokens_per_s_per_device.expected * devices == pytest.approx(
        metrics.output_tokens_per_s.expected
    )
    assert metrics.total_tokens_per_s.expected > metrics.output_tokens_per_s.expected
    collectives = [o for stage in answer.stages for o in stage.operators if o.message_bytes > 0]
    assert bool(collectives) is (devices > 1)
    assert {o.bound for o in collectives} <= {types_pb2.BOUND_COMMUNICATION, types_pb2.BOUND_LATENCY}
    memory = answer.memory
    assert memory.kv_pool_bytes.low <= memory.kv_pool_bytes.value <= memory.kv_pool_bytes.high
    assert memory.engine_note


def test_more_devices_take_less_memory_each(client: ridgeline.Client) -> None:
    one, four = (
        client.analyze("mixtral-8x7b", "h100-sxm", input_len=500, tp=tp, ideal=True).memory for tp in (1, 4)
    )
    assert not one.fits
    assert four.fits
    assert four.weights_bytes == pytest.approx(one.weights_bytes / 4, rel=0.02)


def test_a_deployment_is_echoed_with_all_that_was_stated(ask: Callable[..., Any]) -> None:
    answer = ask("deepseek-v3", "h200-sxm", input_len=500, concurrency=16, **EVERYTHING)
    answer = getattr(answer, "baseline", answer)
    assert answer.workload.concurrency == 16
    told = answer.deployment
    assert told.parallel == common_pb2.Parallelism(tp=2, pp=2, ep=4, attention_dp=2, dp=2)
    assert {f.module_class: (f.dtype, f.group_size, f.activation_dtype) for f in told.module_formats} == {
        "experts": (types_pb2.DTYPE_INT4, 128, types_pb2.DTYPE_UNSPECIFIED),
        "shared_expert": (types_pb2.DTYPE_FP8, 128, types_pb2.DTYPE_FP8),
    }
    assert told.speculation == common_pb2.Speculation(
        draft=common_pb2.DRAFT_MODEL,
        tokens=2,
        acceptance_rate=0.65,
        draft_model=common_pb2.ModelSelector(id="deepseek-ai/DeepSeek-R1"),
        acceptance_rate_source=told.speculation.acceptance_rate_source,
    )
    assert told.offload == common_pb2.Offload(weight_share=0.1, kv_share=0.2, host_bandwidth_bytes_per_s=5e10)
    assert (told.engine, told.engine_version, told.memory_utilization) == ("vllm", "0.19.0", 0.85)
    assert (told.chunk_tokens, told.prefix_hit_rate, told.kv_keep_ratio) == (512, 0.25, 0.5)
    assert told.kv_window == 200
    assert (told.skipped_layer_share, told.expert_popularity_spread) == (0.125, 0.5)
    assert told.node_bandwidth_bytes_per_s == 1e11


@pytest.mark.parametrize("question", MANY_DEVICES, ids=lambda question: question["model"])
def test_an_echoed_deployment_asks_the_same_question(
    clients: dict[str, ridgeline.Client], way: str, question: dict[str, Any]
) -> None:
    first = clients[way].analyze(**question)
    request = analysis_service_pb2.AnalyzeRequest(
        model=common_pb2.ModelSelector(id=first.model_id),
        hardware=common_pb2.HardwareSelector(id=first.hardware_id),
        workload=first.workload,
        deployment=first.deployment,
    )
    again = clients[way]._transport.call(
        "ridgeline.v1.AnalysisService/Analyze", request, analysis_service_pb2.AnalyzeResponse
    )
    assert again == first


@pytest.mark.parametrize(
    ("draft", "rate", "source"),
    [("heads", 0.85, "arXiv:2412.19437"), ("llama-3.2-1b", 0.65, "arXiv:2211.17192")],
)
def test_an_unstated_acceptance_rate_is_a_published_one(
    client: ridgeline.Client, draft: str, rate: float, source: str
) -> None:
    question: dict[str, Any] = {"input_len": 100, "draft": draft, "draft_tokens": 2, "ideal": True}
    told = client.analyze("llama-3.1-8b", "h100-sxm", **question).deployment.speculation
    assert told.acceptance_rate == rate
    assert told.acceptance_rate_source.startswith(source)
    other = client.analyze("llama-3.1-8b", "h100-sxm", **question, acceptance_rate=0.5)
    assert other.deployment.speculation.acceptance_rate_source == ""


def test_a_lookup_in_the_text_has_no_usual_acceptance_rate(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        ask("llama-2-7b", "rtx-a6000", input_len=1, draft="ngram", draft_tokens=0)
    assert [v.field for v in raised.value.violations] == [
        "deployment.speculation.acceptance_rate",
        "deployment.speculation.tokens",
    ]
    assert "depends on how far the output repeats the prompt" in raised.value.violations[0].description


WRONG: dict[str, Any] = {
    "tp": 0,
    "pp": -1,
    "chunk_tokens": 0,
    "prefix_hit_rate": 1.5,
    "kv_keep_ratio": 0,
    "kv_window": 0,
    "draft": "heads",
    "draft_tokens": 65,
    "acceptance_rate": float("nan"),
    "offload_weights": -0.1,
    "offload_kv": 2,
    "host_bandwidth_bytes_per_s": 0,
    "skip_layers": 1,
    "expert_spread": -1,
    "node_bandwidth_bytes_per_s": float("inf"),
    "memory_utilization": 0,
}
WRONG_FIELDS = {
    "deployment.parallel.tp",
    "deployment.parallel.pp",
    "deployment.chunk_tokens",
    "deployment.prefix_hit_rate",
    "deployment.kv_keep_ratio",
    "deployment.kv_window",
    "deployment.speculation.tokens",
    "deployment.speculation.acceptance_rate",
    "deployment.offload.weight_share",
    "deployment.offload.kv_share",
    "deployment.offload.host_bandwidth_bytes_per_s",
    "deployment.skipped_layer_share",
    "deployment.expert_popularity_spread",
    "deployment.node_bandwidth_bytes_per_s",
    "deployment.memory_utilization",
}


@pytest.mark.parametrize("model", ["llama-2-7b", "no-such-model"])
def test_everything_that_is_wrong_with_a_deployment_is_told_at_once(
    ask: Callable[..., Any], model: str
) -> None:
    """Also where the model is unknown, so that what depends on it cannot be told."""
    with pytest.raises(errors.InvalidArgumentError) as raised:
        ask(model, "rtx-a6000", input_len=1, concurrency=0, **WRONG)
    told = [v.field for v in raised.value.violations]
    assert set(told) == {"workload.concurrency", *WRONG_FIELDS}
    assert len(told) == len(set(told))


def test_what_the_model_cannot_be_divided_by_is_told_with_what_it_can(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        ask(
            "llama-2-7b",
            "t4",
            input_len=1,
            tp=3,
            ep=2,
            pp=33,
            sparse_weights=True,
            module_formats={"experts": "mxfp4", "mlp": "int4:g99999"},
        )
    assert {v.field for v in raised.value.violations} == {
        "deployment.parallel.tp",
        "deployment.parallel.ep",
        "deployment.parallel.pp",
        "deployment.sparse_weights",
        "deployment.module_formats[0].module_class",
        "deployment.module_formats[1].group_size",
    }
    said = {v.field: v.description for v in raised.value.violations}
    assert "give 2 or 4" in said["deployment.parallel.tp"]
    assert "has attention, mlp, lm_head, embedding" in said["deployment.module_formats[0].module_class"]


@pytest.mark.parametrize(
    ("deployment", "fields"),
    [
        (
            common_pb2.Deployment(
                module_formats=[
                    common_pb2.ModuleFormat(module_class="norms", dtype=types_pb2.DTYPE_BF16),
                    common_pb2.ModuleFormat(module_class="mlp"),
                    common_pb2.ModuleFormat(module_class="mlp", dtype=77),  # type: ignore[arg-type]
                ]
            ),
            [
                "deployment.module_formats[0].module_class",
                "deployment.module_formats[1].dtype",
                "deployment.module_formats[2].dtype",
            ],
        ),
        (
            common_pb2.Deployment(
                module_formats=[common_pb2.ModuleFormat(module_class="mlp", dtype=types_pb2.DTYPE_INT4)] * 2
            ),
            ["deployment.module_formats[1].module_class"],
        ),
        (common_pb2.Deployment(engine_version="1"), ["deployment.engine"]),
        (common_pb2.Deployment(engine="v\0"), ["deployment.engine"]),
        (
            common_pb2.Deployment(speculation=common_pb2.Speculation(tokens=1)),
            ["deployment.speculation.draft"],
        ),
        (
            common_pb2.Deployment(
                speculation=common_pb2.Speculation(draft=common_pb2.DRAFT_MODEL, tokens=0)
            ),
            ["deployment.speculation.draft_model", "deployment.speculation.tokens"],
        ),
        (
            common_pb2.Deployment(
                speculation=common_pb2.Speculation(
                    draft=common_pb2.DRAFT_HEADS,
                    tokens=1,
                    draft_model=common_pb2.ModelSelector(id="llama-2-7b"),
                )
            ),
            ["deployment.speculation.draft_model"],
        ),
        (
            common_pb2.Deployment(
                speculation=common_pb2.Speculation(
                    draft=common_pb2.DRAFT_MODEL,
                    tokens=1,
                    draft_model=common_pb2.ModelSelector(config_json="{}"),
                )
            ),
            ["deployment.speculation.draft_model.config_json"],
        ),
    ],
    ids=[
        "module formats", "twice", "version alone", "control character", "no draft", "no draft model",
        "a model for heads", "a config that is none",
    ],
)  # fmt: skip
def test_what_no_option_can_send_is_refused_by_its_field(
    clients: dict[str, ridgeline.Client], way: str, deployment: common_pb2.Deployment, fields: list[str]
) -> None:
    request = analysis_service_pb2.AnalyzeRequest(
        model=common_pb2.ModelSelector(id="llama-2-7b"),
        hardware=common_pb2.HardwareSelector(id="rtx-a6000"),
        workload=common_pb2.Workload(input_len=1, output_len=1),
        deployment=deployment,
    )
    with pytest.raises(errors.InvalidArgumentError) as raised:
        clients[way]._transport.call(
            "ridgeline.v1.AnalysisService/Analyze", request, analysis_service_pb2.AnalyzeResponse
        )
    assert [v.field for v in raised.value.violations] == fields


def test_a_draft_model_that_there_is_not_tells_the_nearest(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.NotFoundError) as raised:
        ask("llama-2-7b", "rtx-a6000", input_len=1, draft="llama-3.2-1", draft_tokens=1)
    assert raised.value.reason == "MODEL_NOT_FOUND"
    assert "llama-3.2-1b" in raised.value.nearest


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("vllm@0.19.0", "figures of vLLM 0.19.0"),
        ("vLLM", "no version of vLLM is stated"),
        ("some-engine@2", "nothing is known of the memory of some-engine"),
        (None, "no engine is stated"),
    ],
)
def test_whose_memory_figures_were_taken_is_told(
    client: ridgeline.Client, engine: str | None, said: str
) -> None:
    memory = client.analyze("llama-2-7b", "rtx-a6000", input_len=1, engine=engine).memory
    assert said in memory.engine_note


def test_unknown_names_tell_the_nearest(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.NotFoundError) as raised:
        ask("lama-2-7b", "rtx-a6000", input_len=1)
    assert raised.value.reason == "MODEL_NOT_FOUND"
    assert "llama-2-7b" in raised.value.nearest
    with pytest.raises(errors.NotFoundError) as raised:
        ask("llama-2-7b", "rtx-a600", input_len=1)
    assert raised.value.reason == "HARDWARE_NOT_FOUND"
    assert "rtx-a6000" in raised.value.nearest


def test_a_dtype_without_a_unit_is_a_failed_precondition(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.FailedPreconditionError) as raised:
        ask("llama-2-7b", "a100-sxm-80gb", input_len=1, weights="fp8", activations="fp8")
    assert raised.value.reason == "UNSUPPORTED_DTYPE"
    assert raised.value.metadata["field"] == "deployment.activation_dtype"
    assert "fp8" in raised.value.message


def test_wrong_fields_go_before_unknown_names_and_missing_units(ask: Callable[..., Any]) -> None:
    for model in ("no-such-model", "llama-2-7b"):
        with pytest.raises(errors.InvalidArgumentError) as raised:
            ask(model, "a100-sxm-80gb", input_len=0, weights="fp8", activations="fp8")
        assert [v.field for v in raised.value.violations] == ["workload.input_len"]


def test_bounds_of_plans_are_checked_all_at_once(client: ridgeline.Client) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.recommend("llama-2-7b", "rtx-a6000", input_len=1, max_devices=0, max_accuracy_loss=1.5)
    found = {violation.field: violation.description for violation in raised.value.violations}
    assert found == {
        "max_devices": "is 0; give 1 to 1,000,000",
        "max_accuracy_loss": "is 1.5; give a share from 0 to 1",
    }


def test_plans_keep_to_the_usual_accuracy_budget_unless_told_otherwise(client: ridgeline.Client) -> None:
    usual = client.recommend("llama-2-7b", "rtx-a6000", input_len=2048)
    assert usual == client.recommend("llama-2-7b", "rtx-a6000", input_len=2048, max_accuracy_loss=0.01)
    assert all(plan.accuracy_loss <= 0.01 for plan in usual.plans)
    assert {each.technique for each in usual.left_out} >= {"increase-batch", "weight-only-int4"}


def test_a_cost_goal_needs_a_price(client: ridgeline.Client) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.recommend("llama-2-7b", "rtx-a6000", input_len=1, goal="cost")
    assert [v.field for v in raised.value.violations] == ["goal"]
    client.recommend("llama-2-7b", "rtx-a6000", input_len=1, goal="cost", overrides={"price_usd_per_hour": 1})


def test_figures_that_techniques_assume_are_checked_like_any_other(client: ridgeline.Client) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.recommend(
            "llama-2-7b",
            "rtx-a6000",
            input_len=0,
            assumed={
                "prefix_hit_rate": 1.5,
                "kv_keep_ratio": 0,
                "heads_acceptance_rate": -1,
                "mtp_acceptance_rate": 2,
                "skipped_layer_share": 1,
                "kv_window": 0,
            },
        )
    assert [v.field for v in raised.value.violations] == [
        "assumed.heads_acceptance_rate",
        "assumed.mtp_acceptance_rate",
        "assumed.prefix_hit_rate",
        "assumed.kv_keep_ratio",
        "assumed.skipped_layer_share",
        "assumed.kv_window",
        "workload.input_len",
    ]
    with pytest.raises(
        errors.InvalidArgumentError, match="no such figure; give one of draft_model_acceptance"
    ):
        client.recommend("llama-2-7b", "rtx-a6000", input_len=1, assumed={"acceptance": 0.5})


def test_a_figure_that_is_stated_is_echoed_with_its_break_even(client: ridgeline.Client) -> None:
    answer = client.recommend(
        "llama-2-7b", "rtx-a6000", input_len=128, assumed={"ngram_acceptance_rate": 0.5}
    )
    (found,) = [r for r in answer.recommendations if r.technique == "speculation-ngram"]
    (knob,) = found.knobs
    assert (knob.name, knob.value, knob.source) == ("ngram_acceptance_rate", 0.5, "stated in the request")
    assert 0 < knob.break_even < 0.5
    assert found.deployment.speculation.acceptance_rate == 0.5


class TestTheModelThatWouldDraft:
    @staticmethod
    def drafting(client: ridgeline.Client, **question: Any) -> str:
        answer = client.recommend("llama-2-7b", "rtx-a6000", input_len=128, **question)
        (found,) = [r for r in answer.recommendations if r.technique == "speculation-draft-model"]
        return found.deployment.speculation.draft_model.id

    def test_it_is_the_catalogs_smallest_of_the_same_vocabulary(self, client: ridgeline.Client) -> None:
        assert self.drafting(client) == "JackFram/llama-68m"

    def test_it_can_be_named(self, client: ridgeline.Client) -> None:
        named = "princeton-nlp/Sheared-LLaMA-1.3B"
        assert self.drafting(client, draft_model=named) == named

    def test_an_unknown_one_is_told_after_wrong_fields(self, client: ridgeline.Client) -> None:
        with pytest.raises(errors.NotFoundError):
            self.drafting(client, draft_model="no-such-model")
        with pytest.raises(errors.InvalidArgumentError):
            self.drafting(client, draft_model="no-such-model", output_len=0)


class TestWhatMayTakeThePlace:
    """Other devices and models, which the service looks up in the catalog."""

    @staticmethod
    def judged(
        client: ridgeline.Client, technique: str, **freedom: Any
    ) -> recommendation_service_pb2.Recommendation:
        answer = client.recommend("llama-2-13b", "rtx-a6000", input_len=512, batch=4, **freedom)
        (found,) = [each for each in answer.recommendations if each.technique == technique]
        return found

    def test_nothing_takes_it_unless_the_request_says_so(self, client: ridgeline.Client) -> None:
        for technique, reason in (("another-device", "HARDWARE_FIXED"), ("smaller-model", "MODEL_FIXED")):
            found = self.judged(client, technique)
            assert found.verdict == recommendation_service_pb2.VERDICT_NOT_APPLICABLE
            assert recommendation_service_pb2.ReasonCode.Name(found.reason_code) == f"REASON_CODE_{reason}"

    def test_devices_by_name_and_inline(self, clients: dict[str, ridgeline.Client], way: str) -> None:
        fast = clients[way].get_hardware("h100-sxm").hardware
        fast.id, fast.bandwidth_bytes_per_s = "as-fast-as-none", 1e14
        named = {"allow_hardware_change": True, "other_hardware": ["a100-80gb", "h100-sxm"]}
        assert self.judged(clients[way], "another-device", **named).requirements[0] == "device h100-sxm"
        named["other_hardware"] = ["h100-sxm", fast]
        assert (
            self.judged(clients[way], "another-device", **named).requirements[0] == "device as-fast-as-none"
        )

    def test_no_name_is_any_device_of_the_catalog(self, client: ridgeline.Client) -> None:
        ids = {device.id for device in client.iter_hardware()}
        found = self.judged(client, "another-device", allow_hardware_change=True)
        assert found.requirements[0].removeprefix("device ") in ids - {"rtx-a6000"}

    def test_a_device_that_is_merely_announced_takes_a_name(self, client: ridgeline.Client) -> None:
        """It is faster than any that is sold."""
        free = self.judged(client, "another-device", allow_hardware_change=True)
        named = self.judged(
            client, "another-device", allow_hardware_change=True, other_hardware=["mi455x", "h100-sxm"]
        )
        assert named.requirements[0] == "device mi455x"
        assert not client.get_hardware(
            free.requirements[0].removeprefix("device ")
        ).hardware.display_name.endswith("(announced)")

    def test_models_by_name_and_of_the_line(self, clients: dict[str, ridgeline.Client], way: str) -> None:
        of_line = self.judged(clients[way], "smaller-model", allow_model_change=True)
        assert of_line.requirements[0] == "model meta-llama/Llama-2-7b-hf"
        named = self.judged(
            clients[way],
            "smaller-model",
            allow_model_change=True,
            other_models=["princeton-nlp/Sheared-LLaMA-1.3B"],
        )
        assert named.requirements[0] == "model princeton-nlp/Sheared-LLaMA-1.3B"

    def test_a_plan_on_another_device_names_it(self, client: ridgeline.Client) -> None:
        answer = client.recommend(
            "llama-2-13b",
            "rtx-a6000",
            input_len=512,
            batch=4,
            allow_hardware_change=True,
            other_hardware=["h100-sxm"],
        )
        plan = next(plan for plan in answer.plans if "another-device" in plan.techniques)
        assert "(h100-sxm)" in plan.interactions[0]
        assert plan.hardware_id == "h100-sxm"
        assert "another device (NVIDIA H100 SXM5 80GB)" in [step.title for step in plan.steps]
        stays = client.recommend("llama-2-13b", "rtx-a6000", input_len=512, batch=4).plans
        assert stays
        assert not any(plan.hardware_id for plan in stays)
        assert all("accelerator: h100-sxm" in launch.manifest for launch in plan.launches)

    def test_what_is_not_allowed_is_not_named(self, client: ridgeline.Client) -> None:
        with pytest.raises(errors.InvalidArgumentError) as raised:
            self.judged(client, "another-device", other_hardware=["h100-sxm"], other_models=["llama-2-7b"])
        assert [violation.field for violation in raised.value.violations] == [
            "other_hardware",
            "other_models",
        ]

    def test_wrong_selectors_are_told_by_their_place(self, client: ridgeline.Client) -> None:
        with pytest.raises(errors.InvalidArgumentError) as raised:
            self.judged(
                client,
                "another-device",
                allow_hardware_change=True,
                other_hardware=["h100-sxm", " "],
                allow_model_change=True,
                other_models=[""],
            )
        fields = [violation.field for violation in raised.value.violations]
        assert fields == ["other_hardware[1].id", "other_models[0].id"]

    def test_an_unknown_name_is_told_after_wrong_fields(self, client: ridgeline.Client) -> None:
        unknown = {"allow_hardware_change": True, "other_hardware": ["no-such-device"]}
        with pytest.raises(errors.NotFoundError, match="no-such-device"):
            self.judged(client, "another-device", **unknown)
        with pytest.raises(errors.InvalidArgumentError):
            self.judged(client, "another-device", **unknown, output_len=0)


def test_enum_numbers_of_a_newer_contract_are_wrong_fields(
    clients: dict[str, ridgeline.Client], way: str
) -> None:
    request = recommendation_service_pb2.RecommendRequest(
        model=common_pb2.ModelSelector(id="llama-2-7b"),
        hardware=common_pb2.HardwareSelector(id="rtx-a6000"),
        workload=common_pb2.Workload(input_len=1, output_len=1),
        deployment=common_pb2.Deployment(weight_dtype=77, attention=77),  # type: ignore[arg-type]
        basis=77,  # type: ignore[arg-type]
        goal=77,  # type: ignore[arg-type]
    )
    with pytest.raises(errors.InvalidArgumentError) as raised:
        clients[way]._transport.call(
            "ridgeline.v1.RecommendationService/Recommend",
            request,
            recommendation_service_pb2.RecommendResponse,
        )
    fields = [v.field for v in raised.value.violations]
    assert fields == ["goal", "deployment.weight_dtype", "deployment.attention", "basis"]


def test_an_unset_load_is_a_batch_of_one(clients: dict[str, ridgeline.Client], way: str) -> None:
    request = analysis_service_pb2.AnalyzeRequest(
        model=common_pb2.ModelSelector(id="llama-2-7b"),
        hardware=common_pb2.HardwareSelector(id="rtx-a6000"),
        workload=common_pb2.Workload(input_len=5, output_len=1),
    )
    answer = clients[way]._transport.call(
        "ridgeline.v1.AnalysisService/Analyze", request, analysis_service_pb2.AnalyzeResponse
    )
    assert answer.workload.batch == 1


def test_asking_does_not_change_the_question(clients: dict[str, ridgeline.Client], way: str) -> None:
    device = samples.device()
    before = device.SerializeToString(deterministic=True)
    clients[way].analyze(samples.CONFIG, device, input_len=5, overrides={"memory_bytes": 2.0**34})
    assert device.SerializeToString(deterministic=True) == before


# Engines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "hint"),
    [
        ("vlm@0.19.0", "the nearest names are vllm"),
        ("sg-lang", "the nearest names are sglang"),
        ("zzz", "known are autoawq"),
    ],
)
def test_an_engine_of_which_nothing_is_known_is_told_with_the_nearest_names(
    ask: Callable[..., Any], engine: str, hint: str
) -> None:
    answer = ask(**QUESTIONS[0], engine=engine)
    notices = answer.notices if hasattr(answer, "notices") else answer.baseline.notices
    (told,) = (n for n in notices if n.code == common_pb2.NOTICE_CODE_NOT_MODELLED)
    assert f"nothing is known of an engine {engine.partition('@')[0]!r}" in told.message
    assert hint in told.message


@pytest.mark.parametrize("engine", ["vllm@0.19.0", "SGLang", "lmdeploy", "llama.cpp", "generic"])
def test_an_engine_of_which_anything_is_known_is_no_notice(ask: Callable[..., Any], engine: str) -> None:
    answer = ask(**QUESTIONS[0], engine=engine)
    notices = answer.notices if hasattr(answer, "notices") else answer.baseline.notices
    assert [n for n in notices if n.code == common_pb2.NOTICE_CODE_NOT_MODELLED] == []
