"""What holds of every architecture however it is served: no free lunch, nothing beats the data sheet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline_server.domain.dtypes import ELEMENT_BITS
from ridgeline_server.domain.mixers import Attention, LatentAttention
from ridgeline_server.domain.parallelism import ONE_DEVICE
from ridgeline_server.domain.tensors import ModuleClass, TensorKind
from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.results import Analysis, Bound, OperatorAnalysis, StageAnalysis
from tests.unit.deployments import served, with_deployment
from tests.unit.questions import EXPECTED, IDEAL, Question

TOLERANCE = 1 + 1e-9
"""Rounding of sums."""

factors = st.sampled_from((0.999, 0.5, 0.01))
more = st.sampled_from((1, 2, 100))


def batched(question: Question) -> Question:
    """The same requests all at once. In a closed loop a prompt adds the less to a step, the longer the step
    takes for the weights that both read.
    """
    return question.at(load=Load.STATIC_BATCH)


def times(found: Analysis) -> list[float]:
    """Every time of an analysis: the smaller the better."""
    stages = [
        time
        for stage in found.stages
        for time in (stage.ideal_time_ms, stage.expected_time_ms, stage.low_time_ms, stage.high_time_ms)
    ]
    metrics = found.metrics
    return [
        time
        for time in (*stages, *metrics.ttft_ms, *metrics.tpot_ms, *metrics.e2e_latency_ms)
        if time is not None
    ]


def never_faster(before: Analysis, after: Analysis) -> bool:
    return (
        all(new >= old / TOLERANCE for old, new in zip(times(before), times(after), strict=True))
        and after.metrics.output_tokens_per_s.value <= before.metrics.output_tokens_per_s.value * TOLERANCE
    )


@given(served().map(batched), factors)
def test_less_bandwidth_never_makes_anything_faster(question: Question, factor: float) -> None:
    bandwidth = question.hardware.bandwidth_bytes_per_s * factor
    slower = replace(question, hardware=replace(question.hardware, bandwidth_bytes_per_s=bandwidth))
    assert never_faster(question.analysis(), slower.analysis())


@given(served(), factors)
def test_lower_peaks_never_make_anything_faster(question: Question, factor: float) -> None:
    peaks = {dtype: peak * factor for dtype, peak in question.hardware.peak_flops_per_s.items()}
    slower = replace(question, hardware=replace(question.hardware, peak_flops_per_s=peaks))
    assert never_faster(question.analysis(), slower.analysis())


@given(served(), factors)
def test_a_slower_link_never_makes_anything_faster(question: Question, factor: float) -> None:
    link = question.hardware.link_bandwidth_bytes_per_s or 100e9
    linked = replace(question, hardware=replace(question.hardware, link_bandwidth_bytes_per_s=link))
    slower = replace(question, hardware=replace(question.hardware, link_bandwidth_bytes_per_s=link * factor))
    assert never_faster(linked.analysis(), slower.analysis())


@given(served(), factors)
def test_a_slower_network_never_makes_anything_faster(question: Question, factor: float) -> None:
    network = question.deployment.node_bandwidth_bytes_per_s * factor
    slower = with_deployment(question, node_bandwidth_bytes_per_s=network)
    assert never_faster(question.analysis(), slower.analysis())


@given(served().map(batched), factors)
def test_a_slower_host_never_makes_anything_faster(question: Question, factor: float) -> None:
    offload = question.deployment.offload
    host = replace(offload, host_bandwidth_bytes_per_s=offload.host_bandwidth_bytes_per_s * factor)
    assert never_faster(question.analysis(), with_deployment(question, offload=host).analysis())


def operator_times(operators: tuple[OperatorAnalysis, ...]) -> list[float]:
    return [time for o in operators for time in (o.ideal_time_us, o.expected_time_us) if time is not None]


def grows(before: StageAnalysis, after: StageAnalysis) -> bool:
    """Whether no operator, nor the step, takes less time."""
    return after.time_ms * TOLERANCE >= before.time_ms and all(
        new * TOLERANCE >= old
        for old, new in zip(operator_times(before.operators), operator_times(after.operators), strict=True)
    )


@given(served(), more)
def test_a_larger_batch_never_makes_a_decode_operator_or_step_faster(question: Question, extra: int) -> None:
    after = question.at(batch=question.workload.batch + extra).analysis()
    assert grows(question.analysis().decode, after.decode)


@given(served(), more)
def test_a_larger_batch_never_makes_an_unchunked_prefill_faster(question: Question, extra: int) -> None:
    """Chunks take few prompts each, and the stages of a pipeline a part of them: steps of other batches."""
    parallel = replace(question.deployment.parallel, pp=1)
    whole = with_deployment(question, chunk_tokens=None, parallel=parallel)
    after = whole.at(batch=question.workload.batch + extra).analysis()
    assert grows(whole.analysis().prefill, after.prefill)


@given(served(), more)
def test_more_keys_never_make_a_decode_step_faster(question: Question, extra: int) -> None:
    keys = question.workload.shown_decode_keys
    before = question.at(decode_keys=keys).analysis()
    assert grows(before.decode, question.at(decode_keys=keys + extra).analysis().decode)


@given(served(), more)
def test_a_longer_prompt_never_makes_an_unchunked_prefill_faster(question: Question, extra: int) -> None:
    whole = with_deployment(question, chunk_tokens=None)
    after = whole.at(input_len=question.workload.input_len + extra).analysis()
    assert grows(whole.analysis().prefill, after.prefill)


@given(served(), more)
def test_no_request_is_served_sooner_beside_more_others(question: Question, extra: int) -> None:
    whole = with_deployment(question, chunk_tokens=None)
    before, after = whole.analysis(), whole.at(batch=question.workload.batch + extra).analysis()
    assert after.metrics.tpot_ms.value * TOLERANCE >= before.metrics.tpot_ms.value
    assert after.metrics.ttft_ms.value * TOLERANCE >= before.metrics.ttft_ms.value
    assert after.metrics.e2e_latency_ms.value * TOLERANCE >= before.metrics.e2e_latency_ms.value


@given(served(), more)
def test_what_other_prompts_add_to_a_token_falls_with_the_length_of_the_output(
    question: Question, extra: int
) -> None:
    """Beyond a decode step, which a static batch of as many sequences tells."""

    def added(output_len: int) -> float:
        found = [
            question.at(output_len=output_len, load=load).analysis().metrics.tpot_ms.value
            for load in (Load.CLOSED_LOOP, Load.STATIC_BATCH)
        ]
        return found[0] - found[1]

    output_len = max(question.workload.output_len, 2)
    tpot = question.at(output_len=output_len, load=Load.CLOSED_LOOP).analysis().metrics.tpot_ms.value
    assert added(output_len + extra) <= added(output_len) + tpot * 1e-9


def expected(question: Question) -> Analysis:
    return replace(question, basis=EXPECTED).analysis()


@given(served())
def test_nothing_is_expected_to_beat_the_data_sheet(question: Question) -> None:
    found = expected(question)
    for stage in found.stages:
        for operator in stage.operators:
            assert operator.expected_time_us is not None
            assert operator.expected_time_us >= operator.ideal_time_us / TOLERANCE
        assert stage.low_time_ms is not None
        assert stage.expected_time_ms is not None
        assert stage.high_time_ms is not None
        assert stage.ideal_time_ms <= stage.low_time_ms <= stage.expected_time_ms <= stage.high_time_ms


@given(served())
def test_no_end_of_a_metrics_interval_beats_the_data_sheet(question: Question) -> None:
    metrics = expected(question).metrics
    for least in (
        metrics.ttft_ms,
        metrics.tpot_ms,
        metrics.e2e_latency_ms,
        metrics.cost_usd_per_million_output_tokens,
        metrics.input_cost_usd_per_million_tokens,
        metrics.output_cost_usd_per_million_tokens,
        metrics.joules_per_output_token,
    ):
        if least is not None:
            ideal, value, low, high = least
            assert value is not None
            assert low is not None
            assert high is not None
            assert low <= value <= high
            assert low * TOLERANCE >= ideal
    for most in (
        metrics.output_tokens_per_s,
        metrics.output_tokens_per_s_per_device,
        metrics.total_tokens_per_s,
    ):
        ideal, value, low, high = most
        assert value is not None
        assert low is not None
        assert high is not None
        assert low <= value <= high
        assert high <= ideal * TOLERANCE


@given(served())
def test_the_expected_basis_states_the_same_ideal_figures(question: Question) -> None:
    ideal, found = replace(question, basis=IDEAL).analysis(), expected(question)
    assert [s.ideal_time_ms for s in found.stages] == [s.ideal_time_ms for s in ideal.stages]
    assert found.metrics.e2e_latency_ms.ideal == ideal.metrics.e2e_latency_ms.ideal
    assert found.memory == ideal.memory


@given(served())
def test_metrics_agree_with_each_other(question: Question) -> None:
    metrics, workload = question.analysis().metrics, question.workload
    further = workload.output_len - 1
    assert metrics.e2e_latency_ms.value == pytest.approx(
        metrics.ttft_ms.value + further * metrics.tpot_ms.value
    )
    tokens = workload.batch * workload.output_len
    assert metrics.output_tokens_per_s.value * metrics.e2e_latency_ms.value / 1e3 == pytest.approx(tokens)
    devices = question.deployment.parallel.devices
    assert metrics.output_tokens_per_s_per_device.value * devices == pytest.approx(
        metrics.output_tokens_per_s.value
    )


@given(served())
def test_one_device_has_no_collectives(question: Question) -> None:
    alone = with_deployment(question, parallel=ONE_DEVICE).analysis()
    for stage in alone.stages:
        assert not stage.share(Bound.COMMUNICATION)
        assert not any(o.message_bytes for o in stage.operators)


@given(served())
def test_the_bound_of_a_stage_holds_most_of_its_time(question: Question) -> None:
    for stage in question.analysis().stages:
        assert stage.share(stage.bound) == max(share.share for share in stage.bound_shares)
        assert sum(share.share for share in stage.bound_shares) == pytest.approx(1)


def least_decode_bytes(question: Question) -> float:
    """What one device moves in a decode step at the least: each weight that a token uses once, in its stored
    bits, and each key and value that attention sees once, divided over all devices of a stage.
    """
    asked, deployment, workload = question.model, question.deployment, question.workload
    parallel = deployment.parallel
    sequences = workload.batch / (parallel.dp * parallel.attention_dp * parallel.pp)
    keys = max(deployment.kv_keep_ratio * workload.shown_decode_keys, 1.0)
    keys = min(keys, deployment.kv_window or keys)
    moved = 0.0
    for kind in asked.layer_kinds:
        weights = sum(
            t.active_parameters * deployment.stored_bits(t.module) / 8
            for t in kind.tensors
            if t.kind is TensorKind.MATRIX
        )
        cache = sum(
            min(keys, mixer.window or getattr(mixer, "chunk", None) or keys) * mixer.kv_elements_per_token
            for mixer in kind.mixers
            if isinstance(mixer, Attention | LatentAttention) and mixer.indexer is None
        )
        if all(isinstance(mixer, Attention) and mixer.is_cross for mixer in kind.mixers) and kind.mixers:
            continue
        moved += kind.count * (weights / parallel.stage_devices)
        moved += kind.count * sequences * cache * ELEMENT_BITS[deployment.kv_dtype] / 8 / parallel.tp
    moved *= 1 - deployment.skipped_layer_share
    head = asked.vocab_size * asked.hidden_size * deployment.stored_bits(ModuleClass.LM_HEAD) / 8
    return moved + head / parallel.tp


@given(served())
def test_a_decode_step_moves_at_least_its_weights_and_visible_keys_once(question: Question) -> None:
    least = least_decode_bytes(question)
    decode = question.analysis().decode
    assert decode.bytes * TOLERANCE >= least
    best = max(
        question.hardware.bandwidth_bytes_per_s, question.deployment.offload.host_bandwidth_bytes_per_s
    )
    assert decode.ideal_time_ms * TOLERANCE >= least / best * 1e3


@given(served())
def test_no_stage_beats_its_bytes_nor_its_arithmetic(question: Question) -> None:
    hardware, offload = question.hardware, question.deployment.offload
    fastest = max(hardware.bandwidth_bytes_per_s, offload.host_bandwidth_bytes_per_s)
    peak = max(hardware.peak_flops_per_s.values()) * (2 if question.deployment.sparse_weights else 1)
    for stage in question.analysis().stages:
        assert stage.ideal_time_ms * TOLERANCE >= stage.bytes / fastest * 1e3
        assert stage.ideal_time_ms * TOLERANCE >= stage.flops / peak * 1e3
