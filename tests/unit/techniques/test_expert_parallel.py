"""Expert parallelism: whole experts on each device, and exchanges to reach them."""

from __future__ import annotations

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, LLAMA_3_8B, Question, ask, effect

TECHNIQUE = "expert-parallel"
DEEPSEEK = "deepseek-ai/DeepSeek-V3"
CHAT = ask(DEEPSEEK, "h200-sxm", Workload(64, 1024, 256), EXPECTED, parallel=Parallelism(tp=8))


def judged(question: Question) -> Recommendation:
    return question.recommendation(TECHNIQUE)


class TestDoesNotApply:
    def test_a_model_without_experts(self) -> None:
        found = judged(ask(LLAMA_3_8B, "h100-sxm", Workload(8, 512, 128), parallel=Parallelism(tp=2)))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "has no experts" in found.reason

    def test_one_device(self) -> None:
        found = judged(ask("mistralai/Mixtral-8x7B-v0.1", "b300-sxm", Workload(8, 512, 128), EXPECTED))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert "one device serves each stage" in found.reason

    def test_experts_that_are_divided_already(self) -> None:
        found = judged(CHAT.served(parallel=Parallelism(tp=8, ep=8)))
        assert found.reason_code is ReasonCode.ALREADY_APPLIED
        assert "8 ways by expert today" in found.reason

    def test_fewer_experts_than_devices(self) -> None:
        found = judged(
            ask(
                "mistralai/Mixtral-8x7B-v0.1",
                "h100-sxm",
                Workload(8, 512, 128),
                EXPECTED,
                parallel=Parallelism(tp=16),
            )
        )
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert "cannot be divided so: ep" in found.reason


class TestDoesNotPay:
    def test_a_few_large_experts_lose_what_the_exchanges_cost(self) -> None:
        mixtral = ask(
            "mistralai/Mixtral-8x7B-v0.1",
            "h100-sxm",
            Workload(64, 512, 256),
            EXPECTED,
            parallel=Parallelism(tp=4),
        )
        found = judged(mixtral)
        assert found.verdict in (Verdict.NO_GAIN, Verdict.HARMFUL)
        assert found.reason_code is ReasonCode.COMMUNICATION_EXCEEDS_GAIN
        assert "communication takes" in found.reason
        assert found.flips_when

    def test_a_router_with_favourites_makes_it_worse(self) -> None:
        even, uneven = (
            effect(judged(CHAT.served(parallel=Parallelism(tp=8), **stated)).effects, "tpot_ms").speedup
            for stated in ({}, {"expert_popularity_spread": 1.0})
        )
        assert uneven < even


class TestPays:
    def test_many_small_experts_at_large_batches(self) -> None:
        """The slices of DeepSeek-V3's experts are 256 wide on eight devices."""
        found = judged(CHAT.at(batch=512))
        assert found.deployment is not None
        assert found.deployment.parallel == Parallelism(tp=8, ep=8)
        assert effect(found.effects, "ttft_ms").speedup > 1
        assert effect(found.effects, "tpot_ms").speedup > 1
