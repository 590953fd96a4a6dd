"""How much longer an engine's products compute whose weights are widened first, from pairs of measured rows.

Rows of a device, an engine, a model and a load that differ in the format of their weights alone share most of
what is off, so their quotient tells the factor where their levels do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from math import log

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.calibration.fitting import measured, predicted
from ridgeline_server.calibration.questions import MeasuredQuestion
from ridgeline_server.domain.efficiency import Estimate, FurtherConstant, ProfileSet
from ridgeline_server.domain.measurement import Measurement, Phase

LARGEST = 5.0
FEWEST_PAIRS = 5
"""Pairs from which their median is taken for the engine's."""
HALVINGS = 10

_OF_ONE_ROW = frozenset(
    {"id", "value", "weight_dtype", "weight_format", "act_dtype", "kv_dtype", "tier", "confidence"}
    | {"source", "notes", "ambiguous", "model_published", "hardware_published"}
)
_ALIKE = tuple(field.name for field in fields(Measurement) if field.name not in _OF_ONE_ROW)


def with_unpacking(
    questions: Sequence[MeasuredQuestion], profiles: ProfileSet, profile_ids: Sequence[str]
) -> ProfileSet:
    """Profiles with the unpacking factor at which the median pair of prefills is predicted, from 1 on; as
    they are where there are few pairs.
    """
    prefills = [q for q in questions if q.measurement.phase is Phase.PREFILL]
    pairs = _pairs(prefills)
    if len(pairs) < FEWEST_PAIRS:
        return profiles
    wide, widened = pairs.T
    told = np.log(measured(prefills))

    def surplus(factor: float) -> float:
        """How much too fast the median pair's widened row is, beside the other."""
        off = np.log(predicted(prefills, _having(profiles, profile_ids, factor))) - told
        faster = np.where(_are_rates(prefills), off, -off)
        return float(np.median(faster[widened] - faster[wide]))

    low, high = 0.0, log(LARGEST)
    if surplus(1.0) <= 0:
        return profiles
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if surplus(float(np.exp(middle))) > 0 else (low, middle)
    return _having(profiles, profile_ids, float(np.exp((low + high) / 2)))


def _pairs(questions: Sequence[MeasuredQuestion]) -> NDArray[np.intp]:
    """Places of rows that are alike but for their formats, shape (P, 2): one with weights in the format it
    computes in, and one that widens them.
    """
    groups: dict[tuple[object, ...], dict[bool, int]] = {}
    for place, question in enumerate(questions):
        deployment = question.deployment
        key = tuple(getattr(question.measurement, name) for name in _ALIKE)
        if deployment.gemm_dtype is deployment.compute_dtype:
            widens = deployment.weight_dtype is not deployment.compute_dtype
            groups.setdefault(key, {}).setdefault(widens, place)
    pairs = [(found[False], found[True]) for found in groups.values() if len(found) == 2]
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


def _are_rates(questions: Sequence[MeasuredQuestion]) -> NDArray[np.bool_]:
    return np.array([question.measurement.metric.is_rate for question in questions])


def _having(profiles: ProfileSet, profile_ids: Sequence[str], factor: float) -> ProfileSet:
    stated = {FurtherConstant.UNPACKING_FACTOR: Estimate(factor, factor, factor)}
    return ProfileSet(
        replace(p, further={**p.further, **stated}) if p.id in profile_ids else p for p in profiles.profiles
    )
