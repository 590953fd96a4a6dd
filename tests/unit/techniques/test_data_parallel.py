"""Data parallelism: replicas divide the requests, and each of them reads all weights."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ridgeline_server.advisor.results import Goal, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Load, Workload
from tests.unit.questions import ANY_ACCURACY, EXPECTED, IDEAL, LLAMA_2_7B, LLAMA_3_8B, Question, ask, effect

TECHNIQUE = "data-parallel"
CHAT = ask(LLAMA_2_7B, "a100-sxm-80gb", Workload(64, 1024, 128), EXPECTED)
LARGE = ask("meta-llama/Llama-3.1-70B-Instruct", "h100-sxm", Workload(16, 1024, 512), EXPECTED)


def judged(question: Question, goal: Goal = Goal.LATENCY) -> Recommendation:
    return question.recommendation(TECHNIQUE, goal)


def parallel_of(found: Recommendation) -> Parallelism:
    assert found.deployment is not None
    return found.deployment.parallel


class TestDoesNotPay:
    @pytest.mark.parametrize(("batch", "dp"), [(1, 1), (2, 2), (3, 4)])
    def test_a_replica_that_no_request_is_left_for(self, batch: int, dp: int) -> None:
        found = judged(CHAT.at(batch=batch).served(parallel=Parallelism(dp=dp)))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert found.flips_when == f"It pays from batch {dp + 1} on at the earliest."

    def test_a_model_of_which_no_replica_fits(self) -> None:
        found = judged(LARGE)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.MEMORY_LIMIT
        assert "of 79.2 GiB a device, in which no request fits" in found.reason

    def test_throughput_of_each_device_falls_where_steps_read_weights(self) -> None:
        found = judged(CHAT, Goal.THROUGHPUT)
        assert found.verdict is Verdict.CONSIDER
        assert effect(found.effects, "output_tokens_per_s").speedup > 1.5
        assert effect(found.effects, "output_tokens_per_s_per_device").speedup < 0.95

    def test_few_requests_gain_little(self) -> None:
        found = judged(CHAT.at(batch=2))
        assert found.verdict is Verdict.CONSIDER
        assert effect(found.effects, "output_tokens_per_s").speedup < 1.2

    def test_more_devices_than_a_deployment_may_have(self) -> None:
        found = judged(CHAT.at(batch=4097).served(parallel=Parallelism(dp=4096)))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert "dp is 8192; give 1 to 4096" in found.reason


class TestPays:
    def test_a_replica_is_a_deployment_of_half_of_the_requests(self) -> None:
        """Two replicas of 32 take as long as one device with 32, and give twice as much."""
        found, half = judged(CHAT), CHAT.at(batch=32).analysis().metrics
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.REPLICAS_DIVIDE_LOAD
        assert parallel_of(found) == Parallelism(dp=2)
        assert effect(found.effects, "output_tokens_per_s").after == pytest.approx(
            2 * half.output_tokens_per_s.value
        )
        assert effect(found.effects, "e2e_latency_ms").after == pytest.approx(half.e2e_latency_ms.value)

    def test_nothing_is_exchanged_between_replicas(self) -> None:
        found = judged(ask(LLAMA_2_7B, "a100-sxm-80gb", Workload(64, 1024, 128), IDEAL))
        served = CHAT.served(parallel=parallel_of(found)).analysis()
        assert not {"all_reduce", "all_gather"} & {o.name for o in served.decode.operators}

    def test_machines_that_no_link_joins(self) -> None:
        found = judged(ask(LLAMA_3_8B, "apple-m2-ultra", Workload(8, 1024, 128), EXPECTED))
        assert found.verdict is Verdict.APPLY
        assert "divide each matrix" not in found.reason

    def test_what_as_many_devices_give_that_divide_each_matrix_is_that_of_their_analysis(self) -> None:
        quoted = re.search(
            r"tp 2, give ([\d,.]+) tokens/s each at a latency of ([\d.]+) s", judged(CHAT).reason
        )
        assert quoted is not None
        divided = CHAT.served(parallel=Parallelism(tp=2)).analysis().metrics
        found = [float(figure.replace(",", "")) for figure in quoted.groups()]
        expected = divided.output_tokens_per_s_per_device.value, divided.e2e_latency_ms.value / 1e3
        assert found == pytest.approx(expected, rel=0.01)

    def test_experts_stay_divided_as_they_are_if_they_can(self) -> None:
        question = ask(
            "deepseek-ai/DeepSeek-V3",
            "h200-sxm",
            Workload(128, 1024, 512, load=Load.CLOSED_LOOP),
            EXPECTED,
            parallel=Parallelism(tp=8, ep=8),
        )
        assert parallel_of(judged(question)) == Parallelism(tp=8, ep=8, dp=2)

    def test_a_load_that_does_not_fit_gets_the_fewest_replicas_that_hold_it(self) -> None:
        found = judged(ask(LLAMA_3_8B, "h100-sxm", Workload(512, 1024, 512), EXPECTED))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.MAKES_IT_FIT
        assert parallel_of(found).dp == 2

    def test_it_is_told_where_the_gain_ends(self) -> None:
        found = judged(CHAT)
        assert found.flips_when == "The gain falls under 3% between batch 2 and 1."

    def test_it_is_told_that_the_number_of_devices_changes(self) -> None:
        assert judged(CHAT).changes_devices
        assert not judged(CHAT).changes_load

    def test_plans_may_have_replicas_where_devices_are_free(self) -> None:
        freedom = replace(ANY_ACCURACY, devices=True, max_devices=4)
        advice = CHAT.advice(Goal.LATENCY, freedom=freedom)
        assert any("data-parallel" in plan.techniques for plan in advice.plans)

    def test_a_launch_starts_as_many_servers_and_gives_each_the_devices_of_one(self) -> None:
        freedom = replace(ANY_ACCURACY, devices=True, max_devices=2)
        machines = ask(LLAMA_3_8B, "apple-m2-ultra", Workload(8, 1024, 128), EXPECTED)
        plan = machines.advice(Goal.LATENCY, freedom=freedom).plans[0]
        assert "data-parallel" in plan.techniques
        (launch,) = plan.launches
        assert "replicas: 2" in launch.manifest
        assert not any("data-parallel" in told for told in launch.not_expressed)
