"""Tensor parallelism: shorter steps over a fast link, and less from each device."""

from __future__ import annotations

import re

import pytest

from ridgeline_server.advisor.results import Goal, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Workload
from ridgeline_server.roofline.results import Bound
from tests.unit.questions import EXPECTED, LLAMA_2_7B, LLAMA_3_8B, Question, ask, device, effect

TECHNIQUE = "tensor-parallel"
CHAT = ask(LLAMA_2_7B, "a100-sxm-80gb", Workload(1, 1024, 128), EXPECTED)
LARGE = ask("meta-llama/Llama-3.1-70B-Instruct", "h100-sxm", Workload(1, 2048, 128), EXPECTED)


def judged(question: Question, goal: Goal = Goal.LATENCY) -> Recommendation:
    return question.recommendation(TECHNIQUE, goal)


def parallel_of(found: Recommendation) -> Parallelism:
    assert found.deployment is not None
    return found.deployment.parallel


class TestDoesNotPay:
    def test_heads_that_cannot_be_divided_further(self) -> None:
        found = judged(CHAT.served(parallel=Parallelism(tp=32)))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "tp is 64, which does not divide the 32 query heads" in found.reason

    @pytest.mark.parametrize("device_id", ["apple-m2-ultra", "epyc-9654", "jetson-agx-orin-64gb"])
    def test_a_machine_without_a_link_to_another(self, device_id: str) -> None:
        found = judged(ask(LLAMA_3_8B, device_id, Workload(1, 1024, 128), EXPECTED))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert "no link between such machines is known" in found.reason

    def test_a_processor_with_a_link_to_its_neighbour_is_judged_by_it(self) -> None:
        found = judged(ask(LLAMA_3_8B, "xeon-8480p", Workload(1, 1024, 128), EXPECTED))
        assert found.verdict is not Verdict.NOT_APPLICABLE
        assert "over the link of " in found.reason

    @pytest.mark.parametrize("batch", [1, 16])
    def test_eight_devices_over_pcie(self, batch: int) -> None:
        question = ask(
            LLAMA_2_7B, "rtx-4090", Workload(batch, 1024, 128), EXPECTED, parallel=Parallelism(tp=4)
        )
        found = judged(question)
        assert found.verdict is Verdict.HARMFUL
        assert found.reason_code is ReasonCode.COMMUNICATION_EXCEEDS_GAIN
        assert "of prefill over PCIe" in found.reason

    def test_two_hosts(self) -> None:
        question = ask(
            "deepseek-ai/DeepSeek-V3",
            "h200-sxm",
            Workload(8, 1024, 128),
            EXPECTED,
            parallel=Parallelism(tp=8, ep=8),
        )
        found = judged(question)
        assert found.verdict is Verdict.HARMFUL
        assert "over the network between hosts" in found.reason

    def test_a_model_whose_steps_are_launches(self) -> None:
        found = judged(ask("openai-community/gpt2", "h100-sxm", Workload(1, 128, 128), EXPECTED))
        assert found.verdict is Verdict.HARMFUL
        assert "launches and other fixed costs" in found.reason

    @pytest.mark.parametrize("goal", [Goal.THROUGHPUT, Goal.COST])
    def test_more_of_less_from_each_device_is_not_applied_for_throughput_or_cost(self, goal: Goal) -> None:
        priced = ask(LLAMA_2_7B, device("a100-sxm-80gb", price_usd_per_hour=2.0), CHAT.workload, EXPECTED)
        found = judged(priced, goal)
        assert found.verdict is Verdict.CONSIDER
        assert effect(found.effects, "output_tokens_per_s").speedup > 1.3
        assert effect(found.effects, "output_tokens_per_s_per_device").speedup < 0.97


class TestPays:
    def test_latency_over_a_fast_link(self) -> None:
        """Two A100s of 40 GB gave 1.50 times the throughput of one at this model under TensorRT-LLM."""
        found = judged(CHAT)
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.DEVICES_SHARE_WORK
        assert 1.4 < effect(found.effects, "e2e_latency_ms").speedup < 1.8
        assert "over the link of 300 GB/s" in found.reason
        assert "throughput per device goes from" in found.reason

    @pytest.mark.parametrize("batch", [1, 64])
    def test_published_gains_of_two_devices(self, batch: int) -> None:
        """TensorRT-LLM on A100s of 40 GB with prompts and outputs of 128: 1.56x at batch 1, 1.47x at 64."""
        found = judged(ask(LLAMA_3_8B, "a100-sxm-40gb", Workload(batch, 128, 128), EXPECTED))
        assert effect(found.effects, "total_tokens_per_s").speedup == pytest.approx(1.5, abs=0.25)

    def test_the_share_of_communication_is_that_of_the_new_deployment(self) -> None:
        found = judged(CHAT)
        quoted = re.search(r"takes ([\d.]+)% of a decode step and ([\d.]+)% of prefill", found.reason)
        assert quoted is not None
        after = CHAT.served(parallel=parallel_of(found)).analysis()
        shares = [stage.share(Bound.COMMUNICATION) for stage in (after.decode, after.prefill)]
        assert [float(share) / 100 for share in quoted.groups()] == pytest.approx(shares, abs=0.006)

    def test_a_model_that_does_not_fit_gets_the_fewest_devices_that_hold_it(self) -> None:
        found = judged(LARGE)
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.MAKES_IT_FIT
        assert parallel_of(found).tp == 2
        whole = judged(ask("meta-llama/Meta-Llama-3.1-405B", "h100-sxm", Workload(1, 2048, 128), EXPECTED))
        assert whole.memory is not None
        assert whole.memory.fits
        assert parallel_of(whole).tp == 16

    def test_it_is_told_that_the_number_of_devices_changes(self) -> None:
        assert judged(CHAT).changes_devices
        assert not judged(CHAT).changes_load
