"""KV eviction: fewer keys to read, where keys are what a decode step reads."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.workload import Workload
from ridgeline_server.store.engines import builtin_engines
from tests.unit.questions import EXPECTED, LLAMA_2_7B, Question, ask, effect

TECHNIQUE = "kv-eviction"
MANY = ask(LLAMA_2_7B, "a100-sxm-80gb", Workload(32, 1024, 128), EXPECTED)


def judged(question: Question, **assumed: Any) -> Recommendation:
    return question.recommendation(TECHNIQUE, **assumed)


class TestDoesNotPay:
    def test_a_short_context(self) -> None:
        found = judged(MANY.at(batch=1, input_len=10))
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BYTES_NOT_DOMINANT
        assert found.knobs[0].break_even is None

    def test_a_model_that_caches_no_keys(self) -> None:
        found = judged(ask("state-spaces/mamba-2.8b-hf", "rtx-a6000", Workload(64, 2048, 128)))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON

    def test_where_keys_are_dropped_already(self) -> None:
        found = judged(MANY.served(kv_keep_ratio=0.5))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.ALREADY_APPLIED

    def test_a_share_that_nobody_stated_is_only_worth_considering(self) -> None:
        """Whether answers stand it is not ours to say."""
        for batch in (32, 200):
            assert judged(MANY.at(batch=batch)).verdict is Verdict.CONSIDER


class TestPays:
    def test_many_sequences(self) -> None:
        """It would be applied in an engine that has it; of those that were looked up none has."""
        found = judged(MANY, kv_keep_ratio=0.5)
        assert found.verdict is Verdict.CONSIDER
        assert "No engine that was looked up" in found.reason
        elsewhere = MANY.served(engine=builtin_engines().find("an-engine-of-our-own"))
        assert judged(elsewhere, kv_keep_ratio=0.5).verdict is Verdict.APPLY
        assert found.reason_code is ReasonCode.KV_BYTES_CUT
        assert found.memory is not None
        kept = found.memory.kv_cache_bytes / MANY.analysis().memory.kv_cache_bytes
        assert kept == pytest.approx(0.5, abs=0.01)

    def test_the_published_share_is_echoed_with_its_source(self) -> None:
        (knob,) = judged(MANY).knobs
        assert (knob.name, knob.value) == ("kv_keep_ratio", 0.2)
        assert "arXiv:2306.14048" in knob.source

    def test_it_pays_up_to_the_break_even(self) -> None:
        most = judged(MANY).knobs[0].break_even
        assert most is not None
        assert effect(judged(MANY, kv_keep_ratio=most).effects, "tpot_ms").speedup > 1.03
        assert effect(judged(MANY, kv_keep_ratio=most + 0.01).effects, "tpot_ms").speedup <= 1.03

    def test_a_cache_that_does_not_fit(self) -> None:
        found = judged(MANY.at(batch=200), kv_keep_ratio=0.2)
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.MAKES_IT_FIT

    def test_the_input_that_is_promised_to_gain_does(self) -> None:
        question = MANY.at(batch=1, input_len=10)
        assert "from an input of 640 tokens or batch 16 on" in judged(question).flips_when
        for changed in (question.at(input_len=640), question.at(batch=16)):
            assert effect(judged(changed).effects, "tpot_ms").speedup > 1.03
