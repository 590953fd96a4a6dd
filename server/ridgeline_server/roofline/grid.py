"""Scenarios: devices and deployments as arrays, and the calibrated constants that each is costed with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import QUANTIZED_MODULES, Deployment
from ridgeline_server.domain.dtypes import ELEMENT_BITS, Dtype, activation_bits, kv_bits
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    Estimate,
    OperatorClass,
    ProfileLevel,
    ProfileSet,
)
from ridgeline_server.domain.errors import MissingProfileError, UnsupportedDtypeError
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.tensors import ModuleClass
from ridgeline_server.roofline import communication
from ridgeline_server.roofline.communication import COMMUNICATION_CLASSES
from ridgeline_server.roofline.operators.layer import Placement, Stage
from ridgeline_server.roofline.operators.rows import Quantity, Work
from ridgeline_server.roofline.operators.table import MODULES, OperatorTable

Array = NDArray[np.float64]


class Variant(IntEnum):
    """Which ends of the calibrated constants' ranges a time takes; the others keep their best value."""

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


@dataclass(frozen=True)
class Scenario:
    """A deployment on devices of one kind; without profiles it is costed on the ideal roofline alone."""

    hardware: Hardware
    deployment: Deployment
    profiles: ProfileSet | None = None

    def placement(self, stage: Stage) -> Placement:
        """What its operators depend on besides the model."""
        deployment = self.deployment
        return Placement(
            deployment.parallel, deployment.attention, stage, deployment.expert_popularity_spread
        )


@dataclass(frozen=True)
class UsedProfile:
    """A profile that was used and for what."""

    profile: EfficiencyProfile
    operator_class: OperatorClass
    dtype: Dtype
    level: ProfileLevel


CLASSES = (*MODULES, Work.EXPERTS, Work.ATTENTION, Work.ELEMENTWISE)
"""What has constants of its own: GEMMs by their module's formats, experts, attention and the rest."""
_CLASS_INDEX = {cls: index for index, cls in enumerate(CLASSES)}


def cost_classes(table: OperatorTable) -> NDArray[np.intp]:
    """The index in CLASSES of each row; collectives, which have constants of another kind, get any."""
    return np.array(
        [
            _CLASS_INDEX.get(
                row.module if row.work is Work.GEMM else row.work, _CLASS_INDEX[Work.ELEMENTWISE]
            )
            for row in table.rows
        ],
        dtype=np.intp,
    )


@dataclass(frozen=True, eq=False)
class Folded:
    """A table under S scenarios: per row and step variable what a step moves and computes.

    `bytes` has shape (S, byte classes, R, B), `message_bytes` (S, R, B); `peak_flops_per_s` and `runs`, how
    often a step runs each row, have shape (S, R); `seconds_per_byte` has shape (S, byte classes, R).
    """

    bytes: Array
    message_bytes: Array
    peak_flops_per_s: Array
    runs: Array
    seconds_per_byte: Array


def fold(table: OperatorTable, scenarios: Sequence[Scenario]) -> Folded:
    """Folds the formats and rates of scenarios into the table's coefficients."""
    count = table.coefficients
    stored = np.array([module_bits(s.deployment) for s in scenarios]) / 8
    weight, gemm = stored[:, 0][:, table.module], stored[:, 1][:, table.module]
    figures = np.array([_figures(s) for s in scenarios])
    wide, element, vector, bandwidth, host, offloaded_weights, offloaded_kv, skipped = figures.T[:, :, None]
    wide, element, vector = wide / 8, element / 8, vector / 8

    def times(quantity: Quantity, size: Array) -> Array:
        product: Array = count[quantity] * size[..., None]
        return product

    moved = np.stack(
        (
            times(Quantity.WEIGHTS, weight),
            times(Quantity.IN_WIDE, wide) + times(Quantity.IN_GEMM, gemm),
            times(Quantity.OUT_WIDE, wide) + times(Quantity.OUT_GEMM, gemm),
            times(Quantity.KV_READ, element)
            + times(Quantity.KV_READ_VECTORS, vector)
            + count[Quantity.STATE_READ],
            times(Quantity.KV_WRITTEN, element)
            + times(Quantity.KV_WRITTEN_VECTORS, vector)
            + count[Quantity.STATE_WRITTEN],
        ),
        axis=1,
    )
    rates = np.array([_rates(s) for s in scenarios])
    peak = np.where(table.multiplies, rates[:, table.module], rates[:, -1:])
    away = np.zeros((len(scenarios), len(moved[0]), len(table.rows)))
    away[:, 0] = offloaded_weights * table.in_layers
    away[:, 3] = offloaded_kv
    return Folded(
        bytes=moved,
        message_bytes=times(Quantity.MESSAGE_WIDE, wide) + times(Quantity.MESSAGE_GEMM, gemm),
        peak_flops_per_s=peak,
        runs=table.count * (1 - skipped * table.in_layers),
        seconds_per_byte=(1 - away) / bandwidth[:, None] + away / host[:, None],
    )


def module_bits(deployment: Deployment) -> tuple[list[float], list[float]]:
    """Bits of a stored weight and of an element that enters a GEMM, of each module class."""
    return (
        [deployment.stored_bits(module) for module in MODULES],
        [activation_bits(deployment.input_dtype(module)) for module in MODULES],
    )


def _figures(scenario: Scenario) -> tuple[float, ...]:
    deployment, offload = scenario.deployment, scenario.deployment.offload
    element_bits = float(ELEMENT_BITS[deployment.kv_dtype])
    return (
        ELEMENT_BITS[deployment.compute_dtype],
        element_bits,
        kv_bits(deployment.kv_dtype, 1) - element_bits,
        scenario.hardware.bandwidth_bytes_per_s,
        offload.host_bandwidth_bytes_per_s,
        offload.weight_share,
        offload.kv_share,
        deployment.skipped_layer_share,
    )


def _rates(scenario: Scenario) -> list[float]:
    """The peak rate of each module's GEMMs, and the wide one."""
    deployment, hardware = scenario.deployment, scenario.hardware
    return [
        *(gemm_rate(deployment, hardware, module) for module in MODULES),
        hardware.peak_flops_per_s[deployment.compute_dtype],
    ]


def gemm_rate(deployment: Deployment, hardware: Hardware, module: ModuleClass) -> float:
    """Peak operations per second of the GEMMs of a module class; a unit that skips two zeros of four counts
    them.
    """
    dtype = deployment.gemm_dtype_of(module)
    unit = hardware.unit_for(dtype)
    if unit is None:
        raise UnsupportedDtypeError(
            f"{hardware.lack_of(dtype)}, so {module} cannot be computed in it", "deployment"
        )
    skips = 2.0 if deployment.sparse_weights and module in QUANTIZED_MODULES else 1.0
    return hardware.peak_flops_per_s[unit] * skips


Formats = tuple[tuple[Dtype, Dtype], ...]
"""For each class of CLASSES the compute format and the format in which weights are stored."""


def _formats(deployment: Deployment) -> Formats:
    wide = deployment.compute_dtype

    def of(module: ModuleClass) -> tuple[Dtype, Dtype]:
        return deployment.gemm_dtype_of(module), deployment.format_of(module).dtype

    return (*map(of, MODULES), of(ModuleClass.EXPERTS), (wide, wide), (wide, wide))


def _classes_used(table: OperatorTable) -> tuple[int, ...]:
    return tuple(dict.fromkeys(cost_classes(table)[~table.is_work(Work.COLLECTIVE)].tolist()))


def used_profiles(scenario: Scenario, tables: Mapping[Stage, OperatorTable]) -> tuple[UsedProfile, ...]:
    """The profiles that the tables of both stages use, each once; none for a scenario without profiles.

    Raises MissingProfileError when the catalog lacks a profile that fits.
    """
    profiles = scenario.profiles
    if profiles is None:
        return ()
    device, formats = profiles.known(scenario.hardware.id), _formats(scenario.deployment)
    found: dict[UsedProfile, None] = {}
    for stage, table in tables.items():
        by_class = _profiles_of(profiles, device, formats, stage)
        found.update(dict.fromkeys(by_class[index] for index in _classes_used(table)))
        found[by_class[-1]] = None
        if table.collectives:
            found.update(dict.fromkeys(_communication_profiles(profiles, device)))
    return tuple(found)


@lru_cache(maxsize=4096)
def _profiles_of(
    profiles: ProfileSet, hardware_id: str, formats: Formats, stage: Stage
) -> tuple[UsedProfile, ...]:
    """The profile of each of CLASSES, then that of the step."""
    attention = OperatorClass.PREFILL_ATTENTION if stage is Stage.PREFILL else OperatorClass.DECODE_ATTENTION
    classes = (
        *((OperatorClass.GEMM,) * len(MODULES)),
        OperatorClass.MOE,
        attention,
        OperatorClass.ELEMENTWISE,
    )
    wide = formats[-1]
    return tuple(
        _find(profiles, hardware_id, operator_class, dtype, stored)
        for operator_class, (dtype, stored) in (
            *zip(classes, formats, strict=True),
            (OperatorClass.STEP, wide),
        )
    )


@lru_cache(maxsize=256)
def _communication_profiles(profiles: ProfileSet, hardware_id: str) -> tuple[UsedProfile, ...]:
    return tuple(
        _find(profiles, hardware_id, operator_class, Dtype.BF16, Dtype.BF16)
        for operator_class in COMMUNICATION_CLASSES
    )


def _find(
    profiles: ProfileSet, hardware_id: str, operator_class: OperatorClass, dtype: Dtype, stored: Dtype
) -> UsedProfile:
    profile = profiles.find(hardware_id, operator_class, dtype, stored)
    if profile is None:
        raise MissingProfileError(
            f"the catalog has no efficiency profile for {operator_class} operators, so nothing can be "
            "predicted; seed it again, or ask for the ideal roofline"
        )
    return UsedProfile(profile, operator_class, dtype, profile.level)


@dataclass(frozen=True, eq=False)
class Constants:
    """Calibrated constants of S scenarios at V variants: `launch_s`, `compute`, `memory` and `exponent` have
    shape (S, V, R), `step_s` shape (S, V). `communication` holds those of collectives, with arrays of shape
    (V, 1, 1, 1); None where a table has none.
    """

    launch_s: Array
    compute: Array
    memory: Array
    exponent: Array
    step_s: Array
    communication: communication.Constants | None


def constants_of(
    table: OperatorTable, scenarios: Sequence[Scenario], stage: Stage, variants: Sequence[Variant]
) -> Constants | None:
    """The constants of scenarios, None without profiles. Either all of them have profiles or none has."""
    profiled = [scenario for scenario in scenarios if scenario.profiles is not None]
    if not profiled:
        return None
    if len(profiled) != len(scenarios):
        raise ValueError("some scenarios have profiles and some have none; cost them apart")
    found = np.array([_constants(s, stage)[list(variants)] for s in scenarios])
    by_row = found[:, :, :, cost_classes(table)]
    exchanged = None
    if table.collectives:
        exchanged = _communication_constants(scenarios[0], tuple(variants))
    return Constants(
        launch_s=by_row[:, :, 0],
        compute=by_row[:, :, 1],
        memory=by_row[:, :, 2],
        exponent=by_row[:, :, 3],
        step_s=found[:, :, 0, -1],
        communication=exchanged,
    )


def _constants(scenario: Scenario, stage: Stage) -> Array:
    profiles = scenario.profiles
    assert profiles is not None
    device = profiles.known(scenario.hardware.id)
    return _constants_by_class(profiles, device, _formats(scenario.deployment), stage)


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


def _end(estimate: Estimate, ends: Mapping[Variant, str], variant: Variant) -> float:
    return float(getattr(estimate, ends.get(variant, "value")))


@lru_cache(maxsize=4096)
def _constants_by_class(profiles: ProfileSet, hardware_id: str, formats: Formats, stage: Stage) -> Array:
    """Launch seconds, compute and memory efficiency and exponent: (variants, 4, CLASSES and the step)."""
    used = [u.profile for u in _profiles_of(profiles, hardware_id, formats, stage)]
    found = np.array(
        [
            (
                [_end(p.launch_time_us, _LAUNCH_ENDS, variant) * 1e-6 for p in used],
                [_end(p.compute_efficiency, _COMPUTE_ENDS, variant) for p in used],
                [_end(p.memory_efficiency, _MEMORY_ENDS, variant) for p in used],
                [p.overlap_exponent for p in used],
            )
            for variant in Variant
        ]
    )
    found.setflags(write=False)
    return found


def _communication_constants(scenario: Scenario, variants: tuple[Variant, ...]) -> communication.Constants:
    assert scenario.profiles is not None
    device = scenario.profiles.known(scenario.hardware.id)
    return _communication_constants_of(scenario.profiles, device, variants)


@lru_cache(maxsize=256)
def _communication_constants_of(
    profiles: ProfileSet, hardware_id: str, variants: tuple[Variant, ...]
) -> communication.Constants:
    used = {u.operator_class: u.profile for u in _communication_profiles(profiles, hardware_id)}

    def column(values: Iterator[float]) -> Array:
        return np.array(list(values)).reshape(-1, 1, 1, 1)

    return communication.Constants(
        **{
            name.value: communication.Transfer(
                column(_end(used[name].launch_time_us, _LAUNCH_ENDS, v) * 1e-6 for v in variants),
                column(_end(used[name].memory_efficiency, _MEMORY_ENDS, v) for v in variants),
            )
            for name in COMMUNICATION_CLASSES
        }
    )


def fabric(scenarios: Sequence[Scenario]) -> communication.Fabric:
    """What joins the devices of S scenarios; arrays of shape (S, 1, 1)."""
    found = [
        communication.fabric_of(s.hardware, network_bytes_per_s=s.deployment.node_bandwidth_bytes_per_s)
        for s in scenarios
    ]
    columns = np.array(
        [
            (f.link_bytes_per_s, f.link_ranks, f.host_link_bytes_per_s, f.host_ranks, f.network_bytes_per_s)
            for f in found
        ],
        dtype=np.float64,
    ).T[:, :, None, None]
    return communication.Fabric(*columns)
