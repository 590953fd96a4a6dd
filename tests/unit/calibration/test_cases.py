"""Measured changes: how a side is read, what is not answered, and the effect of both sides together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ridgeline_server.advisor.changes import SPREAD, SPREAD_OF_ASSUMED
from ridgeline_server.advisor.results import Verdict
from ridgeline_server.calibration.case_errors import by_technique, summarise_cases
from ridgeline_server.calibration.cases import CasePrediction, predict_cases
from ridgeline_server.calibration.fitting import predicted
from ridgeline_server.domain.measured_case import CaseClass, CaseSide, Change, MeasuredCase
from ridgeline_server.domain.measurement import MeasuredMetric, Phase
from ridgeline_server.store.engines import builtin_engines
from tests.unit.calibration.rows import LLAMA, NAMES, question, row
from tests.unit.questions import PROFILES

DECODE: dict[str, Any] = {
    "phase": Phase.DECODE,
    "concurrency": None,
    "batch": 1,
    "metric": MeasuredMetric.OUTPUT_TOK_S_TOTAL,
}
PREFILL: dict[str, Any] = {
    "phase": Phase.PREFILL,
    "concurrency": None,
    "osl": 1,
    "metric": MeasuredMetric.TTFT_MS,
}
W4: dict[str, Any] = {"weight_dtype": "int4"}


def case(
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    *,
    features: dict[str, str] | None = None,
    speedup: float = 1.5,
    **stated: Any,
) -> MeasuredCase:
    """A case of which only the side after has features."""
    sides = (row(**{**stated, **(before or {})}), row(**{**stated, **(after or {})}))
    return MeasuredCase(
        "a case",
        CaseSide(sides[0]),
        CaseSide(sides[1], features or {}),
        speedup,
        "a technique",
        CaseClass.MECHANISM,
    )


def answer(asked: MeasuredCase) -> CasePrediction:
    (found,) = predict_cases([asked], NAMES, builtin_engines(), PROFILES)
    return found


def speedup(asked: MeasuredCase) -> float:
    found = answer(asked)
    assert found.interval is not None, found.unanswered_reason
    return found.interval.speedup


@pytest.mark.parametrize(
    ("features", "why"),
    [
        pytest.param({"magic": "on"}, "magic=on is not a feature", id="unknown feature"),
        pytest.param({"prefix_hit_rate": "often"}, "often is not a number", id="no number"),
        pytest.param({"kv_location": "moon"}, "moon is none of device, host", id="no such choice"),
        pytest.param({"draft_model": "nobody/none"}, "draft_model: model_id: no model", id="unknown draft"),
        pytest.param({"speculation": "ngram"}, "acceptance_rate is not stated", id="lookup without a rate"),
        pytest.param({"speculation": "psychic"}, "psychic is none of eagle", id="unknown speculation"),
        pytest.param(
            {"draft_model": LLAMA, "draft_weight_dtype": "int3"}, "int3 is not a format", id="draft format"
        ),
    ],
)
def test_a_feature_that_is_not_simulated_leaves_the_case_without_an_answer(
    features: dict[str, str], why: str
) -> None:
    found = answer(case(**DECODE, features=features))
    assert found.interval is None
    assert why in found.unanswered_reason


def test_the_speedup_is_the_quotient_of_both_sides() -> None:
    before, after = predicted([question(**DECODE), question(**DECODE, **W4)], PROFILES).tolist()
    assert speedup(case(after=W4, **DECODE)) == pytest.approx(after / before)
    ttft = {**PREFILL, "batch": 1}
    before, after = predicted([question(**ttft), question(**ttft, tp=2)], PROFILES).tolist()
    assert speedup(case(after={"tp": 2}, **ttft)) == pytest.approx(before / after)


def test_what_is_not_stated_is_assumed_and_told() -> None:
    found = answer(case(**{**DECODE, "isl": None, "osl": None}, features={"speculation": "eagle-3"}))
    assert found.interval is not None
    assert found.interval.speedup > 1
    told = " ".join(found.assumptions)
    for text in ("isl is not stated: 512", "draft_tokens is not stated: 4", "acceptance_rate is not stated"):
        assert text in told


@pytest.mark.parametrize(
    ("features", "stated", "better"),
    [
        pytest.param({"prefix_hit_rate": "0.9"}, PREFILL, True, id="cached prompts are not computed"),
        pytest.param({"flash_attention": "off"}, {**PREFILL, "isl": 8192}, False, id="scores are written"),
        pytest.param({"kv_location": "host"}, DECODE, False, id="keys come over the link"),
        pytest.param({"chunked_prefill": "on"}, {**PREFILL, "isl": 8192}, False, id="weights are read again"),
        pytest.param({"dataset": "mt-bench"}, DECODE, None, id="a data set changes nothing"),
    ],
)
def test_features_do_what_they_do(
    features: dict[str, str], stated: dict[str, Any], better: bool | None
) -> None:
    found = speedup(case(**{"batch": 1, **stated}, features=features))
    assert found == 1 if better is None else (found > 1) is better


def test_a_draft_in_fewer_bits_costs_less() -> None:
    draft = {"draft_model": LLAMA, "draft_tokens": "4"}
    large = {**DECODE, "model_id": "meta-llama/Meta-Llama-3.1-70B", "tp": 4}
    assert speedup(case(**large, features={**draft, "draft_weight_dtype": "int4"})) > speedup(
        case(**large, features=draft)
    )


def test_another_engine_or_model_of_a_side_counts() -> None:
    assert speedup(case(**DECODE, features={"engine": "transformers"})) != 1
    assert speedup(case(**DECODE, features={"model": "meta-llama/Meta-Llama-3.1-70B"})) < 1


def test_intervals_are_wider_where_something_is_assumed() -> None:
    formats = answer(case(after=W4, **DECODE)).interval
    drafts = answer(case(**DECODE, features={"speculation": "eagle"})).interval
    assert formats is not None
    assert drafts is not None
    assert formats.low < formats.speedup < formats.high
    assert SPREAD_OF_ASSUMED > SPREAD
    assert drafts.high / drafts.low > formats.high / formats.low


def test_verdicts_are_those_of_the_advisor() -> None:
    assert answer(case(after=W4, **DECODE)).verdict is Verdict.APPLY
    assert answer(case(**DECODE, features={"kv_location": "host"})).verdict is Verdict.HARMFUL
    assert answer(case(**DECODE)).verdict is Verdict.NO_GAIN


def test_directions_harms_and_sizes_are_counted() -> None:
    helped = answer(case(after=W4, **DECODE, speedup=2.0))
    missed = answer(case(after=W4, **DECODE, speedup=0.5))
    foreseen = answer(case(**DECODE, features={"kv_location": "host"}, speedup=0.6))
    silent = replace(helped, interval=None)
    found = summarise_cases([helped, missed, foreseen, silent])
    assert (found.cases, found.answered, found.effects, found.harms) == (4, 3, 3, 2)
    assert found.right_sign_share == pytest.approx(2 / 3)
    assert found.foreseen_harm_share == 0.5
    assert found.counts[Change.HURTS, Change.HELPS] == 1
    assert [summary.group for summary in by_technique([helped])] == ["a technique"]


def test_a_summary_of_nothing_has_no_shares() -> None:
    found = summarise_cases([replace(answer(case(**DECODE)), interval=None)])
    assert (found.cases, found.answered, found.median_error) == (1, 0, 0.0)
