"""The grid: steps of one model on devices, one entry per point, and the constants each is costed with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import AttentionKernel, Deployment
from ridgeline_server.domain.dtypes import ELEMENT_BITS, Dtype, kv_bits
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    Estimate,
    OperatorClass,
    ProfileLevel,
    ProfileSet,
)
from ridgeline_server.domain.errors import MissingProfileError
from ridgeline_server.domain.hardware import Hardware

Array = NDArray[np.float64]


class Variant(IntEnum):
    """Which ends of the calibrated constants' ranges a point takes; the others keep their best value."""

    BEST = 0
    ALL_FAST = 1
    ALL_SLOW = 2
    LAUNCH_FAST = 3
    LAUNCH_SLOW = 4
    COMPUTE_FAST = 5
    COMPUTE_SLOW = 6
    MEMORY_FAST = 7
    MEMORY_SLOW = 8


LEVELS = (Variant.BEST, Variant.ALL_FAST, Variant.ALL_SLOW)
"""Variants that bound a level, such as a time."""


class Step(NamedTuple):
    """One step: `query_len` tokens of each of `batch` sequences, which then hold `keys` keys each.

    With a `span` it is the mean of the decode steps at `keys`, `keys` + 1, ... `keys` + `span`.
    """

    batch: float
    query_len: float
    keys: float
    span: float = 0


@dataclass(frozen=True)
class Scenario:
    """A deployment on a device; without profiles it is costed on the ideal roofline alone."""

    hardware: Hardware
    deployment: Deployment
    profiles: ProfileSet | None = None


class Point(NamedTuple):
    """One step of a scenario, costed with one variant of its constants."""

    scenario: Scenario
    step: Step
    variant: Variant = Variant.BEST


@dataclass(frozen=True)
class UsedProfile:
    """A profile that was used and for what."""

    profile: EfficiencyProfile
    operator_class: OperatorClass
    dtype: Dtype
    level: ProfileLevel


@dataclass(frozen=True)
class Constants:
    """Calibrated constants of P points, by cost class (layer GEMM, lm_head, attention, elementwise).

    `launch_s`, `compute`, `memory`, `exponent`: shape (cost classes, P); `step_s`: seconds per step, shape
    (P,).
    """

    launch_s: Array
    compute: Array
    memory: Array
    exponent: Array
    step_s: Array


@dataclass(frozen=True)
class Grid:
    """P points as arrays of shape (P,), bits per element; `peak_flops_per_s` by peak class: shape (2, P)."""

    batch: Array
    query_len: Array
    keys: Array
    span: Array
    layer_weight_bits: Array
    head_weight_bits: Array
    wide_bits: Array
    gemm_bits: Array
    kv_element_bits: Array
    kv_vector_bits: Array
    fused: NDArray[np.bool_]
    bandwidth_bytes_per_s: Array
    peak_flops_per_s: Array
    constants: Constants | None


def build_grid(points: Sequence[Point]) -> Grid:
    """The grid of some points. Either all of them have profiles or none has."""
    scenarios = {id(point.scenario): point.scenario for point in points}
    profiled = [scenario for scenario in scenarios.values() if scenario.profiles is not None]
    if profiled and len(profiled) != len(scenarios):
        raise ValueError("some points have profiles and some have none; cost them in two grids")
    figures = {key: _figures(scenario) for key, scenario in scenarios.items()}
    constants = {key: _scenario_constants(scenario) for key, scenario in scenarios.items()}
    columns = np.array(
        [
            (
                *(step := point.step),
                *figures[id(point.scenario)],
                *constants[id(point.scenario)][step.query_len > 1][point.variant],
            )
            for point in points
        ],
        dtype=np.float64,
    ).T
    return Grid(
        batch=columns[0],
        query_len=columns[1],
        keys=columns[2],
        span=columns[3],
        layer_weight_bits=columns[4],
        head_weight_bits=columns[5],
        wide_bits=columns[6],
        gemm_bits=columns[7],
        kv_element_bits=columns[8],
        kv_vector_bits=columns[9],
        fused=columns[10] > 0,
        bandwidth_bytes_per_s=columns[11],
        peak_flops_per_s=columns[12:14],
        constants=(
            Constants(columns[14:18], columns[18:22], columns[22:26], columns[26:30], columns[30])
            if profiled
            else None
        ),
    )


def _figures(scenario: Scenario) -> tuple[float, ...]:
    deployment, hardware = scenario.deployment, scenario.hardware
    element_bits = float(ELEMENT_BITS[deployment.kv_dtype])
    return (
        deployment.weight_bits,
        deployment.lm_head_bits,
        ELEMENT_BITS[deployment.compute_dtype],
        ELEMENT_BITS[deployment.activation_dtype],
        element_bits,
        kv_bits(deployment.kv_dtype, 1) - element_bits,
        deployment.attention is AttentionKernel.FUSED,
        hardware.bandwidth_bytes_per_s,
        hardware.peak_flops_per_s[deployment.gemm_dtype],
        hardware.peak_flops_per_s[deployment.compute_dtype],
    )


_NO_CONSTANTS: tuple[tuple[float, ...], ...] = ((),) * len(Variant)


def _scenario_constants(
    scenario: Scenario,
) -> tuple[tuple[tuple[float, ...], ...], tuple[tuple[float, ...], ...]]:
    """The constants of a scenario's decode steps and of its prefills, a row for each variant."""
    if scenario.profiles is None:
        return _NO_CONSTANTS, _NO_CONSTANTS
    profiles, formats = scenario.profiles, _formats(scenario.deployment)
    device = profiles.known(scenario.hardware.id)
    return (
        _constants(profiles, device, formats, prefill=False),
        _constants(profiles, device, formats, prefill=True),
    )


Formats = tuple[Dtype, Dtype, Dtype, Dtype]
"""Compute format of the layers' GEMMs, weight format, wide compute format, lm_head format."""


def _formats(deployment: Deployment) -> Formats:
    return (
        deployment.gemm_dtype,
        deployment.weight_dtype,
        deployment.compute_dtype,
        deployment.lm_head_dtype,
    )


def all_used_profiles(scenario: Scenario) -> tuple[UsedProfile, ...]:
    """The profiles that prefill and decode use, each once; none for a scenario without profiles.

    Raises MissingProfileError when the catalog lacks a profile that fits.
    """
    if scenario.profiles is None:
        return ()
    device = scenario.profiles.known(scenario.hardware.id)
    return _all_used_profiles(scenario.profiles, device, _formats(scenario.deployment))


@lru_cache(maxsize=4096)
def _all_used_profiles(profiles: ProfileSet, hardware_id: str, formats: Formats) -> tuple[UsedProfile, ...]:
    both = (
        *_used_profiles(profiles, hardware_id, formats, prefill=True),
        *_used_profiles(profiles, hardware_id, formats, prefill=False),
    )
    return tuple(dict.fromkeys(both))


@lru_cache(maxsize=4096)
def _used_profiles(
    profiles: ProfileSet, hardware_id: str, formats: Formats, prefill: bool
) -> tuple[UsedProfile, ...]:
    gemm, weights, wide, head = formats
    attention = OperatorClass.PREFILL_ATTENTION if prefill else OperatorClass.DECODE_ATTENTION
    wanted = (
        (OperatorClass.GEMM, gemm, weights),
        (OperatorClass.GEMM, wide, head),
        (attention, wide, wide),
        (OperatorClass.ELEMENTWISE, wide, wide),
        (OperatorClass.STEP, wide, wide),
    )
    used = []
    for operator_class, dtype, stored in wanted:
        profile = profiles.find(hardware_id, operator_class, dtype, stored)
        if profile is None:
            raise MissingProfileError(
                f"the catalog has no efficiency profile for {operator_class} operators, so nothing can be "
                "predicted; seed it again, or ask for the ideal roofline"
            )
        used.append(UsedProfile(profile, operator_class, dtype, profile.level))
    return tuple(used)


_LAUNCH_ENDS = {
    Variant.ALL_FAST: "low",
    Variant.LAUNCH_FAST: "low",
    Variant.ALL_SLOW: "high",
    Variant.LAUNCH_SLOW: "high",
}
_COMPUTE_ENDS = {
    Variant.ALL_FAST: "high",
    Variant.COMPUTE_FAST: "high",
    Variant.ALL_SLOW: "low",
    Variant.COMPUTE_SLOW: "low",
}
_MEMORY_ENDS = {
    Variant.ALL_FAST: "high",
    Variant.MEMORY_FAST: "high",
    Variant.ALL_SLOW: "low",
    Variant.MEMORY_SLOW: "low",
}


@lru_cache(maxsize=4096)
def _constants(
    profiles: ProfileSet, hardware_id: str, formats: Formats, prefill: bool
) -> tuple[tuple[float, ...], ...]:
    *classes, step = (used.profile for used in _used_profiles(profiles, hardware_id, formats, prefill))

    def end(estimate: Estimate, ends: dict[Variant, str], variant: Variant) -> float:
        return float(getattr(estimate, ends.get(variant, "value")))

    return tuple(
        (
            *(end(p.launch_time_us, _LAUNCH_ENDS, variant) * 1e-6 for p in classes),
            *(end(p.compute_efficiency, _COMPUTE_ENDS, variant) for p in classes),
            *(end(p.memory_efficiency, _MEMORY_ENDS, variant) for p in classes),
            *(p.overlap_exponent for p in classes),
            end(step.launch_time_us, _LAUNCH_ENDS, variant) * 1e-6,
        )
        for variant in Variant
    )
