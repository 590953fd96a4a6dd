"""The sentences quote the figures that decided, and what they promise to flip a verdict does flip it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given

from ridgeline_server.advisor.effects import speedup
from ridgeline_server.advisor.results import Effect, ReasonCode, Recommendation, Verdict
from ridgeline_server.advisor.wording import LABELS
from ridgeline_server.domain.deployment import CostBasis
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Load, Workload
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.results import StageAnalysis
from ridgeline_server.store.engines import builtin_engines
from tests.unit.questions import (
    EXPECTED,
    GIB,
    IDEAL,
    LLAMA_2_7B,
    LLAMA_3_1_8B,
    Question,
    ask,
    effect,
    questions,
)

GAIN = 1.03
NUMBER = r"(\d[\d,]*(?:\.\d+)?)"
CHANGE = re.compile(
    rf"(TTFT|TPOT|latency|throughput per device|throughput) goes from {NUMBER} (min|s|ms|us|tokens/s) "
    rf"to {NUMBER} (min|s|ms|us|tokens/s) "
    rf"\({NUMBER}x(?:, {NUMBER}-{NUMBER})?\)"
)
METRICS = {label: metric for metric, label in LABELS.items()}
FORMATS = ("weight-only-int4", "weight-only-int8", "kv-cache-int4", "kv-cache-int8")


def figure(text: str, unit: str = "") -> float:
    """A figure, of a time in milliseconds."""
    return float(text.replace(",", "")) * {"min": 6e4, "s": 1e3, "us": 1e-3}.get(unit, 1)


def sentences(question: Question) -> Iterator[tuple[Recommendation, str]]:
    for found in question.advice().recommendations:
        yield found, found.reason


@given(questions())
def test_changes_in_a_sentence_are_the_effects(question: Question) -> None:
    for found, reason in sentences(question):
        changes = list(CHANGE.finditer(reason))
        assert len(changes) == reason.count(" goes from ") - reason.count("that fits goes from")
        for label, before, before_unit, after, after_unit, gain, low, high in (c.groups() for c in changes):
            each = effect(found.effects, METRICS[label])
            # Two decimals of a millisecond or three digits, whichever is finer, and microseconds below.
            assert figure(before, before_unit) == pytest.approx(each.before, rel=0.006, abs=0.0051)
            assert figure(after, after_unit) == pytest.approx(each.after, rel=0.006, abs=0.0051)
            assert figure(gain) == pytest.approx(each.speedup, abs=0.0051)
            ends = (figure(low), figure(high)) if low else (each.speedup, each.speedup)
            assert ends == pytest.approx((each.low, each.high), abs=0.0051)


@given(questions())
def test_a_technique_that_was_simulated_quotes_the_effect_that_decided(question: Question) -> None:
    labels = {metric: label for label, metric in METRICS.items()}
    for found, reason in sentences(question):
        if found.effects and found.reason_code is not ReasonCode.MAKES_IT_FIT:
            assert f"{labels[found.metric]} goes from " in reason


def mean_step(question: Question) -> StageAnalysis:
    """The one decode step of a request of two output tokens."""
    return question.at(decode_keys=question.workload.input_len + 1).analysis().decode


def percent(text: str, what: str) -> float | None:
    found = re.search(rf"{NUMBER}% of {what}", text)
    return None if found is None else float(found[1])


COMPUTE = ("int8-compute", "fp8-compute", "nvfp4-compute", "w4a8-compute", "w4a8-mxfp4-compute")


@given(questions())
def test_shares_in_a_sentence_are_those_of_the_step_that_decides(question: Question) -> None:
    asked = question.at(output_len=2)
    decode, prefill = mean_step(asked), asked.analysis().prefill
    moved = decode.bytes_by_class
    cached = (moved.kv_read + moved.kv_written) / decode.bytes
    shares = {
        **dict.fromkeys(("kv-cache-int2", "kv-cache-int4", "kv-cache-int8", "kv-cache-fp8"), cached),
        **dict.fromkeys(
            ("weight-only-int4", "weight-only-int8", "weight-only-fp8", "sparsity-2-4"),
            moved.weights / decode.bytes,
        ),
        "kv-eviction": moved.kv_read / decode.bytes,
        "widen-weights": moved.weights / decode.bytes,
    }
    for found, reason in sentences(asked):
        quoted = percent(reason, "the bytes a decode step moves")
        if quoted is not None:
            assert quoted == pytest.approx(100 * shares[found.technique], abs=0.51)
        if found.technique not in (*shares, *COMPUTE):
            continue
        quoted = percent(reason, "its bytes")
        if quoted is not None:
            assert quoted == pytest.approx(100 * prefill.bytes_by_class.weights / prefill.bytes, abs=0.51)
        quoted = percent(reason, "its time")
        if quoted is not None:
            stage = prefill if found.stage is Stage.PREFILL else decode
            assert quoted == pytest.approx(100 * stage.bound_shares[0].share, abs=0.51)


@given(questions())
def test_loads_in_a_sentence_are_the_questions(question: Question) -> None:
    asked = question.at(output_len=2)
    workload = asked.workload
    for found, reason in sentences(asked):
        if found.technique in FORMATS and reason.startswith("at batch"):
            keys = workload.input_len + 1
            assert reason.startswith(f"at batch {workload.batch:,} with {keys:,} keys")
        if "prompt tokens" in reason:
            assert f"at {workload.batch * workload.input_len:,} prompt tokens" in reason


@given(questions())
def test_batches_and_sizes_in_a_sentence_are_those_of_the_memory(question: Question) -> None:
    memory = question.analysis().memory
    for found, reason in sentences(question):
        room = re.search(rf"the largest batch that fits goes from {NUMBER} to {NUMBER}", reason)
        if room:
            assert found.memory is not None
            assert figure(room[1]) == memory.max_batch
            assert figure(room[2]) == found.memory.max_batch
        if found.reason_code is ReasonCode.MAKES_IT_FIT:
            assert found.memory is not None
            needs = re.search(
                rf"needs {NUMBER} GiB of {NUMBER} GiB; with .* it needs {NUMBER} GiB, which fits", reason
            )
            assert needs is not None
            sizes = (memory.total_bytes, memory.usable_bytes, found.memory.total_bytes)
            assert [figure(n) for n in needs.groups()] == pytest.approx([s / GIB for s in sizes], abs=0.051)


def deciding(found: Recommendation, question: Question) -> Effect:
    """The effect of a technique's change under another load."""
    before = question.analysis()
    assert found.deployment is not None
    after = replace(question, deployment=found.deployment).analysis()
    name = found.metric
    old, new = getattr(before.metrics, name).value, getattr(after.metrics, name).value
    gain = speedup(name, old, new)
    return Effect(name, old, new, gain, gain, gain, gain)


@given(questions())
def test_a_gain_ends_where_the_sentence_says(question: Question) -> None:
    for found in question.advice().recommendations:
        ends = re.search(rf"falls under 3% between batch {NUMBER} and {NUMBER}", found.flips_when)
        if ends:
            still, gone = (int(figure(n)) for n in ends.groups())
            assert deciding(found, question.at(batch=still)).speedup > GAIN
            assert deciding(found, question.at(batch=gone)).speedup <= GAIN
        still_gains = re.search(rf"still gains over 3% at batch {NUMBER}", found.flips_when)
        if still_gains:
            assert deciding(found, question.at(batch=int(figure(still_gains[1])))).speedup > GAIN


@given(questions())
def test_a_gain_begins_where_the_sentence_says(question: Question) -> None:
    workload = question.workload
    for found in question.advice().recommendations:
        smaller = re.search(rf"gains over 3% at batch {NUMBER} and below", found.flips_when)
        if smaller:
            batch = int(figure(smaller[1]))
            assert batch < workload.batch
            assert deciding(found, question.at(batch=1)).speedup > GAIN
            assert deciding(found, question.at(batch=batch)).speedup > GAIN
            before = workload.batch
            while before // 2 > batch:
                before //= 2
            assert deciding(found, question.at(batch=before)).speedup <= GAIN
        begins = re.search(r"gains over 3% from (.*) on\.", found.flips_when)
        if begins:
            longer = re.search(rf"an input of {NUMBER} tokens", begins[1])
            if longer:
                length = int(figure(longer[1]))
                assert length > workload.input_len
                assert deciding(found, question.at(input_len=length)).speedup > GAIN
            larger = re.search(rf"batch {NUMBER}", begins[1])
            if larger:
                assert int(figure(larger[1])) > workload.batch
                assert deciding(found, question.at(batch=int(figure(larger[1])))).speedup > GAIN


@given(questions())
def test_sentences_are_written_for_people(question: Question) -> None:
    for found in question.advice().recommendations:
        for text in (found.reason, found.flips_when):
            assert not re.search(r"\de[+-]?\d|\bnan\b|\binf\b|  |\bNone\b|Dtype", text), text
            assert text == "" or text.endswith(".")
        assert found.reason


@given(questions())
def test_no_change_is_told_twice(question: Question) -> None:
    for found, reason in sentences(question.at(output_len=1)):
        told = CHANGE.findall(reason)
        assert len(told) == len(set(told)), (found.technique, reason)


@given(questions())
def test_a_closed_loop_is_spoken_of_by_its_concurrency(question: Question) -> None:
    for found in question.at(load=Load.CLOSED_LOOP).advice().recommendations:
        for text in (found.reason, found.flips_when):
            assert not re.search(r"batch \d", text), (found.technique, text)


@pytest.mark.parametrize("batch", [1, 2])
def test_one_of_a_thing_is_not_spoken_of_as_several(batch: int) -> None:
    question = ask(
        "meta-llama/Llama-3.1-70B-Instruct",
        "h100-sxm",
        Workload(batch, 1024, 128),
        EXPECTED,
        parallel=Parallelism(tp=8),
    )
    texts = [text for found in question.advice().recommendations for text in (found.reason, found.flips_when)]
    assert any("1 sequence a device" in text for text in texts) is (batch == 1)
    assert any("and 1 of 2 waits" in text for text in texts) is (batch == 1)
    assert not any(re.search(r"\b1 (sequences|devices|drafted tokens|stages)\b", text) for text in texts)


def test_bytes_that_narrow_weights_save_are_counted_whatever_runs_then() -> None:
    """They make room for requests that wait today, whose keys are none of the bytes that are cut."""
    load = Workload(256, 1024, 1024, load=Load.CLOSED_LOOP)
    question = ask(LLAMA_3_1_8B, "h100-sxm", load, EXPECTED, engine=builtin_engines().find("sglang", ""))
    assert not question.analysis().memory.fits
    reason = question.recommendation("weight-only-int4").reason
    weights, cut = percent(reason, "the bytes a decode step moves"), re.search(rf"by {NUMBER}% \(", reason)
    assert weights is not None
    assert cut is not None
    assert 0.6 * weights < figure(cut[1]) < 0.75 * weights


@given(questions())
def test_only_is_not_said_of_more_than_half(question: Question) -> None:
    for _, reason in sentences(question):
        for quoted in re.findall(rf"only {NUMBER}%", reason):
            assert float(quoted) <= 50


@given(questions())
def test_arithmetic_is_said_to_speed_up_only_where_the_device_has_a_faster_unit_for_it(
    question: Question,
) -> None:
    for found in question.advice().recommendations:
        if found.reason_code is ReasonCode.COMPUTE_SPED_UP:
            assert found.deployment is not None
            after, today = (
                question.hardware.unit_for(served.gemm_dtype)
                for served in (found.deployment, question.deployment)
            )
            assert after is not None
            assert today is not None
            peaks = question.hardware.peak_flops_per_s
            assert peaks[after] > peaks[today]


@pytest.mark.parametrize(
    "technique", ["weight-only-int4", "weight-only-int8", "weight-only-fp8", "int8-compute", "fp8-compute"]
)
def test_where_launches_hold_the_time_the_sentence_says_so(technique: str) -> None:
    """A step of gpt2 on an H100 is 97% launches; low-bit kernels cost as much, or a little more."""
    found = ask("openai-community/gpt2", "h100-sxm", Workload(1, 512, 128), EXPECTED).recommendation(
        technique
    )
    assert found.verdict in (Verdict.NO_GAIN, Verdict.HARMFUL)
    assert "launches and other fixed costs" in found.reason


@pytest.mark.parametrize(
    "technique",
    [
        "weight-only-int4",
        "weight-only-int8",
        "weight-only-fp8",
        "kv-cache-int4",
        "kv-cache-int8",
        "kv-cache-fp8",
    ],
)
@pytest.mark.parametrize("basis", [IDEAL, EXPECTED])
def test_a_single_output_token_is_judged_by_its_ttft(technique: str, basis: CostBasis) -> None:
    question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 20, 1), basis)
    found = question.recommendation(technique)
    ttft = effect(found.effects, "ttft_ms").speedup
    assert "TPOT goes" not in found.reason
    assert "TTFT goes from" in found.reason
    assert (found.verdict in (Verdict.APPLY, Verdict.CONSIDER)) == (ttft > GAIN)


@pytest.mark.parametrize(
    ("technique", "device_id"),
    [("int8-compute", "rtx-a6000"), ("fp8-compute", "h100-sxm"), ("nvfp4-compute", "b200-sxm")],
)
def test_low_bit_compute_does_not_speak_of_a_time_between_tokens_where_there_is_one_token(
    technique: str, device_id: str
) -> None:
    reason = ask(LLAMA_2_7B, device_id, Workload(1, 2048, 1)).recommendation(technique).reason
    assert "TPOT goes from" not in reason


@pytest.mark.parametrize("technique", ["weight-only-int4", "kv-cache-int4"])
def test_a_single_output_token_is_not_told_of_a_decode_step(technique: str) -> None:
    """At 131,072 keys the cache would be half of a decode step's bytes, but there is none."""
    question = ask("meta-llama/Llama-3.1-8B", "h100-sxm", Workload(1, 131_071, 1))
    found = question.recommendation(technique)
    assert found.verdict is Verdict.NO_GAIN
    assert found.reason_code is ReasonCode.BOUND_NOT_ADDRESSED
