"""Fits constants of efficiency profiles to measured rows, by asking the estimator itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.calibration.predictions import figures, simulated
from ridgeline_server.calibration.questions import MeasuredQuestion
from ridgeline_server.domain.efficiency import EfficiencyProfile, Estimate, FurtherConstant, ProfileSet
from ridgeline_server.domain.patience import while_wanted
from ridgeline_server.roofline.scenario import Variant

Array = NDArray[np.float64]

LOSS_SCALE = 0.1
"""Log error from which a row pulls with its sign alone, so that rows of another kind decide nothing."""
ROUNDS = 6
STEP = 0.02
"""Change of the logarithm of a constant by which the estimator's slope is taken."""
LONGEST_STEP = 0.7
"""How far a round moves the logarithm of a constant."""
CONVERGED = 1e-3
MAX_DAMPING = 1e6


@dataclass(frozen=True)
class Knob:
    """One constant that is fitted, by its name, in the profiles with these ids, which share it; `spread` is
    how far its logarithm lies from today's value of the first before any row is seen (one standard
    deviation), `low` and `high` what it may be.
    """

    profile_ids: tuple[str, ...]
    constant: str
    spread: float = 1.0
    low: float = 1e-6
    high: float = 1e9


@dataclass(frozen=True)
class Fit:
    """Profiles after a fit, the values of the knobs, and the median of |predicted / measured - 1| before and
    after it.
    """

    profiles: ProfileSet
    values: tuple[float, ...]
    before: float
    after: float


def predicted(questions: Sequence[MeasuredQuestion], profiles: ProfileSet) -> Array:
    """What each question's metric is predicted to be, shape (Q,)."""
    simulations = simulated(questions, profiles, (Variant.BEST,))
    pairs = while_wanted(zip(questions, simulations, strict=True))
    return np.array([figures(question, simulation)[0] for question, simulation in pairs])


def measured(questions: Iterable[MeasuredQuestion]) -> Array:
    """What was measured, shape (Q,)."""
    return np.array([question.measurement.value for question in questions])


def weights(questions: Sequence[MeasuredQuestion]) -> Array:
    """How much each row counts: a setting that was measured in n rows counts as the root of n, shape (Q,)."""
    settings = [setting_key(question) for question in questions]
    number = Counter(settings)
    return np.array([number[setting] ** -0.5 for setting in settings])


def setting_key(question: MeasuredQuestion) -> tuple[str, ...]:
    """Device, engine, model and formats of a row, which share what is off."""
    row = question.measurement
    return row.hardware_id, row.engine, row.model_id, row.weight_dtype, row.act_dtype


def fit(
    questions: Sequence[MeasuredQuestion],
    profiles: ProfileSet,
    knobs: Sequence[Knob],
    *,
    rounds: int = ROUNDS,
    touched: Sequence[NDArray[np.intp]] | None = None,
) -> Fit:
    """Moves constants so that the estimator comes nearest to the rows.

    Minimises the sum over rows of a pseudo-Huber loss of log(predicted / measured), and of the squares of how
    far constants move in units of their spreads: few rows so move what they tell most about, and not far. A
    damped Gauss-Newton on logarithms, with slopes that the estimator gives. `touched` are for each knob the
    places of the rows that it changes, so that no others are asked about again; all unless stated.
    """
    target, weight = np.log(measured(questions)), weights(questions)
    by_id = {profile.id: profile for profile in profiles.profiles}
    prior = np.log([max(value_of(by_id[k.profile_ids[0]], k.constant), k.low) for k in knobs])
    spread = np.array([knob.spread for knob in knobs])
    lowest, highest = np.log([k.low for k in knobs]), np.log([k.high for k in knobs])

    places = touched or [np.arange(len(questions))] * len(knobs)

    def error(point: Array, rows: NDArray[np.intp] | None = None) -> Array:
        moved = with_values(profiles, knobs, np.exp(point))
        if rows is None:
            return np.log(predicted(questions, moved)) - target
        asked = [questions[row] for row in rows]
        return np.log(predicted(asked, moved)) - target[rows]

    def slope_of(knob: int, point: Array, errors: Array) -> Array:
        found, rows = np.zeros(len(questions)), places[knob]
        if len(rows):
            found[rows] = (error(point + np.eye(len(knobs))[knob] * STEP, rows) - errors[rows]) / STEP
        return found

    def loss(point: Array, errors: Array) -> float:
        far = np.sqrt(1 + (errors / LOSS_SCALE) ** 2) - 1
        pulled = ((point - prior) / spread) ** 2
        return LOSS_SCALE**2 * float((weight * far).sum() + pulled.sum() / 2)

    point, damping = np.clip(prior, lowest, highest), 1e-2
    errors = error(point)
    start, now = errors, loss(point, errors)
    for _ in range(rounds):
        slope = np.stack([slope_of(knob, point, errors) for knob in range(len(knobs))], axis=1)
        pull = weight / np.sqrt(1 + (errors / LOSS_SCALE) ** 2)
        held = LOSS_SCALE**2 / spread**2
        normal = slope.T @ (slope * pull[:, None]) + np.diag(held)
        gradient = slope.T @ (pull * errors) + held * (point - prior)
        gained = 0.0
        while damping < MAX_DAMPING:
            move = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -gradient)
            tried = np.clip(point + np.clip(move, -LONGEST_STEP, LONGEST_STEP), lowest, highest)
            found = error(tried)
            cost = loss(tried, found)
            if cost < now:
                gained, point, errors, now, damping = now - cost, tried, found, cost, damping / 3
                break
            damping *= 4
        if gained <= CONVERGED * now:
            break
    return Fit(
        with_values(profiles, knobs, np.exp(point)),
        tuple(np.exp(point).tolist()),
        float(np.median(np.abs(np.expm1(start)))),
        float(np.median(np.abs(np.expm1(errors)))),
    )


def value_of(profile: EfficiencyProfile, constant: str) -> float:
    """The value of a profile's constant by its name, a further one or one of all classes."""
    if constant in FurtherConstant.__members__.values():
        return profile.constant(FurtherConstant(constant)).value
    estimate: Estimate = getattr(profile, constant)
    return estimate.value


def with_values(profiles: ProfileSet, knobs: Sequence[Knob], values: Iterable[float]) -> ProfileSet:
    """Profiles with other values of constants, whose ranges move along."""
    changes: dict[str, list[tuple[str, float]]] = {}
    for knob, value in zip(knobs, values, strict=True):
        for profile_id in knob.profile_ids:
            changes.setdefault(profile_id, []).append((knob.constant, value))
    return ProfileSet(
        _changed(profile, changes[profile.id]) if profile.id in changes else profile
        for profile in profiles.profiles
    )


def _changed(profile: EfficiencyProfile, changes: Iterable[tuple[str, float]]) -> EfficiencyProfile:
    further = dict(profile.further)
    common: dict[str, Estimate] = {}
    for name, value in changes:
        if name in FurtherConstant.__members__.values():
            further[FurtherConstant(name)] = _moved(profile.constant(FurtherConstant(name)), value)
        else:
            common[name] = _moved(getattr(profile, name), value)
    return replace(profile, further=further, **common)  # type: ignore[arg-type]


def _moved(estimate: Estimate, value: float) -> Estimate:
    """An estimate of another value with the same relative range."""
    if not estimate.value:
        return Estimate(value, value, value)
    return Estimate(value, *(value * end / estimate.value for end in (estimate.low, estimate.high)))
