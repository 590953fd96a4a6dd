"""What a probe of this machine becomes: entries of the catalog as messages, and what to know of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date

from ridgeline.v1.efficiency_profile_pb2 import EfficiencyProfile
from ridgeline.v1.hardware_pb2 import Hardware as HardwareMessage
from ridgeline_server.domain.confidence import Confidence
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.probe.case import Operation
from ridgeline_server.probe.report import (
    Attained,
    Probe,
    Timing,
    attained_bytes_per_s,
    attained_flops_per_s,
    hardware_of,
    profiles_of,
)
from ridgeline_server.rpc.convert.enums import DTYPE
from ridgeline_server.rpc.convert.hardware import entry_message as hardware_message
from ridgeline_server.rpc.convert.profiles import entry_message as profile_message
from ridgeline_server.store.entries import FigureSource, HardwareEntry, ProfileEntry


@dataclass(frozen=True)
class AttainedRate:
    """The best rate of products in a format (its number in the contract), how it was attained, and how many
    timings of the format there are and how many of them are doubtful.
    """

    dtype: int
    flops_per_s: float
    source: str
    timing_count: int
    doubtful_count: int


@dataclass(frozen=True)
class LaunchTime:
    """What starting an operation costs in microseconds, by a library or in a CUDA graph (`how`)."""

    how: str
    time_us: float
    is_trusted: bool


@dataclass(frozen=True)
class MachineReport:
    """A machine as entries of the catalog, and how sure they are.

    Of `timing_count` timings `doubtful_count` were disturbed: other work ran meanwhile. `uses_cpu_time` tells
    that CPU time is what was taken, which other work disturbs least. `skipped` says what was not timed and
    why.
    """

    hardware: HardwareMessage
    profiles: tuple[EfficiencyProfile, ...]
    rates: tuple[AttainedRate, ...]
    launches: tuple[LaunchTime, ...]
    uses_cpu_time: bool
    timing_count: int
    doubtful_count: int
    skipped: tuple[str, ...]
    libraries: tuple[str, ...]


LAUNCHES = (Operation.LAUNCH, Operation.GRAPH_LAUNCH)


def report_of(probe: Probe, hardware_id: str, measured_on: date) -> MachineReport:
    """The device, its efficiency profiles, and how far the timings can be trusted.

    Raises ValueError for a probe that timed nothing that reads memory.
    """
    device = hardware_of(probe, hardware_id)
    products = [t for t in probe.timings if t.operation is Operation.PRODUCT]
    return MachineReport(
        hardware=hardware_message(_entry(probe, device, measured_on)),
        profiles=tuple(
            profile_message(ProfileEntry(profile=replace(p, source=f"{p.source}; {measured_on:%Y-%m-%d}")))
            for p in profiles_of(probe, hardware_id)
        ),
        rates=tuple(
            AttainedRate(
                dtype=DTYPE.number(dtype),
                flops_per_s=rate.value,
                source=rate.source,
                timing_count=sum(t.dtype is dtype for t in products),
                doubtful_count=sum(t.dtype is dtype and not probe.is_trusted(t) for t in products),
            )
            for dtype, rate in attained_flops_per_s(probe).items()
        ),
        launches=tuple(_launches(probe)),
        uses_cpu_time=probe.gpu is None and probe.threads == 1,
        timing_count=len(probe.timings),
        doubtful_count=sum(not probe.is_trusted(t) for t in probe.timings),
        skipped=tuple(f"{skipped.label}: {skipped.reason}" for skipped in probe.skipped),
        libraries=probe.libraries,
    )


def _launches(probe: Probe) -> Iterator[LaunchTime]:
    for timing in probe.timings:
        if timing.operation in LAUNCHES:
            how = "a CUDA graph" if timing.operation is Operation.GRAPH_LAUNCH else timing.engine
            yield LaunchTime(how, _one_launch_us(probe, timing), probe.is_trusted(timing))


def _one_launch_us(probe: Probe, timing: Timing) -> float:
    """A captured graph launches `k` operations in a call, everything else one."""
    number = timing.k if timing.operation is Operation.GRAPH_LAUNCH else 1
    return probe.time_us(timing) / number


def _entry(probe: Probe, device: Hardware, measured_on: date) -> HardwareEntry:
    """The device with where each of its figures comes from."""
    attained: dict[str, Attained] = {
        f"peaks.{dtype}": rate for dtype, rate in attained_flops_per_s(probe).items()
    }
    attained["bandwidth_bytes_per_s"] = attained_bytes_per_s(probe)
    told = "the driver" if probe.gpu is not None else "the operating system"
    return HardwareEntry(
        hardware=device,
        sources=(
            *(
                FigureSource(field, figure.source, measured_on, Confidence.HIGH)
                for field, figure in attained.items()
            ),
            *(
                FigureSource(field, f"as {told} tells it", measured_on, Confidence.HIGH)
                for field in ("memory_bytes", "usable_memory_bytes")
            ),
        ),
        notes=("Rates and bandwidth are what was attained on this machine, not a datasheet's figures.",),
    )
