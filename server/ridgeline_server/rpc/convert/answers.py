"""Answers as the contract's messages, field by field.

Sub-messages are given as dictionaries of their fields: protobuf then fills them in place, where it would copy
a message for each level of nesting.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ridgeline.v1 import analysis_service_pb2, recommendation_service_pb2
from ridgeline_server.advisor.results import (
    AccuracyEvidence,
    AccuracyRisk,
    Advice,
    Closest,
    Effect,
    ExplainedTechnique,
    Launch,
    LeftOut,
    Plan,
    PublishedCase,
    Recommendation,
    Switch,
)
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.efficiency import Estimate
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import WeightFormat
from ridgeline_server.domain.speculation import Speculation
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.constants import UsedProfile
from ridgeline_server.roofline.memory.device import Memory
from ridgeline_server.roofline.results import Analysis, BytesByClass, Metric, Metrics, StageAnalysis
from ridgeline_server.rpc.convert.enums import (
    ATTENTION,
    BASIS,
    BOUND,
    DRAFT,
    DTYPE,
    EFFORT,
    GOAL,
    LEVER,
    MEASURED_METRIC,
    NEARNESS,
    NOTICE_CODE,
    OPERATOR_CLASS,
    PHASE,
    PROFILE_LEVEL,
    REASON_CODE,
    STAGE,
    VERDICT,
)

_DTYPE = DTYPE.to_proto
_BOUND = BOUND.to_proto


Fields = dict[str, Any]
"""Field names of a message with their values, those of its sub-messages among them."""


def analyze_response(analysis: Analysis, catalog_revision: int) -> analysis_service_pb2.AnalyzeResponse:
    """The answer to Analyze."""
    return analysis_service_pb2.AnalyzeResponse(**_analysis(analysis, catalog_revision))


def recommend_response(advice: Advice, catalog_revision: int) -> recommendation_service_pb2.RecommendResponse:
    """The answer to Recommend."""
    fields: Fields = {
        "catalog_revision": catalog_revision,
        "baseline": _analysis(advice.baseline, catalog_revision),
        "goal": GOAL.to_proto[advice.goal],
        "recommendations": [_recommendation(recommendation) for recommendation in advice.recommendations],
        "plans": [_plan(plan) for plan in advice.plans],
        "assumptions": advice.assumptions,
        "simulated_deployments": advice.simulated_deployments,
        "pareto_front": [point._asdict() for point in advice.pareto_front],
        "left_out": [_left_out(left_out) for left_out in advice.left_out],
        "closest": None if advice.closest is None else _closest(advice.closest),
        "plan_candidates": advice.plan_candidates,
    }
    return recommendation_service_pb2.RecommendResponse(**fields)


def explain_response(
    explained: ExplainedTechnique, catalog_revision: int
) -> recommendation_service_pb2.ExplainResponse:
    """The answer to Explain."""
    fields: Fields = {
        "catalog_revision": catalog_revision,
        "baseline": _analysis(explained.baseline, catalog_revision),
        "recommendation": _recommendation(explained.recommendation),
        "before": _stage(explained.before),
        "after": None if explained.after is None else _stage(explained.after),
    }
    return recommendation_service_pb2.ExplainResponse(**fields)


def _analysis(analysis: Analysis, catalog_revision: int) -> Fields:
    return {
        "catalog_revision": catalog_revision,
        "model_id": analysis.model.id,
        "hardware_id": analysis.hardware.id,
        "workload": _workload(analysis.workload),
        "deployment": _deployment(analysis.deployment),
        "basis": BASIS.to_proto[analysis.basis],
        "notices": [{"code": NOTICE_CODE.to_proto[n.code], "message": n.message} for n in analysis.notices],
        "stages": [_stage(stage) for stage in analysis.stages],
        "metrics": _metrics(analysis.metrics),
        "memory": _memory(analysis.memory),
        "profiles": [_profile_use(used) for used in analysis.profiles],
        "not_modelled": list(analysis.not_modelled),
        "roof": _roof(analysis.hardware),
    }


def _workload(workload: Workload) -> Fields:
    slo = workload.slo
    stated = slo.ttft_ms is not None or slo.tpot_ms is not None
    stated_load: dict[Load, Fields] = {
        Load.STATIC_BATCH: {"batch": workload.batch},
        Load.CLOSED_LOOP: {"concurrency": workload.batch},
        Load.OPEN_LOOP: {"request_rate": workload.request_rate},
    }
    return {
        **stated_load[workload.load],
        "input_len": workload.input_len,
        "output_len": workload.output_len,
        "decode_keys": workload.shown_decode_keys,
        "slo": {"ttft_ms": slo.ttft_ms, "tpot_ms": slo.tpot_ms} if stated else None,
    }


def _deployment(deployment: Deployment) -> Fields:
    parallel, offload, engine = deployment.parallel, deployment.offload, deployment.engine
    return {
        "weight_dtype": _DTYPE[deployment.weight_dtype],
        "weight_group_size": deployment.weight_group_size,
        "lm_head_dtype": _DTYPE[deployment.lm_head_dtype],
        "activation_dtype": _DTYPE[deployment.activation_dtype],
        "kv_dtype": _DTYPE[deployment.kv_dtype],
        "attention": ATTENTION.to_proto[deployment.attention],
        "module_formats": [_module_format(stored) for stored in deployment.formats],
        "parallel": {
            "tp": parallel.tp,
            "pp": parallel.pp,
            "ep": parallel.ep,
            "attention_dp": parallel.attention_dp,
            "dp": parallel.dp,
        },
        "chunk_tokens": deployment.chunk_tokens,
        "prefix_hit_rate": deployment.prefix_hit_rate,
        "kv_keep_ratio": deployment.kv_keep_ratio,
        "kv_window": deployment.kv_window,
        "speculation": None if deployment.speculation is None else _speculation(deployment.speculation),
        "offload": {
            "weight_share": offload.weight_share,
            "kv_share": offload.kv_share,
            "host_bandwidth_bytes_per_s": offload.host_bandwidth_bytes_per_s,
        },
        "sparse_weights": deployment.sparse_weights,
        "skipped_layer_share": deployment.skipped_layer_share,
        "expert_popularity_spread": deployment.expert_popularity_spread,
        "node_bandwidth_bytes_per_s": deployment.node_bandwidth_bytes_per_s,
        "engine": "" if engine is None else engine.asked_engine,
        "engine_version": "" if engine is None else engine.asked_version,
        "memory_utilization": deployment.memory_share,
        "eager": deployment.eager,
    }


def _module_format(stored: WeightFormat) -> Fields:
    return {
        "module_class": stored.module.value,
        "dtype": _DTYPE[stored.dtype],
        "group_size": stored.group_size,
        "activation_dtype": DTYPE.number(stored.activation_dtype),
    }


def _speculation(speculation: Speculation) -> Fields:
    drafting = speculation.model
    return {
        "draft": DRAFT.to_proto[speculation.draft],
        "tokens": speculation.tokens,
        "acceptance_rate": speculation.acceptance_rate,
        "draft_model": None if drafting is None else {"id": drafting.id},
        "acceptance_rate_source": speculation.acceptance_rate_source,
        "draft_weight_dtype": DTYPE.number(speculation.weight_dtype),
    }


def _memory(memory: Memory) -> Fields:
    return {
        "weights_bytes": memory.weights_bytes,
        "kv_cache_bytes": memory.kv_cache_bytes,
        "activations_bytes": memory.activations_bytes,
        "overhead_bytes": memory.overhead_bytes,
        "total_bytes": memory.total_bytes,
        "usable_bytes": memory.usable_bytes,
        "headroom_bytes": memory.headroom_bytes,
        "fits": memory.fits,
        "max_batch": memory.max_batch,
        "max_context_len": memory.max_context_len,
        "non_torch_bytes": memory.non_torch_bytes,
        "cuda_graph_bytes": memory.cuda_graph_bytes,
        "kv_pool_bytes": _estimate(memory.kv_pool_bytes),
        "max_concurrency": _estimate(memory.max_concurrency),
        "engine_note": memory.engine_note,
    }


def _estimate(estimate: Estimate) -> Fields:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _stage(stage: StageAnalysis) -> Fields:
    shares = [{"bound": _BOUND[share.bound], "share": share.share} for share in stage.bound_shares]
    operators = [
        {
            "name": name,
            "layer_kind": layer_kind,
            "count": occurrences,
            "flops": flops,
            "bytes": moved,
            "bytes_by_class": {
                "weights": weights,
                "activations_in": activations_in,
                "activations_out": activations_out,
                "kv_read": kv_read,
                "kv_written": kv_written,
            },
            "arithmetic_intensity": intensity,
            "bound": _BOUND[bound],
            "ideal_time_us": ideal_time_us,
            "expected_time_us": expected_time_us,
            "time_share": time_share,
            "compute_dtype": _DTYPE[compute_dtype],
            "attainable_flops_per_s": attainable,
            "message_bytes": message,
            "ridge_point": ridge_point,
        }
        for (
            name,
            layer_kind,
            occurrences,
            flops,
            moved,
            (weights, activations_in, activations_out, kv_read, kv_written),
            message,
            intensity,
            ridge_point,
            bound,
            ideal_time_us,
            expected_time_us,
            time_share,
            compute_dtype,
            attainable,
        ) in stage.operators
    ]
    return {
        "stage": STAGE.to_proto[stage.stage],
        "bound": _BOUND[stage.bound],
        "ideal_time_ms": stage.ideal_time_ms,
        "expected_time_ms": stage.expected_time_ms,
        "low_time_ms": stage.low_time_ms,
        "high_time_ms": stage.high_time_ms,
        "step_overhead_ms": stage.step_overhead_ms,
        "flops": stage.flops,
        "bytes": stage.bytes,
        "bytes_by_class": _bytes_by_class(stage.bytes_by_class),
        "arithmetic_intensity": stage.arithmetic_intensity,
        "bound_shares": shares,
        "batch": stage.batch,
        "query_len": stage.query_len,
        "keys": stage.keys,
        "ridge_batch": stage.ridge_batch,
        "operators": operators,
        "flips": [
            {
                "lever": LEVER.to_proto[flip.lever],
                "value": flip.value,
                "factor": flip.factor,
                "bound": _BOUND[flip.bound],
            }
            for flip in stage.flips
        ],
    }


def _bytes_by_class(moved: BytesByClass) -> Fields:
    return {
        "weights": moved.weights,
        "activations_in": moved.activations_in,
        "activations_out": moved.activations_out,
        "kv_read": moved.kv_read,
        "kv_written": moved.kv_written,
    }


def _metrics(metrics: Metrics) -> Fields:
    return {
        "ttft_ms": _metric(metrics.ttft_ms),
        "tpot_ms": _metric(metrics.tpot_ms),
        "e2e_latency_ms": _metric(metrics.e2e_latency_ms),
        "output_tokens_per_s": _metric(metrics.output_tokens_per_s),
        "cost_usd_per_million_output_tokens": _metric(metrics.cost_usd_per_million_output_tokens),
        "output_tokens_per_s_per_device": _metric(metrics.output_tokens_per_s_per_device),
        "total_tokens_per_s": _metric(metrics.total_tokens_per_s),
        "input_cost_usd_per_million_tokens": _metric(metrics.input_cost_usd_per_million_tokens),
        "output_cost_usd_per_million_tokens": _metric(metrics.output_cost_usd_per_million_tokens),
        "joules_per_output_token": _metric(metrics.joules_per_output_token),
        "prefill_time_share": metrics.prefill_time_share,
        "requests_in_flight": metrics.requests_in_flight,
        "requests_waiting": metrics.requests_waiting,
    }


def _metric(metric: Metric | None) -> Fields | None:
    if metric is None:
        return None
    return {"ideal": metric.ideal, "expected": metric.expected, "low": metric.low, "high": metric.high}


def _profile_use(used: UsedProfile) -> Fields:
    return {
        "profile_id": used.profile.id,
        "operator_class": OPERATOR_CLASS.to_proto[used.operator_class],
        "dtype": _DTYPE[used.dtype],
        "level": PROFILE_LEVEL.to_proto[used.level],
        "evidence_count": used.profile.evidence_count,
    }


def _roof(hardware: Hardware) -> Fields:
    bandwidth = hardware.bandwidth_bytes_per_s
    ceilings = [
        {"dtype": _DTYPE[dtype], "flops_per_s": peak, "ridge_point": peak / bandwidth}
        for dtype, peak in hardware.peak_flops_per_s.items()
    ]
    return {"bandwidth_bytes_per_s": bandwidth, "ceilings": ceilings}


def _recommendation(recommendation: Recommendation) -> Fields:
    workload, deployment, memory = recommendation.workload, recommendation.deployment, recommendation.memory
    published = recommendation.nearest_published
    return {
        "technique": recommendation.technique,
        "title": recommendation.title,
        "verdict": VERDICT.to_proto[recommendation.verdict],
        "stage": STAGE.to_proto[recommendation.stage],
        "reason_code": REASON_CODE.to_proto[recommendation.reason_code],
        "reason": recommendation.reason,
        "flips_when": recommendation.flips_when,
        "effects": _effects(recommendation.effects),
        "workload": None if workload is None else _workload(workload),
        "deployment": None if deployment is None else _deployment(deployment),
        "memory": None if memory is None else _memory(memory),
        "accuracy": _accuracy(recommendation.accuracy),
        "effort": EFFORT.to_proto[recommendation.effort],
        "requirements": recommendation.requirements,
        "conflicts": recommendation.conflicts,
        "assumptions": recommendation.assumptions,
        "metric": recommendation.metric,
        "knobs": [knob._asdict() for knob in recommendation.knobs],
        "changes_load": recommendation.changes_load,
        "changes_devices": recommendation.changes_devices,
        "switches": [_switch(switch) for switch in recommendation.switches],
        "nearest_published": None if published is None else _published_case(published),
    }


@lru_cache(maxsize=1024)
def _accuracy(risk: AccuracyRisk) -> recommendation_service_pb2.AccuracyRisk:
    """The published accuracy of a technique for a class of models: a message that is made once, and copied,
    since answers only differ in which of them they have.
    """
    fields: Fields = {
        "summary": risk.summary,
        "evidence": [_accuracy_evidence(piece) for piece in risk.evidence],
        "typical_relative_loss": risk.typical_relative_loss,
        "largest_relative_loss": risk.largest_relative_loss,
        "model_class": risk.model_class,
        "lossless": risk.lossless,
        "other_evidence_count": risk.other_evidence_count,
    }
    return recommendation_service_pb2.AccuracyRisk(**fields)


def _accuracy_evidence(piece: AccuracyEvidence) -> Fields:
    return {
        "model_id": piece.model_id,
        "finding": piece.finding,
        "source": piece.source,
        "method": piece.method,
        "bits": piece.bits,
        "benchmark": piece.benchmark,
        "before": piece.before,
        "after": piece.after,
        "relative_change": piece.relative_change,
        "model_class": piece.model_class,
        "less_is_better": piece.less_is_better,
        "read_on": piece.read_on,
    }


def _published_case(case: PublishedCase) -> Fields:
    return {
        "technique": case.technique,
        "model_id": case.model_id,
        "hardware_id": case.hardware_id,
        "engine": case.engine,
        "engine_version": case.engine_version,
        "metric": MEASURED_METRIC.number(case.metric),
        "phase": PHASE.to_proto[case.phase],
        "batch": case.batch,
        "concurrency": case.concurrency,
        "input_len": case.input_len,
        "output_len": case.output_len,
        "devices": case.devices,
        "change": case.change,
        "speedup": case.speedup,
        "nearness": NEARNESS.to_proto[case.nearness],
        "differences": case.differences,
        "source": case.source,
    }


def _switch(switch: Switch) -> Fields:
    return {
        "engine": switch.engine,
        "release": switch.release,
        "flags": switch.flags,
        "config_file": switch.config_file,
        "steps": switch.steps,
        "notes": switch.notes,
        "sources": switch.sources,
        "missing": switch.missing,
    }


def _plan(plan: Plan) -> Fields:
    return {
        "techniques": plan.techniques,
        "effects": _effects(plan.effects),
        "steps": [
            {"technique": step.technique, "effects": _effects(step.effects), "title": step.title}
            for step in plan.steps
        ],
        "workload": _workload(plan.workload),
        "deployment": _deployment(plan.deployment),
        "memory": _memory(plan.memory),
        "meets_slo": plan.meets_slo,
        "launches": [_launch(launch) for launch in plan.launches],
        "accuracy_loss": plan.accuracy_loss,
        "unknown_accuracy": plan.unknown_accuracy,
        "interactions": plan.interactions,
        "difference": plan.difference,
        "hardware_id": "" if plan.hardware is None else plan.hardware.id,
    }


def _launch(launch: Launch) -> Fields:
    return {
        "engine": launch.engine,
        "release": launch.release,
        "command": launch.command,
        "config_file": launch.config_file,
        "steps": launch.steps,
        "notes": launch.notes,
        "not_expressed": launch.not_expressed,
        "manifest": launch.manifest,
    }


def _left_out(left_out: LeftOut) -> Fields:
    return {
        "technique": left_out.technique,
        "reason_code": REASON_CODE.to_proto[left_out.reason_code],
        "reason": left_out.reason,
    }


def _closest(closest: Closest) -> Fields:
    return {
        "techniques": closest.techniques,
        "relaxations": [relaxation._asdict() for relaxation in closest.relaxations],
        "summary": closest.summary,
        "batch": closest.batch,
    }


def _effects(effects: Sequence[Effect]) -> list[Fields]:
    return [
        {
            "metric": effect.metric,
            "before": effect.before,
            "after": effect.after,
            "speedup": effect.speedup,
            "low": effect.low,
            "high": effect.high,
            "ideal_speedup": effect.ideal_speedup,
        }
        for effect in effects
    ]
