"""Captured graphs: one launch in place of hundreds, where the device waits for the host."""

from __future__ import annotations

import re

import pytest

from ridgeline_server.advisor.results import Goal, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, GIB, LLAMA_3_8B, SGLANG, Question, Stated, ask, effect

TECHNIQUE = "cuda-graphs"
EAGER: Stated = {"eager": True}
GPT2 = ask("openai-community/gpt2", "h200-sxm", Workload(1, 128, 32), EXPECTED, **EAGER, **SGLANG)
CHAT = ask(LLAMA_3_8B, "h100-sxm", Workload(1, 1024, 128), EXPECTED, **EAGER)


def judged(question: Question, goal: Goal = Goal.LATENCY) -> Recommendation:
    return question.recommendation(TECHNIQUE, goal)


class TestDoesNotPay:
    def test_where_graphs_are_replayed_already(self) -> None:
        found = judged(CHAT.served())
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    @pytest.mark.parametrize("device_id", ["epyc-9654", "apple-m2-ultra", "tpu-v5e"])
    def test_a_device_for_which_no_engine_captures_graphs(self, device_id: str) -> None:
        found = judged(ask(LLAMA_3_8B, device_id, Workload(1, 1024, 128), EXPECTED))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON

    def test_a_single_output_token(self) -> None:
        assert judged(CHAT.at(output_len=1)).reason_code is ReasonCode.NOTHING_TO_WORK_ON

    def test_the_ideal_roofline_knows_no_host(self) -> None:
        found = judged(ask(LLAMA_3_8B, "h100-sxm", Workload(1, 1024, 128), **EAGER))
        assert found.verdict is Verdict.NO_GAIN
        assert "knows no host" in found.reason

    @pytest.mark.parametrize(("device_id", "batch"), [("h100-sxm", 256), ("l4", 1)])
    def test_a_device_that_is_slower_than_the_host(self, device_id: str, batch: int) -> None:
        """On an L4 graphs gained 1.03x for a model of seven billion parameters (arXiv:2605.30571)."""
        found = judged(ask(LLAMA_3_8B, device_id, Workload(batch, 1024, 128), EXPECTED, **EAGER))
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BOUND_NOT_ADDRESSED
        assert "the device never waits for it" in found.reason
        assert effect(found.effects, "tpot_ms").speedup == 1

    def test_a_slower_device_gains_again_at_a_smaller_batch(self) -> None:
        found = judged(CHAT.at(batch=256))
        quoted = re.search(r"at batch (\d+) and below", found.flips_when)
        assert quoted is not None
        gains = [
            effect(judged(CHAT.at(batch=batch)).effects, "tpot_ms").speedup > 1.03
            for batch in (int(quoted[1]), 2 * int(quoted[1]))
        ]
        assert gains == [True, False]


class TestPays:
    def test_a_published_pair(self) -> None:
        """SGLang served GPT-2 on an H200 at 205.1 tokens a second without graphs and at 964.6 with them."""
        found = judged(GPT2)
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.LAUNCHES_SAVED
        assert effect(found.effects, "output_tokens_per_s").speedup == pytest.approx(964.6 / 205.1, rel=0.05)
        assert "the host launches 99 kernels in 3.07 ms" in found.reason

    def test_the_step_without_graphs_is_the_host_s(self) -> None:
        """What the device waits for is quoted, and is what the step takes longer."""
        found = judged(GPT2)
        quoted = re.search(r"waits for it in ([\d.]+)% of a decode step", found.reason)
        assert quoted is not None
        eager, replayed = GPT2.analysis().decode, GPT2.served(**SGLANG).analysis().decode
        waited = 1 - replayed.time_ms / eager.time_ms
        assert float(quoted[1]) / 100 == pytest.approx(waited, abs=0.006)

    @pytest.mark.parametrize(("draft", "launches"), [(Draft.HEADS, True), (Draft.NGRAM, False)])
    def test_what_drafts_is_launched_by_the_host_too(self, draft: Draft, launches: bool) -> None:
        """The step that verifies waits less than what the whole gains."""
        drafting = CHAT.served(**EAGER, speculation=Speculation(draft, 4, 0.7))
        reason = judged(drafting).reason
        assert ("; the launches of what drafts 4 tokens come on top: TPOT" in reason) is launches
        assert "drafts" not in judged(CHAT).reason

    def test_devices_that_divide_a_model_wait_more(self) -> None:
        alone, divided = (
            effect(judged(CHAT.served(**EAGER, parallel=Parallelism(tp=tp))).effects, "tpot_ms").speedup
            for tp in (1, 4)
        )
        assert divided > alone + 0.2

    def test_a_prefill_is_launched_by_the_host_either_way(self) -> None:
        assert effect(judged(CHAT).effects, "ttft_ms").speedup == 1

    def test_graphs_take_memory(self) -> None:
        found, today = judged(CHAT), CHAT.analysis().memory
        assert found.memory is not None
        assert found.memory.total_bytes - today.total_bytes == pytest.approx(1.04 * GIB)

    def test_plans_may_have_it_and_launch_without_the_flag(self) -> None:
        plan = CHAT.advice().plans[0]
        assert TECHNIQUE in plan.techniques
        assert not any("eager" in launch.command for launch in plan.launches)

    def test_the_switch_of_the_technique_says_that_it_is_on_by_default(self) -> None:
        switches = {switch.engine: switch for switch in judged(CHAT).switches}
        assert "On by default" in switches["vllm"].notes[0]
        assert not switches["vllm"].flags
