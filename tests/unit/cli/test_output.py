"""Answers as JSON, as CSV and at a terminal."""

from __future__ import annotations

import csv
import io
import json

import pytest

from ridgeline import jsonform
from ridgeline.v1 import common_pb2, measurement_pb2
from ridgeline.v1 import recommendation_service_pb2 as advice
from ridgeline.v1.analysis_service_pb2 import AnalyzeResponse
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeClient, recommendation
from tests.unit.plots.answers import analysis, many_devices

QUESTION = ("llama-2-7b", "rtx-a6000", "--input-len", "2048")
DOES_NOT_FIT = (common_pb2.NOTICE_CODE_DOES_NOT_FIT, "batch 64 does not fit by 34.9 GiB.")


def test_json_is_the_answer_and_nothing_else(run: Run, fake: FakeClient) -> None:
    assert json.loads(run("analyze", *QUESTION, "-o", "json").stdout) == jsonform.to_dict(fake.analysis)
    assert json.loads(run("recommend", *QUESTION, "-o", "json").stdout) == jsonform.to_dict(fake.advice)


def test_csv_has_a_row_for_each_operator(run: Run, fake: FakeClient) -> None:
    rows = list(csv.DictReader(io.StringIO(run("analyze", *QUESTION, "-o", "csv").stdout)))
    told = [(stage, operator) for stage in fake.analysis.stages for operator in stage.operators]
    assert [row["name"] for row in rows] == [operator.name for _, operator in told]
    assert {row["stage"] for row in rows} == {"PREFILL", "DECODE"}
    assert [float(row["expected_time_us"]) for row in rows] == [
        operator.expected_time_us for _, operator in told
    ]


def test_csv_of_ideal_times_leaves_the_expected_ones_empty(run: Run, fake: FakeClient) -> None:
    fake.analysis = analysis(ideal=True)
    rows = list(csv.DictReader(io.StringIO(run("analyze", *QUESTION, "-o", "csv").stdout)))
    assert {row["expected_time_us"] for row in rows} == {""}


def test_csv_has_a_row_for_each_effect_and_one_for_what_cannot_be_applied(run: Run, fake: FakeClient) -> None:
    rows = list(csv.DictReader(io.StringIO(run("recommend", *QUESTION, "-o", "csv").stdout)))
    assert [(row["technique"], row["metric"]) for row in rows if row["verdict"] == "APPLY"] == [
        ("weight-only-int4", "ttft_ms"),
        ("weight-only-int4", "tpot_ms"),
    ]
    (refused,) = [row for row in rows if row["verdict"] == "NOT_APPLICABLE"]
    assert refused["metric"] == refused["speedup"] == ""
    assert refused["reason"] == "the device has no FP8 unit"


@pytest.mark.parametrize("command", ["analyze", "recommend"])
@pytest.mark.parametrize("columns", [80, 120])
def test_screens_keep_to_the_width_and_have_no_escapes_in_a_pipe(
    run: Run, fake: FakeClient, monkeypatch: pytest.MonkeyPatch, command: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = run(command, *QUESTION).stdout
    assert max(len(line) for line in text.splitlines()) <= columns
    assert "\x1b" not in text


@pytest.mark.parametrize("command", ["analyze", "recommend"])
def test_notices_come_first_of_all(run: Run, fake: FakeClient, command: str) -> None:
    fake.analysis = analysis(fits=False, notices=[DOES_NOT_FIT])
    fake.advice = recommendation(baseline=fake.analysis)
    assert run(command, *QUESTION).stdout.startswith(
        "! Batch 64 does not fit by 34.9 GiB.\n\nmeta-llama/Llama-2-7b-hf"
    )


def test_a_notice_keeps_the_identifier_that_it_begins_with(run: Run, fake: FakeClient) -> None:
    fake.analysis = analysis(notices=[(common_pb2.NOTICE_CODE_MODEL_ASSUMPTION, "torch_dtype is absent.")])
    assert run("analyze", *QUESTION).stdout.startswith("! torch_dtype is absent.\n")


def test_advice_answers_first_then_tells_why_then_what_it_assumed(run: Run, fake: FakeClient) -> None:
    text = run("recommend", *QUESTION).stdout
    parts = [
        "Today decode takes",
        "Best plan for latency",
        "What to change, and why",
        "What does not help here",
        "What was assumed",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_prompts_of_other_requests_are_told_apart_where_they_hold_one_up(run: Run, fake: FakeClient) -> None:
    """16 requests in flight on 2 replicas: of 8 prompts that a request waits for one is its own."""
    baseline = many_devices()
    baseline.metrics.requests_in_flight, baseline.metrics.requests_waiting = 16, 0
    baseline.metrics.prefill_time_share = 0.64
    fake.advice = recommendation(baseline=baseline)
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert ", 56% for prompts of other requests and 8% for its own, and is" in text
    baseline.metrics.prefill_time_share = 0.4
    fake.advice = recommendation(baseline=baseline)
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert "Today decode takes 60% of a request's" in text
    assert "; prompts of other requests take 35%." in text


def test_a_static_batch_has_no_prompts_of_others_to_wait_for(run: Run, fake: FakeClient) -> None:
    assert "prompts of other" not in " ".join(run("recommend", *QUESTION).stdout.split())


def test_the_best_plan_is_told_with_gain_interval_and_fit(run: Run, fake: FakeClient) -> None:
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert (
        "Best plan for latency: 4-bit weights and 4-bit KV cache: whole request 3.40 s → 1.60 s, 2.12x "
        "(1.91-2.34); it fits (5.4 of 47.5 GiB)."
    ) in text


def test_each_verdict_is_told_with_its_number_and_reason(run: Run, fake: FakeClient) -> None:
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert (
        "APPLY 4-bit weights TPOT 25.0 ms → 10.0 ms, 2.50x (2.25-2.75) Weights are 92% of the bytes." in text
    )
    assert "HARMFUL INT8 compute, TPOT" in text
    assert (
        "NO GAIN 8-bit KV cache, TPOT 25.0 ms → 10.0 ms, 2.50x (2.25-2.75): the KV cache is 7% of the bytes"
        in text
    )
    assert "NOT APPLICABLE FP8 compute: the device has no FP8 unit. At batch 64 it turns." in text


def test_the_device_of_the_best_plan_is_told_where_it_is_another(run: Run, fake: FakeClient) -> None:
    fake.advice.plans[0].hardware_id = "h100-sxm"
    fake.advice.plans[0].steps[1].title = "another device (NVIDIA H100 SXM5 80GB)"
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert "4-bit weights and another device (NVIDIA H100 SXM5 80GB): whole request" in text
    assert "2. another device (NVIDIA H100 SXM5 80GB)" in text
    assert "How to start the best plan on h100-sxm (vllm 0.33.0)" in text


def test_each_effort_has_its_words(run: Run, fake: FakeClient) -> None:
    told = set()
    for effort in advice.Effort.values():
        fake.advice.recommendations[0].effort = effort
        text = " ".join(run("recommend", *QUESTION).stdout.split())
        told.add(text.partition("Weights are 92% of the bytes.")[2].partition("Accuracy:")[0].strip())
    assert len(told - {""}) == len(advice.Effort.values()) - 1
    assert "Effort: more devices, and a flag of the engine." in told
    assert "Effort: devices of another kind." in told


def test_what_is_published_is_told_with_its_source(run: Run, fake: FakeClient) -> None:
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert (
        "Dense models of 3 to 14 billion parameters lost 2% in the median of published figures, at most 5.7% "
        "(meta-llama/Llama-3.1-8B-Instruct, awq: MMLU 68.0 -> 64.15)."
    ) in text
    assert (
        "Published nearby: 1.48x, gpt-fast, Llama-2-7b-hf on a100-sxm-80gb, batch 1 (gpt-fast's README)."
    ) in text


def test_that_nothing_is_published_is_told(run: Run, fake: FakeClient) -> None:
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert "Nothing is published for dense models of 3 to 14 billion parameters." in text


def test_published_figures_that_rose_are_no_loss(run: Run, fake: FakeClient) -> None:
    fake.advice.recommendations[0].accuracy.largest_relative_loss = 0
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert "No published figure of dense models of 3 to 14 billion parameters got worse." in text


def test_a_published_speedup_is_said_to_be_far_or_of_memory(run: Run, fake: FakeClient) -> None:
    case = fake.advice.recommendations[0].nearest_published
    case.nearness = advice.NEARNESS_FAR
    case.metric = measurement_pb2.MEASUREMENT_METRIC_MEMORY_GIB
    case.ClearField("batch")
    case.concurrency, case.engine_version = 1024, "1.0"
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert (
        "Published far from here: 1.48x memory, gpt-fast 1.0, Llama-2-7b-hf on a100-sxm-80gb, "
        "concurrency 1,024 (gpt-fast's README)."
    ) in text


def test_what_was_assumed_is_echoed(run: Run, fake: FakeClient) -> None:
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert (
        "Baseline: batch 1, 2,048 tokens in, 128 out; fp16 weights, activations and KV cache, fused" in text
    )
    assert "Driver and engine take 1.3 GiB of memory." in text
    assert "19 deployments were simulated, 12 of them for plans; catalog revision 7." in text


def test_nothing_to_recommend_is_an_answer(run: Run, fake: FakeClient) -> None:
    fake.advice = recommendation(plans=False)
    result = run("recommend", *QUESTION)
    assert result.exit_code == 0
    assert "Nothing that Ridgeline knows improves its latency." in result.stdout


def test_a_no_is_said_as_a_no(run: Run, fake: FakeClient) -> None:
    fake.advice = recommendation(baseline=analysis(fits=False), plans=False)
    assert "No: nothing that Ridgeline knows makes it fit." in run("recommend", *QUESTION).stdout
    fake.advice = recommendation(baseline=analysis(fits=False), meets_slo=False)
    assert "No: nothing that Ridgeline knows meets the SLO. Best plan" in run("recommend", *QUESTION).stdout


def test_todays_figures_are_told_to_be_supposed_where_nothing_of_the_load_can_run(
    run: Run, fake: FakeClient
) -> None:
    supposed = "Today's figures are those of a device with the memory that it lacks."

    def told(baseline: AnalyzeResponse) -> str:
        fake.advice = recommendation(baseline=baseline)
        return " ".join(run("recommend", *QUESTION).stdout.split())

    assert supposed not in told(analysis())
    assert supposed in told(analysis(fits=False))
    waiting = analysis(fits=False)
    waiting.memory.max_batch, waiting.metrics.requests_waiting = 2, 30
    assert supposed not in told(waiting)


def test_requests_that_wait_in_a_plan_are_told(run: Run, fake: FakeClient) -> None:
    fake.advice = recommendation(baseline=analysis(fits=False), plan_fits=False)
    fake.advice.plans[0].memory.max_batch = 11
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert "No: nothing that Ridgeline knows makes all of it fit at once. Best plan" in text
    assert "no more than 11 of its requests run at once, the others wait" in text


def test_memory_is_drawn_in_proportion_and_its_end_marked(run: Run, fake: FakeClient) -> None:
    bar = next(line for line in run("analyze", *QUESTION).stdout.splitlines() if line.startswith("Memory"))
    assert abs(bar.count("█") / (len(bar) - len("Memory   ")) - 12.6 / 47.5) < 0.02
    assert "|" not in bar
    fake.analysis = analysis(fits=False)
    text = run("analyze", *QUESTION).stdout
    bar = next(line for line in text.splitlines() if line.startswith("Memory"))
    assert abs(bar.index("|") - len("Memory   ") - 47.5 / 74 * (len(bar) - len("Memory   "))) < 2
    assert "does not fit: needs 74.0 of 47.5 GiB" in text


def test_the_ideal_screen_has_no_expected_column(run: Run, fake: FakeClient) -> None:
    fake.analysis = analysis(ideal=True)
    text = run("analyze", *QUESTION, "--ideal").stdout
    assert "expected" not in text
    assert "Exp. us" not in text
    assert "Ideal us" in text


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_many_devices_keep_to_the_width_and_cut_nothing(
    run: Run, fake: FakeClient, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    fake.analysis = many_devices()
    fake.advice = recommendation(baseline=fake.analysis)
    for command in ("analyze", "recommend"):
        text = run(command, *QUESTION).stdout
        assert max(len(line) for line in text.splitlines()) <= columns
        assert "…" not in text


def test_devices_and_techniques_are_told_with_the_question(run: Run, fake: FakeClient) -> None:
    fake.analysis = many_devices()
    text = " ".join(run("analyze", *QUESTION).stdout.split())
    assert "Llama-2-7b-hf on rtx-a6000: 8 devices (tp 4, dp 2) 16 requests in flight, 2,048 tokens in" in text
    assert "int4 g128 mlp" in text
    assert (
        "prefill in chunks of 512 tokens; 25% of each prompt cached; 2 tokens drafted by heads, 85% "
        "accepted; 12.5% of the weights in host memory, read at 25.0 GB/s; "
        "vllm 0.19.0; 90% of the memory used" in text
    )
    assert "Drafted tokens are taken to be accepted at 85%, as published: arXiv:2412.19437." in text
    fake.advice = recommendation(baseline=fake.analysis)
    told = " ".join(run("recommend", *QUESTION).stdout.split())
    assert "Llama-2-7b-hf on rtx-a6000, 8 devices (tp 4, dp 2): 16 requests in flight" in told
    assert "fused attention; 8 devices (tp 4, dp 2); prefill in chunks of 512 tokens" in told


def test_throughput_costs_and_energy_have_lines_of_their_own(run: Run, fake: FakeClient) -> None:
    fake.analysis = many_devices()
    lines = run("analyze", *QUESTION).stdout.splitlines()
    named = {line.split("  ")[0] or line.strip().split("  ")[0]: line for line in lines}
    for name in (
        "per device",
        "All tokens per second",
        "USD per million output tokens",
        "USD per million input tokens",
        "Joules per output token",
    ):
        assert name in named
    assert "9.00" in named["USD per million output tokens"]
    fake.analysis = analysis()
    text = run("analyze", *QUESTION).stdout
    assert "USD" not in text
    assert "Joules" not in text
    assert "per device" not in text


def test_the_pool_is_told_with_its_interval_and_whose_figures_it_rests_on(run: Run, fake: FakeClient) -> None:
    fake.analysis = many_devices()
    text = " ".join(run("analyze", *QUESTION).stdout.split())
    assert "GiB of the fullest device:" in text
    assert "KV pool: 32.0 GiB (30.0 - 33.0); holds 143 (135 - 149) requests of this length" in text
    assert "0.30 GiB outside of the allocator, CUDA graphs 1.0 GiB; figures of vLLM 0.19.0." in text
    fake.analysis.memory.kv_pool_bytes.value = -2 * 2**30
    assert "KV pool: none, 2.0 GiB are missing" in run("analyze", *QUESTION).stdout


def test_each_stage_says_what_would_flip_it(run: Run, fake: FakeClient) -> None:
    fake.analysis = many_devices()
    prefill, decode = run("analyze", *QUESTION).stdout.split("DECODE")
    for text, keys in ((prefill, "12,345 prompt tokens"), (decode, "12,345 keys")):
        assert (
            f"What would flip it: batch 219 (compute-bound); {keys} (compute-bound); 3.10 TB/s of memory "
            "bandwidth, 4.0x (compute-bound); 1.20 TFLOP/s, 0.0078x (compute-bound)"
        ) in " ".join(text.split())


def test_a_collective_is_told_by_its_message(
    run: Run, fake: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.analysis = many_devices()
    monkeypatch.setenv("COLUMNS", "80")
    narrow = next(line for line in run("analyze", *QUESTION).stdout.splitlines() if "all_reduce" in line)
    assert narrow.split()[4:6] == ["message", "comm."]
    monkeypatch.setenv("COLUMNS", "100")
    row = next(line for line in run("analyze", *QUESTION).stdout.splitlines() if "all_reduce" in line)
    assert row.split()[:6] == ["all_reduce", "31.5", "-", "4.20", "message", "communication"]


def test_what_each_step_of_the_best_plan_adds_is_a_table(run: Run, fake: FakeClient) -> None:
    lines = [" ".join(line.split()) for line in run("recommend", *QUESTION).stdout.splitlines()]
    first = lines.index("step whole request gain")
    assert lines[first + 1].startswith("today")
    assert lines[first + 2].startswith("1. 4-bit weights")
    assert lines[first + 3].startswith("2. 4-bit KV cache")


def test_latency_against_throughput_is_a_table_where_there_is_a_choice(run: Run, fake: FakeClient) -> None:
    assert "Latency against throughput" not in run("recommend", *QUESTION).stdout
    point = advice.FrontPoint
    fake.advice.pareto_front.extend(
        [
            point(e2e_latency_ms=1600, output_tokens_per_s_per_device=80, devices=1, batch=1),
            point(
                techniques=["weight-only-int4"],
                e2e_latency_ms=2000,
                output_tokens_per_s_per_device=640,
                devices=1,
                batch=16,
            ),
        ]
    )
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert "1.60 s 80.0 1 1 today's deployment 2.00 s 640 1 16 4-bit weights" in text


def test_what_plans_leave_out_and_what_comes_closest_are_told(run: Run, fake: FakeClient) -> None:
    for technique in ("fp8-compute", "nvfp4-compute"):
        fake.advice.left_out.add(technique=technique, reason="it is over the budget.")
    fake.advice.closest.summary = "Nothing meets all limits; this comes closest."
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert "In no plan: FP8 compute, nvfp4-compute. It is over the budget." in text
    assert "Nothing meets all limits; this comes closest." in text
