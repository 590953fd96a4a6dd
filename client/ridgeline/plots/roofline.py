"""Turns an analysis into a roofline figure: the roof, its ridge points and every operator beneath it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ridgeline.plots import units, words

if TYPE_CHECKING:
    from ridgeline.v1 import types_pb2
    from ridgeline.v1.analysis_service_pb2 import AnalyzeResponse, OperatorAnalysis

SAME_SPOT_DECADES = 0.09
"""Operators of a stage that lie closer than this on both log axes share a label: their markers touch."""


@dataclass(frozen=True)
class Ceiling:
    """One flat part of the roof: the peak rate of one or more formats and where it meets the slope.

    `used` tells whether an operator of the figure computes in one of these formats.
    """

    label: str
    flops_per_s: float
    ridge_point: float
    used: bool


@dataclass(frozen=True)
class Dot:
    """One operator. `rate` is FLOP/s: attainable on the ideal basis, achieved on the expected one."""

    name: str
    layer_kind: str
    intensity: float
    rate: float
    time_share: float


@dataclass(frozen=True)
class Cluster:
    """Operators of one stage that fall on one spot and share a label."""

    label: str
    stage: str
    dots: tuple[Dot, ...]

    @property
    def time_share(self) -> float:
        """Share of the stage's time that all of them take."""
        return sum(dot.time_share for dot in self.dots)

    @property
    def intensity(self) -> float:
        """Their middle on the log axis, FLOP per byte."""
        return math.exp(sum(math.log(dot.intensity) for dot in self.dots) / len(self.dots))

    @property
    def rate(self) -> float:
        """Their middle on the log axis, FLOP/s."""
        return math.exp(sum(math.log(dot.rate) for dot in self.dots) / len(self.dots))


@dataclass(frozen=True)
class StageNote:
    """What is said about a stage beside its points."""

    stage: str
    bound: str
    time_ms: float
    without_arithmetic: tuple[str, ...]
    step_overhead_ms: float


@dataclass(frozen=True)
class RooflineFigure:
    """All that a roofline shows."""

    title: str
    subtitle: str
    ideal: bool
    bandwidth_bytes_per_s: float
    ceilings: tuple[Ceiling, ...]
    clusters: tuple[Cluster, ...]
    stages: tuple[StageNote, ...]

    @property
    def answer(self) -> str:
        """The title's question answered in one sentence."""
        kind = "ideal" if self.ideal else "expected"
        said = [
            f"{note.stage} is {note.bound} ({units.milliseconds(note.time_ms)} {kind})"
            for note in self.stages
        ]
        return (
            f"{said[0].capitalize()}; {'; '.join(said[1:])}." if len(said) > 1 else f"{said[0].capitalize()}."
        )

    @property
    def reading(self) -> str:
        """How to read the marks, and what has none."""
        unseen = words.operators(name for note in self.stages for name in note.without_arithmetic)
        parts = ["Size and % tell the share of the stage's time."]
        if unseen:
            parts.append(f"Without arithmetic, so not shown: {unseen}.")
        overhead = max((note.step_overhead_ms for note in self.stages), default=0.0)
        if overhead > 0:
            parts.append(f"Each step takes {units.milliseconds(overhead)} beside its operators.")
        return " ".join(parts)

    def intensity_range(self) -> tuple[float, float]:
        """The x axis: whole decades that hold every operator and every ridge point."""
        shown = [cluster.intensity for cluster in self.clusters] + [c.ridge_point for c in self.ceilings]
        return _decades(min(shown), max(shown) * 2)

    def rate_range(self) -> tuple[float, float]:
        """The y axis: whole decades that hold every operator and the highest ceiling."""
        rates = [dot.rate for cluster in self.clusters for dot in cluster.dots]
        return _decades(min([*rates, self.ceilings[0].flops_per_s / 10]), self.ceilings[-1].flops_per_s * 1.5)


def build(response: AnalyzeResponse) -> RooflineFigure:
    """The figure of one analysis."""
    ideal = words.is_ideal(response)
    clusters: list[Cluster] = []
    notes: list[StageNote] = []
    for analysis in response.stages:
        stage = words.stage(analysis.stage)
        shown = [operator for operator in analysis.operators if operator.flops > 0]
        groups = _by_spot([_dot(operator, ideal=ideal) for operator in shown])
        clusters += [Cluster(_label(dots, groups), stage, tuple(dots)) for dots in groups]
        notes.append(
            StageNote(
                stage,
                words.bound_adjective(analysis.bound),
                analysis.ideal_time_ms if ideal else analysis.expected_time_ms,
                tuple(operator.name for operator in analysis.operators if operator.flops <= 0),
                0.0 if ideal else analysis.step_overhead_ms,
            )
        )
    height = "attainable on the datasheet roofline" if ideal else "achieved in the expected time"
    return RooflineFigure(
        title=f"What limits {words.model_name(response)} on {words.hardware_name(response)}?",
        subtitle=f"{words.load(response.workload)}; {words.served(response.deployment)}; rates {height}",
        ideal=ideal,
        bandwidth_bytes_per_s=response.roof.bandwidth_bytes_per_s,
        ceilings=_ceilings(response),
        clusters=tuple(clusters),
        stages=tuple(notes),
    )


def _ceilings(response: AnalyzeResponse) -> tuple[Ceiling, ...]:
    """Lowest first; formats of one rate share a line."""
    used = {operator.compute_dtype for analysis in response.stages for operator in analysis.operators}
    formats: dict[float, list[types_pb2.Dtype.ValueType]] = {}
    for ceiling in response.roof.ceilings:
        formats.setdefault(ceiling.flops_per_s, []).append(ceiling.dtype)
    return tuple(
        Ceiling(
            "/".join(words.dtype(dtype) for dtype in formats[rate]),
            rate,
            rate / response.roof.bandwidth_bytes_per_s,
            not used.isdisjoint(formats[rate]),
        )
        for rate in sorted(formats)
    )


def _dot(operator: OperatorAnalysis, *, ideal: bool) -> Dot:
    rate = operator.attainable_flops_per_s if ideal else operator.flops / (operator.expected_time_us * 1e-6)
    return Dot(operator.name, operator.layer_kind, operator.arithmetic_intensity, rate, operator.time_share)


def _label(dots: Sequence[Dot], groups: Sequence[Sequence[Dot]]) -> str:
    """The operators' names, with their layers only where those of other layers stand elsewhere."""
    elsewhere = {dot.name for group in groups if group is not dots for dot in group}
    return words.operators(
        f"{dot.name} ({dot.layer_kind})" if dot.name in elsewhere else dot.name for dot in dots
    )


def _by_spot(dots: Sequence[Dot]) -> list[list[Dot]]:
    """Groups dots around the ones that take most time, so that what matters names the group."""
    groups: list[list[Dot]] = []
    for dot in sorted(dots, key=lambda dot: -dot.time_share):
        near = next((group for group in groups if _same_spot(group[0], dot)), None)
        if near is None:
            groups.append([dot])
        else:
            near.append(dot)
    order = {id(dot): index for index, dot in enumerate(dots)}
    return [sorted(group, key=lambda dot: order[id(dot)]) for group in groups]


def _same_spot(one: Dot, other: Dot) -> bool:
    return (
        abs(math.log10(one.intensity / other.intensity)) < SAME_SPOT_DECADES
        and abs(math.log10(one.rate / other.rate)) < SAME_SPOT_DECADES
    )


def _decades(low: float, high: float) -> tuple[float, float]:
    return 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
