"""What holds of every analysis: no free lunch, no figure better than the data sheet, metrics that agree."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline_server.domain.deployment import CostBasis
from ridgeline_server.domain.dtypes import ELEMENT_BITS, Dtype, kv_bits, weight_bits
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.mixers import Attention
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.tensors import TensorKind
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.results import Analysis, Bound, Metric, OperatorAnalysis, StageAnalysis
from tests.unit.questions import (
    EXPECTED,
    IDEAL,
    LLAMA_2_7B,
    W8A8,
    Question,
    Stated,
    ask,
    bases,
    devices,
    models,
    operator,
    questions,
    stated_deployments,
)

TOLERANCE = 1 + 1e-9
"""Rounding of sums."""

factors = st.sampled_from((0.999, 0.5, 0.01))


def times(analysis: Analysis) -> list[float]:
    """Every time of an analysis: the smaller the better."""
    found = [
        time
        for stage in analysis.stages
        for time in (stage.ideal_time_ms, stage.expected_time_ms, stage.low_time_ms, stage.high_time_ms)
    ]
    metrics = analysis.metrics
    for metric in (metrics.ttft_ms, metrics.tpot_ms, metrics.e2e_latency_ms):
        found += metric
    return [time for time in found if time is not None]


def never_faster(before: Analysis, after: Analysis) -> bool:
    return (
        all(new >= old / TOLERANCE for old, new in zip(times(before), times(after), strict=True))
        and after.metrics.output_tokens_per_s.value <= before.metrics.output_tokens_per_s.value * TOLERANCE
    )


@given(questions(), factors)
def test_less_bandwidth_never_makes_anything_faster(question: Question, factor: float) -> None:
    bandwidth = question.hardware.bandwidth_bytes_per_s * factor
    slower = replace(question, hardware=replace(question.hardware, bandwidth_bytes_per_s=bandwidth))
    assert never_faster(question.analysis(), slower.analysis())


@given(questions(), factors)
def test_lower_peaks_never_make_anything_faster(question: Question, factor: float) -> None:
    peaks = {dtype: peak * factor for dtype, peak in question.hardware.peak_flops_per_s.items()}
    slower = replace(question, hardware=replace(question.hardware, peak_flops_per_s=peaks))
    assert never_faster(question.analysis(), slower.analysis())


@given(questions(), factors)
def test_a_device_slower_in_all_is_slower_by_that_much_on_the_ideal_roofline(
    question: Question, factor: float
) -> None:
    ideal = replace(question, basis=IDEAL)
    slower = replace(
        ideal.hardware,
        bandwidth_bytes_per_s=ideal.hardware.bandwidth_bytes_per_s * factor,
        peak_flops_per_s={d: p * factor for d, p in ideal.hardware.peak_flops_per_s.items()},
    )
    before, after = times(ideal.analysis()), times(replace(ideal, hardware=slower).analysis())
    assert [old / factor for old in before] == pytest.approx(after)


def operator_times(operators: tuple[OperatorAnalysis, ...]) -> list[float]:
    return [time for o in operators for time in (o.ideal_time_us, o.expected_time_us) if time is not None]


def grows(before: StageAnalysis, after: StageAnalysis) -> bool:
    """Whether no operator, nor the step, takes less time."""
    return after.time_ms * TOLERANCE >= before.time_ms and all(
        new * TOLERANCE >= old
        for old, new in zip(operator_times(before.operators), operator_times(after.operators), strict=True)
    )


more = st.sampled_from((1, 2, 100))


@given(questions(), more)
def test_a_larger_batch_never_makes_an_operator_or_a_step_faster(question: Question, extra: int) -> None:
    before = question.analysis()
    after = question.at(batch=question.workload.batch + extra).analysis()
    assert grows(before.prefill, after.prefill)
    assert grows(before.decode, after.decode)


@given(questions(), more)
def test_more_keys_never_make_a_decode_step_faster(question: Question, extra: int) -> None:
    keys = question.workload.shown_decode_keys
    before = question.at(decode_keys=keys).analysis()
    assert grows(before.decode, question.at(decode_keys=keys + extra).analysis().decode)


@given(questions(), more)
def test_a_longer_prompt_never_makes_prefill_faster(question: Question, extra: int) -> None:
    before = question.analysis()
    assert grows(
        before.prefill, question.at(input_len=question.workload.input_len + extra).analysis().prefill
    )


@given(questions())
def test_sharing_a_step_never_costs_throughput_on_the_ideal_roofline(question: Question) -> None:
    """Two sequences never decode slower together than one after the other."""
    ideal = replace(question, basis=IDEAL)
    one, two = ideal.at(batch=1).analysis(), ideal.at(batch=2).analysis()
    assert two.decode.time_ms <= 2 * one.decode.time_ms * TOLERANCE
    assert two.metrics.output_tokens_per_s.value * TOLERANCE >= one.metrics.output_tokens_per_s.value


def expected(question: Question) -> Analysis:
    return replace(question, basis=EXPECTED).analysis()


@given(questions())
def test_no_operator_is_expected_to_beat_the_data_sheet(question: Question) -> None:
    for stage in expected(question).stages:
        for found in stage.operators:
            assert found.expected_time_us is not None
            assert found.expected_time_us > found.ideal_time_us


@given(questions())
def test_no_end_of_a_stages_interval_beats_the_data_sheet(question: Question) -> None:
    for stage in expected(question).stages:
        assert stage.low_time_ms is not None
        assert stage.expected_time_ms is not None
        assert stage.high_time_ms is not None
        assert stage.ideal_time_ms <= stage.low_time_ms <= stage.expected_time_ms <= stage.high_time_ms


def ordered(metric: Metric, *, more_is_better: bool = False) -> bool:
    """Whether an interval holds its figure, and both ends are worse than the ideal."""
    assert metric.low is not None
    assert metric.expected is not None
    assert metric.high is not None
    if not metric.low <= metric.expected <= metric.high:
        return False
    return metric.high <= metric.ideal if more_is_better else metric.low >= metric.ideal


@given(questions())
def test_no_end_of_a_metrics_interval_beats_the_data_sheet(question: Question) -> None:
    metrics = expected(question).metrics
    assert ordered(metrics.ttft_ms)
    assert ordered(metrics.tpot_ms)
    assert ordered(metrics.e2e_latency_ms)
    assert ordered(metrics.output_tokens_per_s, more_is_better=True)


@given(questions())
def test_the_expected_basis_states_the_same_ideal_figures(question: Question) -> None:
    ideal = replace(question, basis=IDEAL).analysis()
    found = expected(question)
    assert [s.ideal_time_ms for s in found.stages] == [s.ideal_time_ms for s in ideal.stages]
    assert found.metrics.e2e_latency_ms.ideal == ideal.metrics.e2e_latency_ms.ideal
    assert found.memory == ideal.memory


@given(questions())
def test_metrics_agree_with_each_other_and_with_the_stages(question: Question) -> None:
    found = question.analysis()
    metrics, workload = found.metrics, question.workload
    further = workload.output_len - 1
    assert metrics.ttft_ms.value == pytest.approx(found.prefill.time_ms)
    assert metrics.e2e_latency_ms.value == pytest.approx(
        metrics.ttft_ms.value + further * metrics.tpot_ms.value
    )
    tokens = workload.batch * workload.output_len
    assert metrics.output_tokens_per_s.value * metrics.e2e_latency_ms.value / 1e3 == pytest.approx(tokens)


@given(models, devices, bases, stated_deployments, st.sampled_from((1, 500, 4090, 5000)), st.integers(2, 12))
def test_tpot_is_the_mean_over_the_requests_own_decode_steps(
    asked: Model, hardware: Hardware, basis: CostBasis, stated: Stated, input_len: int, output_len: int
) -> None:
    question = ask(asked, hardware, Workload(3, input_len, output_len), basis, **stated)
    steps = [
        question.at(decode_keys=input_len + step).analysis().decode.time_ms for step in range(1, output_len)
    ]
    assert question.analysis().metrics.tpot_ms.value == pytest.approx(fmean(steps), rel=1e-3)


@pytest.mark.parametrize(
    ("output_len", "keys"),
    [
        pytest.param(2, [101], id="the one step reads the prompt and the token it got from prefill"),
        pytest.param(5, [101, 102, 103, 104], id="four steps"),
    ],
)
def test_the_first_decode_step_reads_the_prompt_and_one_token(output_len: int, keys: list[int]) -> None:
    question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 100, output_len))
    steps = [question.at(decode_keys=k).analysis().decode.time_ms for k in keys]
    assert question.analysis().metrics.tpot_ms.value == pytest.approx(fmean(steps), rel=1e-12)


def test_tpot_of_a_request_that_outgrows_its_window_is_the_mean_over_its_steps() -> None:
    """Mistral's layers see 4,096 keys; every 32nd of the 8,191 steps tells the mean."""
    question = ask("mistralai/Mistral-7B-v0.1", "h100-sxm", Workload(64, 1, 8192))
    steps = [question.at(decode_keys=keys).analysis().decode.time_ms for keys in range(2, 8193, 32)]
    assert question.analysis().metrics.tpot_ms.value == pytest.approx(fmean(steps), rel=5e-3)


def test_a_request_of_one_token_has_no_decode_step() -> None:
    found = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 1), EXPECTED).analysis()
    assert found.metrics.tpot_ms == Metric(0, 0, 0, 0)
    assert found.metrics.e2e_latency_ms == found.metrics.ttft_ms


@given(questions())
def test_a_decode_step_moves_at_least_the_weights_and_the_visible_cache_once(question: Question) -> None:
    asked, deployment, workload = question.model, question.deployment, question.workload
    layer = weight_bits(deployment.weight_dtype, deployment.weight_group_size) / 8
    head = weight_bits(deployment.lm_head_dtype, deployment.weight_group_size) / 8
    weights = cache = 0.0
    for kind in asked.layer_kinds:
        matrices = sum(t.shape[0] * t.shape[1] for t in kind.tensors if t.kind is TensorKind.MATRIX)
        weights += kind.count * matrices * layer
        (attention,) = kind.mixers
        assert isinstance(attention, Attention)
        visible = min(workload.shown_decode_keys, attention.window or workload.shown_decode_keys)
        element = kv_bits(deployment.kv_dtype, attention.head_dim) / 8
        cache += kind.count * visible * attention.kv_elements_per_token * element
    weights += asked.vocab_size * asked.hidden_size * head
    minimum = weights + workload.batch * cache
    decode = replace(question, basis=IDEAL).analysis().decode
    assert decode.bytes * TOLERANCE >= minimum
    assert decode.time_ms * TOLERANCE >= minimum / question.hardware.bandwidth_bytes_per_s * 1e3


@given(questions())
def test_a_stage_takes_at_least_its_bytes_over_the_bandwidth_and_its_flops_over_the_best_peak(
    question: Question,
) -> None:
    hardware = question.hardware
    for stage in question.analysis().stages:
        assert stage.time_ms * TOLERANCE >= stage.bytes / hardware.bandwidth_bytes_per_s * 1e3
        assert stage.time_ms * TOLERANCE >= stage.flops / max(hardware.peak_flops_per_s.values()) * 1e3


@given(questions())
def test_fused_attention_never_moves_more_nor_computes_more(question: Question) -> None:
    deployment = question.deployment
    stated: Stated = {"weight_dtype": deployment.weight_dtype, "kv_dtype": deployment.kv_dtype}
    fused = question.served(**stated).analysis()
    unfused = question.served(**stated, attention="unfused").analysis()
    for before, after in zip(unfused.stages, fused.stages, strict=True):
        assert after.bytes <= before.bytes * TOLERANCE
        assert after.flops <= before.flops * TOLERANCE


@given(questions())
def test_an_operators_figures_agree_with_each_other(question: Question) -> None:
    hardware = question.hardware
    for stage in replace(question, basis=IDEAL).analysis().stages:
        for found in stage.operators:
            peak = hardware.peak_flops_per_s[found.compute_dtype]
            compute, memory = found.flops / peak, found.bytes / hardware.bandwidth_bytes_per_s
            assert found.bytes == pytest.approx(sum(found.bytes_by_class))
            assert found.ideal_time_us == pytest.approx(max(compute, memory) * 1e6)
            if found.flops:
                assert found.flops / found.attainable_flops_per_s == pytest.approx(max(compute, memory))
            if max(compute, memory) > 1.001 * min(compute, memory):
                assert found.bound is (Bound.COMPUTE if compute > memory else Bound.MEMORY)


@given(questions())
def test_a_low_bit_rate_belongs_to_weight_gemms_of_two_low_bit_operands(question: Question) -> None:
    deployment = question.deployment
    both = deployment.weight_dtype is deployment.activation_dtype
    for stage in question.analysis().stages:
        for found in stage.operators:
            if ELEMENT_BITS[found.compute_dtype] < 16:
                assert both
                assert found.name.endswith("_proj")
                assert found.compute_dtype is deployment.weight_dtype


@given(questions())
def test_the_bound_of_a_stage_holds_most_of_its_time(question: Question) -> None:
    for stage in question.analysis().stages:
        assert stage.share(stage.bound) == max(share.share for share in stage.bound_shares)
        assert sum(share.share for share in stage.bound_shares) == pytest.approx(1)


def test_expected_bounds_tell_launches_from_bytes_from_arithmetic() -> None:
    """A norm of one token is a launch, 180 MB of weights are bytes, 2,048 tokens of products arithmetic."""
    found = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128), EXPECTED).analysis()
    assert operator(found.decode, "attn_norm").bound is Bound.LATENCY
    assert operator(found.decode, "gate_proj").bound is Bound.MEMORY
    assert operator(found.prefill, "gate_proj").bound is Bound.COMPUTE


def test_a_gemm_at_its_ridge_is_balanced() -> None:
    """Its arithmetic takes 0.738 and its bytes 0.808 of their peaks, so balance lies near 213 tokens."""
    question = ask("meta-llama/Llama-2-13b-hf", "rtx-a6000", Workload(213, 100, 2), EXPECTED)
    assert operator(question.analysis().decode, "gate_proj").bound is Bound.BALANCED


def test_operands_of_two_widths_are_multiplied_in_16_bits() -> None:
    question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 100, 10), **W8A8)
    mixed = replace(question.deployment, activation_dtype=Dtype.FP8)
    assert mixed.gemm_dtype is Dtype.FP16


@pytest.mark.parametrize("device_id", ["t4", "v100-sxm2-32gb", "apple-m2-ultra"])
def test_a_bf16_checkpoint_is_computed_in_fp16_where_there_is_no_bf16(device_id: str) -> None:
    question = ask("meta-llama/Meta-Llama-3-8B", device_id, Workload(1, 100, 10))
    computed = {o.compute_dtype for stage in question.analysis().stages for o in stage.operators}
    assert computed == {Dtype.FP16}


@pytest.mark.parametrize(
    "workload",
    [
        pytest.param(Workload(1, 1, 1), id="least"),
        pytest.param(Workload(1_000_000, 100_000_000, 100_000_000), id="most"),
        pytest.param(Workload(1_000_000, 1, 1, decode_keys=1), id="widest"),
        pytest.param(Workload(1, 100_000_000, 1), id="longest"),
    ],
)
@pytest.mark.parametrize("basis", [IDEAL, EXPECTED])
@pytest.mark.parametrize("bandwidth", [1.0, 1e30])
def test_figures_at_the_extremes_are_finite_and_positive(
    workload: Workload, basis: CostBasis, bandwidth: float
) -> None:
    question = ask("google/gemma-2-2b-it", "h100-sxm", workload, basis)
    extreme = replace(
        question, hardware=replace(question.hardware, bandwidth_bytes_per_s=bandwidth, memory_bytes=1.0)
    )
    found = extreme.analysis()
    for time in times(found):
        assert 0 <= time < float("inf")
    assert found.prefill.time_ms > 0
    assert 0 < found.metrics.output_tokens_per_s.value < float("inf")
