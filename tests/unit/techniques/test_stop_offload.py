"""No offloading: what the device has room for is read from its own memory."""

from __future__ import annotations

import re

from ridgeline_server.advisor.results import Freedom, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.deployment import Offload
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import ANY_ACCURACY, EXPECTED, LLAMA_2_7B, LLAMA_3_1_8B, Question, ask, effect

TECHNIQUE = "stop-offload"
LLAMA_70B = "meta-llama/Llama-3.1-70B-Instruct"
ROOMY = ask(LLAMA_3_1_8B, "h100-sxm", Workload(8, 1024, 256), EXPECTED, offload=Offload(weight_share=0.5))
FULL = ask(LLAMA_2_7B, "a100-sxm-80gb", Workload(200, 1024, 128), EXPECTED)
LARGE = ask(LLAMA_70B, "h100-sxm", Workload(1, 1024, 128), EXPECTED)


def judged(question: Question) -> Recommendation:
    return question.recommendation(TECHNIQUE)


class TestDoesNotPay:
    def test_where_nothing_is_offloaded(self) -> None:
        found = judged(FULL)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON

    def test_where_it_does_not_fit_even_so(self) -> None:
        found = judged(LARGE.served(offload=Offload(weight_share=0.1)))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.MEMORY_LIMIT

    def test_a_prefill_that_computes_for_as_long_as_the_copies_take(self) -> None:
        found = judged(
            ask(
                LLAMA_3_1_8B,
                "h100-sxm",
                Workload(64, 1024, 1),
                EXPECTED,
                offload=Offload(weight_share=0.1),
            )
        )
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BOUND_NOT_ADDRESSED
        assert "steps compute for as long as the copies take" in found.reason

    def test_a_full_device_is_told_the_batch_that_it_has_room_for(self) -> None:
        served = FULL.served(offload=Offload(kv_share=0.45))
        found = judged(served)
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.MEMORY_LIMIT
        assert "It does not fit" in found.reason
        told = re.search(
            r"Without the host batch (\d+) fits: it gives ([\d,.]+) tokens/s instead of ([\d,.]+)",
            found.flips_when,
        )
        assert told is not None
        batch, then, today = (float(figure.replace(",", "")) for figure in told.groups())
        smaller = FULL.at(batch=int(batch)).analysis()
        assert smaller.memory.fits
        assert not FULL.at(batch=int(batch) + 1).analysis().memory.fits
        assert abs(smaller.metrics.output_tokens_per_s.value / then - 1) < 0.006
        assert abs(served.analysis().metrics.output_tokens_per_s.value / today - 1) < 0.006


class TestPays:
    def test_weights_that_have_room_come_back(self) -> None:
        found = judged(ROOMY)
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.DEVICE_HAS_ROOM
        assert found.deployment is not None
        assert not found.deployment.offload.is_used
        assert found.memory is not None
        assert found.memory.fits
        assert "carries 50% of the layers' weights at 25 GB/s" in found.reason
        assert effect(found.effects, "e2e_latency_ms").speedup > 10

    def test_of_a_full_device_the_smallest_share_stays_with_the_host(self) -> None:
        for offload, name in (
            (Offload(kv_share=0.9), "kv_share"),
            (Offload(weight_share=0.9), "weight_share"),
        ):
            question = (FULL if name == "kv_share" else LARGE).served(offload=offload)
            found = judged(question)
            assert found.deployment is not None
            left = getattr(found.deployment.offload, name)
            assert 0 < left < 0.9
            less = question.served(offload=Offload(**{name: left - 0.05}))
            assert not less.analysis().memory.fits
            assert f"has room for all but {100 * left:.0f}% of" in found.reason

    def test_a_plan_narrows_weights_and_takes_them_back(self) -> None:
        """Weights of 4 bits fit the device: neither change alone is half of it."""
        advice = LARGE.served(offload=Offload(weight_share=0.5)).advice(freedom=ANY_ACCURACY)
        best = advice.plans[0]
        assert "stop-offload" in best.techniques
        assert not best.deployment.offload.is_used
        assert best.memory.fits

    def test_what_stays_and_what_goes_is_told_to_engines(self) -> None:
        switches = {switch.engine: switch for switch in judged(ROOMY).switches}
        assert switches["vllm"].steps == ("Leave out --cpu-offload-gb.",)
        assert switches["vllm"].flags == ()
        stays = judged(LARGE.served(offload=Offload(weight_share=0.9)))
        assert stays.deployment is not None
        switches = {switch.engine: switch for switch in stays.switches}
        assert switches["vllm"].steps == ()
        assert switches["vllm"].flags == ("--cpu-offload-gb 58",)

    def test_a_plan_has_a_launch_without_the_host(self) -> None:
        advice = ROOMY.advice(freedom=Freedom())
        plan = next(plan for plan in advice.plans if "stop-offload" in plan.techniques)
        vllm = next(launch for launch in plan.launches if launch.engine == "vllm")
        assert not any("--cpu-offload-gb" in line for line in (*vllm.command, *vllm.steps))
