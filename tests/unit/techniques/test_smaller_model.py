"""A smaller model: the largest that keeps the limits, never more than considered, and in no plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ridgeline_server.advisor.results import Freedom, Goal, ReasonCode, Recommendation, Verdict
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.parallelism import Parallelism
from ridgeline_server.domain.siblings import smaller_siblings
from ridgeline_server.domain.workload import Slo, Workload
from tests.unit.questions import (
    ANY_ACCURACY,
    EXPECTED,
    LLAMA_3_1_8B,
    MODEL_IDS,
    Question,
    ask,
    effect,
    model,
)

TECHNIQUE = "smaller-model"
SIZES = tuple(f"Qwen/Qwen2.5-{size}-Instruct" for size in ("32B", "14B", "7B", "3B", "1.5B"))
LARGE = ask("Qwen/Qwen2.5-72B-Instruct", "b200-sxm", Workload(16, 2048, 256), EXPECTED)


def judged(question: Question, *models: str, goal: Goal = Goal.LATENCY) -> Recommendation:
    """The judgement where these models may take the place of the question's."""
    return question.recommendation(TECHNIQUE, goal, freedom=Freedom(models=tuple(map(model, models))))


def served(question: Question, other: str) -> Question:
    return replace(question, model=model(other))


class TestDoesNotPay:
    def test_a_model_that_stays(self) -> None:
        found = LARGE.recommendation(TECHNIQUE)
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.MODEL_FIXED
        assert "72.7 billion parameters" in found.reason

    def test_a_model_that_is_not_smaller(self) -> None:
        found = judged(served(LARGE, SIZES[-1]), SIZES[0])
        assert found.verdict is Verdict.NOT_APPLICABLE
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "has 32.8 billion parameters" in found.reason

    def test_a_line_without_a_smaller_one(self) -> None:
        found = judged(LARGE)
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "no smaller model of the line" in found.reason

    def test_a_model_that_the_devices_cannot_divide(self) -> None:
        """14 heads of Qwen2.5-0.5B on 8 devices."""
        found = judged(LARGE.served(parallel=Parallelism(tp=8)), "Qwen/Qwen2.5-0.5B")
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "tp is 8, which does not divide the 14 query heads" in found.reason

    def test_a_model_whose_context_is_too_short(self) -> None:
        found = judged(LARGE.at(batch=1, input_len=33_000), "Qwen/Qwen2.5-3B-Instruct")
        assert found.reason_code is ReasonCode.NOTHING_TO_WORK_ON
        assert "ends at 32,768 tokens of 33,256" in found.reason

    def test_smaller_models_that_do_not_fit_either(self) -> None:
        found = judged(
            ask("Qwen/Qwen2.5-72B-Instruct", "t4", Workload(1, 512, 128), EXPECTED), SIZES[0], SIZES[1]
        )
        assert found.reason_code is ReasonCode.MEMORY_LIMIT


class TestPays:
    def test_it_is_never_more_than_considered(self) -> None:
        found = judged(LARGE, *SIZES)
        assert found.verdict is Verdict.CONSIDER
        assert found.reason_code is ReasonCode.FEWER_PARAMETERS
        assert effect(found.effects, "e2e_latency_ms").low > 1.03
        fits = judged(ask("Qwen/Qwen2.5-72B-Instruct", "h100-sxm", Workload(1, 512, 128), EXPECTED), *SIZES)
        assert (fits.verdict, fits.reason_code) == (Verdict.CONSIDER, ReasonCode.MAKES_IT_FIT)

    def test_without_limits_the_largest_is_proposed(self) -> None:
        found = judged(LARGE, *reversed(SIZES))
        assert found.requirements[0] == f"model {SIZES[0]}"
        after = served(LARGE, SIZES[0]).analysis().metrics.e2e_latency_ms.value
        assert effect(found.effects, "e2e_latency_ms").after == pytest.approx(after)

    def test_with_limits_the_largest_that_keeps_them(self) -> None:
        for kept, missed in ((SIZES[1], SIZES[0]), (SIZES[3], SIZES[2])):
            limits = [served(LARGE, each).analysis().metrics.tpot_ms.value for each in (kept, missed)]
            found = judged(LARGE.at(slo=Slo(tpot_ms=sum(limits) / 2)), *SIZES)
            assert found.requirements[0] == f"model {kept}"
            assert "the largest that keeps the limits" in found.reason

    def test_where_none_keeps_them_the_best_by_the_goal(self) -> None:
        found = judged(LARGE.at(slo=Slo(tpot_ms=0.01)), *SIZES)
        assert found.requirements[0] == f"model {SIZES[-1]}"
        assert "none keeps the limits" in found.reason

    def test_the_goal_of_memory_is_told_in_bytes(self) -> None:
        found = judged(LARGE, SIZES[0], goal=Goal.MEMORY)
        assert found.metric == "total_memory_bytes"
        assert found.memory is not None
        assert found.memory.total_bytes == served(LARGE, SIZES[0]).analysis().memory.total_bytes

    def test_no_plan_changes_the_model(self) -> None:
        freedom = replace(ANY_ACCURACY, models=tuple(map(model, SIZES)))
        advice = LARGE.advice(freedom=freedom)
        assert not any(TECHNIQUE in plan.techniques for plan in advice.plans)
        left_out = {each.technique: each.reason_code for each in advice.left_out}
        assert left_out[TECHNIQUE] is ReasonCode.MODEL_FIXED
        assert advice.plans == LARGE.advice().plans


class TestSiblings:
    @staticmethod
    def of(which: str) -> list[str]:
        catalog: list[Model] = [
            model(each) for each in MODEL_IDS if each.split("/")[0] == which.split("/")[0]
        ]
        return [each.id for each in smaller_siblings(model(which), catalog)]

    def test_they_are_of_the_same_line_the_largest_first(self) -> None:
        assert self.of("Qwen/Qwen2.5-72B-Instruct")[:5] == list(SIZES)

    def test_a_vocabulary_tells_generations_of_a_line_apart(self) -> None:
        assert "meta-llama/Llama-2-7b-hf" not in self.of(LLAMA_3_1_8B)
        assert self.of("meta-llama/Llama-2-13b-hf") == ["meta-llama/Llama-2-7b-hf"]

    def test_the_smallest_has_none(self) -> None:
        assert self.of("meta-llama/Llama-2-7b-hf") == []

    def test_quantised_copies_of_an_unquantised_line_are_left_out(self) -> None:
        assert all(not model(each).quantized for each in self.of("Qwen/Qwen3-32B"))
