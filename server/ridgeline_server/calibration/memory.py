"""What measured parts of an engine's memory say: factors on the sizes that its release is known by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.calibration.questions import MeasuredQuestion
from ridgeline_server.domain.efficiency import (
    CALIBRATED,
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
    version_key,
)
from ridgeline_server.domain.measurement import MeasuredMetric

Array = NDArray[np.float64]


class Part(NamedTuple):
    """A part's factor, and the share either way by which it is off of another model at the least."""

    factor: FurtherConstant
    least_off: float


PARTS: Mapping[MeasuredMetric, Part] = MappingProxyType(
    {
        MeasuredMetric.ACTIVATIONS_GIB: Part(FurtherConstant.ACTIVATION_FACTOR, 0.1),
        MeasuredMetric.NON_TORCH_GIB: Part(FurtherConstant.NON_TORCH_FACTOR, 0.05),
        MeasuredMetric.CUDA_GRAPH_GIB: Part(FurtherConstant.CUDA_GRAPH_FACTOR, 0.05),
    }
)
"""The parts that are corrected. An activation peak scales with the model by a formula of which 10% is open
(docs/engine-memory.md); for the others logs tell hundredths of a GiB, some 5% of them. Weights and what is
left for a pool follow from the rest.
"""
LEAST, MOST = 0.01, 100.0
"""What a factor of the catalog may be."""


class Release(NamedTuple):
    """What a profile is for: an engine on a device, from a release on; empty where no release is stated."""

    hardware_id: str
    engine: str
    since_version: str


@dataclass(frozen=True)
class MeasuredMemory:
    """Profiles that parts make, and what other rows say of each: factors on the prediction of N rows without
    any measured one, with their ends, each of shape (N,); NaN where no other row tells of the same part.
    """

    profiles: tuple[EfficiencyProfile, ...]
    value: Array
    low: Array
    high: Array


def measured_memory(questions: Sequence[MeasuredQuestion], ratios: Array) -> MeasuredMemory:
    """The profile of each device, engine and release, and each row's factor without itself.

    A part's factor is the geometric mean of `ratios`, measured over predicted from no measured row, of its
    rows; its range is theirs, `least_off` either way at the least. Rows of other metrics tell nothing here.
    """
    groups: dict[Release, dict[MeasuredMetric, list[int]]] = {}
    for place, question in enumerate(questions):
        if question.measurement.metric in PARTS:
            parts = groups.setdefault(release_of(question), {})
            parts.setdefault(question.measurement.metric, []).append(place)
    left_out = np.full((3, len(questions)), np.nan)
    for parts in groups.values():
        for metric, places in parts.items():
            if len(places) > 1:
                left_out[:, places] = _without_each(np.log(ratios[places]), PARTS[metric].least_off)
    return MeasuredMemory(tuple(_profiles(groups, ratios)), *left_out)


def release_of(question: MeasuredQuestion) -> Release:
    """Whose memory a row tells of."""
    numbers = version_key(question.measurement.engine_version)
    version = "" if numbers is None else ".".join(map(str, (*numbers, *(0,) * (3 - len(numbers)))))
    return Release(question.hardware.id, question.measurement.engine.lower(), version)


def _profiles(
    groups: Mapping[Release, Mapping[MeasuredMetric, Sequence[int]]], ratios: Array
) -> Iterator[EfficiencyProfile]:
    for release, parts in sorted(groups.items()):
        count = sum(map(len, parts.values()))
        rows = f"{count} measured row{'s' if count != 1 else ''}"
        yield EfficiencyProfile(
            id=_profile_id(release),
            operator_class=OperatorClass.ENGINE_MEMORY,
            launch_time_us=Estimate(0.0, 0.0, 0.0),
            compute_efficiency=Estimate(1.0, 1.0, 1.0),
            memory_efficiency=Estimate(1.0, 1.0, 1.0),
            overlap_exponent=2.0,
            evidence_count=count,
            source=f"{rows} of the memory of {' '.join(filter(None, release[1:]))} on {release.hardware_id}",
            hardware_id=release.hardware_id,
            engine=release.engine,
            since_version=release.since_version,
            further={
                part.factor: _factor(np.log(ratios[list(parts[metric])]), part.least_off)
                for metric, part in PARTS.items()
                if metric in parts
            },
        )


def _factor(logs: Array, least_off: float) -> Estimate:
    value, low, high = np.exp(_range(logs.mean(), logs.min(), logs.max(), least_off))
    return Estimate(*(float(np.clip(end, LEAST, MOST)) for end in (value, low, high)))


def _without_each(logs: Array, least_off: float) -> Array:
    """The value and ends that the other rows give for each of N, shape (3, N)."""
    ordered = np.sort(logs)
    others = (logs.sum() - logs) / (len(logs) - 1)
    low = np.where(logs == ordered[0], ordered[1], ordered[0])
    high = np.where(logs == ordered[-1], ordered[-2], ordered[-1])
    return np.exp(_range(others, low, high, least_off))


def _range(value: Array, low: Array, high: Array, least_off: float) -> Array:
    """Logarithms of a value and of its ends, which are `least_off` away at the least."""
    return np.array(
        [value, np.minimum(low, value + np.log1p(-least_off)), np.maximum(high, value + np.log1p(least_off))]
    )


def _profile_id(release: Release) -> str:
    """A slug that is the same whenever it is made for the same release."""
    words = (re.sub("[^a-z0-9.]+", "-", word).strip("-") for word in release[1:])
    return CALIBRATED + "-".join(filter(None, ("engine-memory", release.hardware_id, *words)))
