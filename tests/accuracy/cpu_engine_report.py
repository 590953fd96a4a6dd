"""How well engines on processors are predicted at larger shapes after calibrating on smaller ones:
`python -m tests.accuracy.cpu_engine_report` prints the tables of docs/probe.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ridgeline_server.calibration.correction import correct
from ridgeline_server.calibration.fitting import predicted
from ridgeline_server.calibration.refit import refit
from ridgeline_server.domain.efficiency import EfficiencyProfile, ProfileSet
from ridgeline_server.domain.measurement import Measurement, Phase
from tests.accuracy.cpu_engines import Row, by_engine_and_format, own_profiles, own_rows, published_rows
from tests.accuracy.published import shipped_profiles

SMALL_PROMPT, SMALL_BATCH = 128, 4
"""The smaller shapes of an engine and format of which one model was run."""
GOALS = {"prefill": 0.2, "decode at batch 1": 0.15, "decode at batch 2-64": 0.25}
"""The error that is aimed at; one within twice the spread of the row's runs counts as met too."""
CLEAR = 0.05
"""Log ratio from which a measured effect has a sign."""


class Judged(NamedTuple):
    """A row with what is predicted of it, before and after calibrating on the smaller shapes."""

    row: Row
    kind: str
    is_larger: bool
    before: float
    after: float

    @property
    def error(self) -> float:
        """|predicted / measured - 1| after calibrating."""
        return abs(self.after / self.row.question.measurement.value - 1)

    @property
    def error_before(self) -> float:
        """The same before."""
        return abs(self.before / self.row.question.measurement.value - 1)

    @property
    def is_met(self) -> bool:
        """Whether the goal is."""
        return self.error <= max(GOALS[self.kind], 2 * (self.row.spread - 1))


def kind_of(row: Row) -> str:
    """What a row is judged as."""
    known = row.question.measurement
    if known.phase is Phase.PREFILL:
        return "prefill"
    return "decode at batch 1" if known.batch == 1 else "decode at batch 2-64"


def larger(rows: Sequence[Row]) -> list[bool]:
    """Which rows of one engine and format are its larger shapes: those of the larger half of its models,
    rounded down but one at least, or of the longer prompts and contexts and the larger batches of a single
    model.
    """
    sizes = {row.question.model.id: row.question.model.parameter_count for row in rows}
    models = sorted(sizes, key=lambda model: sizes[model])
    if len(models) > 1:
        large = models[-(len(models) // 2) :]
        return [row.question.model.id in large for row in rows]
    known = [row.question.measurement for row in rows]
    return [max(m.isl or 0, m.past_tokens or 0) > SMALL_PROMPT or (m.batch or 1) > SMALL_BATCH for m in known]


def judge(rows: Sequence[Row], profiles: Sequence[EfficiencyProfile]) -> Iterator[Judged]:
    """Every row, predicted by what the smaller shapes of the same device say."""
    told: list[tuple[Row, bool]] = []
    for _, group in by_engine_and_format(rows):
        told += zip(group, larger(group), strict=True)
    questions = [row.question for row, _ in told]
    seen = [row.question for row, is_larger in told if not is_larger]
    known = ProfileSet(profiles)
    fitted = [profile for tried in refit(seen, known) for profile in tried.profiles]
    grown = ProfileSet((*profiles, *fitted))
    grown = ProfileSet((*grown.profiles, *correct(seen, grown).profiles))
    values = zip(predicted(questions, known), predicted(questions, grown), strict=True)
    for (row, is_larger), (before, after) in zip(told, values, strict=True):
        yield Judged(row, kind_of(row), is_larger, float(before), float(after))


def judged_of_others() -> list[Judged]:
    """The rows by others, on a device with the rates of its datasheet."""
    return list(judge(published_rows(), shipped_profiles()))


def judged_of_ours() -> list[Judged]:
    """Own rows, on the device that its probe found."""
    return list(judge(own_rows(), (*own_profiles(), *shipped_profiles())))


class Effect(NamedTuple):
    """What a change does to a time, after over before: measured, and predicted after calibrating."""

    engine: str
    change: str
    measured: float
    predicted: float

    @property
    def is_clear(self) -> bool:
        """Whether what was measured has a sign."""
        return bool(abs(np.log(self.measured)) > CLEAR)

    @property
    def agrees(self) -> bool:
        """Whether the predicted effect has the measured one's sign."""
        return (self.measured > 1) == (self.predicted > 1)


def effects(judged: Sequence[Judged]) -> Iterator[Effect]:
    """Narrower weights, narrower keys, and larger batches (on the time per sequence), between rows that are
    alike in all else, one of them a larger shape at least.
    """
    groups: dict[tuple[object, ...], list[Judged]] = {}
    for each in judged:
        m = each.row.question.measurement
        groups.setdefault((m.hardware_id, m.model_id, m.phase, m.isl, m.past_tokens), []).append(each)
    for group in groups.values():
        for one in group:
            for other in group:
                change = _change(one.row.question.measurement, other.row.question.measurement)
                if change and (one.is_larger or other.is_larger):
                    yield _effect(change, one, other)


def _change(one: Measurement, other: Measurement) -> str:
    """What differs between two rows that are alike in all else; empty where that is nothing, or more."""
    batches, formats = one.batch == other.batch, one.weight_format == other.weight_format
    formats = formats and one.weight_dtype == other.weight_dtype
    same_engine, same_kv = one.engine == other.engine, one.kv_dtype == other.kv_dtype
    if batches and same_kv and not formats and _brand(one) == _brand(other):
        # The wide side has the format that the engine computes in otherwise.
        is_wide = one.weight_dtype == one.kv_dtype and other.weight_dtype in ("int8", "int4")
        return f"weights {other.weight_format or other.weight_dtype}" if is_wide else ""
    if batches and formats and same_engine and not same_kv and one.kv_dtype == "fp16":
        return f"keys and values {other.kv_dtype}"
    if (
        formats
        and same_engine
        and same_kv
        and one.phase is Phase.DECODE
        and (one.batch or 1) < (other.batch or 1)
    ):
        return "batching"
    return ""


def _brand(row: Measurement) -> str:
    return row.engine.partition(" ")[0]


def _effect(change: str, one: Judged, other: Judged) -> Effect:
    before, after = one.row.question.measurement, other.row.question.measurement
    each = (before.batch or 1) / (after.batch or 1)
    return Effect(_brand(after), change, after.value / before.value * each, other.after / one.after * each)


def tables() -> str:
    """The tables in Markdown."""
    lines = []
    for title, judged in (("by others", judged_of_others()), ("own", judged_of_ours())):
        lines += [f"Rows {title}", "", "| engine, format | " + " | ".join(GOALS) + " |", "|---" * 4 + "|"]
        names: dict[str, list[Judged]] = {}
        for each in judged:
            if each.is_larger:
                m = each.row.question.measurement
                threads = ", 2 threads" if m.hardware_id.endswith("2t") else ""
                name = f"{m.engine}{threads}, {m.weight_format or m.weight_dtype}"
                names.setdefault(name, []).append(each)
        for name, found in names.items():
            cells = [_cell([each for each in found if each.kind == kind]) for kind in GOALS]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        everything = [each for each in judged if each.is_larger]
        cells = [_cell([each for each in everything if each.kind == kind]) for kind in GOALS]
        lines += [f"| all | {' | '.join(cells)} |", ""]
        lines += ["| effect | measured | predicted | same sign |", "|---" * 4 + "|"]
        changes: dict[str, list[Effect]] = {}
        for effect in effects(judged):
            changes.setdefault(f"{effect.engine}, {effect.change}", []).append(effect)
        for name, told in changes.items():
            clear = [effect for effect in told if effect.is_clear]
            share = f"{sum(effect.agrees for effect in clear)} of {len(clear)}"
            medians = [np.median([getattr(e, side) for e in told]) for side in ("measured", "predicted")]
            lines.append(f"| {name} | {medians[0]:.2f} | {medians[1]:.2f} | {share} |")
        lines.append("")
    return "\n".join(lines)


def _cell(judged: Sequence[Judged]) -> str:
    """Median error after and before calibrating, and how many rows meet their goal."""
    if not judged:
        return ""
    after = np.median([each.error for each in judged])
    before = np.median([each.error_before for each in judged])
    return f"{after:.0%} ({before:.0%}), {sum(each.is_met for each in judged)} of {len(judged)}"


if __name__ == "__main__":
    print(tables())
