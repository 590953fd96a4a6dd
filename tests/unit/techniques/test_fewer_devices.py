"""Fewer devices: each of them gives more, and a request takes longer."""

from __future__ import annotations

from ridgeline_server.advisor.results import Goal, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Load, Slo, Workload
from tests.unit.questions import EXPECTED, LLAMA_2_7B, Question, ask, device, effect

TECHNIQUE = "fewer-devices"
PRICED = device("a100-sxm-80gb", price_usd_per_hour=2.0)
CHAT = ask(LLAMA_2_7B, PRICED, Workload(4, 1024, 128), EXPECTED, parallel=Parallelism(tp=4))


def judged(question: Question, goal: Goal = Goal.COST) -> Recommendation:
    return question.recommendation(TECHNIQUE, goal)


class TestDoesNotPay:
    def test_one_device(self) -> None:
        found = judged(CHAT.served(parallel=Parallelism()))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON

    def test_a_model_that_needs_them_all(self) -> None:
        found = judged(
            ask(
                "meta-llama/Llama-3.1-70B-Instruct",
                "h100-sxm",
                Workload(1, 2048, 128),
                EXPECTED,
                parallel=Parallelism(tp=2),
            ),
            Goal.LATENCY,
        )
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.MEMORY_LIMIT
        assert "half of the devices would need 133.7 GiB of 79.2 GiB each" in found.reason

    def test_latency_and_throughput_are_not_what_it_is_for(self) -> None:
        for goal in (Goal.LATENCY, Goal.THROUGHPUT):
            assert judged(CHAT, goal).verdict is Verdict.CONSIDER

    def test_an_slo_that_half_of_the_devices_miss_is_only_considered(self) -> None:
        tpot_ms = CHAT.analysis().metrics.tpot_ms.value
        assert judged(CHAT.at(slo=Slo(tpot_ms=1.1 * tpot_ms))).verdict is Verdict.CONSIDER

    def test_replicas_that_are_busy_give_as_much_each(self) -> None:
        found = judged(CHAT.at(batch=512, input_len=64).served(parallel=Parallelism(dp=2)))
        assert effect(found.effects, "output_tokens_per_s_per_device").speedup < 1.5


class TestPays:
    def test_cost_falls_with_what_devices_exchange(self) -> None:
        found = judged(CHAT)
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.DEVICES_SAVED
        assert found.deployment is not None
        assert found.deployment.parallel.devices == 2
        assert effect(found.effects, "cost_usd_per_million_output_tokens").speedup > 1.1
        assert "2 devices instead of 4" in found.reason

    def test_what_a_request_loses_is_told(self) -> None:
        found = judged(CHAT)
        assert effect(found.effects, "e2e_latency_ms").speedup < 0.9
        assert "latency goes from" in found.reason

    def test_replicas_that_share_few_requests(self) -> None:
        """Two replicas of four requests each read all weights twice as often as one of eight."""
        loop = Workload(8, 128, 256, load=Load.CLOSED_LOOP)
        found = judged(ask(LLAMA_2_7B, PRICED, loop, EXPECTED, parallel=Parallelism(dp=2)))
        assert found.verdict is Verdict.APPLY
        assert effect(found.effects, "output_tokens_per_s_per_device").speedup > 1.5
