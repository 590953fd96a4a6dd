"""Measured cases: the same load before and after a change, and how many times better it became."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from ridgeline_server.domain.measurement import Measurement


class CaseClass(StrEnum):
    """What a case says: whoever collected it tells."""

    MECHANISM = "mechanism"
    """What the change does by its nature."""
    KERNEL_MATURITY = "kernel_maturity"
    """How well an engine's kernels for it were written at the time."""
    ENGINE_CHANGE = "engine_change"
    """Another engine as well as the change."""
    NOT_A_TECHNIQUE = "not_a_technique"
    UNDERSPECIFIED = "underspecified"
    """The source does not tell what was run."""


class Change(StrEnum):
    """What a change did, or is predicted to do."""

    HELPS = "helps"
    NEUTRAL = "neutral"
    HURTS = "hurts"


HELPS, HURTS = 1.15, 0.87
"""Speedups above which a change helps, and below which it hurts."""


def change_of(speedup: float) -> Change:
    """What a speedup amounts to."""
    return Change.HELPS if speedup > HELPS else Change.HURTS if speedup < HURTS else Change.NEUTRAL


@dataclass(frozen=True)
class CaseSide:
    """One side of a case: the measured setting, whose value says nothing by itself, and features that the
    columns of measurements have no place for.
    """

    measurement: Measurement
    features: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", MappingProxyType(dict(self.features)))


@dataclass(frozen=True)
class MeasuredCase:
    """A published before and after. `speedup` says how many times better the metric became; over 1 is
    better. Texts that are not known are empty.
    """

    id: str
    before: CaseSide
    after: CaseSide
    speedup: float
    technique: str = ""
    case_class: CaseClass | None = None
    source: str = ""
    source_group: str = ""

    @property
    def change(self) -> Change:
        """What the measured speedup amounts to."""
        return change_of(self.speedup)
