"""Another device: what to look for where the device is fixed, and the best of those that may be taken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from math import exp, hypot, log

import pytest
import yaml

from ridgeline_server.advisor.changes import SPREAD_OF_EFFECT, SPREAD_OF_HARDWARE
from ridgeline_server.advisor.results import Freedom, Goal, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Slo, Workload
from ridgeline_server.store.engines import builtin_engines
from tests.unit.questions import (
    ANY_ACCURACY,
    DEVICES,
    EXPECTED,
    LLAMA_3_1_8B,
    Question,
    ask,
    device,
    effect,
)

TECHNIQUE = "another-device"
CHAT = ask(LLAMA_3_1_8B, "a100-sxm-80gb", Workload(16, 2048, 256), EXPECTED)
COST = "cost_usd_per_million_output_tokens"


def judged(question: Question, *devices: str | Hardware, goal: Goal = Goal.LATENCY) -> Recommendation:
    """The judgement where these devices may take the place of the question's."""
    found = tuple(device(each) if isinstance(each, str) else each for each in devices)
    return question.recommendation(TECHNIQUE, goal, freedom=Freedom(hardware=found))


def on(question: Question, where: Hardware) -> Question:
    """The same deployment on another device."""
    return replace(question, hardware=where)


def latency_ms(question: Question) -> float:
    return question.analysis().metrics.e2e_latency_ms.value


def quoted(reason: str, pattern: str) -> Sequence[float]:
    found = re.search(pattern, reason)
    assert found is not None, reason
    return [float(text) for text in found.groups()]


class TestDoesNotPay:
    @pytest.mark.parametrize(
        ("workload", "told"),
        [
            pytest.param(Workload(1, 512, 256), "look for bandwidth", id="decode waits for bytes"),
            pytest.param(Workload(16, 4096, 2), "look for FLOP/s", id="prefill waits for arithmetic"),
        ],
    )
    def test_a_device_that_stays_is_told_what_more_of_it_would_gain(
        self, workload: Workload, told: str
    ) -> None:
        asked = replace(CHAT, workload=workload)
        found = asked.recommendation(TECHNIQUE)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.HARDWARE_FIXED
        assert told in found.reason
        today = asked.hardware
        peaks = {dtype: 2 * peak for dtype, peak in today.peak_flops_per_s.items()}
        doubled = (
            replace(today, bandwidth_bytes_per_s=2 * today.bandwidth_bytes_per_s),
            replace(today, peak_flops_per_s=peaks),
        )
        gains = [latency_ms(asked) / latency_ms(on(asked, each)) for each in doubled]
        figures = quoted(found.reason, r"would gain ([\d.]+)x, twice its FLOP/s ([\d.]+)x")
        assert figures == pytest.approx(gains, abs=0.0051)

    def test_where_launches_hold_the_time_another_device_would_not_help(self) -> None:
        found = ask("openai-community/gpt2", "b200-sxm", Workload(1, 16, 128), EXPECTED).recommendation(
            TECHNIQUE
        )
        assert found.reason_code is ReasonCode.HARDWARE_FIXED
        assert "neither holds the time" in found.reason

    def test_what_does_not_fit_looks_for_memory_first(self) -> None:
        found = ask(LLAMA_3_1_8B, "rtx-3060-12gb", Workload(1, 512, 128), EXPECTED).recommendation(TECHNIQUE)
        assert "look for memory first" in found.reason

    def test_devices_that_are_worse(self) -> None:
        found = judged(CHAT, "a30", "a40")
        assert found.verdict is Verdict.HARMFUL
        assert found.reason_code is ReasonCode.BOUND_NOT_ADDRESSED
        assert found.reason.startswith("no other device is better")

    def test_a_device_without_the_unit_of_todays_format(self) -> None:
        served = ask(LLAMA_3_1_8B, "h100-sxm", Workload(16, 2048, 256), EXPECTED).served(
            weight_dtype=Dtype.FP8, activation_dtype=Dtype.FP8
        )
        found = judged(served, "a100-sxm-80gb")
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "fp8" in found.reason
        assert judged(served, "a100-sxm-80gb", "h200-sxm").requirements[0] == "device h200-sxm"

    def test_fp8_inputs_of_mxfp4_weights_need_a_unit_for_fp4(self) -> None:
        served = ask(
            "openai/gpt-oss-20b", "b200-sxm", Workload(1, 512, 128), EXPECTED, activation_dtype=Dtype.FP8
        )
        found = judged(served, "h200-sxm")
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "no mxfp4 unit" in found.reason or "no mxfp4 rate" in found.reason
        assert judged(served, "b300-sxm").requirements[0] == "device b300-sxm"

    @pytest.mark.parametrize("engine", [None, "vllm", "sglang"])
    def test_a_device_on_which_engines_lack_the_products(self, engine: str | None) -> None:
        """INT8 on Blackwell, which has the unit."""
        served = CHAT.served(
            weight_dtype=Dtype.INT8,
            activation_dtype=Dtype.INT8,
            engine=engine and builtin_engines().find(engine),
        )
        found = judged(served, "b200-sxm")
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "Blackwell" in found.reason or "No engine that was looked up" in found.reason
        assert judged(served, "h100-sxm").requirements[0] == "device h100-sxm"

    def test_machines_of_their_own_are_not_joined(self) -> None:
        found = judged(CHAT.served(parallel=Parallelism(tp=2)), "apple-m2-ultra")
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "no link joins it" in found.reason

    def test_todays_engine_must_run_on_it(self) -> None:
        served = CHAT.served(engine=builtin_engines().find("vllm"))
        found = judged(served, "apple-m2-ultra")
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "vllm does not run on" in found.reason

    def test_no_other_device_holds_it(self) -> None:
        found = judged(CHAT.at(batch=200), "a30", "l4")
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.MEMORY_LIMIT
        assert "A30" in found.reason

    def test_a_cost_without_a_price(self) -> None:
        asked = on(CHAT, replace(CHAT.hardware, price_usd_per_hour=2.0))
        found = judged(asked, replace(device("h100-sxm"), price_usd_per_hour=None), goal=Goal.COST)
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "price" in found.reason

    def test_todays_device_is_no_other_one(self) -> None:
        dearer = replace(CHAT.hardware, price_usd_per_hour=99.0)
        for asked in (CHAT, on(CHAT, dearer)):
            found = judged(asked, "a100-sxm-80gb")
            assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
            assert found.reason == "no device but NVIDIA A100 SXM4 80GB may be taken."


class TestPays:
    def test_the_best_of_the_allowed_devices_is_proposed(self) -> None:
        found = judged(CHAT, "l40s", "h100-sxm", "a40")
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.BETTER_DEVICE
        assert found.requirements[0] == "device h100-sxm"
        assert found.metric == "e2e_latency_ms"
        after = latency_ms(on(CHAT, device("h100-sxm")))
        assert effect(found.effects, "e2e_latency_ms").after == pytest.approx(after)
        assert all(after < latency_ms(on(CHAT, device(each))) for each in ("l40s", "a40"))

    def test_none_of_the_whole_catalog_is_better_than_the_proposed_one(self) -> None:
        found = judged(CHAT, *DEVICES.values())
        best = effect(found.effects, "e2e_latency_ms").after
        for each in ("h100-sxm", "h200-sxm", "b200-sxm", "b300-sxm", "mi300x", "mi355x"):
            assert latency_ms(on(CHAT, device(each))) >= best

    def test_it_says_what_its_bandwidth_and_its_arithmetic_gain_alone(self) -> None:
        other = device("h100-sxm")
        found = judged(CHAT, other)
        today = CHAT.hardware
        times = other.peak_flops_per_s[Dtype.BF16] / today.peak_flops_per_s[Dtype.BF16]
        peaks = {dtype: times * peak for dtype, peak in today.peak_flops_per_s.items()}
        parts = (
            replace(today, bandwidth_bytes_per_s=other.bandwidth_bytes_per_s),
            replace(today, peak_flops_per_s=peaks),
        )
        gains = [latency_ms(CHAT) / latency_ms(on(CHAT, part)) for part in parts]
        figures = quoted(found.reason, r"alone gain ([\d.]+)x, and its bf16 .* today's, ([\d.]+)x")
        assert figures == pytest.approx(gains, abs=0.0051)

    def test_its_interval_is_that_of_two_devices(self) -> None:
        """Half more bandwidth may gain nothing: measured pairs of devices scatter by more than that."""
        h200 = judged(ask(LLAMA_3_1_8B, "h100-sxm", Workload(1, 512, 128), EXPECTED), "h200-sxm")
        assert h200.verdict is Verdict.CONSIDER
        assert "it may be as little as" in h200.reason
        found = effect(h200.effects, "e2e_latency_ms")
        spread = hypot(SPREAD_OF_HARDWARE, SPREAD_OF_EFFECT * log(found.speedup))
        assert found.low == pytest.approx(found.speedup / exp(spread))

    def test_what_does_not_fit_today(self) -> None:
        found = judged(ask(LLAMA_3_1_8B, "rtx-3060-12gb", Workload(1, 512, 128), EXPECTED), "l4")
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.MAKES_IT_FIT

    def test_a_device_that_keeps_the_slo_goes_before_a_cheaper_one(self) -> None:
        asked = on(CHAT, replace(CHAT.hardware, price_usd_per_hour=9.0))
        fast = replace(device("h100-sxm"), price_usd_per_hour=8.0)
        cheap = replace(device("a40"), price_usd_per_hour=0.1)
        assert judged(asked, fast, cheap, goal=Goal.COST).requirements[0] == "device a40"
        ttft_ms = on(asked, fast).analysis().metrics.ttft_ms.value
        strict = asked.at(slo=Slo(ttft_ms=1.1 * ttft_ms))
        assert judged(strict, fast, cheap, goal=Goal.COST).requirements[0] == "device h100-sxm"

    def test_a_cost_is_compared_among_devices_with_a_price_and_the_others_are_counted(self) -> None:
        asked = on(CHAT, replace(CHAT.hardware, price_usd_per_hour=9.0))
        priced = [replace(device(each), price_usd_per_hour=2.0) for each in ("h100-sxm", "l40s")]
        unpriced = [replace(device(each), price_usd_per_hour=None) for each in ("a40", "h200-sxm", "l4")]
        found = judged(asked, *priced, *unpriced, goal=Goal.COST)
        assert "of 2 other devices with a known price that can serve it" in found.reason
        assert "; 3 without one are left out; prices that nobody set are list prices" in found.reason
        assert "your own" not in found.reason
        in_catalog = replace(CHAT.hardware, price_usd_per_hour=4.0)
        assert "and today's is your own" in judged(asked, *priced, in_catalog, goal=Goal.COST).reason
        latency = judged(asked, *priced, *unpriced).reason
        assert "of 5 other devices that can serve it" in latency
        assert "list prices" not in latency

    def test_a_cost_gains_up_to_the_price_that_is_told(self) -> None:
        asked = on(CHAT, replace(CHAT.hardware, price_usd_per_hour=2.0))
        found = judged(asked, replace(device("h100-sxm"), price_usd_per_hour=2.5), goal=Goal.COST)
        (most,) = quoted(found.flips_when, r"under ([\d.]+) USD an hour")
        for price, gains in ((most - 0.02, True), (most + 0.02, False)):
            other = replace(device("h100-sxm"), price_usd_per_hour=price)
            cost = effect(judged(asked, other, goal=Goal.COST).effects, COST)
            assert (cost.speedup > 1.03) is gains


class TestPlans:
    def test_a_device_that_stays_is_in_no_plan(self) -> None:
        advice = CHAT.advice()
        assert not any(TECHNIQUE in plan.techniques for plan in advice.plans)
        assert all(plan.hardware is None for plan in advice.plans)
        assert not any("nodeSelector" in launch.manifest for plan in advice.plans for launch in plan.launches)

    def test_a_plan_on_another_device_has_its_figures_and_its_launch(self) -> None:
        other = device("h100-sxm")
        advice = CHAT.advice(freedom=replace(ANY_ACCURACY, hardware=(other,)))
        plan = next(plan for plan in advice.plans if len(plan.techniques) > 1 and plan.hardware)
        assert TECHNIQUE in plan.techniques
        assert plan.hardware == other
        after = replace(CHAT, hardware=other, deployment=plan.deployment, workload=plan.workload)
        assert effect(plan.effects, "e2e_latency_ms").after == pytest.approx(latency_ms(after))
        assert "It runs on NVIDIA H100 SXM5 80GB (h100-sxm)" in plan.interactions[0]
        for launch in plan.launches:
            (*_, pod) = yaml.safe_load_all(launch.manifest)
            assert pod["spec"]["template"]["spec"]["nodeSelector"] == {"accelerator": "h100-sxm"}
            assert not any("nothing was checked" in text for text in launch.not_expressed)

    def test_engines_of_the_other_device_are_told(self) -> None:
        """No switch of vLLM or TensorRT-LLM was looked up for Apple's chips, and today's may run on both."""
        small = ask("openai-community/gpt2", "rtx-3060-12gb", Workload(1, 512, 128), EXPECTED)
        advice = small.advice(freedom=Freedom(hardware=(device("apple-m3-ultra"), device("h100-sxm"))))
        for plan in advice.plans:
            if plan.hardware is not None and plan.hardware.is_whole_machine:
                assert [launch.engine for launch in plan.launches] == ["llama.cpp"]

    def test_more_devices_of_the_other_kind(self) -> None:
        asked = ask("meta-llama/Llama-3.1-70B-Instruct", "a100-sxm-80gb", Workload(1, 512, 128), EXPECTED)
        freedom = Freedom(devices=True, max_devices=4, hardware=(device("h100-sxm"),))
        best = asked.advice(freedom=freedom).plans[0]
        assert best.hardware == device("h100-sxm")
        assert best.deployment.parallel.devices == 4
        assert best.memory.fits
