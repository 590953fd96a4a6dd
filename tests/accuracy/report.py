"""Writes docs/accuracy.md and its picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from string import Template

import matplotlib as mpl
import numpy as np

from ridgeline_server.calibration.engines import PIECES, is_sound
from ridgeline_server.calibration.fitting import measured, predicted
from ridgeline_server.calibration.predictions import Prediction, predict
from ridgeline_server.calibration.questions import MeasuredQuestion
from ridgeline_server.calibration.ranges import LeftOut, covered_by_others
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.domain.measurement import MeasuredMetric, Phase
from ridgeline_server.store.engines import builtin_engines
from tests.accuracy.changes import report
from tests.accuracy.one_row import after_one_row
from tests.accuracy.published import ShippedNames, published

mpl.use("Agg")
from matplotlib import pyplot as plt

Kind = Callable[[MeasuredQuestion], bool]


def _served(metric: MeasuredMetric, *, experts: bool) -> Kind:
    return lambda q: (
        q.measurement.phase is Phase.CLOSED_LOOP
        and q.measurement.metric is metric
        and (q.model.experts is not None) == experts
    )


KINDS: Mapping[str, Kind] = {
    "TPOT served, without experts": _served(MeasuredMetric.TPOT_MS, experts=False),
    "TPOT served, with experts": _served(MeasuredMetric.TPOT_MS, experts=True),
    "TTFT served, without experts": _served(MeasuredMetric.TTFT_MS, experts=False),
    "TTFT served, with experts": _served(MeasuredMetric.TTFT_MS, experts=True),
    "published tables": lambda q: q.measurement.phase is not Phase.CLOSED_LOOP,
}


def write_report(
    docs: Path,
    rows: Sequence[MeasuredQuestion],
    profiles: ProfileSet,
    left_out: Mapping[str, Sequence[LeftOut]],
) -> None:
    """Writes accuracy.md and images/accuracy.png, and prints the former."""
    sound = [q for q in rows if is_sound(q) and any(piece.tells(q) for piece in PIECES)]
    parts = {
        "left_out": _left_out(sound, profiles, left_out),
        "groups": _groups(left_out),
        "engines": _engines(left_out),
        "intervals": _intervals(left_out),
        "one_row": _one_row(left_out["family"]),
        "answered": _answered(profiles),
        "changes": report(profiles),
    }
    page = Template((Path(__file__).parent / "page.md").read_text(encoding="utf-8"))
    text = page.substitute({name: "\n".join(lines) + "\n" for name, lines in parts.items()})
    (docs / "accuracy.md").write_text(text, encoding="utf-8")
    _draw(docs / "images" / "accuracy.png", left_out["family"])
    print(text)


def _table(*columns: str) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"


def _left_out(
    sound: Sequence[MeasuredQuestion], profiles: ProfileSet, left_out: Mapping[str, Sequence[LeftOut]]
) -> Iterator[str]:
    splits = ("device", "family", "engine version", "engine")
    yield from _table(
        "what", "rows", "in sample", "device", "family", "engine version", "engine unknown", "raw roofline"
    )
    answers = list(predict([q.measurement for q in sound], ShippedNames(), builtin_engines(), profiles))
    for name, kind in KINDS.items():
        mine = [q for q in sound if kind(q)]
        pairs = [
            (a.ideal, a.measurement.value)
            for a, q in zip(answers, sound, strict=True)
            if kind(q) and a.ideal is not None
        ]
        ideal, values = np.array(pairs).T
        cells = (
            _percent(np.abs(predicted(mine, profiles) / measured(mine) - 1)),
            *(_errors([r for r in left_out[split] if kind(r.question)]) for split in splits),
            _percent(np.abs(ideal / values - 1)),
        )
        yield f"| {name} | {len(mine):,} | {' | '.join(cells)} |"


def _groups(left_out: Mapping[str, Sequence[LeftOut]]) -> Iterator[str]:
    for name, kind in KINDS.items():
        for split in ("device", "family"):
            yield f"- {name}, {split}: {_by_group([r for r in left_out[split] if kind(r.question)])}"


def _engines(left_out: Mapping[str, Sequence[LeftOut]]) -> Iterator[str]:
    tables = KINDS["published tables"]
    splits = ("device", "family", "engine")
    rows = {split: [r for r in left_out[split] if tables(r.question)] for split in splits}
    yield from _table("engine", "rows", "device left out", "family left out", "engine unknown")
    for engine in sorted({r.question.measurement.engine for r in rows["device"]}):
        of = [[r for r in rows[split] if r.question.measurement.engine == engine] for split in splits]
        yield f"| {engine} | {len(of[0]):,} | {' | '.join(map(_errors, of))} |"


def _intervals(left_out: Mapping[str, Sequence[LeftOut]]) -> Iterator[str]:
    yield from _table("what", "device left out", "family left out")
    for name, kind in KINDS.items():
        cells = []
        for split in ("device", "family"):
            inside, width = covered_by_others([r for r in left_out[split] if kind(r.question)])
            cells.append(f"{inside:.0%}, {width:.2f}")
        yield f"| {name} | {' | '.join(cells)} |"


def _one_row(rows: Sequence[LeftOut]) -> Iterator[str]:
    yield from _table("what", "settings", "before", "after")
    for name, kind in KINDS.items():
        found = after_one_row([r for r in rows if kind(r.question)])
        yield f"| {name} | {found.settings} | {found.before:.1%} | {found.after:.1%} |"


def _answered(profiles: ProfileSet) -> Iterator[str]:
    found = list(predict(published(), ShippedNames(), builtin_engines(), profiles))
    stated = [p for p in found if is_stated(p)]
    answered = [p for p in stated if p.predicted is not None]
    yield (
        f"{len(answered):,} of {len(stated):,} rows that state model, device, formats and load are answered "
        f"({len(answered) / len(stated):.1%}); of all {len(found):,} rows "
        f"{sum(p.predicted is not None for p in found):,}. The others:\n"
    )
    reasons: dict[str, int] = {}
    for prediction in found:
        if prediction.predicted is None:
            reason = prediction.unanswered_reason.split(";")[0]
            reasons[reason] = reasons.get(reason, 0) + 1
    for reason, number in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:12]:
        yield f"- {number}: {reason}"


def is_stated(prediction: Prediction) -> bool:
    """Whether a row says what was run: the model, the device, the formats and the load."""
    row = prediction.measurement
    load = row.batch or row.concurrency or row.request_rate or row.phase in (Phase.OFFLINE_MAX, Phase.PREFILL)
    lengths = row.isl is not None or row.past_tokens is not None
    return bool(row.model_id and row.hardware_id and row.weight_dtype and load and lengths)


def _percent(errors: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return f"{np.median(errors):.1%}" if len(errors) else "-"


def _errors(rows: Sequence[LeftOut]) -> str:
    return _percent(np.abs([row.predicted / row.question.measurement.value - 1 for row in rows]))


def _by_group(rows: Sequence[LeftOut]) -> str:
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row.predicted / row.question.measurement.value)
    return ", ".join(
        f"{group} {np.median(np.abs(np.array(ratios) - 1)):.1%} ({np.median(ratios):.2f}, {len(ratios)} rows)"
        for group, ratios in sorted(groups.items())
    )


def _draw(path: Path, rows: Sequence[LeftOut]) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(13.5, 4.6), layout="constrained")
    panels = (
        ("TPOT, ms", [n for n in KINDS if n.startswith("TPOT")]),
        ("TTFT, ms", [n for n in KINDS if n.startswith("TTFT")]),
        ("published tables, each in its unit", ["published tables"]),
    )
    for axis, (title, names) in zip(axes, panels, strict=True):
        for name, colour in zip(names, ("#1f6feb", "#d1622b"), strict=False):
            mine = [r for r in rows if KINDS[name](r.question)]
            axis.scatter(
                [r.question.measurement.value for r in mine],
                [r.predicted for r in mine],
                s=7,
                alpha=0.45,
                linewidths=0,
                color=colour,
                label=f"{name} ({len(mine):,})",
            )
        low = min(min(axis.get_xlim()[1], 1e9), *(d for d in axis.dataLim.intervalx if d > 0), 1e9)
        high = max(*axis.dataLim.intervalx, *axis.dataLim.intervaly)
        axis.set(
            xscale="log", yscale="log", title=title, xlabel="measured", ylabel="predicted, family left out"
        )
        line = np.array([low / 1.5, high * 1.5])
        axis.plot(line, line, color="#444444", linewidth=0.9)
        for factor in (1.25, 0.8):
            axis.plot(line, line * factor, color="#999999", linewidth=0.6, linestyle="--")
        axis.legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=110)
    plt.close(figure)
