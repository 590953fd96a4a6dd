"""What measured rows say of a setting and its neighbours: factors on predicted times, shrunk by evidence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from hashlib import sha256
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.calibration.fitting import measured, predicted
from ridgeline_server.calibration.predictions import WIDEST_RANGE
from ridgeline_server.calibration.questions import MeasuredQuestion
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import (
    CALIBRATED,
    NEUTRAL,
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
    ProfileSet,
    Setting,
)
from ridgeline_server.domain.measurement import MeasuredMetric, Phase
from ridgeline_server.domain.patience import while_wanted
from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.constants import OF_EXPERTS

Array = NDArray[np.float64]

COVERED_DEVIATIONS = 1.2816
"""Standard deviations on both sides of a normal mean that hold 80%."""
FARTHEST = WIDEST_RANGE**0.5
"""The largest factor on both sides of a value: what is wider would say nothing."""
NO_FACTOR = NEUTRAL[FurtherConstant.TIME_FACTOR]


class Level(IntEnum):
    """What rows share, from the widest to the narrowest; each holds the ones before it. Its value is how many
    names of a `Key` tell it.
    """

    DEVICE = 1
    ENGINE = 2
    SETTING = 3


Key: TypeAlias = tuple[str, ...]
"""The names of a device, an engine on it, and a model in its formats: of a setting all of them, of a wider
level the first.
"""


@dataclass(frozen=True)
class Spread:
    """Standard deviations of log(measured / predicted) of a class of times: what all rows of a device share,
    beyond it those of a device and engine, beyond that those of a setting (model and formats too), and what
    is left between rows of one setting. docs/accuracy.md has the rows that they are estimated from.
    """

    device: float
    engine: float
    setting: float
    row: float

    def variance(self, level: Level) -> float:
        """What the rows of a level share beyond those of the level before."""
        return {Level.DEVICE: self.device, Level.ENGINE: self.engine, Level.SETTING: self.setting}[level] ** 2

    def shared(self, some: Sequence[Key], others: Sequence[Key]) -> Array:
        """Covariances of N places with M others, shape (N, M): what they share on each level that both have
        and on which they are the same.
        """
        found = np.zeros((len(some), len(others)))
        for level in Level:
            numbers = {key[:level]: number for number, key in enumerate((*some, *others))}
            mine, theirs = (
                np.array([numbers[key[:level]] if len(key) >= level else missing for key in keys])
                for keys, missing in ((some, -1), (others, -2))
            )
            found += self.variance(level) * (mine[:, None] == theirs[None, :])
        return found


SPREADS = {
    OperatorClass.DECODE_TIME: Spread(device=0.05, engine=0.05, setting=0.08, row=0.1),
    OperatorClass.PREFILL_TIME: Spread(device=0.25, engine=0.25, setting=0.33, row=0.25),
    OperatorClass.FIRST_TOKEN_TIME: Spread(device=0.1, engine=0.1, setting=0.23, row=0.38),
    OperatorClass.EXPERT_DECODE_TIME: Spread(device=0.07, engine=0.07, setting=0.13, row=0.17),
    OperatorClass.EXPERT_PREFILL_TIME: Spread(device=0.25, engine=0.25, setting=0.33, row=0.25),
    OperatorClass.EXPERT_FIRST_TOKEN_TIME: Spread(device=0.12, engine=0.15, setting=0.3, row=0.44),
}
"""Of rows on devices left out, 1.48 times median absolute deviations: of all rows of a class, and of pairs of
one setting. How what a setting shares divides among device, engine and model is an assumption.
"""

_LATENCIES = {
    MeasuredMetric.TPOT_MS: OperatorClass.DECODE_TIME,
    MeasuredMetric.ITL_MS: OperatorClass.DECODE_TIME,
    MeasuredMetric.DECODE_STEP_MS: OperatorClass.DECODE_TIME,
    MeasuredMetric.PREFILL_MS: OperatorClass.PREFILL_TIME,
}


def class_of(question: MeasuredQuestion) -> OperatorClass | None:
    """The times that a row tells about, those of models with experts apart; None for memory. Of whole
    requests that is decode, which takes most of them.
    """
    found = _class_of(question)
    return found if found is None or question.model.experts is None else OF_EXPERTS[found]


def _class_of(question: MeasuredQuestion) -> OperatorClass | None:
    row = question.measurement
    if row.metric is MeasuredMetric.MEMORY_GIB or row.phase is Phase.MEMORY:
        return None
    if row.metric is MeasuredMetric.TTFT_MS:
        closed = question.workload.load is Load.CLOSED_LOOP
        return OperatorClass.FIRST_TOKEN_TIME if closed else OperatorClass.PREFILL_TIME
    if row.phase is Phase.PREFILL:
        return OperatorClass.PREFILL_TIME
    return _LATENCIES.get(row.metric, OperatorClass.DECODE_TIME)


@dataclass(frozen=True)
class Corrections:
    """Profiles that measured rows make, and the rows' predictions without and with the other rows.

    `before` and `after` have one entry for each question: what is predicted without any factor, and with
    those of all rows but the row itself, in the row's own unit. `reach` is the factor on both sides of
    `after` that holds 80%, or the largest that a range may have; NaN where no other row tells about the time
    of this one.
    """

    profiles: tuple[EfficiencyProfile, ...]
    before: Array
    after: Array
    reach: Array


def correct(questions: Sequence[MeasuredQuestion], profiles: ProfileSet) -> Corrections:
    """The factors that rows of known settings say, for their settings, their devices and engines, and their
    devices.

    With K the covariance of what rows share by `Spread` and s that of single rows, the best linear prediction
    of a setting's log factor from the rows' residuals r is k' (K + s^2 I)^-1 r: the mean of its own rows,
    drawn to what is known of its neighbours the more, the fewer they are. `profiles` hold no factors of
    earlier rows of the user's (`without_calibrated`), which would count twice.
    """
    before = predicted(questions, profiles)
    residual = np.log(measured(questions) / before)
    # A rate that is too high is a time that is too short.
    sign = np.array([-1.0 if q.measurement.metric.is_rate else 1.0 for q in questions])
    after, reach = before.copy(), np.full(len(questions), np.nan)
    made: list[EfficiencyProfile] = []
    places: dict[tuple[OperatorClass, str], list[int]] = {}
    for index, question in while_wanted(enumerate(questions)):
        told = class_of(question)
        if told is not None:
            places.setdefault((told, question.hardware.id), []).append(index)
    # Devices share nothing, and what is known of each before any row is its own.
    for (operator_class, hardware_id), rows in while_wanted(places.items()):
        mine = [questions[i] for i in rows]
        engines = {question.measurement.engine.lower() for question in mine}
        spread = spread_of(operator_class, profiles, hardware_id, engines)
        learnt = _Learnt.of([_key(question) for question in mine], sign[rows] * residual[rows], spread)
        after[rows] = before[rows] * np.exp(sign[rows] * learnt.left_out)
        reach[rows] = np.minimum(np.exp(COVERED_DEVIATIONS * learnt.left_out_deviation), FARTHEST)
        made += _profiles(operator_class, spread, learnt, profiles, mine)
    return Corrections(tuple(made), before, after, reach)


def spread_of(
    operator_class: OperatorClass, bare: ProfileSet, hardware_id: str, engines: Iterable[str]
) -> Spread:
    """How far times of a device are off before any row is seen: as far as the ranges that hold for it say.
    Where its engines were not measured on it they are wide, and rows say the more of each engine.
    """
    spread = SPREADS[operator_class]
    ranges = [_time_factor(bare, bare.setting(hardware_id, engine), operator_class) for engine in engines]
    deviation = max(float(np.log(each.high / each.low)) for each in ranges) / (2 * COVERED_DEVIATIONS)
    known = sum(spread.variance(level) for level in Level) + spread.row**2
    return replace(spread, engine=float(np.sqrt(spread.engine**2 + max(deviation**2 - known, 0.0))))


def without_calibrated(profiles: ProfileSet) -> ProfileSet:
    """The profiles that hold without any measured row of the user's."""
    return ProfileSet(p for p in profiles.profiles if not p.is_calibrated)


@dataclass(frozen=True)
class _Learnt:
    """What N rows of G settings say.

    `inverse` (G, G) and `weighed` (G,) are of the settings' means, which say as much as their rows: with n
    rows, K + s^2 / n in place of K + s^2. `left_out` (N,) is each row's log factor without itself and
    `left_out_deviation` its standard deviation, NaN where no other row shares any of it.
    """

    keys: tuple[Key, ...]
    counts: NDArray[np.intp]
    inverse: Array
    weighed: Array
    left_out: Array
    left_out_deviation: Array

    @classmethod
    def of(cls, keys: Sequence[Key], factors: Array, spread: Spread) -> _Learnt:
        settings = tuple(dict.fromkeys(keys))
        places = {key: place for place, key in enumerate(settings)}
        mine = np.array([places[key] for key in keys])
        counts, noise = np.bincount(mine), spread.row**2
        means = np.bincount(mine, factors) / counts
        shared = spread.shared(settings, settings)
        inverse = np.asarray(np.linalg.inv(shared + np.diag(noise / counts)), dtype=np.float64)
        weighed = inverse @ means
        # Each row's prediction without itself, from the inverse of the whole (Rasmussen and Williams,
        # Gaussian Processes for Machine Learning, 2006, equation 5.12), whose diagonal follows from the
        # settings' by Woodbury's identity.
        left = np.diag(shared) - np.einsum("ij,jk,ki->i", shared, inverse, shared, optimize=True)
        diagonal = ((noise - left) / noise**2)[mine]
        left_out = factors - (factors - (shared @ weighed)[mine]) / noise / diagonal
        alone = (np.count_nonzero(shared, axis=1) == 1) & (counts == 1)
        deviation = np.where(alone[mine], np.nan, np.sqrt(1 / diagonal))
        return cls(settings, counts, inverse, weighed, left_out, deviation)


def _key(question: MeasuredQuestion) -> Key:
    deployment = question.deployment
    model = f"{question.model.id} {deployment.gemm_dtype} {deployment.weight_dtype}"
    return question.hardware.id, question.measurement.engine.lower(), model


def _profiles(
    operator_class: OperatorClass,
    spread: Spread,
    learnt: _Learnt,
    bare: ProfileSet,
    questions: Sequence[MeasuredQuestion],
) -> Iterator[EfficiencyProfile]:
    of_setting = {_key(question): question for question in questions}
    for level in Level:
        places = sorted({key[:level] for key in learnt.keys})
        toward = spread.shared(places, learnt.keys)
        means = toward @ learnt.weighed
        own = sum(spread.variance(each) for each in Level if each <= level)
        # What is still open of this level, what lies below it, and single rows.
        still_open = np.maximum(own - ((toward @ learnt.inverse) * toward).sum(axis=1), 0.0)
        below = sum(spread.variance(each) for each in Level if each > level)
        deviations = np.sqrt(still_open + below + spread.row**2)
        counts: Counter[Key] = Counter()
        for key, count in zip(learnt.keys, learnt.counts.tolist(), strict=True):
            counts[key[:level]] += count
        found = zip(places, means.tolist(), deviations.tolist(), strict=True)
        for place, mean, deviation in while_wanted(found):
            yield _profile(
                operator_class,
                place,
                float(np.exp(mean)),
                float(np.exp(COVERED_DEVIATIONS * deviation)),
                counts[place],
                bare,
                of_setting.get(place),
            )


def _profile(
    operator_class: OperatorClass,
    place: Key,
    factor: float,
    reach: float,
    count: int,
    bare: ProfileSet,
    question: MeasuredQuestion | None,
) -> EfficiencyProfile:
    """The profile of a place that `count` rows tell about. `factor` and `reach` are what its times are
    multiplied by beyond what holds without rows, and how far to both sides 80% lie; `question` is one of a
    setting.
    """
    hardware_id, engine = (*place, "")[:2]
    model_id = question.model.id if question is not None else ""
    dtype = question.deployment.gemm_dtype if question is not None else None
    weight_dtype = question.deployment.weight_dtype if question is not None else None
    base = _time_factor(bare, bare.setting(hardware_id, engine), operator_class, dtype, weight_dtype)
    low, high, width = 1 / reach, reach, 1.0
    if question is None:
        # A row says nothing sure of other models and engines: it moves them and makes none of them surer.
        low, high = min(low, base.low / base.value), max(high, base.high / base.value)
        width = max(each.high / each.low for each in _replaced(bare, operator_class, hardware_id, engine))
    share = np.log(min(max(high / low, width), WIDEST_RANGE)) / np.log(high / low)
    value = base.value * factor
    return EfficiencyProfile(
        id=_profile_id(operator_class, place),
        operator_class=operator_class,
        launch_time_us=Estimate(0.0, 0.0, 0.0),
        compute_efficiency=Estimate(1.0, 1.0, 1.0),
        memory_efficiency=Estimate(1.0, 1.0, 1.0),
        overlap_exponent=2.0,
        evidence_count=count,
        source=f"{count} measured row{'s' if count != 1 else ''} of "
        + ", ".join(filter(None, (model_id, hardware_id, engine)))
        + "; drawn to their neighbours by evidence",
        hardware_id=hardware_id,
        engine=engine,
        model_id=model_id,
        dtype=dtype,
        weight_dtype=weight_dtype,
        further={
            FurtherConstant.TIME_FACTOR: Estimate(
                value, float(value * low**share), float(value * high**share)
            )
        },
    )


def _time_factor(
    bare: ProfileSet,
    setting: Setting,
    operator_class: OperatorClass,
    dtype: Dtype | None = None,
    weight_dtype: Dtype | None = None,
) -> Estimate:
    """The factor that holds without any measured row."""
    found = bare.find(setting, operator_class, dtype, weight_dtype)
    return NO_FACTOR if found is None else found.profile.constant(FurtherConstant.TIME_FACTOR)


def _replaced(
    bare: ProfileSet, operator_class: OperatorClass, hardware_id: str, engine: str
) -> Iterator[Estimate]:
    """The factors of an engine's releases on a device, or of all engines' for no engine: a profile of the
    device alone holds in place of those, too, that no row of a device tells about.
    """
    for profile in bare.profiles:
        if profile.operator_class is operator_class and engine in ("", profile.engine):
            # The oldest release of all is before any that a profile names.
            asked = bare.setting(hardware_id, profile.engine, profile.since_version or "0")
            yield _time_factor(bare, asked, operator_class)
    yield _time_factor(bare, bare.setting(hardware_id, engine), operator_class)


def _profile_id(operator_class: OperatorClass, place: Key) -> str:
    """A slug that is the same whenever it is made for the same place."""
    hardware_id, engine, model = (*place, "", "")[:3]
    words = [operator_class.replace("_", "-"), hardware_id, re.sub("[^a-z0-9]+", "-", engine).strip("-")]
    if model:
        words.append(sha256(model.encode()).hexdigest()[:12])
    return CALIBRATED + "-".join(filter(None, words))
