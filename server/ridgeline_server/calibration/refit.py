"""Fits the constants of a device and engine to measured rows, where there are enough of them to tell.

A factor on whole times (`correction`) says that an engine is slower than predicted; it cannot say that it is
slow at one row of activations and not at many, or in one format. Copies of the profiles that the rows use
today, keyed to the device and the engine, can: their efficiencies and launches are fitted, and kept where
they predict rows that they have not seen better than factors alone do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.calibration.correction import class_of, correct
from ridgeline_server.calibration.engines import thinned
from ridgeline_server.calibration.fitting import LOSS_SCALE, Knob, fit, measured, predicted
from ridgeline_server.calibration.questions import MeasuredQuestion
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import (
    CALIBRATED,
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
    ProfileSet,
    Setting,
)
from ridgeline_server.domain.patience import while_wanted
from ridgeline_server.domain.workload import Load
from ridgeline_server.roofline.constants import setting_of
from ridgeline_server.roofline.operators.table import MODULES
from ridgeline_server.roofline.scenario import Scenario

Array = NDArray[np.float64]

LEAST_ROWS = 6
"""Rows of prefills and decode steps, decode steps among them, from which constants are fitted."""
ROWS_OF_SETTING = 6
"""Rows of a setting that a fit looks at."""
MOST_ROWS = 64
"""Rows in all that a fit looks at: with more it takes longer than a caller waits."""
ROUNDS = 5
SCOUTING_ROUNDS = 2
"""Rounds after which the start is chosen that has come nearest."""
FOLDS = 4
"""Parts that rows are left out by, at most."""


class Start(NamedTuple):
    """Where a fit begins: how the computing and the moving of products overlap (None: as in the profile
    today), and how many times today's a launch costs.
    """

    overlap_exponent: float | None
    launches: float


STARTS = tuple(Start(exponent, launches) for exponent in (None, 1.0) for launches in (1.0, 20.0))
"""On processors rates rise with the rows of activations well below the attained bandwidth (docs/probe.md),
as without overlap; engines that call each operation from Python pay tens of microseconds for it. A fit moves
towards neither by small steps.
"""

NOT_WORSE = 1.1
"""Loss of a regime's rows over that with factors alone up to which it is not worse."""

LEAST_EFFICIENCY = 1e-4
DECODES = frozenset({OperatorClass.DECODE_TIME, OperatorClass.EXPERT_DECODE_TIME})
PREFILLS = frozenset({OperatorClass.PREFILL_TIME, OperatorClass.EXPERT_PREFILL_TIME})
LAUNCHES = (FurtherConstant.GEMM_LAUNCH_TIME_US, FurtherConstant.ELEMENTWISE_LAUNCH_TIME_US)
STEPS = (OperatorClass.STEP, OperatorClass.EXPERT_STEP)
PRODUCTS = (OperatorClass.GEMM, OperatorClass.MOE)
TIMED_ALONE = Load.STATIC_BATCH


class Group(NamedTuple):
    """What constants are fitted for: a device, an engine, and the era of its releases."""

    hardware_id: str
    engine: str
    era: str


@dataclass(frozen=True)
class Refit:
    """What a fit of a device and engine is worth.

    `factors_error` and `refit_error` are median |predicted / measured - 1| of rows that were left out, by
    `split` (`model` or `rows`), with factors alone and with fitted constants and factors on top. `profiles`
    are the fitted ones, none where they would predict left-out rows worse; then `is_kept` is False. `places`
    are the rows' places among the questions, and `left_out` what is predicted of each by a fit without its
    part, in its own unit.
    """

    group: Group
    places: tuple[int, ...]
    split: str
    factors_error: float
    refit_error: float
    is_kept: bool
    profiles: tuple[EfficiencyProfile, ...]
    left_out: Array


def refit(questions: Sequence[MeasuredQuestion], profiles: ProfileSet) -> tuple[Refit, ...]:
    """One fit for each device and engine with rows enough. `profiles` hold nothing of earlier rows of the
    user's (`correction.without_calibrated`).
    """
    groups: dict[Group, list[int]] = {}
    for place, question in while_wanted(enumerate(questions)):
        if _tells(question):
            groups.setdefault(_group(question, profiles), []).append(place)
    return tuple(
        _refit(group, places, [questions[place] for place in places], profiles)
        for group, places in groups.items()
        if _is_enough([questions[place] for place in places]) and _can_be_keyed(group, profiles)
    )


def _tells(question: MeasuredQuestion) -> bool:
    """Whether a row is of prefills or decode steps alone, of a stated engine: in served loads both mix."""
    told = class_of(question) in DECODES | PREFILLS
    return told and question.workload.load is TIMED_ALONE and bool(question.measurement.engine)


def _is_enough(questions: Sequence[MeasuredQuestion]) -> bool:
    return len(questions) >= LEAST_ROWS and any(class_of(q) in DECODES for q in questions)


def _setting(question: MeasuredQuestion, profiles: ProfileSet) -> Setting:
    return setting_of(Scenario(question.hardware, question.deployment, profiles))


def _group(question: MeasuredQuestion, profiles: ProfileSet) -> Group:
    return Group(question.hardware.id, question.measurement.engine.lower(), _setting(question, profiles).era)


def _can_be_keyed(group: Group, profiles: ProfileSet) -> bool:
    """Profiles of the releases before all named ones would hold for later releases of the device, too."""
    return bool(group.era) or not any(p.since_version for p in profiles.profiles if p.engine == group.engine)


def _refit(
    group: Group, places: Sequence[int], questions: Sequence[MeasuredQuestion], profiles: ProfileSet
) -> Refit:
    parts, split = _parts(questions)
    copies = _copies(group, questions, profiles, _start(group, questions, parts, profiles))
    factors, refitted = np.zeros(len(questions)), np.zeros(len(questions))
    for part in np.unique(parts):
        outside = np.flatnonzero(parts == part).tolist()
        inside = [q for q, p in zip(questions, parts, strict=True) if p != part]
        unseen = [questions[place] for place in outside]
        factors[outside] = _corrected(inside, unseen, profiles)
        own = _fitted(copies, inside, profiles)
        refitted[outside] = _corrected(inside, unseen, _with(profiles, own))
    is_kept = _is_nowhere_worse(questions, factors, refitted)
    fitted = _fitted(copies, questions, profiles) if is_kept else ()
    return Refit(
        group,
        tuple(places),
        split,
        _median_error(questions, factors),
        _median_error(questions, refitted),
        is_kept,
        tuple(_ranged(p, questions, refitted) for p in fitted),
        refitted if is_kept else factors,
    )


def _start(
    group: Group, questions: Sequence[MeasuredQuestion], parts: NDArray[np.str_], profiles: ProfileSet
) -> Start:
    """The start from which rows that are left out are met best."""
    losses = []
    for start in STARTS:
        copies, values = _copies(group, questions, profiles, start), np.zeros(len(questions))
        for part in np.unique(parts):
            inside = [q for q, p in zip(questions, parts, strict=True) if p != part]
            own = _fitted(copies, inside, profiles, SCOUTING_ROUNDS)
            outside = np.flatnonzero(parts == part).tolist()
            values[outside] = predicted([questions[place] for place in outside], _with(profiles, own))
        losses.append(_loss(questions, values))
    return STARTS[int(np.argmin(losses))]


def _parts(questions: Sequence[MeasuredQuestion]) -> tuple[NDArray[np.str_], str]:
    """What rows are left out together by: their models where there are several, else every fourth row."""
    names, models = np.unique([question.model.id for question in questions], return_inverse=True)
    if len(names) > 1:
        return np.array([str(model % FOLDS) for model in models]), "model"
    return np.array([str(place % FOLDS) for place in range(len(questions))]), "rows"


def _with(profiles: ProfileSet, more: Sequence[EfficiencyProfile]) -> ProfileSet:
    return ProfileSet((*profiles.profiles, *more))


def _corrected(
    inside: Sequence[MeasuredQuestion], outside: Sequence[MeasuredQuestion], profiles: ProfileSet
) -> Array:
    """What is predicted of rows with the factors that other rows make."""
    return predicted(outside, _with(profiles, correct(inside, profiles).profiles))


def _losses(questions: Sequence[MeasuredQuestion], values: Array) -> Array:
    errors = np.log(values / measured(questions)) / LOSS_SCALE
    losses: Array = np.sqrt(1 + errors**2) - 1
    return losses


def _loss(questions: Sequence[MeasuredQuestion], values: Array) -> float:
    return float(_losses(questions, values).mean())


def _median_error(questions: Sequence[MeasuredQuestion], values: Array) -> float:
    return float(np.median(np.abs(values / measured(questions) - 1)))


def _regime(question: MeasuredQuestion) -> str:
    if class_of(question) in PREFILLS:
        return "prefill"
    return "step of one sequence" if question.workload.batch == 1 else "step of several"


def _is_nowhere_worse(questions: Sequence[MeasuredQuestion], factors: Array, refitted: Array) -> bool:
    """Whether left-out rows are predicted better, in the median and in the mean loss, and neither prefills
    nor steps of one nor of several sequences worse by more than the same run differs on another day.
    """
    one, other = _losses(questions, factors), _losses(questions, refitted)
    regimes = np.array([_regime(question) for question in questions])
    return (
        bool(other.mean() < one.mean())
        and _median_error(questions, refitted) <= _median_error(questions, factors)
        and all(
            other[regimes == r].mean() <= NOT_WORSE * one[regimes == r].mean() for r in np.unique(regimes)
        )
    )


class _Kind(NamedTuple):
    """A class of operators, what they compute in, and how their weights or keys are stored."""

    operator_class: OperatorClass
    dtype: Dtype
    stored: Dtype


def _kind_of(copy: EfficiencyProfile) -> _Kind:
    assert copy.dtype is not None
    assert copy.weight_dtype is not None
    return _Kind(copy.operator_class, copy.dtype, copy.weight_dtype)


def _kinds(question: MeasuredQuestion) -> Iterator[_Kind]:
    """The operators that a row's time is made of, as far as rows can tell them apart."""
    deployment = question.deployment
    formats = dict.fromkeys((deployment.gemm_dtype_of(m), deployment.format_of(m).dtype) for m in MODULES)
    yield from (_Kind(OperatorClass.GEMM, *pair) for pair in formats)
    if question.model.experts is not None:
        yield from (_Kind(OperatorClass.MOE, *pair) for pair in formats)
    wide = deployment.compute_dtype
    decodes = class_of(question) in DECODES
    attention = OperatorClass.DECODE_ATTENTION if decodes else OperatorClass.PREFILL_ATTENTION
    yield _Kind(attention, wide, deployment.kv_dtype)
    yield _Kind(STEPS[question.model.experts is not None], wide, wide)


def _copies(
    group: Group, questions: Sequence[MeasuredQuestion], profiles: ProfileSet, start: Start
) -> tuple[EfficiencyProfile, ...]:
    """The profiles that rows use today, keyed to the device and the engine."""
    counts: dict[_Kind, int] = {}
    for question in questions:
        for kind in dict.fromkeys(_kinds(question)):
            counts[kind] = counts.get(kind, 0) + 1
    setting = _setting(questions[0], profiles)
    date = next((p.since_date for p in profiles.profiles if (p.engine, p.since_version) == group[1:]), "")
    made = []
    for kind, count in counts.items():
        found = profiles.find(setting, *kind)
        if found is None:
            continue
        is_product = kind.operator_class is OperatorClass.GEMM
        made.append(
            replace(
                found.profile,
                id=_profile_id(group, kind),
                overlap_exponent=(is_product and start.overlap_exponent) or found.profile.overlap_exponent,
                further=_launching(found.profile, start.launches),
                evidence_count=count,
                source=(
                    f"fitted to {count} measured row{'s' if count != 1 else ''} of {group.engine} on "
                    f"{group.hardware_id}, from the constants of {found.profile.id}"
                ),
                hardware_id=group.hardware_id,
                engine=group.engine,
                since_version=group.era,
                since_date=date,
                dtype=kind.dtype,
                weight_dtype=kind.stored,
                relatives=(),
            )
        )
    return tuple(made)


def _launching(profile: EfficiencyProfile, times: float) -> dict[FurtherConstant, Estimate]:
    """Further constants with other launches in a step."""

    def moved(estimate: Estimate) -> Estimate:
        return Estimate(estimate.value * times, estimate.low * times, estimate.high * times)

    return {name: moved(e) if name in LAUNCHES else e for name, e in profile.further.items()}


def _profile_id(group: Group, kind: _Kind) -> str:
    """A slug that is the same whenever it is made for the same device, engine and formats."""
    words = (kind.operator_class, group.hardware_id, group.engine, group.era, kind.dtype, kind.stored)
    return CALIBRATED + "-".join(filter(None, (re.sub("[^a-z0-9]+", "-", w).strip("-") for w in words)))


_EFFICIENCIES: Mapping[OperatorClass, tuple[str, ...]] = {
    OperatorClass.GEMM: ("compute_efficiency", "memory_efficiency"),
    OperatorClass.MOE: ("compute_efficiency", "memory_efficiency"),
    OperatorClass.PREFILL_ATTENTION: ("compute_efficiency",),
    OperatorClass.DECODE_ATTENTION: ("memory_efficiency",),
}
"""Constants of a class that are fitted."""
_OF_STEPS: tuple[tuple[str, float], ...] = (
    ("launch_time_us", 1.0),
    (FurtherConstant.GEMM_LAUNCH_TIME_US, 3.0),
    (FurtherConstant.ELEMENTWISE_LAUNCH_TIME_US, 3.0),
    (FurtherConstant.SEQUENCE_TIME_US, 3.0),
    (FurtherConstant.DECODE_FACTOR, 0.2),
    (FurtherConstant.PREFILL_FACTOR, 0.2),
)
"""Constants of a step that are fitted, and the spread of their logarithms: launches differ most."""


def _knobs(copies: Sequence[EfficiencyProfile]) -> Iterator[Knob]:
    for profile in copies:
        for constant in _EFFICIENCIES.get(profile.operator_class, ()):
            yield Knob((profile.id,), constant, 1.0, LEAST_EFFICIENCY, 1.0)
        if profile.operator_class in PRODUCTS:
            yield Knob((profile.id,), FurtherConstant.ONE_ROW_FACTOR, 0.7, 0.05, 5.0)
    # A step costs what it costs in all formats: one value for all, from the first one's.
    steps = tuple(profile.id for profile in copies if profile.operator_class in STEPS)
    for constant, spread in _OF_STEPS:
        low, high = (0.1, 10.0) if constant.endswith("factor") else (1e-3, 1e6)
        yield Knob(steps, constant, spread, low, high)


def _fitted(
    copies: Sequence[EfficiencyProfile],
    questions: Sequence[MeasuredQuestion],
    profiles: ProfileSet,
    rounds: int = ROUNDS,
) -> tuple[EfficiencyProfile, ...]:
    """Copies with the constants that come nearest to rows."""
    rows = thinned(questions, ROWS_OF_SETTING)
    rows = [rows[place] for place in np.unique(np.linspace(0, len(rows) - 1, MOST_ROWS).astype(int))]
    ids = {copy.id for copy in copies}
    knobs = list(_knobs(copies))
    kinds = [set(_kinds(question)) for question in rows]
    uses = {
        profile.id: np.array([_kind_of(profile) in used for used in kinds], dtype=bool) for profile in copies
    }
    touched = [np.flatnonzero(np.any([uses[name] for name in knob.profile_ids], axis=0)) for knob in knobs]
    found = fit(rows, _with(profiles, copies), knobs, rounds=rounds, touched=touched)
    return tuple(profile for profile in found.profiles.profiles if profile.id in ids)


def _ranged(
    profile: EfficiencyProfile, questions: Sequence[MeasuredQuestion], left_out: Array
) -> EfficiencyProfile:
    """A fitted profile with the range that 80% of the rows left out lie in."""
    reach = float(np.quantile(np.abs(np.log(left_out / measured(questions))), 0.8))
    factor = float(np.exp(reach))

    def around(estimate: Estimate, highest: float) -> Estimate:
        return Estimate(
            estimate.value,
            estimate.value / factor,
            max(estimate.value, min(highest, estimate.value * factor)),
        )

    return replace(
        profile,
        launch_time_us=around(profile.launch_time_us, inf),
        compute_efficiency=around(profile.compute_efficiency, 1.0),
        memory_efficiency=around(profile.memory_efficiency, 1.0),
    )
