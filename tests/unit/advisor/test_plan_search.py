"""What plans may change and cost: devices, accuracy, limits; and what is said where nothing meets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from ridgeline_server.advisor import plans as plans_module
from ridgeline_server.advisor.combinations import MOST_COMBINATIONS, combinations_of, ids_of
from ridgeline_server.advisor.plan_wording import StepGain, difference, interactions, step_title
from ridgeline_server.advisor.registry import all_techniques
from ridgeline_server.advisor.results import Advice, Freedom, Goal, ReasonCode, Verdict
from ridgeline_server.domain.deployment import Offload
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.workload import Load, Slo, Workload
from ridgeline_server.roofline.scenario import Scenario
from ridgeline_server.roofline.serving import Candidate
from ridgeline_server.store.engines import builtin_engines
from tests.unit.questions import (
    ANY_ACCURACY,
    EXPECTED,
    GIB,
    LLAMA_2_7B,
    LLAMA_3_1_8B,
    LLAMA_3_8B,
    Question,
    ask,
    device,
    effect,
    model,
)

DEMO = ask(LLAMA_2_7B, "rtx-a6000", Workload(4, 2048, 128), EXPECTED)
ON_H100 = ask(LLAMA_3_8B, "h100-sxm", Workload(8, 2048, 128), EXPECTED)
TOO_SMALL = device("rtx-4090", memory_bytes=2 * GIB, usable_memory_bytes=None)
"""It holds not even what stays on the device when all layers lie in the host's memory."""
LOSSES = {
    "weight-only-int4": 0.03,
    "weight-only-int8": 0.001,
    "kv-cache-int8": 0.004,
    "kv-cache-int4": 0.02,
}
"""A share for some techniques; nothing is known of the others that may cost any, such as int8-compute."""


@pytest.fixture(autouse=True)
def _published(monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(technique_id: str, _model: Model) -> float | None:
        return LOSSES.get(technique_id)

    monkeypatch.setattr(plans_module, "accuracy_loss", loss)


def left_out(advice: Advice) -> Mapping[str, ReasonCode]:
    return {each.technique: each.reason_code for each in advice.left_out}


class TestWhatIsStated:
    """What rests on a figure that nobody stated, or a switch that the engine lacks, is told and left out."""

    def test_nobody_is_told_to_drop_keys_that_he_did_not_offer(self) -> None:
        long = ON_H100.at(batch=64, input_len=8000)
        advice = long.advice()
        assert left_out(advice)["kv-eviction"] is ReasonCode.FIGURE_NOT_STATED
        assert not any("kv-eviction" in plan.techniques for plan in advice.plans)
        assert left_out(long.advice(kv_keep_ratio=0.2))["kv-eviction"] is ReasonCode.ENGINE_LACKS_IT
        elsewhere = long.served(engine=builtin_engines().find("an-engine-of-our-own"))
        assert "kv-eviction" in elsewhere.advice(kv_keep_ratio=0.2).plans[0].techniques

    def test_no_plan_rests_on_an_acceptance_rate_that_is_assumed(self) -> None:
        draft = model("meta-llama/Llama-3.2-1B-Instruct")
        asked = ask("meta-llama/Llama-3.1-70B-Instruct", "b300-sxm", Workload(1, 512, 512), EXPECTED)
        assumed = asked.advice(draft_model=draft)
        assert left_out(assumed)["speculation-draft-model"] is ReasonCode.FIGURE_NOT_STATED
        (reason,) = [each.reason for each in assumed.left_out if each.technique == "speculation-draft-model"]
        assert "draft_model_acceptance_rate" in reason
        stated = asked.advice(draft_model=draft, draft_model_acceptance_rate=0.8)
        assert "speculation-draft-model" in stated.plans[0].techniques

    @pytest.mark.parametrize(
        ("engine", "lacked", "had"),
        [("vLLM", "kv-eviction", "kv-cache-int8"), ("sglang", "kv-cache-int8", "fp8-compute")],
    )
    def test_a_plan_has_nothing_that_the_stated_engine_has_no_switch_for(
        self, engine: str, lacked: str, had: str
    ) -> None:
        long = ON_H100.at(batch=64, input_len=8000)
        advice = long.served(engine=builtin_engines().find(engine)).advice(kv_keep_ratio=0.2)
        assert left_out(advice)[lacked] is ReasonCode.ENGINE_LACKS_IT
        assert had not in left_out(advice)
        assert advice.plans
        assert not any(lacked in plan.techniques for plan in advice.plans)
        (reason,) = [each.reason for each in advice.left_out if each.technique == lacked]
        assert engine.lower() in reason.lower()

    def test_nothing_is_lacking_in_an_engine_that_nobody_looked_into(self) -> None:
        served = ON_H100.served(engine=builtin_engines().find("an-engine-of-our-own"))
        assert ReasonCode.ENGINE_LACKS_IT not in left_out(served.advice()).values()

    @pytest.mark.parametrize(
        ("device_id", "lacking"),
        [
            ("h100-sxm", {"kv-cache-int2"}),
            ("a100-sxm-80gb", {"kv-cache-int2", "w4a8-compute"}),
            ("b200-sxm", {"kv-cache-int2", "w4a8-compute", "int8-compute"}),
        ],
    )
    def test_a_plan_for_any_engine_has_nothing_that_none_was_found_to_have_on_the_device(
        self, device_id: str, lacking: set[str]
    ) -> None:
        advice = ask(LLAMA_3_8B, device_id, Workload(64, 2048, 128), EXPECTED).advice()
        found = left_out(advice)
        lacked = {name for name, why in found.items() if why is ReasonCode.ENGINE_LACKS_IT}
        assert {name for name in lacked if name.startswith(("kv-cache", "w4a8", "int8"))} == lacking
        for name in lacking:
            judged = advice.recommendations[[r.technique for r in advice.recommendations].index(name)]
            assert judged.verdict is not Verdict.APPLY


class TestLoad:
    def test_a_batch_that_only_others_make_room_for_stays_too(self) -> None:
        """Today not a single sequence fits, so that a larger batch cannot be applied by itself."""
        asked = ask(LLAMA_2_7B, "rtx-3060-12gb", Workload(8, 2000, 128))
        for goal in (Goal.THROUGHPUT, Goal.LATENCY):
            plans = asked.advice(goal).plans
            assert plans
            assert all(plan.workload.batch == 8 for plan in plans)


class TestAccuracy:
    def test_the_losses_of_a_plan_stay_within_the_budget_together(self) -> None:
        for budget in (0.0, 0.002, 0.005, 0.024, 0.03, 0.05):
            for plan in DEMO.advice(freedom=Freedom(max_accuracy_loss=budget)).plans:
                lost = sum(LOSSES[name] for name in plan.techniques)
                assert plan.accuracy_loss == pytest.approx(lost)
                assert lost <= budget

    def test_a_looser_budget_never_makes_the_best_plan_slower(self) -> None:
        best = [
            max((effect(p.effects, "e2e_latency_ms").speedup for p in found.plans), default=1.0)
            for budget in (0.0, 0.002, 0.005, 0.024, 0.03, 0.05)
            for found in [DEMO.advice(freedom=Freedom(max_accuracy_loss=budget))]
        ]
        assert best == sorted(best)
        assert best[0] == 1.0 < best[-1]

    def test_techniques_that_nobody_measured_enter_no_plan(self) -> None:
        advice = DEMO.advice()
        assert any("int8-compute" in plan.techniques for plan in advice.plans)
        strict = DEMO.advice(freedom=Freedom(max_accuracy_loss=1.0))
        assert not any("int8-compute" in plan.techniques for plan in strict.plans)
        assert left_out(strict)["int8-compute"] is ReasonCode.ACCURACY_UNKNOWN

    def test_unknown_losses_are_told_with_the_plan_that_has_them(self) -> None:
        for plan in DEMO.advice().plans:
            assert plan.unknown_accuracy == tuple(n for n in plan.techniques if n not in LOSSES)

    def test_what_is_over_the_budget_is_told_with_both_figures(self) -> None:
        advice = DEMO.advice(freedom=Freedom(max_accuracy_loss=0.01))
        (four_bit,) = [each for each in advice.left_out if each.technique == "weight-only-int4"]
        assert four_bit.reason_code is ReasonCode.ACCURACY_OVER_BUDGET
        assert "3.0%" in four_bit.reason
        assert "1.0%" in four_bit.reason

    def test_that_losses_add_up_is_told_as_an_assumption(self) -> None:
        said = " ".join(DEMO.advice(freedom=Freedom(max_accuracy_loss=0.05)).assumptions)
        assert "taken to add up" in said

    def test_a_larger_batch_costs_no_accuracy(self) -> None:
        (best, *_) = ON_H100.advice(Goal.THROUGHPUT, freedom=Freedom(load=True, max_accuracy_loss=0.0)).plans
        assert best.techniques == ("increase-batch",)
        assert best.accuracy_loss == 0


class TestDevices:
    def test_their_number_stays_unless_it_may_change(self) -> None:
        advice = ON_H100.advice()
        assert all(plan.deployment.parallel == ON_H100.deployment.parallel for plan in advice.plans)
        assert left_out(advice)["tensor-parallel"] is ReasonCode.DEVICES_FIXED

    @pytest.mark.parametrize("most", [1, 2, 3, 4, 8])
    def test_a_plan_never_uses_more_than_the_most(self, most: int) -> None:
        advice = ON_H100.advice(freedom=replace(ANY_ACCURACY, devices=True, max_devices=most))
        used = [plan.deployment.parallel.devices for plan in advice.plans]
        assert all(number <= most for number in used)
        assert max(used) == 2 ** (most.bit_length() - 1)

    @pytest.mark.parametrize("goal", [Goal.LATENCY, Goal.THROUGHPUT, Goal.MEMORY])
    @pytest.mark.parametrize("slo", [Slo(), Slo(tpot_ms=5.0), Slo(ttft_ms=300.0)], ids=str)
    @pytest.mark.parametrize("batch", [1, 8, 64])
    def test_no_combination_of_formats_and_devices_is_better_by_a_hundredth(
        self, goal: Goal, slo: Slo, batch: int
    ) -> None:
        asked = ON_H100.at(batch=batch, slo=slo)
        freedom = replace(ANY_ACCURACY, devices=True, max_devices=8)
        best = by_hand(asked, goal)
        plans = asked.advice(goal, freedom=freedom).plans
        reached = max((effect(plan.effects, OBJECTIVE[goal]).speedup for plan in plans), default=1.0)
        assert reached >= best / 1.01

    def test_what_fits_fewer_devices_only_after_another_technique_is_found(self) -> None:
        """Two devices do not hold the 16-bit weights of four."""
        four = ask(
            "meta-llama/Llama-3.1-70B-Instruct",
            "h100-sxm",
            Workload(16, 2048, 256),
            EXPECTED,
            parallel=Parallelism(tp=4),
        )
        advice = four.advice(freedom=replace(ANY_ACCURACY, devices=True, max_devices=2))
        assert all(plan.deployment.parallel.devices == 2 for plan in advice.plans)
        assert all("fewer-devices" in plan.techniques[1:] for plan in advice.plans)
        assert advice.plans

    def test_doubling_twice_is_one_step_of_the_plan(self) -> None:
        (best, *_) = ON_H100.advice(freedom=replace(ANY_ACCURACY, devices=True, max_devices=4)).plans
        assert best.techniques.count("tensor-parallel") == 1
        assert best.deployment.parallel.tp == 4
        assert [step.technique for step in best.steps] == list(best.techniques)


OBJECTIVE = {
    Goal.LATENCY: "e2e_latency_ms",
    Goal.THROUGHPUT: "output_tokens_per_s",
    Goal.MEMORY: "total_memory_bytes",
}


WEIGHTS = {
    "w8": (Dtype.INT8, 0, False),
    "w4": (Dtype.INT4, 128, False),
    "w8 fp8": (Dtype.FP8, 0, False),
    "w8a8": (Dtype.INT8, 0, True),
    "w8a8 fp8": (Dtype.FP8, 0, True),
}
"""Storage, group and whether operands take the format too."""
Served = tuple[str | None, Dtype | None, int, int]
"""Weights, cache, tensor and pipeline parallelism."""
TODAY: Served = (None, None, 1, 1)


def by_hand(asked: Question, goal: Goal) -> float:
    """How many times better than today's the best deployment is of which no part can be left out, each
    analysed by itself.
    """

    def made(weights: str | None, keys: Dtype | None, tp: int, pp: int) -> Question:
        deployment = asked.deployment
        if weights:
            dtype, group, computes = WEIGHTS[weights]
            deployment = deployment.storing(dtype, group, dtype if computes else deployment.compute_dtype)
        parallel = replace(deployment.parallel, tp=tp, pp=pp)
        deployment = replace(deployment, kv_dtype=keys or deployment.kv_dtype, parallel=parallel)
        return replace(asked, deployment=deployment)

    degrees = [(tp, pp) for tp, pp in product((1, 2, 4, 8), (1, 2, 4, 8)) if tp * pp <= 8]
    caches = (None, Dtype.INT8, Dtype.INT4, Dtype.FP8)
    space = [(*way, *degree) for way, degree in product(product((None, *WEIGHTS), caches), degrees)]
    gains, found = {}, {}
    for each in space:
        analysis = made(*each).analysis()
        slo, metrics = asked.workload.slo, analysis.metrics
        kept = (slo.ttft_ms or 1e9) >= metrics.ttft_ms.value and (slo.tpot_ms or 1e9) >= metrics.tpot_ms.value
        figure = {
            Goal.LATENCY: 1 / metrics.e2e_latency_ms.value,
            Goal.THROUGHPUT: metrics.output_tokens_per_s.value,
            Goal.MEMORY: 1 / analysis.memory.total_bytes,
        }[goal]
        found[each] = figure if analysis.memory.fits and kept else 0.0
        gains[each] = figure

    def counts(weights: str | None, keys: Dtype | None, tp: int, pp: int) -> bool:
        rests: list[Served] = [TODAY]
        rests += [(None, keys, tp, pp)] * (weights is not None)
        rests += [(weights, None, tp, pp)] * (keys is not None)
        rests += [(weights, keys, tp // 2, pp)] * (tp > 1)
        rests += [(weights, keys, tp, pp // 2)] * (pp > 1)
        return all(found[weights, keys, tp, pp] > 1.03 * found[rest] for rest in rests)

    best = max(found[each] for each in space if each == TODAY or counts(*each))
    return best / gains[TODAY]


class TestLimits:
    def test_a_deployment_of_more_devices_than_may_be_has_no_plan_and_says_so(self) -> None:
        two = replace(ON_H100.deployment, parallel=replace(ON_H100.deployment.parallel, tp=2))
        advice = replace(ON_H100, deployment=two).advice(freedom=replace(ANY_ACCURACY, max_devices=1))
        assert advice.plans == ()
        assert advice.closest is not None
        assert [(each.limit, each.value, each.reached) for each in advice.closest.relaxations] == [
            ("max_devices", 1, 2)
        ]
        assert "it takes 2 devices of at most 1" in advice.closest.summary

    def test_where_requests_wait_for_memory_today_they_may_wait_in_plans_too(self) -> None:
        """Of 32 requests of 16,000 tokens no more than a few run at once, whatever is done on one L4."""
        asked = ask(LLAMA_3_1_8B, "l4", Workload(32, 16_000, 128, load=Load.CLOSED_LOOP), EXPECTED)
        today = asked.analysis()
        assert not today.memory.fits
        plans = asked.advice(Goal.THROUGHPUT).plans
        assert plans
        for plan in plans:
            assert plan.memory.max_batch >= today.memory.max_batch
            assert effect(plan.effects, "output_tokens_per_s").speedup > 1.03

    def test_a_limit_that_today_keeps_is_never_dropped(self) -> None:
        """TPOT could be met only by nothing here; TTFT is met today, and 4-bit weights lengthen it."""
        today = DEMO.analysis().metrics
        limit_ms = today.ttft_ms.value * 1.001
        advice = DEMO.at(slo=Slo(ttft_ms=limit_ms, tpot_ms=1.0)).advice()
        assert advice.plans
        for plan in advice.plans:
            assert not plan.meets_slo
            assert effect(plan.effects, "ttft_ms").after <= limit_ms

    def test_what_meets_the_limits_has_no_closest(self) -> None:
        assert DEMO.at(slo=Slo(tpot_ms=1000.0)).advice().closest is None

    def test_what_comes_closest_says_which_limit_to_relax_by_how_much(self) -> None:
        asked = DEMO.at(slo=Slo(tpot_ms=5.0))
        closest = asked.advice().closest
        assert closest is not None
        (tpot,) = closest.relaxations
        assert (tpot.limit, tpot.value) == ("tpot_ms", 5.0)
        assert tpot.reached == pytest.approx(5.0 * tpot.factor)
        told = f"TPOT is {tpot.reached:.2f} ms of at most 5.00 ms, {tpot.factor:.2f} times the limit."
        assert closest.summary.endswith(told) or f"{told} At batch" in closest.summary
        looser = asked.at(slo=Slo(tpot_ms=tpot.reached)).advice()
        assert looser.closest is None
        assert looser.plans[0].techniques == closest.techniques

    def test_a_slightly_tighter_limit_than_the_closest_is_still_not_met(self) -> None:
        closest = DEMO.at(slo=Slo(tpot_ms=5.0)).advice().closest
        assert closest is not None
        (tpot,) = closest.relaxations
        assert DEMO.at(slo=Slo(tpot_ms=tpot.reached * 0.999)).advice().closest is not None

    def test_a_load_that_meets_the_limits_is_told(self) -> None:
        """At batch 64 no format brings a token under 16 ms on this device; fewer sequences do."""
        asked = DEMO.at(batch=64, slo=Slo(tpot_ms=16.0))
        closest = asked.advice().closest
        assert closest is not None
        assert 1 <= closest.batch < 64
        assert f"At batch {closest.batch} it meets them." in closest.summary
        smaller = asked.at(batch=closest.batch).advice()
        assert smaller.closest is None

    def test_what_does_not_fit_says_how_much_memory_would(self) -> None:
        closest = ask("meta-llama/Meta-Llama-3.1-405B", TOO_SMALL, Workload(1, 100, 10)).advice().closest
        assert closest is not None
        assert [each.limit for each in closest.relaxations] == ["usable_memory_bytes"]
        assert closest.relaxations[0].factor > 8
        assert "times the memory" in closest.summary


class TestTheAnswer:
    def test_the_front_has_no_point_that_another_beats(self) -> None:
        front = ON_H100.advice(Goal.THROUGHPUT, allow_load_change=True).pareto_front
        assert len(front) > 1
        latencies = [point.e2e_latency_ms for point in front]
        rates = [point.output_tokens_per_s_per_device for point in front]
        assert latencies == sorted(set(latencies))
        assert rates == sorted(set(rates))

    def test_the_front_has_loads_between_todays_and_the_largest(self) -> None:
        advice = ON_H100.advice(Goal.THROUGHPUT, allow_load_change=True)
        batches = {point.batch for point in advice.pareto_front}
        assert {16, 32} <= batches
        assert max(batches) == advice.plans[0].workload.batch

    def test_plans_that_come_next_say_what_separates_them(self) -> None:
        best, *others = DEMO.advice().plans
        assert best.difference == ""
        assert len(others) == 3
        for plan in others:
            assert any(name in plan.difference for name in {*plan.techniques} ^ {*best.techniques})

    def test_what_techniques_do_to_each_other_is_told_with_both_gains(self) -> None:
        best = DEMO.advice().plans[0]
        alone = effect(DEMO.recommendation(best.techniques[1]).effects, "e2e_latency_ms").speedup
        added = effect(best.steps[1].effects, "e2e_latency_ms").speedup
        (said,) = [text for text in best.interactions if "alone" in text]
        assert f"{alone:.2f}x alone and {added:.2f}x on top of {best.techniques[0]}" in said

    def test_a_step_beyond_the_most_combinations_leaves_out_what_gains_least(self) -> None:
        (lossless,) = (technique for technique in all_techniques() if technique.id == "chunked-prefill")
        many = [replace(lossless, id=f"t{n}", conflicts=()) for n in range(12)]
        found = combinations_of(many, {technique.id: float(n) for n, technique in enumerate(many)})
        assert len(found) == MOST_COMBINATIONS
        assert {name for combination in found for name in ids_of(combination)} == {
            f"t{n}" for n in range(4, 12)
        }

    def test_techniques_that_conflict_are_never_combined(self) -> None:
        techniques = all_techniques()
        for combination in combinations_of(techniques, dict.fromkeys(ids_of(techniques), 1.0)):
            taken = ids_of(combination)
            assert all(taken_id not in t.conflicts for t in combination for taken_id in taken)


class TestWhatIsCompared:
    """A gain alone stands beside one of as many repeats, and what differs all the same is named."""

    def test_a_repeated_change_of_devices_is_compared_with_as_many_repeats_alone(self) -> None:
        large = ask("meta-llama/Llama-3.1-70B-Instruct", "h200-sxm", Workload(4, 2048, 256), EXPECTED)
        advice = large.advice(freedom=replace(ANY_ACCURACY, devices=True, max_devices=8))
        told = 0
        for plan in advice.plans:
            width = plan.deployment.parallel.tp
            (said,) = [text for text in plan.interactions if text.startswith("tensor-parallel gains")]
            alone = large.served(parallel=Parallelism(tp=width)).analysis().metrics.e2e_latency_ms.value
            gained = large.analysis().metrics.e2e_latency_ms.value / alone
            assert f"tensor-parallel gains {gained:.2f}x alone and" in said
            told += width > 2
        assert told

    def test_another_load_on_top_is_named(self) -> None:
        chat = ask(LLAMA_2_7B, "rtx-a6000", Workload(1, 1024, 256), EXPECTED)
        advice = chat.advice(Goal.THROUGHPUT, freedom=replace(ANY_ACCURACY, load=True))
        alone = chat.recommendation("increase-batch", Goal.THROUGHPUT).workload
        assert alone is not None
        plan = next(
            plan for plan in advice.plans if len(plan.techniques) > 1 and plan.workload.batch != alone.batch
        )
        (said,) = [text for text in plan.interactions if text.startswith("increase-batch gains")]
        assert f"x alone (to batch {alone.batch:,}) and" in said
        assert said.endswith(f"(to batch {plan.workload.batch:,}).")

    def test_what_harms_is_not_said_to_gain(self) -> None:
        steps = [
            ("kv-cache-int8", StepGain(1.2, ""), StepGain(1.2, "")),
            ("kv-offload", StepGain(0.15, ""), StepGain(0.61, "")),
        ]
        assert interactions(steps, ()) == (
            "kv-offload makes it 0.15x alone and 0.61x on top of kv-cache-int8.",
        )

    def test_what_is_many_times_as_much_is_told_in_times(self) -> None:
        best = DEMO.advice().plans[0]
        slower = tuple(
            each._replace(after=18 * each.after) if each.metric == "tpot_ms" else each
            for each in best.effects
        )
        told = difference(best, replace(best, effects=slower), "e2e_latency_ms")
        assert told == "with the same techniques: TPOT 18 times as much."


class TestTitles:
    """A plan's steps are told with the degree that they have in it."""

    def test_devices_of_each_kind(self) -> None:
        large = ask("meta-llama/Llama-3.1-70B-Instruct", "h100-sxm", Workload(1, 1000, 128), EXPECTED)
        plans = large.served(parallel=Parallelism(tp=2)).advice(freedom=replace(ANY_ACCURACY, devices=True))
        told = 0
        for plan in plans.plans:
            for step in plan.steps:
                if step.technique == "tensor-parallel":
                    assert step.title == f"tensor parallelism (tp {plan.deployment.parallel.tp})"
                    told += 1
        assert told

    def test_the_load(self) -> None:
        advice = DEMO.advice(Goal.THROUGHPUT, freedom=replace(ANY_ACCURACY, load=True))
        plan = next(plan for plan in advice.plans if "increase-batch" in plan.techniques)
        assert plan.steps[-1].title == f"larger batch ({plan.workload.batch:,})"

    def test_what_has_no_degree_keeps_its_title(self) -> None:
        titles = {step.title for plan in DEMO.advice().plans for step in plan.steps}
        assert not any("()" in title for title in titles)
        assert "8-bit KV cache" in titles

    def test_another_degree_separates_plans_of_the_same_techniques(self) -> None:
        best = DEMO.advice(Goal.THROUGHPUT, freedom=replace(ANY_ACCURACY, load=True)).plans[0]
        last = best.steps[-1]
        assert last.technique == "increase-batch"
        other = replace(best, steps=(*best.steps[:-1], last._replace(title="larger batch (7)")))
        told = difference(best, other, "e2e_latency_ms")
        assert told == "with larger batch (7): the same figures."

    @pytest.mark.parametrize(
        ("changes", "degree"),
        [
            ({"speculation": Speculation(Draft.HEADS, 3, 0.8)}, "3 tokens"),
            ({"speculation": Speculation(Draft.HEADS, 1, 0.8)}, "1 token"),
            ({"chunk_tokens": 512}, "512 tokens"),
            ({"kv_window": 1024}, "1,024 keys"),
            ({"kv_keep_ratio": 0.25}, "25% kept"),
            ({"prefix_hit_rate": 0.5}, "50% cached"),
            ({"offload": Offload(weight_share=0.3)}, "30% of the layers' weights"),
            ({"offload": Offload(kv_share=1.0)}, "100% of the cache"),
            ({"parallel": Parallelism(tp=4, pp=2)}, "tp 4, pp 2"),
            ({"kv_dtype": Dtype.INT8}, ""),
        ],
    )
    def test_each_degree(self, changes: dict[str, Any], degree: str) -> None:
        technique = all_techniques()[0]
        after = DEMO.served(**changes)
        title = step_title(technique, candidate(DEMO), candidate(after))
        assert title == (f"{technique.title} ({degree})" if degree else technique.title)
        # What is taken back has no degree, but devices that are fewer.
        back = step_title(technique, candidate(after), candidate(DEMO))
        if "parallel" not in changes and "kv_keep_ratio" not in changes:
            assert back == technique.title


def candidate(question: Question) -> Candidate:
    return Candidate(Scenario(question.hardware, question.deployment), question.workload)
