"""The calibrated constants that a scenario is costed with, and the profiles that they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    Estimate,
    OperatorClass,
    ProfileLevel,
    ProfileSet,
)
from ridgeline_server.domain.errors import MissingProfileError
from ridgeline_server.domain.tensors import ModuleClass
from ridgeline_server.roofline import communication
from ridgeline_server.roofline.communication import COMMUNICATION_CLASSES
from ridgeline_server.roofline.exchanges import EXCHANGES
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.table import MODULES, OperatorTable
from ridgeline_server.roofline.scenario import Scenario, Variant, fabric_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class UsedProfile:
    """A profile that was used and for what."""

    profile: EfficiencyProfile
    operator_class: OperatorClass
    dtype: Dtype
    level: ProfileLevel


@dataclass(frozen=True)
class Formats:
    """For each class of CLASSES the compute format and the format in which weights are stored."""

    pairs: tuple[tuple[Dtype, Dtype], ...]
    text: str

    def __hash__(self) -> int:
        # Formats key caches; a string remembers its hash, enums do not.
        return hash(self.text)


@lru_cache(maxsize=4096)
def _formats(deployment: Deployment) -> Formats:
    wide = deployment.compute_dtype
    of = {m: (deployment.gemm_dtype_of(m), deployment.format_of(m).dtype) for m in MODULES}
    pairs = (*of.values(), of[ModuleClass.EXPERTS], (wide, wide), (wide, wide))
    return Formats(pairs, " ".join(name for pair in pairs for name in pair))


def used_profiles(
    scenario: Scenario, tables: Sequence[tuple[Stage, OperatorTable]]
) -> tuple[UsedProfile, ...]:
    """The profiles that the tables of both stages use, each once; none for a scenario without profiles.

    Raises MissingProfileError when the catalog lacks a profile that fits.
    """
    profiles = scenario.profiles
    if profiles is None:
        return ()
    device, formats = profiles.known(scenario.hardware.id), _formats(scenario.deployment)
    found = _used_profiles(profiles, device, formats, tuple(tables))
    exchanges = dict.fromkeys(
        (EXCHANGES[what], ranks) for _, table in tables for _, what, ranks in table.collectives
    )
    if not exchanges:
        return found
    joined = fabric_of(scenario)
    classes = {
        c for exchange, ranks in exchanges for c in communication.classes_used(exchange, ranks, joined)
    }
    return (*found, *(u for u in _communication_profiles(profiles, device) if u.operator_class in classes))


@lru_cache(maxsize=4096)
def _used_profiles(
    profiles: ProfileSet, hardware_id: str, formats: Formats, tables: tuple[tuple[Stage, OperatorTable], ...]
) -> tuple[UsedProfile, ...]:
    found: dict[UsedProfile, None] = {}
    for stage, table in tables:
        by_class = _profiles_of(profiles, hardware_id, formats, stage)
        found.update(dict.fromkeys(by_class[index] for index in table.cost_classes_used))
        found[by_class[-1]] = None
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
    wide = formats.pairs[-1]
    return tuple(
        _find(profiles, hardware_id, operator_class, dtype, stored)
        for operator_class, (dtype, stored) in (
            *zip(classes, formats.pairs, strict=True),
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
    (V, S, 1, 1), or (V, 1, 1, 1) where all scenarios have the same; None where a table has none.
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
    chosen = tuple(variants)
    found = []
    for scenario in scenarios:
        assert scenario.profiles is not None
        device = scenario.profiles.known(scenario.hardware.id)
        formats = _formats(scenario.deployment)
        found.append(_constants_by_row(scenario.profiles, device, formats, stage, table, chosen))
    by_row, step_s = found[0] if len(found) == 1 else map(np.concatenate, zip(*found, strict=True))
    return Constants(
        launch_s=by_row[:, :, 0],
        compute=by_row[:, :, 1],
        memory=by_row[:, :, 2],
        exponent=by_row[:, :, 3],
        step_s=step_s,
        communication=_communication_constants(scenarios, chosen) if table.collectives else None,
    )


@lru_cache(maxsize=1024)
def _constants_by_row(
    profiles: ProfileSet,
    hardware_id: str,
    formats: Formats,
    stage: Stage,
    table: OperatorTable,
    variants: tuple[Variant, ...],
) -> tuple[Array, Array]:
    """Launch seconds, compute and memory efficiency and exponent of each row, shape (1, V, 4, R); the step's
    seconds, (1, V).
    """
    by_class = _constants_by_class(profiles, hardware_id, formats, stage)[list(variants)]
    return by_class[None][..., table.cost_class], by_class[None, :, 0, -1]


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


def _communication_constants(
    scenarios: Sequence[Scenario], variants: tuple[Variant, ...]
) -> communication.Constants:
    sources = [(s.profiles, s.profiles.known(s.hardware.id)) for s in scenarios if s.profiles is not None]
    if len(set(sources)) == 1:
        return _communication_constants_of(*sources[0], variants)
    found = [_communication_constants_of(*source, variants) for source in sources]
    return communication.Constants(
        **{
            name.value: communication.Transfer(
                *(
                    np.concatenate(ends, axis=1)
                    for ends in zip(*(getattr(f, name.value) for f in found), strict=True)
                )
            )
            for name in COMMUNICATION_CLASSES
        }
    )


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
