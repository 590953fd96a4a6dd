"""Extra heads: one layer drafts, so that little but verification is paid."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import Effort, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.speculation import Draft, Speculation
from ridgeline_server.domain.workload import Workload
from tests.unit.questions import EXPECTED, LLAMA_3_8B, Question, ask, effect, model

TECHNIQUE = "speculation-heads"
CHAT = ask(LLAMA_3_8B, "h100-sxm", Workload(1, 128, 256), EXPECTED)


def judged(question: Question, **assumed: Any) -> Recommendation:
    return question.recommendation(TECHNIQUE, **assumed)


class TestDoesNotPay:
    def test_where_tokens_are_drafted_already(self) -> None:
        found = judged(CHAT.served(speculation=Speculation(Draft.NGRAM, 3, 0.5)))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    def test_a_single_output_token(self) -> None:
        assert judged(CHAT.at(output_len=1)).reason_code is ReasonCode.NOTHING_TO_WORK_ON

    def test_a_batch_beyond_the_ridge(self) -> None:
        """1,024 sequences compute already; heads that are right half of the time cost more than they give."""
        found = judged(CHAT.at(batch=1024), heads_acceptance_rate=0.5)
        assert found.verdict in (Verdict.NO_GAIN, Verdict.HARMFUL)
        assert found.reason_code is ReasonCode.DRAFTING_EXCEEDS_GAIN

    def test_heads_that_are_never_right(self) -> None:
        assert judged(CHAT, heads_acceptance_rate=0.0).verdict is Verdict.HARMFUL


class TestPays:
    def test_one_sequence(self) -> None:
        """EAGLE-3 gives 2.36x under SGLang on MT-Bench, EAGLE-2 1.54x."""
        found = judged(CHAT)
        assert found.reason_code is ReasonCode.MORE_TOKENS_PER_STEP
        assert 1.5 < effect(found.effects, "tpot_ms").speedup < 2.8

    def test_they_are_only_considered_because_heads_must_be_trained(self) -> None:
        found = judged(CHAT, heads_acceptance_rate=0.95)
        assert found.effort is Effort.TRAIN_HEADS
        assert found.verdict is Verdict.CONSIDER
        assert effect(found.effects, "tpot_ms").low > 1.03

    def test_fewer_of_64_sequences(self) -> None:
        """There EAGLE-3 gives 1.38x."""
        alone, many = (effect(judged(CHAT.at(batch=b)).effects, "tpot_ms").speedup for b in (1, 64))
        assert 1.1 < many < alone

    def test_heads_that_are_right_as_often_as_a_draft_model_gain_more(self) -> None:
        draft = model("meta-llama/Llama-3.2-1B-Instruct")
        heads = judged(CHAT, heads_acceptance_rate=0.65)
        drafted = CHAT.recommendation("speculation-draft-model", draft_model=draft)
        assert effect(heads.effects, "tpot_ms").speedup > effect(drafted.effects, "tpot_ms").speedup

    def test_the_first_token_comes_as_before(self) -> None:
        assert effect(judged(CHAT).effects, "ttft_ms").speedup == pytest.approx(1)
