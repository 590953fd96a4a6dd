"""Saved pictures: nothing overlaps, equal questions give equal files, and a file is whole or not there."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from ridgeline.client import Client
from ridgeline.plots import curve, files, matplotlib_curve, matplotlib_roofline, roofline
from ridgeline.plots.curve import CurveFigure, Run

QUESTIONS = [
    pytest.param("llama-2-7b", "rtx-a6000", {"input_len": 2048}, id="one-layer-kind"),
    pytest.param("llama-2-7b", "rtx-a6000", {"input_len": 2048, "ideal": True}, id="ideal"),
    pytest.param(
        "llama-2-7b", "rtx-a6000", {"input_len": 2048, "ideal": True, "attention": "unfused"}, id="unfused"
    ),
    pytest.param("gemma-2-27b", "h100-sxm", {"input_len": 6000, "batch": 16}, id="two-layer-kinds"),
    pytest.param("opt-6.7b", "t4", {"input_len": 512}, id="old-device"),
    pytest.param("llama-3.1-8b", "mi300x", {"input_len": 30000}, id="many-formats"),
    pytest.param(
        "deepseek-v3", "h200-sxm", {"input_len": 2000, "concurrency": 64, "tp": 8}, id="long-question"
    ),
    pytest.param("qwen2-0.5b", "xeon-8480p", {"input_len": 1, "output_len": 1}, id="tiny"),
]


def texts_in(axes: Axes) -> list[Text]:
    """The names that stand between the axes, ticks and titles left out."""
    return [text for text in axes.texts if text.get_text()]


def overlaps(one: Text, other: Text) -> bool:
    a, b = one.get_window_extent(), other.get_window_extent()
    width = float(min(a.x1, b.x1) - max(a.x0, b.x0))
    height = float(min(a.y1, b.y1) - max(a.y0, b.y0))
    return width > 1 and height > 1


def outside(picture: Figure) -> list[str]:
    """Texts that the edge of the picture cuts; ticks beyond an axis, which are never drawn, do not count."""
    width, height = picture.get_size_inches() * picture.dpi
    ticks = {
        id(text)
        for axes in picture.axes
        for axis in (axes.xaxis, axes.yaxis)
        for text in axis.get_ticklabels(which="both")
    }
    cut = []
    for text in picture.findobj(lambda artist: isinstance(artist, Text) and id(artist) not in ticks):
        assert isinstance(text, Text)
        box = text.get_window_extent()
        if text.get_text() and not (box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height):
            cut.append(text.get_text())
    return cut


@pytest.mark.parametrize(("model", "hardware", "question"), QUESTIONS)
def test_no_name_in_a_roofline_covers_another(
    client: Client, model: str, hardware: str, question: dict[str, Any]
) -> None:
    picture = matplotlib_roofline.draw(roofline.build(client.analyze(model, hardware, **question)))
    (axes,) = picture.axes
    names = [text for text in texts_in(axes) if not text.get_rotation()]
    assert not [(a.get_text(), b.get_text()) for a, b in combinations(names, 2) if overlaps(a, b)]


@pytest.mark.parametrize(("model", "hardware", "question"), QUESTIONS)
def test_every_operator_of_a_roofline_is_named(
    client: Client, model: str, hardware: str, question: dict[str, Any]
) -> None:
    figure = roofline.build(client.analyze(model, hardware, **question))
    (axes,) = matplotlib_roofline.draw(figure).axes
    shown = " ".join(text.get_text().replace("\n", " ") for text in texts_in(axes))
    assert all(cluster.label in shown for cluster in figure.clusters)


@pytest.mark.parametrize(("model", "hardware", "question"), QUESTIONS)
def test_the_edge_cuts_no_text_of_a_roofline(
    client: Client, model: str, hardware: str, question: dict[str, Any]
) -> None:
    picture = matplotlib_roofline.draw(roofline.build(client.analyze(model, hardware, **question)))
    picture.draw_without_rendering()
    assert not outside(picture)


def curve_of(
    client: Client, over: str, deployments: dict[str, dict[str, Any]], **question: Any
) -> CurveFigure:
    variable = curve.VARIABLES[over]
    runs = []
    for label, stated in deployments.items():
        answers = tuple(
            client.analyze(
                "llama-3.1-8b", "l40s", **{"input_len": 1024, **question, **stated, variable.argument: n}
            )
            for n in variable.default_points
        )
        runs.append(Run(label, variable.default_points, answers))
    return curve.build(variable, runs)


CURVES = [
    pytest.param("batch", {"today": {}}, id="one"),
    pytest.param("context", {"today": {"ideal": True}}, id="ideal"),
    pytest.param("output", {"today": {}}, id="output"),
    pytest.param(
        "batch", {"today": {"tp": 4, "weights": "int4", "kv": "int8", "ideal": True}}, id="long-question"
    ),
    pytest.param(
        "batch",
        {
            "today": {},
            "weights=int4": {"weights": "int4"},
            "weights=int4,kv=int8": {"weights": "int4", "kv": "int8"},
        },
        id="three",
    ),
]


@pytest.mark.parametrize(("over", "deployments"), CURVES)
def test_the_edge_cuts_no_text_of_a_curve(
    client: Client, over: str, deployments: dict[str, dict[str, Any]]
) -> None:
    picture = matplotlib_curve.draw(curve_of(client, over, deployments))
    picture.draw_without_rendering()
    assert not outside(picture)


@pytest.mark.parametrize(("over", "deployments"), CURVES)
def test_a_curve_has_three_metrics_and_a_memory_panel_for_each_deployment(
    client: Client, over: str, deployments: dict[str, dict[str, Any]]
) -> None:
    picture = matplotlib_curve.draw(curve_of(client, over, deployments))
    titles = [axes.get_title(loc="left").partition(" (log)")[0] for axes in picture.axes]
    assert titles == [
        "Time to first token, ms",
        "Time per output token, ms",
        "Output tokens per second",
        *["Memory, GiB"] * len(deployments),
    ]


def test_tick_names_of_an_axis_do_not_touch(client: Client) -> None:
    picture = matplotlib_curve.draw(
        curve_of(client, "context", {"a": {}, "b": {"kv": "int8"}, "c": {"kv": "fp8"}})
    )
    picture.draw_without_rendering()
    for axes in picture.axes:
        ticks = [tick for tick in axes.get_xticklabels() if tick.get_text()]
        assert not [1 for one, other in combinations(ticks, 2) if overlaps(one, other)]


def test_a_png_is_a_picture_with_ink(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "roofline.png"
    files.save(
        matplotlib_roofline.draw(roofline.build(client.analyze("llama-2-7b", "a100-sxm-80gb", input_len=99))),
        path,
    )
    with Image.open(path) as picture:
        assert picture.size[0] >= 1600
        colours = picture.convert("RGB").getcolors(maxcolors=2**20)
    assert colours is not None
    assert len(colours) > 50


def test_equal_questions_give_equal_svg_files(client: Client, tmp_path: Path) -> None:
    for name in ("one.svg", "other.svg"):
        answer = client.analyze("llama-2-7b", "rtx-a6000", input_len=2048)
        files.save(matplotlib_roofline.draw(roofline.build(answer)), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_a_picture_that_cannot_be_written_leaves_nothing(client: Client, tmp_path: Path) -> None:
    picture = matplotlib_roofline.draw(
        roofline.build(client.analyze("llama-2-7b", "rtx-a6000", input_len=64))
    )
    taken = tmp_path / "taken.svg"
    taken.mkdir()
    with pytest.raises(OSError, match="directory"):
        files.save(picture, taken)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.svg"]
