"""A window over the keys: what lies behind it is neither held nor read, and lost."""

from __future__ import annotations

from typing import Any

import pytest

from ridgeline_server.advisor.results import Freedom, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.workload import Workload
from ridgeline_server.store.engines import builtin_engines
from tests.unit.questions import ANY_ACCURACY, EXPECTED, LLAMA_2_7B, Question, ask, effect

TECHNIQUE = "kv-window"
LONG = ask(LLAMA_2_7B, "a100-sxm-80gb", Workload(16, 3500, 256), EXPECTED)


def judged(question: Question, **assumed: Any) -> Recommendation:
    return question.recommendation(TECHNIQUE, **assumed)


class TestDoesNotPay:
    def test_a_context_within_the_window(self) -> None:
        found = judged(LONG.at(input_len=768))
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "ends with 1,024 tokens, all of them within a window of 1,024" in found.reason
        assert judged(LONG.at(input_len=769)).verdict is not Verdict.NOT_APPLICABLE

    def test_a_context_hardly_longer_than_the_window(self) -> None:
        found = judged(LONG.at(batch=1, input_len=800))
        assert found.verdict is Verdict.NO_GAIN
        assert found.reason_code is ReasonCode.BYTES_NOT_DOMINANT

    def test_a_model_that_caches_no_keys(self) -> None:
        found = judged(ask("state-spaces/mamba-2.8b-hf", "rtx-a6000", Workload(64, 2048, 128)))
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON

    def test_where_a_window_is_set_already(self) -> None:
        found = judged(LONG.served(kv_window=2048))
        assert found.reason_code is ReasonCode.ALREADY_APPLIED
        assert "2,048 keys" in found.reason

    def test_windows_of_the_models_own_that_are_narrower(self) -> None:
        """All but every sixth layer of Gemma 3 look at 512 keys anyway."""
        found = judged(ask("google/gemma-3-1b-it", "h100-sxm", Workload(1, 4096, 64), EXPECTED))
        assert found.verdict is Verdict.NO_GAIN

    def test_a_window_that_nobody_stated_is_in_no_plan(self) -> None:
        advice = LONG.advice(freedom=ANY_ACCURACY)
        left_out = {each.technique: each.reason_code for each in advice.left_out}
        assert left_out[TECHNIQUE] is ReasonCode.FIGURE_NOT_STATED
        served = LONG.served(engine=builtin_engines().find("an-engine-of-our-own"))
        stated = served.advice(freedom=Freedom(), kv_window=1024)
        left_out = {each.technique: each.reason_code for each in stated.left_out}
        assert left_out[TECHNIQUE] is ReasonCode.ACCURACY_UNKNOWN


class TestPays:
    def test_it_is_at_most_considered(self) -> None:
        found = judged(LONG, kv_window=512)
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.KV_BYTES_CUT
        assert effect(found.effects, "tpot_ms").low > 1.03

    def test_decode_holds_and_reads_the_window(self) -> None:
        found = judged(LONG)
        assert found.memory is not None
        held = LONG.at(input_len=1023, output_len=1).analysis().memory.kv_cache_bytes
        assert found.memory.kv_cache_bytes == held
        short = LONG.at(input_len=1023, output_len=2).analysis()
        after = effect(found.effects, "tpot_ms").after
        assert after == pytest.approx(short.metrics.tpot_ms.value, rel=1e-3)

    def test_the_published_window_is_echoed_with_its_source(self) -> None:
        (knob,) = judged(LONG).knobs
        assert (knob.name, knob.value) == ("kv_window", 1024)
        assert "arXiv:2309.17453" in knob.source

    def test_it_pays_up_to_the_window_that_is_told(self) -> None:
        found = judged(LONG)
        most = found.knobs[0].break_even
        assert most is not None
        assert f"a window of up to {most:,.0f} keys" in found.flips_when
        further = round(most + 0.01 * LONG.workload.total_len) + 1
        assert effect(judged(LONG, kv_window=int(most)).effects, "tpot_ms").speedup > 1.03
        assert effect(judged(LONG, kv_window=further).effects, "tpot_ms").speedup <= 1.03

    def test_a_cache_that_does_not_fit(self) -> None:
        found = judged(LONG.at(batch=64))
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.MAKES_IT_FIT

    def test_a_stated_window_enters_plans_where_its_accuracy_may_be_unknown(self) -> None:
        served = LONG.served(engine=builtin_engines().find("an-engine-of-our-own"))
        advice = served.advice(freedom=ANY_ACCURACY, kv_window=512)
        assert any(TECHNIQUE in plan.techniques for plan in advice.plans)
        assert not any({TECHNIQUE, "kv-eviction"} <= set(plan.techniques) for plan in advice.plans)

    def test_the_input_that_is_promised_to_gain_does(self) -> None:
        question = LONG.at(batch=1, input_len=800)
        assert "from an input of 3,200 tokens" in judged(question).flips_when
        for length, gains in ((1600, False), (3200, True)):
            gained = effect(judged(question.at(input_len=length)).effects, "tpot_ms").speedup
            assert (gained > 1.03) is gains
