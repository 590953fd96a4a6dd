"""Efficiency profiles: calibrated constants that turn the datasheet roofline into a prediction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

from ridgeline_server.domain.dtypes import WIDENED_TO, Dtype


class OperatorClass(StrEnum):
    """Operators that share constants."""

    GEMM = "gemm"
    PREFILL_ATTENTION = "prefill_attention"
    DECODE_ATTENTION = "decode_attention"
    ELEMENTWISE = "elementwise"
    STEP = "step"
    MOE = "moe"
    ALL_REDUCE = "all_reduce"
    RING = "ring"
    RING_STEP = "ring_step"
    ALL_TO_ALL = "all_to_all"
    PCIE_PAIR = "pcie_pair"
    PCIE_GROUP = "pcie_group"
    NETWORK = "network"
    EXPERT_STEP = "expert_step"
    """A step of a model with experts, as STEP for the others."""
    REQUEST = "request"
    PREFILL_TIME = "prefill_time"
    DECODE_TIME = "decode_time"
    FIRST_TOKEN_TIME = "first_token_time"
    EXPERT_PREFILL_TIME = "expert_prefill_time"
    """Times of models with experts, as those above for the others."""
    EXPERT_DECODE_TIME = "expert_decode_time"
    EXPERT_FIRST_TOKEN_TIME = "expert_first_token_time"
    ENGINE_MEMORY = "engine_memory"
    """What an engine takes of a device's memory, beside what is known of its release."""


OF_ENGINES = frozenset(OperatorClass) - {
    OperatorClass.GEMM,
    OperatorClass.PREFILL_ATTENTION,
    OperatorClass.DECODE_ATTENTION,
    OperatorClass.ELEMENTWISE,
    OperatorClass.MOE,
    OperatorClass.ALL_REDUCE,
    OperatorClass.RING,
    OperatorClass.RING_STEP,
    OperatorClass.ALL_TO_ALL,
    OperatorClass.PCIE_PAIR,
    OperatorClass.PCIE_GROUP,
    OperatorClass.NETWORK,
}
"""Classes of what engines add to kernels and exchanges, or take of memory, and of whole times."""


class ProfileLevel(StrEnum):
    """How specific a profile is, most specific first."""

    SETTING = "setting"
    """Fitted for this model on this device."""
    ENGINE = "engine"
    """Fitted for this device and engine."""
    HARDWARE = "hardware"
    RELATIVE = "relative"
    """Fitted for a device of the same generation."""
    GENERIC = "generic"


@dataclass(frozen=True)
class Estimate:
    """A constant with the range that is meant to hold 80% of the systems."""

    value: float
    low: float
    high: float


class FurtherConstant(StrEnum):
    """Constants that some operator classes have beside the three of all; docs/model.md has the formulas."""

    SERIAL_TIME_US = "serial_time_us"
    """What a unit of an operator's serial length takes, at the reference clock."""
    ITEM_TIME_US = "item_time_us"
    """What a work item of an operator takes, at the reference clock."""
    LOOP_TIME_US = "loop_time_us"
    """What 1,000 elements of a contraction add to the time that a product computes."""
    PASSES = "passes"
    """How often activations pass through memory beside what the operator reads and writes."""
    INNER_PASSES = "inner_passes"
    """The same for what passes between the products of an expert."""
    GEMM_LAUNCH_TIME_US = "gemm_launch_time_us"
    """What launching a product costs in a step that an engine captured."""
    EXPERTS_LAUNCH_TIME_US = "experts_launch_time_us"
    ATTENTION_LAUNCH_TIME_US = "attention_launch_time_us"
    ELEMENTWISE_LAUNCH_TIME_US = "elementwise_launch_time_us"
    PREFILL_FACTOR = "prefill_factor"
    """How much longer an engine's operators take in a prefill than the same kernels alone."""
    DECODE_FACTOR = "decode_factor"
    ONE_ROW_FACTOR = "one_row_factor"
    """What a product of one row of activations takes, over what the constants of several rows say: engines
    have kernels of their own for a vector. Of products and experts; never under the ideal.
    """
    UNPACKING_FACTOR = "unpacking_factor"
    """How much longer an engine's products compute whose weights are widened first, than the same kernels
    alone.
    """
    COMMUNICATION_FACTOR = "communication_factor"
    SEQUENCE_TIME_US = "sequence_time_us"
    """What each position whose logits are computed adds to a step: scheduling, sampling, detokenisation."""
    INTERFERENCE = "interference"
    """The share of other requests' prompts that a running request waits for."""
    FIRST_TOKEN_STEPS = "first_token_steps"
    """Decode steps that pass until a first token is seen, beside those that give it."""
    LOCKSTEP_SHARE = "lockstep_share"
    """How far the requests of a closed loop arrive together: 1 would be all at once."""
    TIME_FACTOR = "time_factor"
    """What a predicted time is multiplied by; its range is that of the time."""
    ACTIVATION_FACTOR = "activation_factor"
    """What the sizes of an engine's release are multiplied by; their ranges stand in for the release's."""
    NON_TORCH_FACTOR = "non_torch_factor"
    CUDA_GRAPH_FACTOR = "cuda_graph_factor"


CALIBRATED = "calibrated-"
"""How the ids of profiles begin that somebody's measured rows made, anew from all rows each time."""


@dataclass(frozen=True)
class EfficiencyProfile:
    """Constants of one operator class; empty `hardware_id`, `engine` and `model_id`, None `dtype` (what it
    computes in) and None `weight_dtype` (how its weights are stored) match any.

    `relatives` are devices that it stands for where they have none of their own. `since_version`, of
    `since_date` (YYYY-MM), is the engine's first release that it is for; empty: all before the next that
    another profile names. The times that it gives are in docs/model.md; of the classes that move messages
    between devices `memory_efficiency` is the attained share of the link, and the compute efficiency is not
    used.
    """

    id: str
    operator_class: OperatorClass
    launch_time_us: Estimate
    compute_efficiency: Estimate
    memory_efficiency: Estimate
    overlap_exponent: float
    evidence_count: int
    source: str
    hardware_id: str = ""
    dtype: Dtype | None = None
    weight_dtype: Dtype | None = None
    engine: str = ""
    model_id: str = ""
    since_version: str = ""
    since_date: str = ""
    relatives: tuple[str, ...] = ()
    further: Mapping[FurtherConstant, Estimate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "further", MappingProxyType(dict(self.further)))

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def is_calibrated(self) -> bool:
        """Whether somebody's own rows made it, rather than those of a release."""
        return self.id.startswith(CALIBRATED)

    def constant(self, name: FurtherConstant) -> Estimate:
        """A further constant; the neutral value where the profile does not state it."""
        return self.further.get(name, NEUTRAL[name])


def _exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


NEUTRAL: Mapping[FurtherConstant, Estimate] = MappingProxyType(
    {name: _exactly(0.0) for name in FurtherConstant}
    | {
        name: _exactly(1.0)
        for name in (
            FurtherConstant.PREFILL_FACTOR,
            FurtherConstant.DECODE_FACTOR,
            FurtherConstant.ONE_ROW_FACTOR,
            FurtherConstant.UNPACKING_FACTOR,
            FurtherConstant.COMMUNICATION_FACTOR,
            FurtherConstant.INTERFERENCE,
            FurtherConstant.TIME_FACTOR,
            FurtherConstant.ACTIVATION_FACTOR,
            FurtherConstant.NON_TORCH_FACTOR,
            FurtherConstant.CUDA_GRAPH_FACTOR,
        )
    }
)
"""Values that change nothing."""


UNPACKED_LIKE: Mapping[Dtype, Dtype] = MappingProxyType(
    {Dtype.FP8: Dtype.INT8, Dtype.NVFP4: Dtype.INT4, Dtype.MXFP4: Dtype.INT4}
)
"""Formats whose weights a kernel that computes in 16 bits widens at the cost of another's, of which timings
are known.
"""


def _formats(
    dtype: Dtype | None, weight_dtype: Dtype | None
) -> tuple[tuple[Dtype | None, Dtype | None], ...]:
    """Storage and compute formats of profiles that fit those that are sought, the best first.

    Kernels that widen weights to 8-bit inputs are seldom timed: those whose weights have the inputs' format
    stand in, never those that multiply in 16 bits, whose constants belong to another unit.
    """
    if dtype is None:
        return ((None, None),)
    weight_dtype = weight_dtype or dtype
    like_dtype, like_stored = _alike(dtype, weight_dtype)
    if dtype in WIDENED_TO.get(weight_dtype, ()):
        return ((weight_dtype, dtype), (dtype, dtype), (None, dtype), (None, None))
    return tuple(product((weight_dtype, like_stored, None), (dtype, like_dtype, None)))


def _alike(dtype: Dtype, weight_dtype: Dtype) -> tuple[Dtype, Dtype]:
    """The formats whose constants stand in where those of a compute and a storage format are not known."""
    like = FITTED_LIKE.get(dtype, dtype)
    if dtype is weight_dtype:
        return like, like
    stored = FITTED_LIKE.get(weight_dtype, weight_dtype)
    return like, like if stored is like else UNPACKED_LIKE.get(weight_dtype, weight_dtype)


FITTED_LIKE: Mapping[Dtype, Dtype] = MappingProxyType({Dtype.FP16: Dtype.BF16, Dtype.MXFP4: Dtype.NVFP4})
"""Formats that compute at the rate and with the kernels of another, of which timings are known."""


class Setting(NamedTuple):
    """Where constants are sought: a device, an engine and the era of its release, and a model, by the names
    that some profile has; empty where none has them.
    """

    hardware_id: str
    engine: str = ""
    era: str = ""
    model_id: str = ""


class Found(NamedTuple):
    """A profile and how well it fits what was sought."""

    profile: EfficiencyProfile
    level: ProfileLevel


class ProfileSet:
    """The catalog's profiles, found most specific first."""

    def __init__(self, profiles: Iterable[EfficiencyProfile]) -> None:
        self.profiles = tuple(profiles)
        self._hardware_ids = {p.hardware_id for p in self.profiles} | {
            relative for p in self.profiles for relative in p.relatives
        }
        self._model_ids = {p.model_id for p in self.profiles}
        eras: dict[str, dict[tuple[str, str], None]] = {}
        # Releases of which memory was measured divide no engine's kernels into eras.
        for profile in (p for p in self.profiles if p.operator_class is not OperatorClass.ENGINE_MEMORY):
            of_engine = eras.setdefault(profile.engine, {("", ""): None})
            of_engine[profile.since_version, profile.since_date] = None
        self._eras = {engine: tuple(of_engine) for engine, of_engine in eras.items()}
        self._memory: dict[tuple[str, str], list[EfficiencyProfile]] = {}
        for profile in self.profiles:
            if profile.operator_class is OperatorClass.ENGINE_MEMORY:
                self._memory.setdefault((profile.hardware_id, profile.engine.lower()), []).append(profile)
        self._found: dict[tuple[Setting, OperatorClass, Dtype | None, Dtype | None], Found | None] = {}

    def setting(
        self, hardware_id: str, engine: str = "", engine_version: str = "", model_id: str = ""
    ) -> Setting:
        """Where to seek for a device, an engine and a model. Names that no profile has come to none, so that
        what is kept for names that callers make up stays bounded.
        """
        engine = engine.lower() if engine.lower() in self._eras else ""
        return Setting(
            hardware_id if hardware_id in self._hardware_ids else "",
            engine,
            era_of(engine_version, self._eras[engine]) if engine else "",
            model_id if model_id in self._model_ids else "",
        )

    @cached_property
    def engines(self) -> frozenset[str]:
        """The engines of which any constant is known, in lower case."""
        return frozenset(profile.engine.lower() for profile in self.profiles) - {""}

    def engine_memory(self, hardware_id: str, engine: str, engine_version: str = "") -> Found | None:
        """The profile of an engine's memory on a device; None when there is none of this device and this
        engine, or of no release up to the asked one. Those of other devices or engines never stand in.
        """
        known = self._memory.get((hardware_id, engine.lower()), [])
        era = era_of(engine_version, tuple((p.since_version, p.since_date) for p in known))
        matching = sorted((p for p in known if p.since_version == era), key=lambda p: p.id)
        return Found(matching[0], ProfileLevel.ENGINE) if matching else None

    def find(
        self,
        setting: Setting,
        operator_class: OperatorClass,
        dtype: Dtype | None = None,
        weight_dtype: Dtype | None = None,
    ) -> Found | None:
        """The profile for an operator class that computes in `dtype` with weights stored in `weight_dtype`
        (None: whatever it computes in), or None when the catalog has none.

        One fitted for the model goes first, then one for the device, for a relative of it, and for any; of
        each of them one that somebody's own rows made before others, and one fitted for the engine before one
        that is not; then one for the storage format, or for one that is widened alike, and for the compute
        format, before those for any.
        """
        key = (setting, operator_class, dtype, weight_dtype)
        if key not in self._found:
            self._found[key] = self._search(*key)
        return self._found[key]

    def _search(
        self,
        setting: Setting,
        operator_class: OperatorClass,
        dtype: Dtype | None,
        weight_dtype: Dtype | None,
    ) -> Found | None:
        formats = _formats(dtype, weight_dtype)

        def nearness(profile: EfficiencyProfile) -> tuple[int, int, int, int, int, int, str]:
            if profile.hardware_id == setting.hardware_id:
                device = 0
            else:
                device = 1 if setting.hardware_id in profile.relatives else 2
            return (
                not profile.model_id,
                device,
                not profile.is_calibrated,
                not profile.engine,
                profile.since_version != setting.era,
                formats.index((profile.weight_dtype, profile.dtype)),
                profile.id,
            )

        matching = sorted(
            (
                p
                for p in self.profiles
                if p.operator_class is operator_class
                and (
                    p.hardware_id in ("", setting.hardware_id)
                    or (setting.hardware_id and setting.hardware_id in p.relatives)
                )
                and p.model_id in ("", setting.model_id)
                and p.engine in ("", setting.engine)
                and p.since_version in ("", setting.era)
                and (p.weight_dtype, p.dtype) in formats
            ),
            key=nearness,
        )
        return Found(matching[0], _level(matching[0], setting)) if matching else None


def _level(profile: EfficiencyProfile, setting: Setting) -> ProfileLevel:
    if profile.model_id:
        return ProfileLevel.SETTING
    if not profile.hardware_id:
        return ProfileLevel.GENERIC
    if profile.hardware_id != setting.hardware_id:
        return ProfileLevel.RELATIVE
    return ProfileLevel.ENGINE if profile.engine else ProfileLevel.HARDWARE


@lru_cache(maxsize=1024)
def era_of(version: str, eras: tuple[tuple[str, str], ...]) -> str:
    """The first release of the newest era that a version belongs to, of eras as (first release, its date).

    A version such as ~2024-05, which names a time, goes by the dates; one that is not stated, or cannot be
    read, belongs to the newest.
    """
    when, known = _APPROXIMATE.match(version.strip()), version_key(version)
    if when is not None:
        fitting = [era for era in eras if era[1][: len(when.group(1))] <= when.group(1)]
    elif known is not None:
        fitting = [era for era in eras if (version_key(era[0]) or ()) <= known]
    else:
        fitting = list(eras)
    return max(fitting, key=lambda era: version_key(era[0]) or ())[0] if fitting else ""


_APPROXIMATE = re.compile(r"~\s*(\d{4}(?:-\d{2})?)")


_MAX_VERSION_DIGITS = 18
"""Python refuses to read numbers of thousands of digits; releases are dates at most."""


def version_key(version: str) -> tuple[int, ...] | None:
    """The numbers of a version without trailing zeros, so that 0.19 is 0.19.0; None when it has none, or one
    of more digits than any release.

    Suffixes such as rc1, .post1 and +cu128 are left out: a release candidate counts as its release.
    """
    match = re.match(r"v?(\d+(?:\.\d+)*)", version.strip())
    parts = match.group(1).split(".") if match else []
    if not parts or max(map(len, parts)) > _MAX_VERSION_DIGITS:
        return None
    numbers = [int(part) for part in parts]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
