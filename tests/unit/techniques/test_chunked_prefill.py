"""Chunked prefill: decodes no longer wait for whole prompts; the first token of a long one comes later."""

from __future__ import annotations

import re

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.workload import Load, Workload
from tests.unit.questions import EXPECTED, LLAMA_3_8B, Question, ask, effect

TECHNIQUE = "chunked-prefill"
DOCUMENTS = ask(LLAMA_3_8B, "h100-sxm", Workload(32, 8000, 256, load=Load.CLOSED_LOOP), EXPECTED)


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
            pytest.param(DOCUMENTS.at(load=Load.STATIC_BATCH), "no decode waits for a prompt", id="static"),
            pytest.param(DOCUMENTS.at(batch=1), "alone on its devices", id="one request"),
            pytest.param(DOCUMENTS.at(input_len=300), "no more than the smallest chunk", id="short prompts"),
            pytest.param(
                DOCUMENTS.served(prefix_hit_rate=0.95), "have 400 tokens to prefill", id="cached prompts"
            ),
        ],
    )
    def test_where_nobody_waits_for_a_long_prompt(self, question: Question, said: str) -> None:
        found = judged(question)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert said in found.reason

    def test_where_prompts_are_cut_already(self) -> None:
        found = judged(DOCUMENTS.served(chunk_tokens=2048))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED
        assert "2,048" in found.reason


class TestPays:
    def test_pauses_become_short_and_both_sides_of_the_trade_are_told(self) -> None:
        found = judged(DOCUMENTS)
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.PREFILL_SPREAD
        pauses = re.search(r"wait ([\d.]+) ms for each prompt .* wait ([\d.]+) ms at a time", found.reason)
        assert pauses is not None
        whole, cut = map(float, pauses.groups())
        assert whole > 4 * cut
        assert "TTFT goes from" in found.reason
        assert "TPOT goes from" in found.reason

    def test_the_first_token_comes_later(self) -> None:
        assert effect(judged(DOCUMENTS.at(output_len=1000)).effects, "ttft_ms").speedup < 1

    def test_no_smaller_chunk_costs_as_little(self) -> None:
        """Chunks of half the size read the weights so often that requests take over 3% longer."""
        found = judged(DOCUMENTS)
        latency = DOCUMENTS.analysis().metrics.e2e_latency_ms.value
        half = DOCUMENTS.served(chunk_tokens=chunk_of(found) // 2).analysis().metrics.e2e_latency_ms.value
        assert effect(found.effects, "e2e_latency_ms").after < 1.03 * latency < half

    def test_it_is_never_more_than_worth_considering(self) -> None:
        verdicts = {
            judged(DOCUMENTS.at(batch=n, input_len=i)).verdict for n in (4, 64) for i in (1000, 30_000)
        }
        assert verdicts <= {Verdict.CONSIDER, Verdict.HARMFUL}
