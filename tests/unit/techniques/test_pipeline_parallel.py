"""Pipeline parallelism: room and throughput from slow links, and no shorter wait for one request."""

from __future__ import annotations

import pytest

from ridgeline_server.advisor.results import Goal, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, LLAMA_2_7B, LLAMA_3_8B, Question, ask, effect, model

TECHNIQUE = "pipeline-parallel"
CHAT = ask(LLAMA_2_7B, "a100-sxm-40gb", Workload(1, 1024, 1024), EXPECTED)


def judged(question: Question, goal: Goal = Goal.LATENCY) -> Recommendation:
    return question.recommendation(TECHNIQUE, goal)


class TestDoesNotPay:
    @pytest.mark.parametrize(("stages", "measured"), [(1, 1.0005), (2, 0.9839 / 1.0005)])
    def test_one_sequence_waits_for_every_stage(self, stages: int, measured: float) -> None:
        """TensorRT-LLM on two and four A100s: within 2% of one device."""
        found = judged(CHAT.served(parallel=Parallelism(pp=stages)))
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.COMMUNICATION_EXCEEDS_GAIN
        assert effect(found.effects, "total_tokens_per_s").speedup == pytest.approx(measured, abs=0.02)
        assert f"{2 * stages - 1} of {2 * stages} wait" in found.reason

    def test_more_stages_than_layers(self) -> None:
        layers = model(LLAMA_2_7B).layer_count
        found = judged(CHAT.served(parallel=Parallelism(pp=layers)))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert f"has {layers} layers" in found.reason

    def test_throughput_for_each_device_falls(self) -> None:
        found = judged(CHAT.at(batch=16), Goal.THROUGHPUT)
        assert found.verdict is not Verdict.APPLY
        assert effect(found.effects, "output_tokens_per_s_per_device").speedup < 0.97


class TestPays:
    def test_many_sequences_keep_all_stages_at_work(self) -> None:
        """TensorRT-LLM gave 1.49 times the throughput on two A100s."""
        found = judged(ask(LLAMA_3_8B, "a100-sxm-40gb", Workload(64, 1024, 1024), EXPECTED))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.DEVICES_SHARE_WORK
        assert 1.1 < effect(found.effects, "output_tokens_per_s").speedup < 1.7

    def test_over_pcie_it_exchanges_less_than_tensor_parallelism(self) -> None:
        question = ask(LLAMA_2_7B, "rtx-4090", Workload(16, 1024, 128), EXPECTED, parallel=Parallelism(tp=4))
        assert judged(question).verdict in (Verdict.APPLY, Verdict.CONSIDER)
        assert question.recommendation("tensor-parallel").verdict is Verdict.HARMFUL

    def test_a_model_that_does_not_fit(self) -> None:
        found = judged(ask("meta-llama/Llama-3.1-70B-Instruct", "h100-sxm", Workload(1, 2048, 128), EXPECTED))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.MAKES_IT_FIT
        assert found.deployment is not None
        assert found.deployment.parallel.pp == 2
