"""What a probe found, and what follows from it: a device with attained figures, and efficiency profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import EfficiencyProfile, Estimate, OperatorClass
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.probe.case import Operation
from ridgeline_server.probe.clock import TOLERANCE
from ridgeline_server.probe.fit import Curve, Fit, fit_curve
from ridgeline_server.probe.machine import Gpu, Processor

LEAST_TIMINGS = 4
"""Timings under which three constants and an exponent are not fitted."""

CLASS_OPERATIONS = {
    OperatorClass.GEMM: Operation.PRODUCT,
    OperatorClass.PREFILL_ATTENTION: Operation.PREFILL_ATTENTION,
    OperatorClass.DECODE_ATTENTION: Operation.DECODE_ATTENTION,
    OperatorClass.ELEMENTWISE: Operation.ELEMENTWISE,
}
"""The operation that stands for each operator class."""

EIGHTY_PERCENT = 1.2816
"""Standard deviations on either side of the median that hold 80% of a normal distribution."""


@dataclass(frozen=True)
class Timing:
    """One case's times. m, n and k are told by `Operation`; `bytes` are what a call moves from and to memory,
    `flops` what it computes; `cpu_us` is None where the work runs on another device.
    """

    operation: Operation
    engine: str
    dtype: Dtype
    m: int
    n: int
    k: int
    bytes: float
    flops: float
    wall_us: float
    cpu_us: float | None
    spread: float
    disturbed: bool


@dataclass(frozen=True)
class Skipped:
    """A case that was not timed, and why."""

    label: str
    reason: str


@dataclass(frozen=True)
class Probe:
    """All that a probe found of one device: the processor with `threads` threads, or `gpu`. `libraries` are
    what computed, with their versions.
    """

    processor: Processor
    gpu: Gpu | None
    threads: int
    thorough: bool
    libraries: tuple[str, ...]
    timings: tuple[Timing, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def name(self) -> str:
        """The device's name and, of a processor, how much of it was used."""
        if self.gpu is not None:
            return self.gpu.name
        return f"{self.processor.name}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    def time_us(self, timing: Timing) -> float:
        """What the case took: of one thread the CPU time, which repeats within 1 to 2% however busy the
        machine is, else the wall time.
        """
        if self.threads == 1 and timing.cpu_us is not None:
            return timing.cpu_us
        return timing.wall_us

    def is_trusted(self, timing: Timing) -> bool:
        """Whether `time_us` of a case is what it takes on a quiet machine: CPU time need only repeat, wall
        time must not have been disturbed at all.
        """
        if self.threads == 1 and timing.cpu_us is not None:
            return timing.spread <= TOLERANCE
        return not timing.disturbed


@dataclass(frozen=True)
class Attained:
    """A figure that was attained on this machine, in the unit of its use, and how."""

    value: float
    source: str


def attained_flops_per_s(probe: Probe) -> dict[Dtype, Attained]:
    """The best rate of products by dtype, in FLOP/s. Other work on the machine only slows a timing down, so
    that a disturbed one attained what it did, too.
    """
    rates: dict[Dtype, Attained] = {}
    products = [t for t in probe.timings if t.operation is Operation.PRODUCT]
    for dtype in dict.fromkeys(t.dtype for t in products):
        ours = [t for t in products if t.dtype is dtype]
        best = max(ours, key=lambda t: t.flops / probe.time_us(t))
        rates[dtype] = Attained(best.flops / probe.time_us(best) * 1e6, _source(probe, best))
    return rates


def attained_bytes_per_s(probe: Probe) -> Attained:
    """The best memory bandwidth over everything that was timed, in bytes per second.

    Raises ValueError where nothing was timed that moves bytes.
    """
    moving = [t for t in probe.timings if t.bytes > 0]
    if not moving:
        raise ValueError(
            "the probe timed nothing that reads memory, so this machine's bandwidth is not known"
        )
    best = max(moving, key=lambda t: t.bytes / probe.time_us(t))
    return Attained(best.bytes / probe.time_us(best) * 1e6, _source(probe, best))


def hardware_of(probe: Probe, hardware_id: str) -> Hardware:
    """The device whose datasheet is what was attained: best rates by dtype, best bandwidth."""
    memory = probe.gpu.memory_bytes if probe.gpu is not None else probe.processor.memory_bytes
    return Hardware(
        id=hardware_id,
        memory_bytes=float(memory),
        bandwidth_bytes_per_s=attained_bytes_per_s(probe).value,
        peak_flops_per_s={dtype: rate.value for dtype, rate in attained_flops_per_s(probe).items()},
        # What the operating system or the driver tells is what a process can have.
        usable_memory_bytes=float(memory),
        display_name=probe.name,
        vendor="" if probe.gpu is not None else probe.processor.vendor,
        kind="cpu" if probe.gpu is None else "gpu",
    )


def profiles_of(probe: Probe, hardware_id: str) -> tuple[EfficiencyProfile, ...]:
    """Efficiency profiles of the probed device, relative to its attained figures.

    GEMM and attention by dtype, by torch's timings where there are any, else by NumPy's, since served models
    run on the former; element-wise operations over all of that engine's dtypes. Doubtful timings are left out
    where at least half remain. A class with fewer than LEAST_TIMINGS timings gets none. GEMM profiles hold
    for weights stored as they are computed with; others were not probed.
    """
    device = hardware_of(probe, hardware_id)
    found = []
    for operator_class, operation in CLASS_OPERATIONS.items():
        timings = _of_one_engine([t for t in probe.timings if t.operation is operation])
        by_dtype = operator_class is not OperatorClass.ELEMENTWISE
        for dtype in dict.fromkeys(t.dtype if by_dtype else None for t in timings):
            ours = [t for t in timings if dtype in (None, t.dtype)]
            trusted = [t for t in ours if probe.is_trusted(t)]
            # A busy machine leaves few; doubtful timings then are better than a curve through two points.
            ours = trusted if len(trusted) >= max(LEAST_TIMINGS, len(ours) // 2) else ours
            if len(ours) < LEAST_TIMINGS:
                continue
            fit = _fit(probe, device, ours)
            found.append(_profile(probe, hardware_id, operator_class, dtype, ours, fit))
    return tuple(found)


def _fit(probe: Probe, device: Hardware, timings: Sequence[Timing]) -> Fit:
    """Fits timings against the device's figures. A rate that no product attained is that of fp32."""
    peaks = device.peak_flops_per_s
    fallback = peaks.get(Dtype.FP32, max(peaks.values(), default=float("inf")))
    return fit_curve(
        compute_us=[t.flops / peaks.get(t.dtype, fallback) * 1e6 for t in timings],
        memory_us=[t.bytes / device.bandwidth_bytes_per_s * 1e6 for t in timings],
        time_us=[probe.time_us(t) for t in timings],
    )


def _profile(
    probe: Probe,
    hardware_id: str,
    operator_class: OperatorClass,
    dtype: Dtype | None,
    timings: Sequence[Timing],
    fit: Fit,
) -> EfficiencyProfile:
    curve: Curve = fit.curve
    factor = fit.spread_factor(EIGHTY_PERCENT)
    doubtful = sum(not probe.is_trusted(t) for t in timings)
    name = "-".join(filter(None, (hardware_id, operator_class.replace("_", "-"), dtype)))
    return EfficiencyProfile(
        id=name,
        operator_class=operator_class,
        launch_time_us=Estimate(curve.launch_us, curve.launch_us / factor, curve.launch_us * factor),
        compute_efficiency=_share(curve.compute_efficiency, factor),
        memory_efficiency=_share(curve.memory_efficiency, factor),
        overlap_exponent=curve.exponent,
        evidence_count=len(timings),
        source=(
            f"{_origin(probe)}: {len(timings)} timings of {timings[0].engine}, {doubtful} of them doubtful, "
            f"fitted by least squares in log time, median error {fit.median_error:.0%}; efficiencies are "
            "relative to the rates and the bandwidth attained on the same machine; low and high are the "
            "constants divided and multiplied by the factor that holds 80% of the fit's errors"
        ),
        hardware_id=hardware_id,
        dtype=dtype,
        weight_dtype=dtype if operator_class is OperatorClass.GEMM else None,
    )


def _share(value: float, factor: float) -> Estimate:
    return Estimate(value, value / factor, min(1.0, value * factor))


def _of_one_engine(timings: Sequence[Timing]) -> list[Timing]:
    engines = {t.engine for t in timings}
    return [t for t in timings if t.engine == "torch" or "torch" not in engines]


def _origin(probe: Probe) -> str:
    return f"measured on this machine ({probe.name}; {', '.join(probe.libraries)})"


def _source(probe: Probe, best: Timing) -> str:
    shape = f"{best.operation} {best.dtype} m={best.m} n={best.n} k={best.k} by {best.engine}"
    troubled = ", while the machine was busy with other work" if not probe.is_trusted(best) else ""
    return f"{_origin(probe)}: the best attained, {shape}{troubled}"
