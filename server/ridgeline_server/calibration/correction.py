"""What measured rows say of a setting and its neighbours: factors on predicted times, shrunk by evidence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.calibration.fitting import measured, predicted
from ridgeline_server.calibration.questions import MeasuredQuestion
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import (
    CALIBRATED,
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
    ProfileSet,
)
from ridgeline_server.domain.measurement import MeasuredMetric, Phase
from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.constants import OF_EXPERTS

Array = NDArray[np.float64]

COVERED_DEVIATIONS = 1.2816
"""Standard deviations on both sides of a normal mean that hold 80%."""


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

    def covariance(self, one: tuple[str, ...], other: tuple[str, ...]) -> float:
        """What two settings share."""
        alike = 0
        for mine, theirs in zip(one, other, strict=True):
            if mine != theirs:
                break
            alike += 1
        parts = (self.device**2, self.engine**2, 0.0, self.setting**2)
        return sum(parts[:alike])

    def covariances(self, settings: Sequence[tuple[str, ...]]) -> Array:
        """What each of N settings shares with each, shape (N, N)."""
        shared = np.zeros((len(settings), len(settings)))
        alike = np.ones(shared.shape, dtype=bool)
        parts = (self.device**2, self.engine**2, 0.0, self.setting**2)
        for column, part in zip(zip(*settings, strict=True), parts, strict=True):
            _, codes = np.unique(np.array(column), return_inverse=True)
            alike &= codes[:, None] == codes[None, :]
            shared += part * alike
        return shared


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


_RATES = (
    MeasuredMetric.OUTPUT_TOK_S_TOTAL,
    MeasuredMetric.OUTPUT_TOK_S_PER_GPU,
    MeasuredMetric.TOTAL_TOK_S,
)


@dataclass(frozen=True)
class Corrections:
    """Profiles that measured rows make, and the rows' predictions without and with the other rows.

    `before` and `after` have one entry for each question: what is predicted without any factor, and with
    those of all rows but the row itself, in the row's own unit. `reach` is the factor on both sides of
    `after` that holds 80%; NaN where no other row tells about the time of this one.
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
    sign = np.array([-1.0 if q.measurement.metric in _RATES else 1.0 for q in questions])
    after, reach = before.copy(), np.full(len(questions), np.nan)
    made: list[EfficiencyProfile] = []
    for operator_class, spread in SPREADS.items():
        rows = [i for i, q in enumerate(questions) if class_of(q) is operator_class]
        if not rows:
            continue
        mine = [questions[i] for i in rows]
        learnt = _Learnt.of([_key(question) for question in mine], sign[rows] * residual[rows], spread)
        after[rows] = before[rows] * np.exp(sign[rows] * learnt.left_out)
        reach[rows] = np.exp(COVERED_DEVIATIONS * learnt.left_out_deviation)
        made += _profiles(operator_class, spread, learnt, profiles, mine)
    return Corrections(tuple(made), before, after, reach)


def without_calibrated(profiles: ProfileSet) -> ProfileSet:
    """The profiles that hold without any measured row of the user's."""
    return ProfileSet(p for p in profiles.profiles if not p.is_calibrated)


Key = tuple[str, str, str, str]


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
        shared = spread.covariances(settings)
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
    """Device, engine, model and formats."""
    formats = f"{question.deployment.gemm_dtype} {question.deployment.weight_dtype}"
    return question.hardware.id, question.measurement.engine.lower(), question.model.id, formats


def _profiles(
    operator_class: OperatorClass,
    spread: Spread,
    learnt: _Learnt,
    bare: ProfileSet,
    questions: Sequence[MeasuredQuestion],
) -> Iterator[EfficiencyProfile]:
    keys, inverse, weighed = learnt.keys, learnt.inverse, learnt.weighed
    levels = {key[:depth] + ("",) * (4 - depth) for key in keys for depth in (1, 2, 4)}
    formats: dict[tuple[str, ...], tuple[Dtype, Dtype]] = {
        _key(q): (q.deployment.gemm_dtype, q.deployment.weight_dtype) for q in questions
    }
    for target in sorted(levels):
        hardware_id, engine, model_id, stated = target
        depth = 4 if stated else 2 if engine else 1
        shares = spread.covariance if stated else partial(_above, spread, depth)
        toward = np.array([shares(target, key) for key in keys])
        own = sum((spread.device**2, spread.engine**2, 0.0, spread.setting**2)[:depth])
        mean = float(toward @ weighed)
        # What is still open of this level, what lies below it, and single rows.
        open_variance = own - float(toward @ inverse @ toward)
        below = sum((spread.engine**2, spread.setting**2)[0 if depth == 1 else 1 : 2]) if depth < 4 else 0.0
        deviation = float(np.sqrt(max(open_variance, 0.0) + below + spread.row**2))
        count = sum(
            int(n) for n, key in zip(learnt.counts, keys, strict=True) if key[:depth] == target[:depth]
        )
        dtype, weight_dtype = formats[target] if stated else (None, None)
        base = _base(bare, operator_class, hardware_id, engine, dtype, weight_dtype)
        value = base * float(np.exp(mean))
        reach = float(np.exp(COVERED_DEVIATIONS * deviation))
        yield EfficiencyProfile(
            id=_profile_id(operator_class, target),
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
            further={FurtherConstant.TIME_FACTOR: Estimate(value, value / reach, value * reach)},
        )


def _above(spread: Spread, depth: int, target: tuple[str, ...], key: tuple[str, ...]) -> float:
    """What a level over settings shares with a row: nothing but the level itself and those over it."""
    if key[:1] != target[:1]:
        return 0.0
    if depth == 1 or key[1] != target[1]:
        return spread.device**2
    return spread.device**2 + spread.engine**2


def _base(
    bare: ProfileSet,
    operator_class: OperatorClass,
    hardware_id: str,
    engine: str,
    dtype: Dtype | None,
    weight_dtype: Dtype | None,
) -> float:
    """The factor that holds without any measured row."""
    found = bare.find(bare.setting(hardware_id, engine), operator_class, dtype, weight_dtype)
    return 1.0 if found is None else found.profile.constant(FurtherConstant.TIME_FACTOR).value


def _profile_id(operator_class: OperatorClass, target: tuple[str, ...]) -> str:
    """A slug that is the same whenever it is made for the same setting."""
    hardware_id, engine, model_id, stated = target
    words = [operator_class.replace("_", "-"), hardware_id, re.sub("[^a-z0-9]+", "-", engine).strip("-")]
    if stated:
        words.append(sha256(f"{model_id} {stated}".encode()).hexdigest()[:12])
    return CALIBRATED + "-".join(filter(None, words))
