"""A cache in the host's memory: a way to serve what does not fit, at the pace of the host's link."""

from __future__ import annotations

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, LLAMA_2_7B, Question, ask, effect

TECHNIQUE = "kv-offload"
MANY = ask(LLAMA_2_7B, "a100-sxm-80gb", Workload(200, 1024, 128), EXPECTED)


def judged(question: Question) -> Recommendation:
    return question.recommendation(TECHNIQUE)


class TestDoesNotPay:
    def test_a_cache_that_fits(self) -> None:
        found = judged(MANY.at(batch=1))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON

    def test_weights_that_do_not_fit_by_themselves(self) -> None:
        found = judged(ask(LLAMA_2_7B, "rtx-3060-12gb", Workload(1, 1024, 128), EXPECTED))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.MEMORY_LIMIT
        assert "with all of the KV cache in the host's memory" in found.reason

    @pytest.mark.parametrize("device_id", ["epyc-9654", "dgx-spark-gb10", "ryzen-ai-max-395"])
    def test_a_device_whose_memory_is_the_hosts(self, device_id: str) -> None:
        question = ask(LLAMA_2_7B, device_id, Workload(1000, 1024, 1024), EXPECTED)
        assert not question.analysis().memory.fits
        found = judged(question)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "is the host's own" in found.reason


class TestPays:
    def test_it_makes_room_and_takes_the_time_of_the_copy(self) -> None:
        """45% of 200 sequences' 1,088 keys of 512 KiB at 25 GB/s is 2.1 s."""
        found = judged(MANY)
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.MAKES_IT_FIT
        assert found.memory is not None
        assert found.memory.fits
        assert found.deployment is not None
        share = found.deployment.offload.kv_share
        copied = share * 200 * 1088 * 2**19 / 25e9 * 1e3
        assert copied < effect(found.effects, "tpot_ms").after < 1.1 * copied
