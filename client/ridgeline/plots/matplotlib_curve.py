"""Draws a curve figure with matplotlib."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ridgeline.plots import scales, units, words
from ridgeline.plots.files import STYLE
from ridgeline.plots.palette import DEPLOYMENT_COLOURS, INK, MEMORY_COLOURS, QUIET, WARNING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from ridgeline.plots.curve import CurveFigure, Line, Panel, Stack

BOUND_MARKERS = {"memory": "s", "compute": "^", "latency": "v", "communication": "P", "balanced": "D"}
SMALL_POINTS = 8.5
DASHED = (0, (4, 3))
TITLE_COLUMNS = 86
TEXT_COLUMNS = 150
MEMORY_SHOWN = 1.5
"""How far the memory axis reaches, in multiples of the usable memory; what is beyond is cut."""


def draw(figure: CurveFigure) -> Figure:
    """Three panels of metrics, and a stacked panel of memory for each deployment."""
    count = len(figure.stacks)
    title = textwrap.wrap(figure.title, TITLE_COLUMNS)
    with style.context(STYLE):
        picture = Figure(figsize=(10.5, 8.4))
        FigureCanvasAgg(picture)
        top = 0.875 - 0.028 * (len(title) - 1)
        rows = picture.add_gridspec(2, 1, left=0.07, right=0.985, top=top, bottom=0.155, hspace=0.42)
        split = (2, 2) if count == 1 else (len(figure.panels), count)
        cells = [
            spec[0, column]
            for row, columns in zip((rows[0], rows[1]), split, strict=True)
            for spec in (row.subgridspec(1, columns, wspace=0.24),)
            for column in range(columns)
        ]
        for cell, panel in zip(cells, figure.panels, strict=False):
            _panel(picture.add_subplot(cell), panel, figure)
        for cell, stack in zip(cells[len(figure.panels) :], figure.stacks, strict=True):
            _memory(picture.add_subplot(cell), stack, figure)
        _words(picture, figure, title)
    return picture


def _panel(axes: Axes, panel: Panel, figure: CurveFigure) -> None:
    # Lines that lie on each other stay visible: the first is the widest.
    widths = [1.8 + 1.3 * (len(panel.lines) - 1 - index) for index in range(len(panel.lines))]
    for line, colour, width in zip(panel.lines, DEPLOYMENT_COLOURS, widths, strict=False):
        _line(axes, line, colour, width)
    scale = scales.for_values(
        [value for line in panel.lines for value in (*line.ideal, *line.low, *line.high)]
    )
    axes.set_yscale("log" if scale.log else "linear")
    axes.set_ylim(scale.low, scale.high)
    axes.yaxis.set_major_locator(FixedLocator(scale.ticks(8)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.tick(value)))
    values = panel.lines[0].values
    axes.set_xscale("log" if scales.for_values(values).log else "linear")
    _ticks(axes, values, values)
    axes.set_xlabel(figure.variable.axis, fontsize=SMALL_POINTS)
    _title(axes, f"{panel.title}{' (log)' if scale.log else ''}", panel.said if len(panel.lines) == 1 else "")


def _line(axes: Axes, line: Line, colour: str, width: float) -> None:
    """Expected solid with its range, ideal dashed; dotted where the memory does not suffice."""
    fits, leading = line.fitting, line.leading
    if line.expected:
        axes.fill_between(line.values, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(line.values, line.ideal, color=colour, linewidth=1.0, linestyle=DASHED, alpha=0.8)
    rest = max(0, fits - 1)
    axes.plot(line.values[:fits], leading[:fits], color=colour, linewidth=width, marker="o", markersize=3)
    axes.plot(line.values[rest:], leading[rest:], color=colour, linewidth=width, linestyle=":")
    for position in line.bound_starts:
        axes.plot(
            line.values[position],
            leading[position],
            color=colour,
            marker=BOUND_MARKERS.get(line.bounds[position], "o"),
            markersize=9,
            markeredgecolor="white",
            zorder=4,
        )
    if fits < len(line.values):
        axes.plot(line.values[fits], leading[fits], color=WARNING, marker="x", markersize=8, mew=2, zorder=5)


def _memory(axes: Axes, stack: Stack, figure: CurveFigure) -> None:
    """A bar for each value, against the line of what can be used."""
    positions = list(range(len(stack.values)))
    reached = [0.0] * len(positions)
    for part, sizes in stack.parts.items():
        axes.bar(positions, sizes, bottom=reached, color=MEMORY_COLOURS[part], width=0.72, linewidth=0)
        reached = [below + size for below, size in zip(reached, sizes, strict=True)]
    totals = max(total for other in figure.stacks for total in other.totals)
    usable = max(other.usable_gib for other in figure.stacks)
    highest = min(max(totals, usable) * 1.1, usable * MEMORY_SHOWN)
    for position, total in zip(positions, stack.totals, strict=True):
        over = total > stack.usable_gib
        height = min(total, highest) + highest * 0.012
        colour = WARNING if over else QUIET
        axes.text(position, height, units.digits(total, 2), ha="center", fontsize=7.5, color=colour)
    axes.axhline(stack.usable_gib, color=WARNING, linewidth=1.6)
    axes.text(
        -0.45,
        stack.usable_gib + highest * 0.012,
        f"usable {stack.usable_gib:,.1f} GiB",
        fontsize=SMALL_POINTS,
        color=WARNING,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
    )
    axes.set_ylim(0, highest)
    axes.grid(visible=False, axis="x")
    _ticks(axes, positions, stack.values)
    axes.set_xlabel(figure.variable.axis, fontsize=SMALL_POINTS)
    _title(axes, "Memory, GiB", stack.label if len(figure.stacks) > 1 else "")


def _ticks(axes: Axes, positions: list[int] | tuple[int, ...], values: tuple[int, ...]) -> None:
    """Ticks at the values that were analysed, as many as there is room for."""
    names = dict(zip(positions, (f"{value:,}" for value in values), strict=True))
    room = 9 if len(names[positions[-1]]) < 5 else 6
    axes.xaxis.set_major_locator(FixedLocator(scales.thin(positions, room)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda position, _: names.get(round(position), "")))
    axes.tick_params(labelsize=SMALL_POINTS)


def _title(axes: Axes, text: str, said: str) -> None:
    axes.set_title(text, loc="left", color=INK, pad=18 if said else 6)
    if said:
        axes.annotate(
            said,
            (0, 1),
            (0, 5),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=SMALL_POINTS,
            color=QUIET,
        )


def _words(picture: Figure, figure: CurveFigure, title: list[str]) -> None:
    """Question and circumstances above, legend and remarks below."""
    picture.text(0.015, 0.982, "\n".join(title), fontsize=13.5, fontweight="bold", color=INK, va="top")
    under = 0.95 - 0.028 * (len(title) - 1)
    subtitle = textwrap.fill(figure.subtitle, TEXT_COLUMNS)
    picture.text(0.015, under, subtitle, fontsize=SMALL_POINTS + 0.5, color=QUIET, va="top")
    handles = list(_handles(figure))
    picture.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.01, 0.103),
        ncols=5,
        fontsize=SMALL_POINTS,
        columnspacing=1.4,
    )
    remarks = textwrap.fill("  ".join(figure.remarks), TEXT_COLUMNS)
    picture.text(0.018, 0.008, remarks, fontsize=SMALL_POINTS, color=QUIET, va="bottom")


def _handles(figure: CurveFigure) -> Iterator[Artist]:
    """What the legend explains: deployments, the two bases, bounds that occur, memory."""
    if len(figure.stacks) > 1:
        for stack, colour in zip(figure.stacks, DEPLOYMENT_COLOURS, strict=False):
            yield Line2D([], [], color=colour, linewidth=2.5, label=stack.label)
    if not figure.ideal:
        yield Line2D([], [], color=QUIET, linewidth=2, label="expected, with its range")
        yield Line2D([], [], color=QUIET, linewidth=1, linestyle=DASHED, label="ideal (datasheet)")
    lines = [line for panel in figure.panels for line in panel.lines]
    begun = {line.bounds[position] for line in lines for position in line.bound_starts}
    for bound, marker in BOUND_MARKERS.items():
        if bound in begun:
            label = f"{words.adjective(bound)} from here"
            yield Line2D([], [], linestyle="none", color=QUIET, marker=marker, markersize=7, label=label)
    if any(not all(line.fits) for line in lines):
        yield Line2D([], [], color=WARNING, linestyle=":", marker="x", mew=2, label="does not fit from here")
    for part, colour in MEMORY_COLOURS.items():
        yield Patch(color=colour, label=part)
