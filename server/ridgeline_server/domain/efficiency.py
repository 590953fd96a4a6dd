"""Efficiency profiles: calibrated constants that turn the datasheet roofline into a prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from ridgeline_server.domain.dtypes import Dtype


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


class ProfileLevel(StrEnum):
    """How specific a profile is, most specific first."""

    ENGINE = "engine"
    HARDWARE = "hardware"
    GENERIC = "generic"


@dataclass(frozen=True)
class Estimate:
    """A constant with the range that is meant to hold 80% of the systems."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class EfficiencyProfile:
    """Constants of one operator class; empty `hardware_id` and `engine`, None `dtype` (what it computes in)
    and None `weight_dtype` (how its weights are stored) match any.

    expected = launch_time + ((F / (ec P))^p + (B / (em BW))^p)^(1/p), docs/model.md. Of the
    classes that move messages between devices `memory_efficiency` is the attained share of the link, and the
    compute efficiency is not used.
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

    @property
    def level(self) -> ProfileLevel:
        """How specific the profile is."""
        if self.engine:
            return ProfileLevel.ENGINE
        return ProfileLevel.HARDWARE if self.hardware_id else ProfileLevel.GENERIC


UNPACKED_LIKE: Mapping[Dtype, Dtype] = MappingProxyType(
    {Dtype.FP8: Dtype.INT8, Dtype.NVFP4: Dtype.INT4, Dtype.MXFP4: Dtype.INT4}
)
"""Formats whose weights a kernel that computes in 16 bits widens at the cost of another's, of which timings
are known.
"""


def _alike(dtype: Dtype, weight_dtype: Dtype) -> tuple[Dtype, Dtype]:
    """The formats whose constants stand in where those of a compute and a storage format are not known."""
    if dtype is weight_dtype:
        alike = Dtype.NVFP4 if dtype is Dtype.MXFP4 else dtype
        return alike, alike
    return dtype, UNPACKED_LIKE.get(weight_dtype, weight_dtype)


class ProfileSet:
    """The catalog's profiles, found most specific first."""

    def __init__(self, profiles: Iterable[EfficiencyProfile]) -> None:
        self.profiles = tuple(profiles)
        self._hardware_ids = {profile.hardware_id for profile in self.profiles}
        self._found: dict[tuple[str, OperatorClass, Dtype, Dtype], EfficiencyProfile | None] = {}

    def known(self, hardware_id: str) -> str:
        """The device's id where one of the profiles was fitted for it, else empty: then none but the generic
        ones hold. Ids that callers make up so come to one, and what is kept for each id stays bounded.
        """
        return hardware_id if hardware_id in self._hardware_ids else ""

    def find(
        self, hardware_id: str, operator_class: OperatorClass, dtype: Dtype, weight_dtype: Dtype
    ) -> EfficiencyProfile | None:
        """The profile for an operator class that computes in `dtype` on a device, or None when the catalog
        has none.

        One fitted for the device goes before a generic one, then one fitted for the weights' storage format,
        or for one that is widened alike, then one fitted for the compute format, before those for any.
        """
        hardware_id = self.known(hardware_id)
        key = (hardware_id, operator_class, dtype, weight_dtype)
        if key not in self._found:
            like_dtype, like_stored = _alike(dtype, weight_dtype)
            stored = (weight_dtype, like_stored, None)
            matching = [
                p
                for p in self.profiles
                if p.operator_class is operator_class
                and p.hardware_id in ("", hardware_id)
                and p.dtype in (None, dtype, like_dtype)
                and p.weight_dtype in stored
                and not p.engine
            ]
            matching.sort(
                key=lambda p: (not p.hardware_id, stored.index(p.weight_dtype), p.dtype is None, p.id)
            )
            self._found[key] = matching[0] if matching else None
        return self._found[key]
