"""Weights in the host's memory: a way to run what does not fit, at the pace of the host's link."""

from __future__ import annotations

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.deployment import Offload
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, LLAMA_2_7B, Question, ask, effect

TECHNIQUE = "weight-offload"
SMALL = ask(LLAMA_2_7B, "rtx-3060-12gb", Workload(1, 1024, 128), EXPECTED)


def judged(question: Question) -> Recommendation:
    return question.recommendation(TECHNIQUE)


def share_of(found: Recommendation) -> float:
    assert found.deployment is not None
    return found.deployment.offload.weight_share


class TestDoesNotPay:
    def test_a_model_that_fits(self) -> None:
        found = judged(ask(LLAMA_2_7B, "a100-sxm-80gb", Workload(1, 1024, 128), EXPECTED))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "at 25 GB/s instead of 2,039 GB/s" in found.reason

    @pytest.mark.parametrize(
        "device_id",
        ["apple-m2-ultra", "raspberry-pi-5-8gb", "xeon-8480p", "jetson-agx-orin-64gb", "mi300a"],
    )
    def test_a_device_whose_memory_is_the_hosts(self, device_id: str) -> None:
        question = ask("meta-llama/Meta-Llama-3.1-405B", device_id, Workload(1, 1024, 128), EXPECTED)
        assert not question.analysis().memory.fits
        found = judged(question)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "is the host's own" in found.reason

    def test_a_cache_that_leaves_no_room_even_without_weights(self) -> None:
        found = judged(ask(LLAMA_2_7B, "a100-sxm-80gb", Workload(200, 1024, 128), EXPECTED))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.MEMORY_LIMIT


class TestPays:
    def test_the_smallest_share_that_makes_room(self) -> None:
        found = judged(SMALL)
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.MAKES_IT_FIT
        assert found.memory is not None
        assert found.memory.fits
        less = SMALL.served(offload=Offload(weight_share=share_of(found) - 0.05))
        assert not less.analysis().memory.fits

    def test_a_token_takes_as_long_as_the_copy_of_its_weights(self) -> None:
        """A quarter of the layers' 12.06 GiB at 25 GB/s is 130 ms."""
        found = judged(SMALL)
        copied = share_of(found) * 12.06 * 2**30 / 25e9 * 1e3
        assert copied < effect(found.effects, "tpot_ms").after < 1.5 * copied
        assert "read over its link at 25 GB/s" in found.reason

    @pytest.mark.parametrize("bandwidth", [50e9, 400e9])
    def test_a_faster_link_shortens_it(self, bandwidth: float) -> None:
        faster = SMALL.served(offload=Offload(host_bandwidth_bytes_per_s=bandwidth))
        assert (
            effect(judged(faster).effects, "tpot_ms").after < effect(judged(SMALL).effects, "tpot_ms").after
        )
