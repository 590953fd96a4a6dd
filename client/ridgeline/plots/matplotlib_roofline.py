"""Draws a roofline figure with matplotlib."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ridgeline.plots import units
from ridgeline.plots.files import STYLE
from ridgeline.plots.palette import INK, QUIET, STAGE_COLOURS
from ridgeline.plots.placement import Box, Label, nearest, place, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

    from ridgeline.plots.roofline import Cluster, Dot, RooflineFigure

MARKERS = {"prefill": "o", "decode": "D"}
SMALLEST_AREA = {"prefill": 48.0, "decode": 18.0}
LARGEST_AREA = 320.0
"""Marker areas, square points, of a time share of 0 and of 1. On one spot a circle shows around a diamond."""
LABEL_POINTS = 8.2
LABEL_COLUMNS = 48
SUBTITLE_COLUMNS = 150
LABEL_GAP = 6.0
"""Pixels between a marker and its name, and half of what a name may be away before a line leads to it."""


@dataclass(frozen=True)
class Name:
    """A text that belongs to a spot of the axes; `gap` in pixels."""

    intensity: float
    rate: float
    text: str
    colour: str
    gap: float


def draw(figure: RooflineFigure) -> Figure:
    """The roof, its ridge points, and every operator with its name."""
    with style.context(STYLE):
        picture = Figure(figsize=(10.5, 7.0))
        FigureCanvasAgg(picture)
        axes = picture.add_axes((0.075, 0.145, 0.765, 0.705))
        _axes(axes, figure)
        _words(picture, figure)
        _roof(axes, figure)
        _operators(axes, figure)
        _names(axes, figure)
    return picture


def _axes(axes: Axes, figure: RooflineFigure) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*figure.intensity_range())
    axes.set_ylim(*figure.rate_range())
    axes.set_xlabel("Arithmetic intensity, FLOP per byte moved (log)")
    axes.set_ylabel("Rate, FLOP/s (log)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: units.tick(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.si(value, "", 1)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(base=10, numticks=20))
        axis.set_minor_formatter(NullFormatter())


def _words(picture: Figure, figure: RooflineFigure) -> None:
    """Question, answer and circumstances above the axes; how to read the marks below."""
    picture.text(0.015, 0.975, figure.title, fontsize=15, fontweight="bold", color=INK, va="top")
    picture.text(0.015, 0.928, figure.answer, fontsize=11, color=INK, va="top")
    subtitle = textwrap.fill(figure.subtitle, SUBTITLE_COLUMNS)
    picture.text(0.015, 0.897, subtitle, fontsize=LABEL_POINTS, color=QUIET, va="top")
    handles = [
        Line2D([], [], linestyle="none", marker=MARKERS[stage], color=STAGE_COLOURS[stage], label=stage)
        for stage in dict.fromkeys(cluster.stage for cluster in figure.clusters)
    ]
    picture.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.065, 0.012), ncols=2)
    reading = textwrap.fill(figure.reading, 105)
    picture.text(0.27, 0.052, reading, fontsize=LABEL_POINTS, color=QUIET, va="top")


def _roof(axes: Axes, figure: RooflineFigure) -> None:
    """Draws slope, ceilings and ridge points, solid as far as the operators' own formats reach."""
    bandwidth = figure.bandwidth_bytes_per_s
    high = axes.get_xlim()[1]
    start = max(axes.get_xlim()[0], axes.get_ylim()[0] / bandwidth)
    knee = max(
        (ceiling for ceiling in figure.ceilings if ceiling.used), key=lambda c: c.ridge_point
    ).ridge_point
    peak = figure.ceilings[-1].ridge_point
    axes.plot([start, knee], [start * bandwidth, knee * bandwidth], color=INK, linewidth=1.8)
    axes.plot([knee, peak], [knee * bandwidth, peak * bandwidth], color=QUIET, linewidth=1.0, linestyle="--")
    heights = [float(axes.transData.transform((high, c.flops_per_s))[1]) for c in figure.ceilings]
    for ceiling, height in zip(
        figure.ceilings, spread(heights, LABEL_POINTS * 1.3 * _pixels(axes)), strict=True
    ):
        left, rate = ceiling.ridge_point, ceiling.flops_per_s
        colour = INK if ceiling.used else QUIET
        width, dashes = (1.8, "-") if ceiling.used else (1.0, "--")
        axes.plot([left, high], [rate, rate], color=colour, linewidth=width, linestyle=dashes)
        axes.plot(left, rate, marker="o", markersize=5.5, markerfacecolor="white", markeredgecolor=colour)
        axes.annotate(
            f"{ceiling.label}: {units.si(rate, 'FLOP/s')}",
            (high, float(axes.transData.inverted().transform((0.0, height))[1])),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=LABEL_POINTS,
            color=colour,
        )


def _slope_name(axes: Axes, figure: RooflineFigure) -> Text:
    """Writes the bandwidth along the slope, above it."""
    bandwidth = figure.bandwidth_bytes_per_s
    start = max(axes.get_xlim()[0], axes.get_ylim()[0] / bandwidth)
    middle = math.sqrt(start * figure.ceilings[0].ridge_point)
    (left, bottom), (right, top) = axes.transData.transform([(1.0, bandwidth), (10.0, bandwidth * 10)])
    return axes.annotate(
        f"memory: {units.si(bandwidth, 'B/s')}",
        (middle, middle * bandwidth),
        (-6, 6),
        textcoords="offset points",
        rotation=math.degrees(math.atan2(top - bottom, right - left)),
        rotation_mode="anchor",
        ha="center",
        va="bottom",
        fontsize=LABEL_POINTS,
        color=INK,
    )


def _operators(axes: Axes, figure: RooflineFigure) -> None:
    """Draws every operator, large ones first so that they hide none."""
    dots = [(dot, cluster.stage) for cluster in figure.clusters for dot in cluster.dots]
    for dot, stage in sorted(dots, key=lambda pair: -_area(*pair)):
        axes.scatter(
            dot.intensity,
            dot.rate,
            s=_area(dot, stage),
            marker=MARKERS[stage],
            color=STAGE_COLOURS[stage],
            alpha=0.8,
            edgecolors="white",
            linewidths=0.7,
            zorder=3,
        )


def _names(axes: Axes, figure: RooflineFigure) -> None:
    """Names ridge points and operators where no name covers another, a mark or the roof."""
    ridges = [
        Name(
            c.ridge_point,
            c.flops_per_s,
            f"ridge {units.digits(c.ridge_point)}",
            INK if c.used else QUIET,
            LABEL_GAP,
        )
        for c in reversed(figure.ceilings)
    ]
    by_time = sorted(figure.clusters, key=lambda cluster: -cluster.time_share)
    names = [*ridges, *(_cluster_name(axes, cluster) for cluster in by_time)]
    texts = [
        axes.text(name.intensity, name.rate, name.text, fontsize=LABEL_POINTS, color=name.colour, zorder=4)
        for name in names
    ]
    labels = [_label(axes, name, _extent(text)) for name, text in zip(names, texts, strict=True)]
    frame = axes.get_window_extent()
    canvas = Box(frame.x0 + 3, frame.y0 + 3, frame.width - 6, frame.height - 6)
    spots = place(
        labels,
        [_extent(_slope_name(axes, figure)), *_roof_boxes(axes, figure), *_markers(axes, figure)],
        canvas,
    )
    for name, text, label, spot in zip(names, texts, labels, spots, strict=True):
        if spot is None:
            text.remove()
            continue
        left, bottom = axes.transData.inverted().transform((spot.left, spot.bottom))
        text.set_position((float(left), float(bottom)))
        near = nearest(label, spot)
        if math.dist(near, (label.x, label.y)) > label.gap + 2 * LABEL_GAP:
            end_x, end_y = axes.transData.inverted().transform(near)
            axes.plot([name.intensity, end_x], [name.rate, end_y], color=name.colour, linewidth=0.6, zorder=2)


def _cluster_name(axes: Axes, cluster: Cluster) -> Name:
    text = textwrap.fill(f"{cluster.label} {units.percent(cluster.time_share)}", LABEL_COLUMNS)
    gap = LABEL_GAP + max(_radius(axes, dot, cluster.stage) for dot in cluster.dots)
    return Name(cluster.intensity, cluster.rate, text, STAGE_COLOURS[cluster.stage], gap)


def _label(axes: Axes, name: Name, extent: Box) -> Label:
    x, y = axes.transData.transform((name.intensity, name.rate))
    return Label(float(x), float(y), extent.width, extent.height, name.gap)


def _roof_boxes(axes: Axes, figure: RooflineFigure) -> list[Box]:
    """Pixels that the roof covers."""
    bandwidth, (low, high) = figure.bandwidth_bytes_per_s, axes.get_xlim()
    peak = figure.ceilings[-1].ridge_point
    lines = [((low, low * bandwidth), (peak, peak * bandwidth))]
    lines += [((c.ridge_point, c.flops_per_s), (high, c.flops_per_s)) for c in figure.ceilings]
    boxes: list[Box] = []
    for line in lines:
        (x0, y0), (x1, y1) = axes.transData.transform(line)
        steps = max(1, int(math.dist((x0, y0), (x1, y1)) / 4))
        boxes += [
            Box(x0 + (x1 - x0) * step / steps - 2, y0 + (y1 - y0) * step / steps - 2, 4, 4)
            for step in range(steps + 1)
        ]
    return boxes


def _markers(axes: Axes, figure: RooflineFigure) -> list[Box]:
    """Pixels that the operators' markers cover."""
    boxes = []
    for cluster in figure.clusters:
        for dot in cluster.dots:
            x, y = axes.transData.transform((dot.intensity, dot.rate))
            radius = _radius(axes, dot, cluster.stage)
            boxes.append(Box(x - radius, y - radius, 2 * radius, 2 * radius))
    return boxes


def _radius(axes: Axes, dot: Dot, stage: str) -> float:
    return math.sqrt(_area(dot, stage)) / 2 * _pixels(axes)


def _area(dot: Dot, stage: str) -> float:
    smallest = SMALLEST_AREA[stage]
    return smallest + (LARGEST_AREA - smallest) * min(dot.time_share, 1.0)


def _pixels(axes: Axes) -> float:
    """Pixels per point."""
    return axes.figure.dpi / 72


def _extent(text: Text) -> Box:
    box = text.get_window_extent()
    return Box(box.x0, box.y0, box.width, box.height)
