"""A client that records what it is asked and answers what it was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from ridgeline.v1 import measurement_pb2, types_pb2
from ridgeline.v1 import recommendation_service_pb2 as advice
from ridgeline.v1.analysis_service_pb2 import AnalyzeResponse
from ridgeline.v1.recommendation_service_pb2 import Effect, PublishedCase, Recommendation, RecommendResponse
from tests.unit.plots.answers import GIB, analysis


class FakeClient:
    """Answers `analyze` and `recommend`; `error`, when set, is raised instead.

    Every other call is kept in `calls`, and answered by the function of its name in `answers`.
    """

    def __init__(self) -> None:
        self.connections: list[dict[str, Any]] = []
        self.questions: list[dict[str, Any]] = []
        self.analysis: AnalyzeResponse = analysis()
        self.advice: RecommendResponse = recommendation()
        self.error: Exception | None = None
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answers: dict[str, Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self.answers:
            raise AttributeError(name)

        def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append((name, arguments, named))
            return self.answers[name](*arguments, **named)

        return call

    def connect(self, server: str | None = None, timeout_s: float | None = None, **security: object) -> Self:
        self.connections.append({"server": server, "timeout_s": timeout_s, **security})
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def analyze(self, model: str, hardware: str, **arguments: Any) -> AnalyzeResponse:
        self._ask(model, hardware, arguments)
        return self.analysis

    def recommend(self, model: str, hardware: str, **arguments: Any) -> RecommendResponse:
        self._ask(model, hardware, arguments)
        return self.advice

    def _ask(self, model: str, hardware: str, arguments: dict[str, Any]) -> None:
        self.questions.append({"model": model, "hardware": hardware, **arguments})
        if self.error is not None:
            raise self.error


def tell_what_is_published(added: Recommendation) -> None:
    """An accuracy figure on another model and a speedup on another device."""
    added.accuracy.typical_relative_loss = 0.02
    added.accuracy.largest_relative_loss = 0.0566
    added.accuracy.evidence.add(
        model_id="meta-llama/Llama-3.1-8B-Instruct",
        finding="MMLU 68.0 -> 64.15",
        source="a table",
        method="awq",
        relative_change=-0.0566,
    )
    added.nearest_published.MergeFrom(
        PublishedCase(
            technique=added.technique,
            model_id="meta-llama/Llama-2-7b-hf",
            hardware_id="a100-sxm-80gb",
            engine="gpt-fast",
            metric=measurement_pb2.MEASUREMENT_METRIC_OUTPUT_TOK_S_TOTAL,
            batch=1,
            speedup=1.4831,
            nearness=advice.NEARNESS_RELATED,
            source="gpt-fast's README",
        )
    )


def effect(metric: str, before: float, after: float, speedup: float) -> Effect:
    """An effect with an interval of 10% to each side."""
    return Effect(
        metric=metric,
        before=before,
        after=after,
        speedup=speedup,
        low=speedup * 0.9,
        high=speedup * 1.1,
        ideal_speedup=speedup,
    )


def add_launches(answer: RecommendResponse) -> None:
    """How the best plan is started in two engines, one of which cannot be told all of it."""
    answer.recommendations[0].switches.add(
        engine="vllm", release="0.33.0", steps=["Quantise the checkpoint with a tool."]
    )
    answer.recommendations[1].switches.add(
        engine="vllm", release="0.33.0", flags=["--kv-cache-dtype int4_per_token_head"]
    )
    answer.recommendations[1].switches.add(engine="sglang", missing="SGLang has no such format.")
    answer.plans[0].launches.add(
        engine="sglang",
        release="0.5.23",
        command="sglang serve --model-path CHECKPOINT",
        not_expressed=["kv-cache-int4: SGLang has no such format."],
        manifest="kind: Deployment\nname: sglang\n",
    )
    answer.plans[0].launches.add(
        engine="vllm",
        release="0.33.0",
        command="vllm serve CHECKPOINT --kv-cache-dtype int4_per_token_head --max-num-seqs 1",
        steps=["weight-only-int4: Quantise the checkpoint with a tool."],
        manifest="kind: Deployment\nname: vllm\n",
    )


def recommendation(
    *,
    baseline: AnalyzeResponse | None = None,
    plan_fits: bool = True,
    meets_slo: bool = True,
    plans: bool = True,
) -> RecommendResponse:
    """Advice with a technique of each verdict and a plan of two."""
    answer = RecommendResponse(
        catalog_revision=7, goal=advice.GOAL_LATENCY, simulated_deployments=19, plan_candidates=12
    )
    answer.baseline.CopyFrom(baseline or analysis())
    verdicts: list[tuple[str, str, advice.Verdict.ValueType, str]] = [
        ("weight-only-int4", "4-bit weights", advice.VERDICT_APPLY, "weights are 92% of the bytes"),
        ("kv-cache-int4", "4-bit KV cache", advice.VERDICT_CONSIDER, "the KV cache is 7% of the bytes"),
        ("kv-cache-int8", "8-bit KV cache", advice.VERDICT_NO_GAIN, "the KV cache is 7% of the bytes"),
        ("int8-compute", "INT8 compute", advice.VERDICT_HARMFUL, "conversion costs more than it saves"),
        ("fp8-compute", "FP8 compute", advice.VERDICT_NOT_APPLICABLE, "the device has no FP8 unit"),
    ]
    for technique, title, verdict, reason in verdicts:
        added = answer.recommendations.add(
            technique=technique,
            title=title,
            verdict=verdict,
            stage=types_pb2.STAGE_DECODE,
            reason=reason,
            flips_when="at batch 64 it turns",
            effort=advice.EFFORT_CALIBRATE,
        )
        added.accuracy.summary = "small"
        added.accuracy.model_class = "dense models of 3 to 14 billion parameters"
        if technique == "weight-only-int4":
            tell_what_is_published(added)
        if verdict != advice.VERDICT_NOT_APPLICABLE:
            added.effects.append(effect("ttft_ms", 242.0, 242.0, 1.0))
            added.effects.append(effect("tpot_ms", 25.0, 10.0, 2.5))
            added.metric = "tpot_ms"
            added.workload.CopyFrom(answer.baseline.workload)
    if plans:
        plan = answer.plans.add(techniques=["weight-only-int4", "kv-cache-int4"], meets_slo=meets_slo)
        plan.effects.append(effect("e2e_latency_ms", 3400.0, 1600.0, 2.125))
        for technique in plan.techniques:
            title = next(each.title for each in answer.recommendations if each.technique == technique)
            plan.steps.add(technique=technique, title=title).effects.append(
                effect("e2e_latency_ms", 3400.0, 2000.0, 1.7)
            )
        plan.memory.total_bytes, plan.memory.usable_bytes, plan.memory.fits = 5.4 * GIB, 47.5 * GIB, plan_fits
        add_launches(answer)
    answer.assumptions.append("Driver and engine take 1.3 GiB of memory.")
    return answer
