"""The calibrated constants that a scenario is costed with, and the profiles that they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    FurtherConstant,
    OperatorClass,
    ProfileLevel,
    ProfileSet,
    Setting,
)
from ridgeline_server.domain.errors import MissingProfileError
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.tensors import ModuleClass
from ridgeline_server.roofline import communication
from ridgeline_server.roofline.communication import COMMUNICATION_CLASSES
from ridgeline_server.roofline.exchanges import EXCHANGES
from ridgeline_server.roofline.fold import joined
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.roofline.operators.rows import Quantity, Work
from ridgeline_server.roofline.operators.table import CLASSES, MODULES, OperatorTable
from ridgeline_server.roofline.scenario import Scenario, fabric_of

Array = NDArray[np.float64]

REFERENCE_CLOCK_HZ = 1.83e9
"""The clock at which times of launches and serial work are stated: that of the H100 SXM's peak. A device
whose clock nobody looked up is taken to have it.
"""
PASS_BANDWIDTH_BYTES_PER_S = 2e12
"""Passes over the pairs of token and expert gain from a faster memory by its square root, over this one: on a
system left out (docs/kernels.md) that is 5 points nearer than in proportion.
"""
PASSED_BYTES = 2.0
"""Passes are over 16-bit elements."""


@dataclass(frozen=True)
class UsedProfile:
    """A profile that was used and for what."""

    profile: EfficiencyProfile
    operator_class: OperatorClass
    dtype: Dtype
    level: ProfileLevel


@dataclass(frozen=True)
class Formats:
    """For each class of CLASSES the compute format and the format in which weights, or keys, are stored."""

    pairs: tuple[tuple[Dtype, Dtype], ...]
    text: str

    def __hash__(self) -> int:
        # Formats key caches; a string remembers its hash, enums do not.
        return hash(self.text)


@lru_cache(maxsize=4096)
def _formats(deployment: Deployment) -> Formats:
    wide = deployment.compute_dtype
    of = {m: (deployment.gemm_dtype_of(m), deployment.format_of(m).dtype) for m in MODULES}
    pairs = (*of.values(), of[ModuleClass.EXPERTS], (wide, deployment.kv_dtype), (wide, wide))
    return Formats(pairs, " ".join(name for pair in pairs for name in pair))


class _Kind(NamedTuple):
    """What of a table decides which profiles it takes."""

    stage: Stage
    has_experts: bool


def setting_of(scenario: Scenario, model_id: str = "") -> Setting:
    """Where the constants of a scenario with profiles are sought."""
    assert scenario.profiles is not None
    engine = scenario.deployment.engine
    asked = ("", "") if engine is None else (engine.asked_engine, engine.asked_version)
    return _setting(scenario.profiles, scenario.hardware.id, *asked, model_id)


@lru_cache(maxsize=512)
def _setting(profiles: ProfileSet, hardware_id: str, engine: str, version: str, model_id: str) -> Setting:
    return profiles.setting(hardware_id, engine, version, model_id)


def used_profiles(
    scenario: Scenario, tables: Sequence[tuple[Stage, OperatorTable]]
) -> tuple[UsedProfile, ...]:
    """The profiles that the tables of both stages use, each once; none for a scenario without profiles.

    Raises MissingProfileError when the catalog lacks a profile that fits.
    """
    profiles = scenario.profiles
    if profiles is None:
        return ()
    setting, formats = setting_of(scenario), _formats(scenario.deployment.as_stored)
    found = _used_profiles(profiles, setting, formats, tuple(tables))
    exchanges = dict.fromkeys(
        (EXCHANGES[what], ranks) for _, table in tables for _, what, ranks in table.collectives
    )
    if not exchanges:
        return found
    joined = fabric_of(scenario)
    classes = {
        c for exchange, ranks in exchanges for c in communication.classes_used(exchange, ranks, joined)
    }
    return (*found, *(u for u in _communication_profiles(profiles, setting) if u.operator_class in classes))


@lru_cache(maxsize=4096)
def _used_profiles(
    profiles: ProfileSet, setting: Setting, formats: Formats, tables: tuple[tuple[Stage, OperatorTable], ...]
) -> tuple[UsedProfile, ...]:
    found: dict[UsedProfile, None] = {}
    for stage, table in tables:
        by_class = _profiles_of(profiles, setting, formats, _Kind(stage, table.has_experts))
        found.update(dict.fromkeys(by_class[index] for index in table.cost_classes_used))
        found[by_class[-1]] = None
    return tuple(found)


@lru_cache(maxsize=4096)
def _profiles_of(
    profiles: ProfileSet, setting: Setting, formats: Formats, kind: _Kind
) -> tuple[UsedProfile, ...]:
    """The profile of each of CLASSES, then that of the step."""
    prefills = kind.stage is Stage.PREFILL
    attention = OperatorClass.PREFILL_ATTENTION if prefills else OperatorClass.DECODE_ATTENTION
    classes = (
        *((OperatorClass.GEMM,) * len(MODULES)),
        OperatorClass.MOE,
        attention,
        OperatorClass.ELEMENTWISE,
    )
    wide = formats.pairs[-1]
    step = OperatorClass.STEP
    if kind.has_experts and profiles.find(setting, OperatorClass.EXPERT_STEP, *wide) is not None:
        step = OperatorClass.EXPERT_STEP
    return tuple(
        _find(profiles, setting, operator_class, dtype, stored)
        for operator_class, (dtype, stored) in (*zip(classes, formats.pairs, strict=True), (step, wide))
    )


@lru_cache(maxsize=256)
def _communication_profiles(profiles: ProfileSet, setting: Setting) -> tuple[UsedProfile, ...]:
    return tuple(
        _find(profiles, setting, operator_class, Dtype.BF16, Dtype.BF16)
        for operator_class in COMMUNICATION_CLASSES
    )


def _find(
    profiles: ProfileSet, setting: Setting, operator_class: OperatorClass, dtype: Dtype, stored: Dtype
) -> UsedProfile:
    found = profiles.find(setting, operator_class, dtype, stored)
    if found is None:
        raise MissingProfileError(operator_class)
    return UsedProfile(found.profile, operator_class, dtype, found.level)


OF_EXPERTS = {
    OperatorClass.PREFILL_TIME: OperatorClass.EXPERT_PREFILL_TIME,
    OperatorClass.DECODE_TIME: OperatorClass.EXPERT_DECODE_TIME,
    OperatorClass.FIRST_TOKEN_TIME: OperatorClass.EXPERT_FIRST_TOKEN_TIME,
}
"""Classes of times of models with experts."""


def time_factor(scenario: Scenario, model: Model, operator_class: OperatorClass) -> UsedProfile | None:
    """The profile of what whole times of a class are multiplied by; None where the catalog has none."""
    if scenario.profiles is None:
        return None
    deployment, setting = scenario.deployment, setting_of(scenario, model.id)
    formats = deployment.gemm_dtype, deployment.weight_dtype
    has_experts = model.experts is not None
    return _time_factor(scenario.profiles, setting, operator_class, formats, has_experts=has_experts)


@lru_cache(maxsize=1024)
def _time_factor(
    profiles: ProfileSet,
    setting: Setting,
    operator_class: OperatorClass,
    formats: tuple[Dtype, Dtype],
    *,
    has_experts: bool,
) -> UsedProfile | None:
    of_experts = _maybe(profiles, setting, OF_EXPERTS[operator_class], *formats) if has_experts else None
    return of_experts or _maybe(profiles, setting, operator_class, *formats)


def engine_memory_profile(scenario: Scenario) -> UsedProfile | None:
    """The profile of what the stated engine takes of this device's memory; None where no engine is stated,
    where nobody measured it on this device, and on the ideal roofline.
    """
    engine = scenario.deployment.engine
    if scenario.profiles is None or engine is None:
        return None
    found = scenario.profiles.engine_memory(scenario.hardware.id, engine.asked_engine, engine.asked_version)
    if found is None:
        return None
    wide = scenario.deployment.compute_dtype
    return UsedProfile(found.profile, OperatorClass.ENGINE_MEMORY, wide, found.level)


def request_profile(scenario: Scenario) -> UsedProfile | None:
    """The profile of what an engine adds to the steps of a request; None on the ideal roofline. Raises
    MissingProfileError.
    """
    if scenario.profiles is None:
        return None
    wide = scenario.deployment.compute_dtype
    return _find(scenario.profiles, setting_of(scenario), OperatorClass.REQUEST, wide, wide)


def _maybe(
    profiles: ProfileSet, setting: Setting, operator_class: OperatorClass, dtype: Dtype, stored: Dtype
) -> UsedProfile | None:
    found = profiles.find(setting, operator_class, dtype, stored)
    return None if found is None else UsedProfile(found.profile, operator_class, dtype, found.level)


class ScenarioConstants(NamedTuple):
    """Calibrated constants of one scenario, the arrays of `Constants` with S = 1."""

    launch_s: Array
    loop_s: Array
    compute: Array
    memory: Array
    exponent: Array
    serial_s: Array
    passed_s: Array
    beside_s: Array
    step_s: Array
    sequence_s: Array
    communication_factor: Array
    one_row: Array | None


@dataclass(frozen=True, eq=False)
class Constants:
    """Calibrated constants of S scenarios, the `parts`; arrays of all scenarios are joined when asked for.
    `communication` holds those of collectives, with arrays of shape (S, 1, 1), or numbers where all scenarios
    have the same; None where a table has none.
    """

    parts: Sequence[ScenarioConstants]
    communication: communication.Constants | None

    @cached_property
    def launch_s(self) -> Array:
        """Seconds of launches, shape (S, R)."""
        return joined([part.launch_s for part in self.parts])

    @cached_property
    def loop_s(self) -> Array:
        """Seconds of serial loops over the depth of products, shape (S, R)."""
        return joined([part.loop_s for part in self.parts])

    @cached_property
    def compute(self) -> Array:
        """Shares of the peak that are attained, shape (S, R)."""
        return joined([part.compute for part in self.parts])

    @cached_property
    def memory(self) -> Array:
        """Shares of the bandwidth that are attained, shape (S, R)."""
        return joined([part.memory for part in self.parts])

    @cached_property
    def exponent(self) -> Array:
        """How computing and moving overlap, shape (S, R)."""
        return joined([part.exponent for part in self.parts])

    @cached_property
    def serial_s(self) -> Array:
        """Seconds of serial work for each unit of the step variables, shape (S, R, B)."""
        return joined([part.serial_s for part in self.parts])

    @cached_property
    def passed_s(self) -> Array:
        """Seconds of further passes for each unit of the step variables, shape (S, R, B)."""
        return joined([part.passed_s for part in self.parts])

    @cached_property
    def beside_s(self) -> Array:
        """Serial work and further passes together, shape (S, R, B)."""
        return joined([part.beside_s for part in self.parts])

    @cached_property
    def step_s(self) -> Array:
        """What a step costs beside its operators, shape (S,)."""
        return joined([part.step_s for part in self.parts])

    @cached_property
    def sequence_s(self) -> Array:
        """What it costs for each position with logits, shape (S,)."""
        return joined([part.sequence_s for part in self.parts])

    @cached_property
    def communication_factor(self) -> Array:
        """What times of collectives are multiplied by, shape (S,)."""
        return joined([part.communication_factor for part in self.parts])

    @cached_property
    def one_row(self) -> Array | None:
        """What products of one row are multiplied by, shape (S, R); None where that is 1 everywhere."""
        factors = [part.one_row for part in self.parts]
        if all(factor is None for factor in factors):
            return None
        ones = np.ones_like(self.parts[0].launch_s)
        return joined([ones if factor is None else factor for factor in factors])


def constants_of(table: OperatorTable, scenarios: Sequence[Scenario], stage: Stage) -> Constants | None:
    """The constants of scenarios, None without profiles. Either all of them have profiles or none has."""
    profiled = [scenario for scenario in scenarios if scenario.profiles is not None]
    if not profiled:
        return None
    if len(profiled) != len(scenarios):
        raise ValueError("some scenarios have profiles and some have none; cost them apart")
    parts = []
    for scenario in profiled:
        stored, engine = scenario.deployment.as_stored, scenario.deployment.engine
        asked = ("", "") if engine is None else (engine.asked_engine, engine.asked_version)
        parts.append(_constants_of(table, stage, scenario.hardware, stored, scenario.profiles, asked))
    return Constants(parts, _communication_constants(scenarios) if table.collectives else None)


@lru_cache(maxsize=1024)
def _constants_of(
    table: OperatorTable,
    stage: Stage,
    hardware: Hardware,
    deployment: Deployment,
    profiles: ProfileSet | None,
    engine: tuple[str, str],
) -> ScenarioConstants:
    """The constants of a deployment as stored, under an engine and its version by the names asked for."""
    assert profiles is not None
    setting, formats = _setting(profiles, hardware.id, *engine, ""), _formats(deployment)
    clock = 1.0 if hardware.clock_hz is None else hardware.clock_hz / REFERENCE_CLOCK_HZ
    used = _profiles_of(profiles, setting, formats, _Kind(stage, table.has_experts))
    step = used[-1].profile
    by_class = _with_widening(profiles, setting, formats, used[:-1])
    row = table.cost_class
    launch, compute, memory = (by_class[name][row] for name in ("launch", "compute", "memory"))
    own = launch * 1e-6 / clock
    experts = table.is_work(Work.EXPERTS)
    timed_apart = np.ones(len(table.rows))
    if stage is Stage.DECODE:
        captured = np.array([_captured(step, index) for index in range(len(CLASSES))])[row]
        own = np.where(np.isnan(captured), own, captured * 1e-6)
        # Experts' kernels sort tokens and set up tiles while others run: a captured launch stands for it.
        timed_apart[experts & ~np.isnan(captured)] = 0.0
    factor = step.constant(
        FurtherConstant.PREFILL_FACTOR if stage is Stage.PREFILL else FurtherConstant.DECODE_FACTOR
    ).value
    widened = np.array([_widens(formats, index) for index in range(len(CLASSES))])[row]
    if widened.any():
        most = [
            _most_efficiency(profiles, setting, formats, index, each.profile)
            for index, each in enumerate(used[:-1])
        ]
        unpacking = step.constant(FurtherConstant.UNPACKING_FACTOR).value
        compute = np.where(widened, np.minimum(compute, np.array(most)[row]) / unpacking, compute)
    coefficients, per_clock = table.coefficients, 1e-6 * factor / clock
    # Items of prefill kernels are tiles of queries, those of decode kernels what a sequence has.
    tiles = table.is_work(Work.ATTENTION) & (stage is Stage.PREFILL)
    serial = by_class["serial"][row, None] * coefficients[Quantity.SERIAL]
    serial += by_class["item"][row, None] * np.where(
        tiles[:, None], coefficients[Quantity.TILES], coefficients[Quantity.ITEMS]
    )
    serial *= timed_apart[:, None]
    pass_s = factor * PASSED_BYTES / pass_rates(table, np.array([hardware.bandwidth_bytes_per_s]))
    passed = by_class["passes"][row, None] * coefficients[Quantity.PASSED]
    passed += by_class["inner_passes"][row, None] * coefficients[Quantity.PASSED_INNER]
    serial_s, passed_s = (serial * per_clock)[None], (passed * pass_s)[None]
    one_row = by_class["one_row"][row][None]
    found = ScenarioConstants(
        launch_s=(own * table.launches)[None],
        loop_s=(by_class["loop"][row] * table.depth * per_clock)[None],
        compute=np.minimum(compute / factor, 1.0)[None],
        memory=np.minimum(memory / factor, 1.0)[None],
        exponent=by_class["exponent"][row][None],
        serial_s=serial_s,
        passed_s=passed_s,
        beside_s=serial_s + passed_s,
        step_s=np.array([step.launch_time_us.value * 1e-6]),
        sequence_s=np.array([step.constant(FurtherConstant.SEQUENCE_TIME_US).value * 1e-6]),
        communication_factor=np.array([step.constant(FurtherConstant.COMMUNICATION_FACTOR).value]),
        one_row=None if (one_row == 1).all() else one_row,
    )
    for array in found:
        if array is not None:
            array.setflags(write=False)
    return found


def _with_widening(
    profiles: ProfileSet,
    setting: Setting,
    formats: Formats,
    used: Sequence[UsedProfile],
) -> Mapping[str, Array]:
    """Constants of profiles by name, one entry for each.

    Where nobody timed kernels that widen such weights to a low-bit compute format, those of that format stand
    in, and what they take beside the arithmetic is no less than what widening to the wide format takes.
    """
    wide = formats.pairs[-1][0]
    by_class = _by_class(tuple(u.profile for u in used))
    for index, (dtype, stored) in enumerate(formats.pairs):
        timed = used[index].profile.weight_dtype is stored
        if dtype is wide or timed or not _widens(formats, index):
            continue
        widening = _find(profiles, setting, used[index].operator_class, wide, stored).profile
        beside = _by_class((widening,))
        by_class = {name: column.copy() for name, column in by_class.items()}
        for name in ("launch", "serial", "item", "loop"):
            by_class[name][index] = np.maximum(by_class[name][index], beside[name][0])
        by_class["memory"][index] = np.minimum(by_class["memory"][index], beside["memory"][0])
    return by_class


def pass_rates(table: OperatorTable, bandwidth_bytes_per_s: Array) -> Array:
    """Bytes per second of what operators pass on memories of F bandwidths, shape (R, F): those of experts
    grow with the square root.
    """
    slow = np.sqrt(bandwidth_bytes_per_s * PASS_BANDWIDTH_BYTES_PER_S)
    rates: Array = np.where(table.is_work(Work.EXPERTS)[:, None], slow, bandwidth_bytes_per_s)
    return rates


def pass_rate_factors(table: OperatorTable, bandwidth_factors: Array) -> Array:
    """How many times faster that is on memories of F times the bandwidth, shape (R, F)."""
    return pass_rates(table, bandwidth_factors) / pass_rates(table, np.ones(1))


def _widens(formats: Formats, index: int) -> bool:
    """Whether the products of a class widen their weights before they multiply."""
    work = CLASSES[index]
    dtype, stored = formats.pairs[index]
    return dtype is not stored and (work is Work.EXPERTS or not isinstance(work, Work))


def _most_efficiency(
    profiles: ProfileSet, setting: Setting, formats: Formats, index: int, profile: EfficiencyProfile
) -> float:
    """The most of the peak that the products of a class attain: those that widen their weights, by kernels
    that multiply like any other, no more than those that need not. Timings of the machine itself stand as
    they are; a processor's may be of narrow products on integer units, over the peak of wide ones.
    """
    if not _widens(formats, index) or profile.is_calibrated:
        return inf
    of_work = OperatorClass.MOE if CLASSES[index] is Work.EXPERTS else OperatorClass.GEMM
    dtype, _ = formats.pairs[index]
    return _find(profiles, setting, of_work, dtype, dtype).profile.compute_efficiency.value


_CAPTURED = {
    Work.EXPERTS: FurtherConstant.EXPERTS_LAUNCH_TIME_US,
    Work.ATTENTION: FurtherConstant.ATTENTION_LAUNCH_TIME_US,
    Work.ELEMENTWISE: FurtherConstant.ELEMENTWISE_LAUNCH_TIME_US,
}


def _captured(step: EfficiencyProfile, index: int) -> float:
    """Microseconds of a launch of a class in a step that the engine captured; NaN where it is not known."""
    work = CLASSES[index]
    constant = _CAPTURED[work] if isinstance(work, Work) else FurtherConstant.GEMM_LAUNCH_TIME_US
    return step.further[constant].value if constant in step.further else float("nan")


@lru_cache(maxsize=4096)
def _by_class(used: tuple[EfficiencyProfile, ...]) -> Mapping[str, Array]:
    """Constants of profiles by name, one entry for each."""

    def further(name: FurtherConstant) -> Array:
        return np.array([profile.constant(name).value for profile in used])

    return {
        "launch": np.array([profile.launch_time_us.value for profile in used]),
        "compute": np.array([profile.compute_efficiency.value for profile in used]),
        "memory": np.array([profile.memory_efficiency.value for profile in used]),
        "exponent": np.array([profile.overlap_exponent for profile in used]),
        "serial": further(FurtherConstant.SERIAL_TIME_US),
        "item": further(FurtherConstant.ITEM_TIME_US),
        "loop": further(FurtherConstant.LOOP_TIME_US),
        "passes": further(FurtherConstant.PASSES),
        "inner_passes": further(FurtherConstant.INNER_PASSES),
        "one_row": further(FurtherConstant.ONE_ROW_FACTOR),
    }


def _communication_constants(scenarios: Sequence[Scenario]) -> communication.Constants:
    sources = [(s.profiles, setting_of(s)) for s in scenarios if s.profiles is not None]
    if len(set(sources)) == 1:
        return _communication_constants_of(*sources[0])
    found = [_communication_constants_of(*source) for source in sources]
    columns = {
        name.value: np.array([getattr(each, name.value) for each in found]).T[..., None, None]
        for name in COMMUNICATION_CLASSES
    }
    return communication.Constants(
        **{name: communication.Transfer(*column) for name, column in columns.items()}
    )


@lru_cache(maxsize=256)
def _communication_constants_of(profiles: ProfileSet, setting: Setting) -> communication.Constants:
    used = _communication_profiles(profiles, setting)
    return communication.constants_of({each.operator_class: each.profile for each in used})
