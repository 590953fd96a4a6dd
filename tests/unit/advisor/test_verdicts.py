"""Verdicts follow from effects, limits and memory alone."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ridgeline_server.advisor.registry import all_techniques
from ridgeline_server.advisor.results import (
    NO_FREEDOM,
    Freedom,
    Goal,
    ReasonCode,
    Recommendation,
    Verdict,
)
from ridgeline_server.domain.dtypes import ELEMENT_BITS, Dtype
from ridgeline_server.domain.workload import Load, Slo, Workload
from ridgeline_server.store.engines import builtin_engines
from tests.unit.questions import (
    EXPECTED,
    IDEAL,
    LLAMA_2_7B,
    LLAMA_3_8B,
    SGLANG,
    W8,
    Question,
    ask,
    device,
    effect,
    questions,
)

GAIN = 1.03
OBJECTIVE = {
    Goal.LATENCY: "e2e_latency_ms",
    Goal.THROUGHPUT: "output_tokens_per_s",
    Goal.MEMORY: "total_memory_bytes",
}
WORTH_CONSIDERING = ("kv-eviction", "kv-offload", "weight-offload", "chunked-prefill")
"""Techniques that nobody is told to apply by default: they trade what only the user can weigh."""
goals = st.sampled_from(tuple(OBJECTIVE))


def answers_are_known(found: Recommendation) -> bool:
    return found.accuracy.lossless or found.accuracy.largest_relative_loss is not None


def best_verdict(found: Recommendation) -> Verdict:
    """The best that a technique can get whatever it gains."""
    nowhere = bool(found.switches) and all(switch.missing for switch in found.switches)
    capped = found.technique in WORTH_CONSIDERING or found.effort.is_training or nowhere
    return Verdict.CONSIDER if capped or not answers_are_known(found) else Verdict.APPLY


@given(questions(), goals)
def test_a_verdict_is_that_of_the_effect_on_the_techniques_own_metric(question: Question, goal: Goal) -> None:
    fits = question.analysis().memory.fits
    for found in question.advice(goal, freedom=NO_FREEDOM).recommendations:
        if not found.effects:
            needs_a_figure = found.reason_code is ReasonCode.FIGURE_NOT_STATED
            wanted = (Verdict.CONSIDER,) if needs_a_figure else (Verdict.NOT_APPLICABLE, Verdict.NO_GAIN)
            assert found.verdict in wanted
            assert (found.workload, found.deployment, found.memory) == (None, None, None)
            continue
        assert found.memory is not None
        own = effect(found.effects, found.metric)
        if found.memory.fits and not fits:
            assert found.verdict is best_verdict(found)
        elif own.speedup < 1 / GAIN:
            assert found.verdict is Verdict.HARMFUL
        elif own.speedup <= GAIN:
            assert found.verdict is Verdict.NO_GAIN
        else:
            goals = {OBJECTIVE[goal]}
            if goal is Goal.THROUGHPUT:
                goals.add("output_tokens_per_s_per_device")
            unharmed = all(effect(found.effects, metric).speedup >= 1 / GAIN for metric in goals)
            sure = own.low > GAIN and unharmed and found.memory.fits
            assert found.verdict is (best_verdict(found) if sure else Verdict.CONSIDER)


LONG_PROMPTS = ask("Qwen/Qwen2-1.5B-Instruct", "a100-sxm-80gb", Workload(256, 4096, 128))
"""A load of mostly KV cache on a small model, of whose answers with a 4-bit KV cache nothing is published."""


def test_a_gain_whose_cost_in_accuracy_nobody_published_is_to_be_considered() -> None:
    found = LONG_PROMPTS.recommendation("kv-cache-int4")
    assert effect(found.effects, "tpot_ms").low > GAIN
    assert found.verdict is Verdict.CONSIDER
    assert found.reason.endswith(
        " Nothing is published on what it does to the answers of dense models of under 3 billion parameters: "
        "measure that first, or allow unknown accuracy."
    )


def test_unknown_accuracy_can_be_allowed() -> None:
    advice = LONG_PROMPTS.advice(freedom=Freedom(unknown_accuracy=True))
    found = next(r for r in advice.recommendations if r.technique == "kv-cache-int4")
    assert found.verdict is Verdict.APPLY
    assert "Nothing is published" not in found.reason


def test_a_gain_whose_interval_reaches_below_it_is_only_considered() -> None:
    question = ask(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), EXPECTED)
    found = question.recommendation("fp8-compute")
    gained = effect(found.effects, "ttft_ms")
    assert gained.low < GAIN < 1.2 < gained.speedup
    assert found.verdict is Verdict.CONSIDER


def test_on_the_ideal_roofline_a_gain_has_no_interval_to_doubt_it() -> None:
    question = ask(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), IDEAL)
    found = question.recommendation("kv-cache-fp8")
    assert GAIN < effect(found.effects, "tpot_ms").speedup < 1.1
    assert found.verdict is Verdict.APPLY


def test_a_change_that_keeps_the_answers_needs_no_figure() -> None:
    found = LONG_PROMPTS.at(batch=1, input_len=128).recommendation("increase-batch", Goal.THROUGHPUT)
    assert found.accuracy.largest_relative_loss is None
    assert "Nothing is published" not in found.reason


@given(questions(), goals)
def test_the_best_verdict_comes_first_and_within_it_the_largest_gain_on_the_goal(
    question: Question, goal: Goal
) -> None:
    found = question.advice(goal).recommendations
    ranks = [list(Verdict).index(r.verdict) for r in found]
    assert ranks == sorted(ranks)
    for verdict in Verdict:
        gains = [
            effect(r.effects, OBJECTIVE[goal]).speedup if r.effects else 0.0
            for r in found
            if r.verdict is verdict
        ]
        assert gains == sorted(gains, reverse=True)


@given(questions())
def test_every_technique_is_judged_once(question: Question) -> None:
    found = [r.technique for r in question.advice().recommendations]
    assert sorted(found) == [technique.id for technique in all_techniques()]


@given(questions())
def test_no_technique_widens_a_format_but_what_is_for_that_and_8_bit_compute(question: Question) -> None:
    today = question.deployment
    for found in question.advice().recommendations:
        if found.deployment is not None:
            if found.technique not in ("int8-compute", "fp8-compute", "widen-weights"):
                assert ELEMENT_BITS[found.deployment.weight_dtype] <= ELEMENT_BITS[today.weight_dtype]
            assert ELEMENT_BITS[found.deployment.kv_dtype] <= ELEMENT_BITS[today.kv_dtype]
            assert found.deployment.lm_head_dtype is today.lm_head_dtype
            if found.technique != "flash-attention":
                assert found.deployment.attention is today.attention


@given(questions())
@example(ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 20, 10), EXPECTED, **W8))
def test_bytes_are_said_to_be_cut_only_where_they_are(question: Question) -> None:
    today = question.analysis()
    for found in question.advice().recommendations:
        if found.reason_code is ReasonCode.WEIGHT_BYTES_CUT:
            assert found.memory is not None
            assert found.memory.weights_bytes < today.memory.weights_bytes
        if found.reason_code is ReasonCode.KV_BYTES_CUT:
            assert found.memory is not None
            assert found.memory.kv_cache_bytes < today.memory.kv_cache_bytes


class TestMakesItFit:
    """Llama-3.1-70B's 131 GiB on one H100 of 79: 8-bit weights take 69, 4-bit ones 37."""

    question = ask("meta-llama/Llama-3.1-70B-Instruct", "h100-sxm", Workload(1, 2048, 128), EXPECTED)

    @pytest.mark.parametrize(
        "technique",
        ["weight-only-int4", "weight-only-int8", "weight-only-fp8", "int8-compute", "fp8-compute"],
    )
    def test_smaller_weights_make_it_fit(self, technique: str) -> None:
        found = self.question.recommendation(technique)
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.MAKES_IT_FIT
        assert found.memory is not None
        assert found.memory.fits

    @pytest.mark.parametrize("technique", ["kv-cache-int4", "kv-cache-int8", "kv-cache-fp8"])
    def test_a_smaller_cache_does_not(self, technique: str) -> None:
        found = self.question.recommendation(technique)
        assert found.verdict is Verdict.NO_GAIN
        assert found.memory is not None
        assert not found.memory.fits

    def test_a_larger_batch_has_no_room(self) -> None:
        found = self.question.recommendation("increase-batch")
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.MEMORY_LIMIT

    def test_every_plan_fits(self) -> None:
        plans = self.question.advice().plans
        assert plans
        assert all(plan.memory.fits for plan in plans)

    def test_it_is_applied_even_where_it_slows_down(self) -> None:
        """8-bit weights slow gpt2 down on an H100; on one with 1.5 GiB they are the way to run it at all."""
        small = device("h100-sxm", usable_memory_bytes=1.52 * 2**30)
        found = ask("openai-community/gpt2", small, Workload(1, 128, 16), EXPECTED).recommendation(
            "weight-only-int8"
        )
        assert effect(found.effects, "tpot_ms").speedup < 1
        assert found.verdict is Verdict.APPLY


class TestLimits:
    def test_a_gain_that_breaks_a_limit_which_held_is_only_considered(self) -> None:
        """8-bit weights lengthen an H100's prefill under SGLang from 44 to 62 ms."""
        question = ask(LLAMA_2_7B, "h100-sxm", Workload(1, 2048, 128), EXPECTED, **SGLANG)
        assert question.recommendation("weight-only-int8").verdict is Verdict.APPLY
        limited = question.at(slo=Slo(ttft_ms=50.0))
        assert not limited.analysis().notices
        assert limited.recommendation("weight-only-int8").verdict is Verdict.CONSIDER

    def test_where_requests_wait_for_memory_their_latency_decides(self) -> None:
        """Smaller keys and values let more of them run: each token takes longer, and all end sooner."""
        engine = builtin_engines().find("vllm", "0.12.0")
        load = Workload(2000, 1024, 1024, load=Load.CLOSED_LOOP)
        question = ask(LLAMA_3_8B, "h100-sxm", load, EXPECTED, engine=engine)
        assert question.analysis().metrics.requests_waiting > 0
        found = question.recommendation("kv-cache-int4")
        assert found.metric == "e2e_latency_ms"
        assert "latency goes from" in found.reason
        assert effect(found.effects, "e2e_latency_ms").speedup > 1.2

    def test_a_limit_that_was_broken_before_is_no_reason_against_a_gain(self) -> None:
        question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128, slo=Slo(ttft_ms=100.0)), EXPECTED)
        assert question.recommendation("weight-only-int8").verdict is Verdict.APPLY

    def test_a_gain_on_something_that_still_does_not_fit_is_only_considered(self) -> None:
        question = ask("meta-llama/Meta-Llama-3.1-405B", "h100-sxm", Workload(1, 2048, 128))
        found = question.recommendation("weight-only-int4")
        assert effect(found.effects, "tpot_ms").speedup > 2
        assert found.verdict is Verdict.CONSIDER

    def test_trading_latency_for_throughput_is_applied_only_for_throughput(self) -> None:
        question = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 2048, 128))
        assert question.recommendation("increase-batch", Goal.LATENCY).verdict is Verdict.CONSIDER
        assert question.recommendation("increase-batch", Goal.THROUGHPUT).verdict is Verdict.APPLY


@pytest.mark.parametrize(
    "model_id",
    ["Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-32B-FP8-Static-PerTensor", "nvidia/Llama-3.1-70B-Instruct-FP8"],
)
@pytest.mark.parametrize("device_id", ["h100-sxm", "a100-sxm-80gb", "rtx-4090"])
@pytest.mark.parametrize(
    "technique", ["weight-only-int4", "weight-only-int8", "weight-only-fp8", "int8-compute"]
)
def test_a_quantised_checkpoint_is_never_told_to_quantise_its_weights_again(
    model_id: str, device_id: str, technique: str
) -> None:
    found = ask(model_id, device_id, Workload(1, 2048, 128), EXPECTED).recommendation(technique)
    assert found.verdict is Verdict.NOT_APPLICABLE
    assert found.reason_code is ReasonCode.ALREADY_APPLIED
    assert "fp8 already" in found.reason
    assert "bf16 checkpoint" in found.flips_when


def test_the_cache_of_a_quantised_checkpoint_can_still_shrink() -> None:
    found = ask("Qwen/Qwen3-32B-FP8", "h100-sxm", Workload(16, 8000, 128), EXPECTED).recommendation(
        "kv-cache-int4"
    )
    assert found.verdict is Verdict.APPLY


def test_no_plan_quantises_a_quantised_checkpoints_weights() -> None:
    question = ask("Qwen/Qwen3-32B-FP8", "h100-sxm", Workload(1, 2048, 128), EXPECTED)
    for plan in question.advice(Goal.THROUGHPUT, allow_load_change=True).plans:
        assert plan.deployment.weight_dtype is Dtype.FP8


def test_a_limit_that_breaks_counts_whatever_other_limit_was_missed_already() -> None:
    """Narrow weights lengthen this prefill beyond its limit; that no TPOT is short enough excuses nothing."""
    engine = builtin_engines().find("llama.cpp")
    asked = ask(LLAMA_3_8B, "xeon-8480p", Workload(1, 4000, 128), EXPECTED, engine=engine)
    narrow = asked.served(engine=engine, weight_dtype=Dtype.INT4, weight_group_size=128)
    before, after = (each.analysis().metrics.ttft_ms.value for each in (asked, narrow))
    assert before < after
    for tpot_ms in (None, 1.0):
        limits = Slo(ttft_ms=(before + after) / 2, tpot_ms=tpot_ms)
        assert asked.at(slo=limits).recommendation("weight-only-int4").verdict is Verdict.CONSIDER


def test_what_the_stated_engine_cannot_do_is_considered_at_most() -> None:
    asked = ask(LLAMA_3_8B, "xeon-8480p", Workload(1, 1000, 128), EXPECTED)
    assert asked.recommendation("weight-only-fp8").verdict is Verdict.APPLY
    served = asked.served(engine=builtin_engines().find("llama.cpp"))
    found = served.recommendation("weight-only-fp8")
    assert found.verdict is Verdict.CONSIDER
    assert "llama-quantize has no FP8 type" in found.reason
