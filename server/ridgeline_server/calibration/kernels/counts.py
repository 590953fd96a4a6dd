"""Timed kernels: what they count, the constants that turn it into times, and how those are fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ridgeline_server.calibration.kernels.rows import Array, Mask, Texts, Timings
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import OperatorClass
from ridgeline_server.roofline.kernels import kernel_seconds


class Device(NamedTuple):
    """Figures of a device that was timed: dense peaks by format, and the clock that they are stated at.
    `cache_bytes`, of its last-level cache, only tells which rows came from there.
    """

    id: str
    bandwidth_bytes_per_s: float
    peak_flops_per_s: Mapping[str, float]
    clock_hz: float
    cache_bytes: float


class System(NamedTuple):
    """A device by its catalog id, with two figures of it; see Device."""

    device_id: str
    clock_hz: float
    cache_bytes: float


SYSTEMS: Mapping[str, System] = MappingProxyType(
    {
        "a100_sxm": System("a100-sxm-80gb", 1.41e9, 40e6),
        "h100_sxm": System("h100-sxm", 1.83e9, 50e6),
        "b200_sxm": System("b200-sxm", 1.86e9, 126e6),
        "l40s": System("l40s", 2.52e9, 96e6),
    }
)
"""The systems of the timings. Clocks are those that the peaks are stated at: units, operations of each in a
cycle and the clock make the dense peak of the catalog (the L40S at its boost clock, as its fp8 peak is).
"""
ENGINES: Mapping[str, str] = MappingProxyType({"trtllm": "tensorrt-llm", "vllm": "vllm", "sglang": "sglang"})
"""Engines of the timings by their catalog ids."""


@dataclass(frozen=True)
class Format:
    """What a kernel computes in and how its weights, or keys and values, are stored."""

    dtype: Dtype
    weight_dtype: Dtype

    def __str__(self) -> str:
        return f"{self.dtype}/{self.weight_dtype}"


class Constants(NamedTuple):
    """The constants of a class in the order of a fit; docs/model.md has the formula. `loop_us` is what 1,000
    elements of a contraction add, a pass 1 where the activations pass through memory once more.
    """

    launch_us: float
    serial_us: float
    item_us: float
    loop_us: float
    compute: float
    memory: float
    passes: float
    inner_passes: float


@dataclass(frozen=True)
class Kernels:
    """Timed kernels of one operator class and what they count; all arrays have shape (R,).

    `compute_s` and `memory_s` are the datasheet's F / P and B / BW, `pass_s` and `inner_pass_s` what one pass
    takes, `clock` the device's over REFERENCE_CLOCK_HZ. `fitted` rows may be fitted, those of them that are
    `pooled` also for other engines and systems, and `scored` ones are judged.
    """

    system: Texts
    engine: Texts
    version: Texts
    rows_dtype: Texts
    format: Texts
    measured_s: Array
    compute_s: Array
    memory_s: Array
    serial: Array
    items: Array
    loop: Array
    pass_s: Array
    inner_pass_s: Array
    clock: Array
    fitted: Mask
    pooled: Mask
    scored: Mask

    def __len__(self) -> int:
        return len(self.measured_s)

    @property
    def ideal_s(self) -> Array:
        """The datasheet's time of each."""
        return np.maximum(self.compute_s, self.memory_s)

    def take(self, which: Mask) -> Kernels:
        """The rows that a mask keeps."""
        return Kernels(**{column.name: getattr(self, column.name)[which] for column in fields(self)})

    def latest(self) -> Mask:
        """Rows of the newest release of each engine on each system for each of its formats."""
        kept = np.zeros(len(self), dtype=bool)
        keys = np.array([self.system, self.engine, self.rows_dtype])
        for key in np.unique(keys, axis=1).T:
            mine = (keys == key[:, None]).all(axis=0)
            newest = max(map(release, np.unique(self.version[mine])))
            kept |= mine & np.array([release(version) == newest for version in self.version])
        return kept


def release(version: str) -> tuple[int, ...]:
    """The numbers of a release; a candidate for it, or what was patched after it, counts as the release."""
    return tuple(int(part) for part in version.split("rc")[0].split(".post")[0].split("."))


def expected_seconds(kernels: Kernels, constants: Array, exponent: float) -> Array:
    """The expected time of kernels, shape (R,), by constants in the order of Constants, shape (8, R)."""
    launch, serial, item, loop, compute, memory, passes, inner = constants
    beside = 1e-6 * (launch + serial * kernels.serial + item * kernels.items) / kernels.clock
    return kernel_seconds(
        kernels.compute_s / compute + 1e-6 * loop * kernels.loop / kernels.clock,
        kernels.memory_s / memory,
        np.array(exponent),
        beside + passes * kernels.pass_s + inner * kernels.inner_pass_s,
    )


@dataclass(frozen=True)
class Form:
    """How the constants of an operator class are fitted.

    `start` are constants to begin from, 0 those that the class has not; no launch is fitted below the least.
    Of `shared` ones, by name, all formats have the same. Each system and engine weighs as its rows to the
    power 1 - `levelling`: with 1 all the same.
    """

    operator_class: OperatorClass
    exponent: float
    start: Constants
    levelling: float
    read: Callable[[Timings, Mapping[str, Device]], Kernels]
    least_launch_us: float = 0.5
    shared: frozenset[str] = frozenset()
