"""Efficiency profiles made of kernel timings: of each system and engine, of each system, and for any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from ridgeline_server.calibration.kernels.counts import ENGINES, SYSTEMS, Constants, Form, Kernels
from ridgeline_server.calibration.kernels.fit import Fitted, fit, predict
from ridgeline_server.calibration.kernels.rows import Array, Mask
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import EfficiencyProfile, Estimate, FurtherConstant, OperatorClass

ORIGIN = "kernel timings of the PyPI package aiconfigurator-core 0.12.0"
FEWEST_ROWS = 25
"""Timings of a format below which a system or an engine gets no constants of its own."""
PULL = 0.1
"""How many rows the constants of all systems weigh in a fit of one: they hold what its rows do not tell."""
LEAST_GAIN = 0.01
"""Median error by which constants of an engine must do better on systems left out."""
FEWEST_SYSTEMS = 3
"""Systems on which an engine must have been timed before its constants stand for any: of two, each is
predicted from the other alone, and what pays there did not on a third.
"""
POOLED_ALONE = (OperatorClass.MOE,)
"""Classes whose constants of one system and engine stay out of the catalog: served with experts, devices left
out are 17% off by constants of all systems, and 18% by a system's own (docs/accuracy.md). What kernel an
engine picks there changes from release to release.
"""
LEAST_SPREAD = 0.05
"""The least half of a range, of the value."""
RANGE = (0.1, 0.9)
"""The quantiles over fits that make a range of 80%."""
DIGITS = 4
"""Significant digits of a constant."""

RELATIVES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "a100-sxm-80gb": ("a100-sxm-40gb", "a100-pcie-80gb", "a100-pcie-40gb", "a800-sxm-80gb", "a30"),
        "h100-sxm": (
            "h100-pcie",
            "h100-nvl",
            "h200-sxm",
            "h200-nvl",
            "h800-sxm",
            "h20",
            "gh200-96gb",
            "gh200-144gb",
        ),
        "b200-sxm": ("b100-sxm", "b300-sxm", "gb200", "gb300"),
        "l40s": (
            "l40",
            "l4",
            "rtx-4090",
            "rtx-4090-d",
            "rtx-4080",
            "rtx-4080-super",
            "rtx-4070",
            "rtx-4070-super",
            "rtx-4070-ti",
            "rtx-4070-ti-super",
            "rtx-4060",
            "rtx-4060-ti-8gb",
            "rtx-4060-ti-16gb",
            "rtx-6000-ada",
            "rtx-5880-ada",
            "rtx-5000-ada",
            "rtx-4500-ada",
            "rtx-4000-ada",
            "rtx-4000-sff-ada",
            "rtx-2000-ada",
        ),
    }
)
"""Devices of the same chips or the same generation of multiprocessors; of Blackwell those of data centres."""

_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "bf16/bf16": "",
        "bf16/int8": "-w8a16",
        "bf16/int4": "-w4a16",
        "bf16/mxfp4": "-w4a16-mxfp4",
        "fp8/fp8": "-w8a8-fp8",
        "fp8/mxfp4": "-w4a8-mxfp4",
        "int8/int8": "-w8a8-int8",
        "nvfp4/nvfp4": "-nvfp4",
        "bf16/fp8": "-fp8-kv",
        "fp8/bf16": "-fp8",
    }
)
"""What the ids of profiles call a format."""
_FURTHER: Mapping[str, FurtherConstant] = MappingProxyType(
    {
        "serial_us": FurtherConstant.SERIAL_TIME_US,
        "item_us": FurtherConstant.ITEM_TIME_US,
        "loop_us": FurtherConstant.LOOP_TIME_US,
        "passes": FurtherConstant.PASSES,
        "inner_passes": FurtherConstant.INNER_PASSES,
    }
)
_SYSTEM_NAMES = {"a100_sxm": "A100", "h100_sxm": "H100", "b200_sxm": "B200", "l40s": "L40S"}
_ENGINE_NAMES = {"trtllm": "TensorRT-LLM", "vllm": "vLLM", "sglang": "SGLang"}
_ATTENTION = (OperatorClass.DECODE_ATTENTION, OperatorClass.PREFILL_ATTENTION)
_REMARKS: Mapping[tuple[OperatorClass, str], str] = MappingProxyType(
    {
        (OperatorClass.GEMM, "fp8/fp8"): (
            "scales for tensors and for blocks together, of TensorRT-LLM for blocks alone: its rows for "
            "tensors carry an unfused quantisation of 14 us that its serving path fuses"
        ),
    }
)


@dataclass(frozen=True)
class Judged:
    """Kernels with the seconds that constants of the other systems predict, shape (R,): those of all engines
    and those of each kernel's own.
    """

    kernels: Kernels
    form: Form
    of_all: Array
    of_engine: Array

    def error(self, which: Mask, predicted: Array) -> float | None:
        """The median error of the judged rows that have a prediction; None where none has."""
        errors = self._errors(which, predicted)
        return float(np.median(errors)) if len(errors) else None

    def engine_pays(self, which: Mask) -> bool:
        """Whether an engine's own constants do better by LEAST_GAIN, over all rows and on the mean of at
        least FEWEST_SYSTEMS; of two where no others stand for it.
        """
        systems = [which & (self.kernels.system == name) for name in np.unique(self.kernels.system[which])]
        parts = [self._errors(part, self.of_engine) for part in systems]
        alone = not (which & self.kernels.pooled).any()
        if sum(map(bool, map(len, parts))) < (2 if alone else FEWEST_SYSTEMS):
            return False
        pairs = [
            (np.median(self._errors(part, self.of_all)), np.median(mine))
            for part, mine in zip(systems, parts, strict=True)
            if len(mine)
        ]
        gains = (
            np.median(self._errors(which, self.of_all)) - np.median(np.concatenate(parts)),
            np.mean([together - apart for together, apart in pairs]),
        )
        return bool(min(gains) >= LEAST_GAIN)

    @property
    def shipped(self) -> Array:
        """What the catalog's profiles would have predicted without the system: an engine's where they pay."""
        found = self.of_all.copy()
        for engine in np.unique(self.kernels.engine):
            for name in np.unique(self.kernels.format):
                mine = (self.kernels.engine == engine) & (self.kernels.format == name)
                if self.engine_pays(mine):
                    found[mine] = self.of_engine[mine]
        return found

    def _errors(self, which: Mask, predicted: Array) -> Array:
        which = which & self.kernels.scored & np.isfinite(predicted)
        errors: Array = np.abs(predicted[which] / self.kernels.measured_s[which] - 1)
        return errors


def judge(kernels: Kernels, form: Form) -> Judged:
    """Predict each system from the others."""
    return Judged(
        kernels, form, left_out_seconds(kernels, form), left_out_seconds(kernels, form, by_engine=True)
    )


def left_out_seconds(kernels: Kernels, form: Form, *, by_engine: bool = False) -> Array:
    """The seconds of each kernel by constants of the other systems, of all engines or of its own; shape (R,),
    NaN where no other system has its format.
    """
    found = np.full(len(kernels), np.nan)
    engines = [kernels.engine == name for name in np.unique(kernels.engine)] if by_engine else []
    fitted = kernels.fitted if by_engine else kernels.pooled
    for system in np.unique(kernels.system):
        here = kernels.system == system
        for engine in engines or [np.ones(len(kernels), dtype=bool)]:
            others, mine = fitted & ~here & engine, here & engine
            if others.any() and mine.any():
                found[mine] = predict(kernels.take(mine), form, fit(kernels.take(others), form))
    return found


def profiles_of(kernels: Kernels, form: Form) -> tuple[EfficiencyProfile, ...]:
    """All profiles of a class, sorted by id."""
    judged = judge(kernels, form)
    everywhere = fit(kernels.take(kernels.pooled), form)
    own = _own_fits(kernels, form, everywhere)
    found = [*_of_all(judged, everywhere, own)]
    if form.operator_class not in POOLED_ALONE:
        found += [*_of_systems(judged, everywhere, own), *_of_engines(judged, own)]
    return tuple(sorted(found, key=lambda profile: profile.id))


_Own = Mapping[tuple[str, str], Fitted]
"""Constants by system and engine."""


def _own_fits(kernels: Kernels, form: Form, prior: Fitted) -> _Own:
    usable = kernels.fitted & kernels.latest()
    found: dict[tuple[str, str], Fitted] = {}
    for system in np.unique(kernels.system):
        for engine in np.unique(kernels.engine):
            mine = kernels.take(usable & (kernels.system == system) & (kernels.engine == engine))
            mine = mine.take(_often(mine))
            if len(mine):
                found[str(system), str(engine)] = fit(mine, form, prior, PULL)
    return found


def _often(kernels: Kernels) -> Mask:
    """Rows whose format has FEWEST_ROWS of them."""
    _, index, counts = np.unique(kernels.format, return_inverse=True, return_counts=True)
    enough: Mask = (counts >= FEWEST_ROWS)[index]
    return enough


def _of_systems(judged: Judged, prior: Fitted, own: _Own) -> Iterator[EfficiencyProfile]:
    kernels, form = judged.kernels, judged.form
    latest = kernels.latest()
    for system in map(str, np.unique(kernels.system)):
        here = (kernels.system == system) & latest
        pooled = kernels.take(kernels.pooled & here)
        together = fit(pooled.take(_often(pooled)), form, prior, PULL)
        yield from _of_system(judged, own, system, "", kernels.pooled & here, together)
        for engine in map(str, np.unique(kernels.engine)):
            rows = kernels.fitted & here & (kernels.engine == engine)
            yield from _of_system(judged, own, system, engine, rows, own.get((system, engine), {}))


def _of_system(
    judged: Judged, own: _Own, system: str, engine: str, rows: Mask, fitted: Fitted
) -> Iterator[EfficiencyProfile]:
    """The profile of each format of a system, for an engine or, where its name is empty, for any."""
    form, device = judged.form, SYSTEMS[system].device_id
    names = (device, ENGINES[engine]) if engine else (device,)
    for name, constants in fitted.items():
        mine = rows & (judged.kernels.format == name)
        kernels = judged.kernels.take(mine)
        beside = [found[name] for (of, _), found in own.items() if of == system and name in found]
        how = f"median error {_in_sample(kernels, form, fitted):.1%} in sample"
        elsewhere = judged.error(mine, judged.of_all)
        if elsewhere is not None:
            how += f"; constants of the other systems are {elsewhere:.1%} off here"
        dtype, stored = _dtypes(form, name)
        yield replace(
            _profile(form, name, constants, beside or [constants], kernels, how),
            id="-".join((*names, _id(form, name))),
            hardware_id=device,
            engine=ENGINES[engine] if engine else "",
            relatives=RELATIVES[device],
            dtype=dtype,
            weight_dtype=stored,
        )


def _of_engines(judged: Judged, own: _Own) -> Iterator[EfficiencyProfile]:
    kernels, form = judged.kernels, judged.form
    for engine in map(str, np.unique(kernels.engine)):
        of_engine = kernels.engine == engine
        for name in map(str, np.unique(kernels.format)):
            mine = of_engine & (kernels.format == name)
            if not judged.engine_pays(mine):
                continue
            rows = kernels.take(mine & kernels.fitted)
            fitted = fit(rows, form)
            fits = [found[name] for (_, of), found in own.items() if of == engine and name in found]
            inside = _in_sample(rows, form, fitted)
            how = f"median error {inside:.1%} in sample, "
            how += f"{judged.error(mine, judged.of_engine):.1%} on systems left out"
            profile = _profile(form, name, fitted[name], fits, rows, how)
            dtype, stored = _dtypes(form, name)
            yield replace(
                profile,
                id=f"{ENGINES[engine]}-{_id(form, name)}",
                engine=ENGINES[engine],
                dtype=dtype,
                weight_dtype=stored,
            )


def _of_all(judged: Judged, everywhere: Fitted, own: _Own) -> Iterator[EfficiencyProfile]:
    kernels, form = judged.kernels, judged.form
    widest = None
    for name in sorted(everywhere, key=lambda name: (name != "bf16/bf16", name)):
        constants = everywhere[name]
        mine = kernels.format == name
        rows = kernels.take(mine & kernels.pooled)
        fits = [found[name] for found in own.values() if name in found]
        error = judged.error(mine, judged.of_all)
        how = f"median error {_in_sample(rows, form, everywhere):.1%} in sample"
        how += ", on one system alone" if error is None else f", {error:.1%} on systems left out"
        profile = _profile(form, name, constants, fits, rows, how)
        if widest is None:
            widest = profile
        dtype, stored = _dtypes(form, name)
        yield replace(
            _as_wide_as(widest, profile),
            id=f"generic-{_id(form, name)}",
            dtype=_any_wide(dtype),
            weight_dtype=_any_wide(stored),
        )


def _id(form: Form, name: str) -> str:
    return form.operator_class.replace("_", "-") + _NAMES[name]


def _dtypes(form: Form, name: str) -> tuple[Dtype | None, Dtype | None]:
    """The compute and the storage format of a profile. Attention stores nothing but a narrow cache."""
    dtype, stored = map(Dtype, name.split("/"))
    wide = form.operator_class in _ATTENTION and stored is Dtype.BF16
    return dtype, None if wide else stored


def _any_wide(dtype: Dtype | None) -> Dtype | None:
    """The format of a profile for any device: 16-bit constants stand for formats that nobody timed."""
    return None if dtype is Dtype.BF16 else dtype


def _in_sample(kernels: Kernels, form: Form, fitted: Fitted) -> float:
    return float(np.median(np.abs(predict(kernels, form, fitted) / kernels.measured_s - 1)))


def _profile(
    form: Form, name: str, constants: Constants, fits: Sequence[Constants], kernels: Kernels, how: str
) -> EfficiencyProfile:
    """A profile without a name; `fits`, of single systems and engines, give the ranges."""
    further = {
        constant: _estimate(field, constants, fits)
        for field, constant in _FURTHER.items()
        if getattr(constants, field) > 0
    }
    return EfficiencyProfile(
        id="",
        operator_class=form.operator_class,
        launch_time_us=_estimate("launch_us", constants, fits),
        compute_efficiency=_estimate("compute", constants, fits, most=1.0),
        memory_efficiency=_estimate("memory", constants, fits, most=1.0),
        overlap_exponent=form.exponent,
        evidence_count=len(kernels),
        source=_source(form, name, kernels, how),
        further=further,
    )


def _estimate(
    field: str, constants: Constants, fits: Sequence[Constants], most: float = float("inf")
) -> Estimate:
    """A constant with the range of the fits, of at least LEAST_SPREAD to either side and at most `most`."""
    value = getattr(constants, field)
    low, high = np.quantile([getattr(found, field) for found in fits], RANGE)
    return _rounded(
        value, min(low, value * (1 - LEAST_SPREAD)), min(max(high, value * (1 + LEAST_SPREAD)), most)
    )


def _rounded(*ends: float) -> Estimate:
    return Estimate(*(float(f"{end:.{DIGITS}g}") for end in ends))


def _as_wide_as(widest: EfficiencyProfile, profile: EfficiencyProfile) -> EfficiencyProfile:
    """The profile with ranges no narrower, to their values, than those of one that rests on more fits."""

    def widened(mine: Estimate, other: Estimate, most: float = float("inf")) -> Estimate:
        low, high = (mine.value * end / other.value for end in (other.low, other.high))
        return _rounded(mine.value, min(mine.low, low), min(max(mine.high, high), most))

    return replace(
        profile,
        launch_time_us=widened(profile.launch_time_us, widest.launch_time_us),
        compute_efficiency=widened(profile.compute_efficiency, widest.compute_efficiency, 1.0),
        memory_efficiency=widened(profile.memory_efficiency, widest.memory_efficiency, 1.0),
    )


def _source(form: Form, name: str, kernels: Kernels, how: str) -> str:
    what = form.operator_class.replace("_", " ")
    systems = ", ".join(_SYSTEM_NAMES[system] for system in np.unique(kernels.system))
    engines = ", ".join(
        f"{_ENGINE_NAMES[engine]} {', '.join(np.unique(kernels.version[kernels.engine == engine]))}"
        for engine in np.unique(kernels.engine)
    )
    remark = _REMARKS.get((form.operator_class, name), "") if "trtllm" in kernels.engine else ""
    return "; ".join(
        filter(
            None,
            (
                f"{name} {what} {ORIGIN} ({systems}; {engines}), read 2026-11-22",
                remark,
                "all constants but the exponent fitted by robust log error (docs/kernels.md)",
                how,
            ),
        )
    )
