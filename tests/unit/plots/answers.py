"""Small analyses as the service sends them, written by hand."""

from __future__ import annotations

from collections.abc import Sequence

from ridgeline.v1 import common_pb2, types_pb2
from ridgeline.v1.analysis_service_pb2 import (
    LEVER_BANDWIDTH,
    LEVER_BATCH,
    LEVER_FLOPS,
    LEVER_KEYS,
    AnalyzeResponse,
    Metric,
)
from ridgeline.v1.efficiency_profile_pb2 import Estimate

GIB = 2**30
BANDWIDTH = 768e9
PEAKS = {types_pb2.DTYPE_FP32: 38.7e12, types_pb2.DTYPE_FP16: 154.8e12, types_pb2.DTYPE_BF16: 154.8e12}

Row = tuple[str, float, float]
"""An operator: name, FLOPs, bytes."""

PREFILL_ROWS: Sequence[Row] = (
    ("embedding", 0.0, 33.6e6),
    ("attn_norm", 58.7e6, 33.6e6),
    ("q_proj", 68.7e9, 67.1e6),
    ("k_proj", 68.7e9, 67.1e6),
    ("attention", 35.0e9, 67.1e6),
    ("mlp_norm", 58.7e6, 33.6e6),
)
DECODE_ROWS: Sequence[Row] = (
    ("embedding", 0.0, 16.4e3),
    ("q_proj", 33.6e6, 33.6e6),
    ("k_proj", 33.6e6, 33.6e6),
    ("attention", 33.9e6, 33.6e6),
    ("lm_head", 262e6, 262e6),
)


def analysis(
    *,
    batch: int = 1,
    input_len: int = 2048,
    output_len: int = 128,
    ideal: bool = False,
    fits: bool = True,
    decode_bound: types_pb2.Bound.ValueType = types_pb2.BOUND_MEMORY,
    notices: Sequence[tuple[common_pb2.NoticeCode.ValueType, str]] = (),
) -> AnalyzeResponse:
    """An analysis of Llama 2 7B on an RTX A6000 with a few of its operators; times are taken at 80% of the
    peaks.
    """
    basis = common_pb2.COST_BASIS_IDEAL if ideal else common_pb2.COST_BASIS_EXPECTED
    answer = AnalyzeResponse(
        catalog_revision=7, model_id="meta-llama/Llama-2-7b-hf", hardware_id="rtx-a6000", basis=basis
    )
    answer.workload.CopyFrom(
        common_pb2.Workload(batch=batch, input_len=input_len, output_len=output_len, decode_keys=input_len)
    )
    answer.deployment.CopyFrom(
        common_pb2.Deployment(
            weight_dtype=types_pb2.DTYPE_FP16,
            lm_head_dtype=types_pb2.DTYPE_FP16,
            activation_dtype=types_pb2.DTYPE_FP16,
            kv_dtype=types_pb2.DTYPE_FP16,
            attention=common_pb2.ATTENTION_KERNEL_FUSED,
        )
    )
    for code, message in notices:
        answer.notices.add(code=code, message=message)
    _add_stage(answer, types_pb2.STAGE_PREFILL, types_pb2.BOUND_COMPUTE, PREFILL_ROWS, ideal=ideal)
    _add_stage(answer, types_pb2.STAGE_DECODE, decode_bound, DECODE_ROWS, ideal=ideal)
    metrics = answer.metrics
    _fill(metrics.ttft_ms, 194.0 * batch, ideal=ideal)
    _fill(metrics.tpot_ms, 18.6, ideal=ideal)
    _fill(metrics.e2e_latency_ms, 194.0 * batch + 127 * 18.6, ideal=ideal)
    _fill(metrics.output_tokens_per_s, 50.0 * batch, ideal=ideal, rate=True)
    memory = answer.memory
    memory.weights_bytes, memory.kv_cache_bytes = 12.6 * GIB, (1.1 if fits else 60.0) * GIB
    memory.activations_bytes, memory.overhead_bytes = 0.1 * GIB, 1.3 * GIB
    memory.total_bytes = (15.1 if fits else 74.0) * GIB
    memory.usable_bytes = 47.5 * GIB
    memory.headroom_bytes = memory.usable_bytes - memory.total_bytes
    memory.fits, memory.max_batch, memory.max_context_len = fits, 31, 4096
    answer.roof.bandwidth_bytes_per_s = BANDWIDTH
    for dtype, rate in PEAKS.items():
        answer.roof.ceilings.add(dtype=dtype, flops_per_s=rate, ridge_point=rate / BANDWIDTH)
    return answer


def _add_stage(
    answer: AnalyzeResponse,
    stage: types_pb2.Stage.ValueType,
    bound: types_pb2.Bound.ValueType,
    rows: Sequence[Row],
    *,
    ideal: bool,
) -> None:
    peak = PEAKS[types_pb2.DTYPE_FP16]
    times = [max(flops / peak, size / BANDWIDTH) for _, flops, size in rows]
    added = answer.stages.add(
        stage=stage,
        bound=bound,
        ideal_time_ms=sum(times) * 1e3,
        flops=sum(flops for _, flops, _ in rows),
        bytes=sum(size for _, _, size in rows),
        arithmetic_intensity=sum(flops for _, flops, _ in rows) / sum(size for _, _, size in rows),
        batch=answer.workload.batch,
        query_len=answer.workload.input_len if stage == types_pb2.STAGE_PREFILL else 1,
        keys=answer.workload.input_len,
        ridge_batch=219,
    )
    added.bound_shares.add(bound=bound, share=1.0)
    if not ideal:
        added.expected_time_ms, added.low_time_ms, added.high_time_ms = (
            added.ideal_time_ms * factor for factor in (1.25, 1.1, 1.5)
        )
        added.step_overhead_ms = 0.65
    for (name, flops, size), time in zip(rows, times, strict=True):
        operator = added.operators.add(
            name=name,
            layer_kind="" if name in {"embedding", "lm_head"} else "all",
            count=1 if name in {"embedding", "lm_head"} else 32,
            flops=flops,
            bytes=size,
            arithmetic_intensity=flops / size,
            bound=bound,
            ideal_time_us=time * 1e6,
            time_share=time / sum(times),
            compute_dtype=types_pb2.DTYPE_FP16,
            attainable_flops_per_s=min(peak, flops / size * BANDWIDTH),
        )
        if not ideal:
            operator.expected_time_us = operator.ideal_time_us * 1.25


def _fill(metric: Metric, ideal_value: float, *, ideal: bool, rate: bool = False) -> None:
    metric.ideal = ideal_value
    if not ideal:
        factors = (1.25, 1.1, 1.5)
        metric.expected, metric.low, metric.high = (
            ideal_value / factor if rate else ideal_value * factor for factor in factors
        )


def many_devices() -> AnalyzeResponse:
    """The same on eight devices in a closed loop, with collectives, flips, costs and an engine's memory."""
    answer = analysis()
    answer.workload.concurrency = 16
    deployment = answer.deployment
    deployment.parallel.CopyFrom(common_pb2.Parallelism(tp=4, pp=1, ep=1, attention_dp=1, dp=2))
    deployment.module_formats.add(module_class="mlp", dtype=types_pb2.DTYPE_INT4, group_size=128)
    deployment.speculation.CopyFrom(
        common_pb2.Speculation(
            draft=common_pb2.DRAFT_HEADS,
            tokens=2,
            acceptance_rate=0.85,
            acceptance_rate_source="arXiv:2412.19437",
        )
    )
    deployment.offload.CopyFrom(common_pb2.Offload(weight_share=0.125, host_bandwidth_bytes_per_s=25e9))
    deployment.chunk_tokens, deployment.prefix_hit_rate = 512, 0.25
    deployment.engine, deployment.engine_version, deployment.memory_utilization = "vllm", "0.19.0", 0.9
    for stage in answer.stages:
        stage.batch, stage.query_len = 2.5, 3.5
        stage.operators.add(
            name="all_reduce",
            layer_kind="all",
            count=31.5,
            message_bytes=4.2e6,
            bound=types_pb2.BOUND_COMMUNICATION,
            ideal_time_us=10,
            expected_time_us=20,
            time_share=0.1,
            compute_dtype=types_pb2.DTYPE_FP16,
        )
        for lever, value, factor in (
            (LEVER_BATCH, 219.0, 13.7),
            (LEVER_KEYS, 12_345.0, 6.0),
            (LEVER_BANDWIDTH, 3.1e12, 4.0),
            (LEVER_FLOPS, 1.2e12, 0.0078),
        ):
            stage.flips.add(lever=lever, value=value, factor=factor, bound=types_pb2.BOUND_COMPUTE)
    for field, value in (
        ("output_tokens_per_s_per_device", 6.25),
        ("total_tokens_per_s", 850.0),
        ("cost_usd_per_million_output_tokens", 9.0),
        ("output_cost_usd_per_million_tokens", 7.0),
        ("input_cost_usd_per_million_tokens", 0.3),
        ("joules_per_output_token", 2.4),
    ):
        _fill(getattr(answer.metrics, field), value, ideal=False)
    memory = answer.memory
    memory.non_torch_bytes, memory.cuda_graph_bytes = 0.3 * GIB, 1.0 * GIB
    memory.kv_pool_bytes.CopyFrom(Estimate(value=32 * GIB, low=30 * GIB, high=33 * GIB))
    memory.max_concurrency.CopyFrom(Estimate(value=143, low=135, high=149))
    memory.engine_note = "figures of vLLM 0.19.0"
    return answer
