"""Corrections by measured rows: the same numbers by the plain formulas, and what a row says of others."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from ridgeline_server.calibration.correction import (
    COVERED_DEVIATIONS,
    SPREADS,
    Corrections,
    correct,
    spread_of,
    without_calibrated,
)
from ridgeline_server.calibration.fitting import predicted
from ridgeline_server.calibration.predictions import WIDEST_ANSWER, WIDEST_RANGE
from ridgeline_server.calibration.questions import MeasuredQuestion, question_of
from ridgeline_server.calibration.ranges import WIDEST
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
    ProfileSet,
)
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.measurement import MeasuredMetric, Measurement, Phase
from ridgeline_server.domain.model import Model
from ridgeline_server.store.builtin import BuiltinCatalog, read_builtin_catalog
from ridgeline_server.store.engines import builtin_engines

SPREAD = SPREADS[OperatorClass.DECODE_TIME]
SMALL, LARGE = "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-14B"


@cache
def catalog() -> BuiltinCatalog:
    return read_builtin_catalog()


@cache
def profiles() -> ProfileSet:
    return ProfileSet(entry.profile for entry in catalog().profiles)


class Shipped:
    """Names of the catalog that ships."""

    def model(self, name: str) -> Model:
        return next(entry.model for entry in catalog().models if entry.id == name)

    def hardware(self, name: str) -> Hardware:
        return next(entry.hardware for entry in catalog().hardware if entry.id == name)


def question(factor: float, **changes: object) -> MeasuredQuestion:
    """A closed loop's time per token, `factor` times what is predicted of it."""
    row = Measurement(
        id="m",
        engine="vllm",
        engine_version="0.19.0",
        model_id=SMALL,
        hardware_id="h100-sxm",
        phase=Phase.CLOSED_LOOP,
        isl=1024,
        osl=128,
        concurrency=16,
        metric=MeasuredMetric.TPOT_MS,
        value=1.0,
    )
    row = replace(row, **changes)  # type: ignore[arg-type]  # named by the tests
    asked = question_of(row, Shipped(), builtin_engines())
    (value,) = predicted([asked], profiles())
    return replace(asked, measurement=replace(row, value=float(value * factor)))


QUESTIONS = (
    question(1.4),
    question(1.3, concurrency=64),
    question(1.1, model_id=LARGE),
    question(0.9, engine="sglang", engine_version=""),
    question(0.8, hardware_id="a100-sxm-80gb"),
)
SHARES = np.array(
    [
        [4, 4, 2, 1, 0],
        [4, 4, 2, 1, 0],
        [2, 2, 4, 1, 0],
        [1, 1, 1, 4, 0],
        [0, 0, 0, 0, 4],
    ]
)
"""How far each pair of them is alike: not, in the device, in its engine too, in all."""


def dense() -> NDArray[np.float64]:
    """The covariance of the rows, written out."""
    spread = spread_of(OperatorClass.DECODE_TIME, profiles(), "h100-sxm", ("vllm", "sglang"))
    device, engine, setting = spread.device**2, spread.engine**2, spread.setting**2
    of = {0: 0.0, 1: device, 2: device + engine, 4: device + engine + setting}
    shared = np.array([[of[int(depth)] for depth in line] for line in SHARES])
    return shared + SPREAD.row**2 * np.eye(len(QUESTIONS))


@cache
def corrected() -> Corrections:
    return correct(QUESTIONS, profiles())


def test_each_row_is_predicted_by_the_rows_without_it() -> None:
    covariance = dense()
    logs = np.log([q.measurement.value for q in QUESTIONS] / corrected().before)
    for left in range(len(QUESTIONS)):
        others = [place for place in range(len(QUESTIONS)) if place != left]
        weights = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, left])
        assert np.log(corrected().after[left] / corrected().before[left]) == pytest.approx(
            float(weights @ logs[others]), abs=1e-9
        )
        variance = covariance[left, left] - weights @ covariance[others, left]
        if SHARES[left, others].any():
            reach = np.exp(COVERED_DEVIATIONS * np.sqrt(variance))
            assert corrected().reach[left] == pytest.approx(reach)
        else:
            assert np.isnan(corrected().reach[left])


def factor_of(found: Corrections, **wanted: str) -> float:
    """The factor of the one profile with these fields; those that are not named are empty."""
    fields = {"hardware_id": "h100-sxm", "engine": "", "model_id": ""} | wanted
    (profile,) = (
        p for p in found.profiles if all(getattr(p, name) == value for name, value in fields.items())
    )
    return profile.constant(FurtherConstant.TIME_FACTOR).value


def test_factors_shrink_from_the_setting_to_the_device() -> None:
    found = correct([question(1.4)], profiles())
    setting = factor_of(found, engine="vllm", model_id=SMALL)
    engine, device = factor_of(found, engine="vllm"), factor_of(found)
    assert 1 < device < engine < setting < 1.4
    assert np.log(setting) > np.log(1.4) / 2


def test_a_row_says_the_more_the_less_is_known_of_its_engine_on_its_device() -> None:
    """What is off of an engine that nobody measured there is the engine's own, and not the row's."""
    known = correct([question(1.4)], profiles())
    unknown = correct([question(1.4, hardware_id="mi300x", engine="tgi", engine_version="")], profiles())
    there = {"hardware_id": "mi300x", "engine": "tgi"}
    assert (
        factor_of(unknown, model_id=SMALL, **there) > factor_of(known, engine="vllm", model_id=SMALL) + 0.05
    )
    assert factor_of(unknown, **there) > factor_of(known, engine="vllm") + 0.05


def test_more_rows_of_a_setting_are_followed_nearer_and_with_less_doubt() -> None:
    one = correct([question(1.4)], profiles())
    many = correct([question(1.4, concurrency=n) for n in (1, 2, 4, 8, 16)], profiles())
    chosen = {"engine": "vllm", "model_id": SMALL}
    assert factor_of(one, **chosen) < factor_of(many, **chosen) < 1.4
    ranges = []
    for found in (one, many):
        (profile,) = (p for p in found.profiles if p.model_id)
        estimate = profile.constant(FurtherConstant.TIME_FACTOR)
        ranges.append(estimate.high / estimate.low)
    assert ranges[1] < ranges[0]


def test_a_rate_that_is_too_low_is_a_time_that_is_too_long() -> None:
    rate = question(1 / 1.4, metric=MeasuredMetric.OUTPUT_TOK_S_TOTAL)
    found = correct([rate], profiles())
    assert factor_of(found, engine="vllm", model_id=SMALL) > 1.15


def test_profiles_of_earlier_rows_do_not_count() -> None:
    made = corrected().profiles
    assert all(profile.is_calibrated for profile in made)
    grown = ProfileSet((*profiles().profiles, *made))
    assert without_calibrated(grown).profiles == profiles().profiles
    again = correct(QUESTIONS, without_calibrated(grown))
    assert again.profiles == made
    assert np.array_equal(again.before, corrected().before)


def test_an_alias_of_the_device_is_the_device() -> None:
    asked = question(1.4)
    aliased = replace(asked, measurement=replace(asked.measurement, hardware_id="H100"))
    assert factor_of(correct([aliased], profiles()), engine="vllm") > 1


def width(estimate: Estimate) -> float:
    return estimate.high / estimate.low


def time_factor(profile: EfficiencyProfile) -> Estimate:
    return profile.constant(FurtherConstant.TIME_FACTOR)


TTFT: dict[str, object] = {"metric": MeasuredMetric.TTFT_MS}
EXPERTS: dict[str, object] = {"model_id": "openai/gpt-oss-20b"}


@pytest.mark.parametrize("load", [{}, TTFT, EXPERTS, EXPERTS | TTFT], ids=["tpot", "ttft", "moe", "moe ttft"])
def test_no_range_is_too_wide_for_an_answer_and_all_hold_their_value(load: dict[str, object]) -> None:
    made = correct([question(1.4, **load)], profiles()).profiles
    assert len(made) == 3
    for estimate in map(time_factor, made):
        assert width(estimate) <= WIDEST_RANGE * (1 + 1e-9) < WIDEST_ANSWER
        assert estimate.low < estimate.value < estimate.high


def test_the_widest_range_is_that_of_shipped_times() -> None:
    assert WIDEST_RANGE == WIDEST


@pytest.mark.parametrize("load", [{}, TTFT, EXPERTS, EXPERTS | TTFT], ids=["tpot", "ttft", "moe", "moe ttft"])
def test_a_row_of_one_engine_makes_what_is_said_of_others_no_surer(load: dict[str, object]) -> None:
    made = correct([question(1.4, **load, engine="sglang", engine_version="")], profiles()).profiles
    (operator_class,) = {profile.operator_class for profile in made}
    grown = ProfileSet((*profiles().profiles, *made))
    for engine, version in (("vllm", "0.19.0"), ("vllm", "0.5"), ("tensorrt-llm", "1.2"), ("lmdeploy", "")):
        before, after = (
            known.find(known.setting("h100-sxm", engine, version), operator_class)
            for known in (profiles(), grown)
        )
        assert before is not None
        assert after is not None
        assert not before.profile.is_calibrated
        assert after.profile.is_calibrated
        was, now = time_factor(before.profile), time_factor(after.profile)
        assert width(now) >= min(width(was), WIDEST_RANGE) * (1 - 1e-9)


def test_an_engine_s_range_of_other_models_holds_the_one_without_rows() -> None:
    found = correct([question(1.4)], profiles())
    (made,) = (p for p in found.profiles if p.engine and not p.model_id)
    before = profiles().find(profiles().setting("h100-sxm", "vllm", "0.19.0"), OperatorClass.DECODE_TIME)
    assert before is not None
    was, now = time_factor(before.profile), time_factor(made)
    assert now.low / now.value <= was.low / was.value
    assert now.high / now.value >= was.high / was.value


def test_a_setting_s_range_is_its_own_however_wide_its_neighbours_are() -> None:
    found = correct([question(1.4)], profiles())
    setting, *wider = sorted(found.profiles, key=lambda p: (not p.model_id, not p.engine))
    assert all(width(time_factor(setting)) < width(time_factor(other)) for other in wider)
