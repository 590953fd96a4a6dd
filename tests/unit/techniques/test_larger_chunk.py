"""Larger chunks: fewer steps read the weights for a prompt, and running decodes wait for longer at a time."""

from __future__ import annotations

import re

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.workload import Load, Workload
from tests.unit.questions import EXPECTED, LLAMA_3_1_8B, Question, ask, effect

TECHNIQUE = "larger-chunk"
PROMPTS = ask(LLAMA_3_1_8B, "h100-sxm", Workload(8, 8000, 256, load=Load.CLOSED_LOOP), EXPECTED)


def judged(question: Question) -> Recommendation:
    return question.recommendation(TECHNIQUE)


def chunk_of(found: Recommendation) -> int:
    assert found.deployment is not None
    assert found.deployment.chunk_tokens is not None
    return found.deployment.chunk_tokens


class TestDoesNotPay:
    @pytest.mark.parametrize(
        ("question", "said"),
        [
            pytest.param(PROMPTS, "cuts no prompts into chunks", id="whole prompts"),
            pytest.param(
                PROMPTS.served(chunk_tokens=8192), "there are no more than 8,000", id="short prompts"
            ),
            pytest.param(
                PROMPTS.served(chunk_tokens=512, prefix_hit_rate=0.95),
                "no more than 400",
                id="cached prompts",
            ),
            pytest.param(
                PROMPTS.at(input_len=50_000).served(chunk_tokens=8192),
                "engines take up to 8,192",
                id="long chunks",
            ),
        ],
    )
    def test_where_no_chunk_is_small(self, question: Question, said: str) -> None:
        found = judged(question)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert said in found.reason

    def test_chunks_whose_time_is_arithmetic(self) -> None:
        found = judged(PROMPTS.served(chunk_tokens=4096))
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BOUND_NOT_ADDRESSED
        assert "goes to arithmetic" in found.reason


class TestPays:
    @pytest.mark.parametrize("chunk", [16, 64, 128])
    def test_chunks_that_read_all_weights_for_few_tokens(self, chunk: int) -> None:
        found = judged(PROMPTS.served(chunk_tokens=chunk))
        assert found.verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.FEWER_CHUNKS
        assert chunk_of(found) % chunk == 0
        assert "goes to moving bytes" in found.reason
        assert effect(found.effects, "ttft_ms").speedup > 2

    def test_it_is_the_smallest_doubling_that_is_as_fast_as_the_best(self) -> None:
        times = {
            chunk: PROMPTS.served(chunk_tokens=chunk).analysis().metrics.ttft_ms.value
            for chunk in (128, 256, 512, 1024, 2048, 4096, 8192)
        }
        chosen = chunk_of(judged(PROMPTS.served(chunk_tokens=64)))
        assert times[chosen] <= 1.03 * min(times.values()) < times[chosen // 2]

    def test_what_running_decodes_then_wait_is_told(self) -> None:
        found = judged(PROMPTS.served(chunk_tokens=64))
        told = re.search(
            r"Keep 64 where running decodes must not wait ([\d.]+) ms at a time", found.flips_when
        )
        assert told is not None
        step = PROMPTS.served(chunk_tokens=chunk_of(found)).analysis().prefill
        assert float(told[1]) == pytest.approx(step.time_ms, rel=0.01)

    def test_prompts_of_a_static_batch_share_a_chunk(self) -> None:
        """Eight prompts of 100 tokens take one step of 1,024 instead of eight of 128."""
        asked = PROMPTS.at(input_len=100, load=Load.STATIC_BATCH).served(chunk_tokens=128)
        found = judged(asked)
        assert found.verdict is Verdict.APPLY
        assert chunk_of(found) == 1024
        assert found.flips_when == ""
