"""How far predictions are off on what a fit has not seen: rows left out, and ranges of times made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.calibration.correction import class_of
from ridgeline_server.calibration.engines import (
    ANY,
    CURRENT,
    EARLIER,
    PIECES,
    STEP_CLASSES,
    Era,
    Piece,
    era_key,
    is_sound,
    left_out,
    profile_id,
)
from ridgeline_server.calibration.fitting import predicted
from ridgeline_server.calibration.predictions import WIDEST_RANGE
from ridgeline_server.calibration.questions import MeasuredQuestion
from ridgeline_server.domain.efficiency import (
    EfficiencyProfile,
    Estimate,
    FurtherConstant,
    OperatorClass,
    ProfileSet,
)
from ridgeline_server.roofline.constants import OF_EXPERTS

Array = NDArray[np.float64]

TAIL, TAIL_OF_EXPERTS = 0.085, 0.05
"""Shares of measured over predicted that lie below a range, and above it. Under 10%, for groups differ: so
wide, the ranges of the others hold 80% of the rows of a group left out; with experts they differ more.
"""
WIDEST = WIDEST_RANGE
"""High over low of the widest range. Where the quantiles lie further apart, both ends are drawn towards 1,
and the range holds less than 80%: docs/accuracy.md tells how much. What is wider would say nothing.
"""
FEWEST_ROWS = 20
"""Left-out rows from which a range of their own is made."""


def family(question: MeasuredQuestion) -> str:
    """The line of models that one belongs to, by its name: makers keep architecture and habits within it."""
    name = question.measurement.model_id.rsplit("/", 1)[-1].lower().removeprefix("meta-")
    return "".join(ch for ch in name.replace("codellama", "llama").split("-")[0] if ch.isalpha())


SPLITS: Mapping[str, Callable[[MeasuredQuestion], str]] = {
    "device": lambda q: q.measurement.hardware_id,
    "family": family,
    "engine version": lambda q: f"{q.measurement.engine} {q.measurement.engine_version}".strip(),
}
"""What is left out together."""


@dataclass(frozen=True)
class LeftOut:
    """A row with its prediction by a fit that has not seen the rows of its group."""

    question: MeasuredQuestion
    group: str
    predicted: float

    @property
    def log_time_factor(self) -> float:
        """log(measured / predicted) of the time that the row tells about."""
        ratio = float(np.log(self.question.measurement.value / self.predicted))
        return -ratio if self.question.measurement.metric.is_rate else ratio


def left_out_rows(
    questions: Sequence[MeasuredQuestion],
    profiles: ProfileSet,
    split: str,
    pieces: Iterable[Piece] = PIECES,
) -> Iterator[LeftOut]:
    """All sound rows of pieces, each group of `split` predicted by fits to the others."""
    of = SPLITS[split]
    for piece in pieces:
        for question, value in left_out(piece, questions, profiles, of):
            yield LeftOut(question, of(question), value)


def without_engine(questions: Sequence[MeasuredQuestion], profiles: ProfileSet) -> list[LeftOut]:
    """All sound rows of pieces as if nobody knew their engine."""
    own = {profile_id(era, c) for era in (*EARLIER, *CURRENT) for c in (*STEP_CLASSES, OperatorClass.REQUEST)}
    unknown = ProfileSet(p for p in profiles.profiles if p.id not in own)
    rows = [q for q in questions if is_sound(q) and any(piece.tells(q) for piece in PIECES)]
    values = predicted(rows, unknown).tolist()
    return [LeftOut(q, q.measurement.engine, value) for q, value in zip(rows, values, strict=True)]


def time_profiles(
    by_device: Sequence[LeftOut], by_family: Sequence[LeftOut], by_engine: Sequence[LeftOut]
) -> tuple[EfficiencyProfile, ...]:
    """The ranges of times: for an engine whose steps are known, from devices left out; on a device where it
    was measured, from families of models left out; and for any other engine, as if none were known.
    """
    found = [
        *_of_class(by_engine, lambda _: (ANY, "")),
        *_of_class(by_device, lambda row: (_era(row.question), "")),
        *_of_class(by_family, lambda row: (_era(row.question), row.question.hardware.id)),
    ]
    return tuple(sorted(found, key=lambda profile: profile.id))


def _era(question: MeasuredQuestion) -> Era:
    key = era_key(question)
    return next(era for era in (*EARLIER, *CURRENT) if (era.engine, era.since_version) == key)


def _of_class(
    rows: Sequence[LeftOut], where: Callable[[LeftOut], tuple[Era, str]]
) -> Iterator[EfficiencyProfile]:
    groups: dict[tuple[OperatorClass, Era, str], list[float]] = {}
    for row in rows:
        operator_class = class_of(row.question)
        if operator_class is not None:
            groups.setdefault((operator_class, *where(row)), []).append(row.log_time_factor)
    for (operator_class, era, hardware_id), factors in groups.items():
        if len(factors) < FEWEST_ROWS:
            continue
        low, high = _ends(np.array(factors), operator_class)
        held = float(np.mean((np.log(low) <= np.array(factors)) & (np.array(factors) <= np.log(high))))
        name = "-".join(filter(None, (hardware_id, era.id or "generic", operator_class.replace("_", "-"))))
        what = "settings of other families" if hardware_id else "other devices" if era.engine else "engines"
        yield EfficiencyProfile(
            id=name,
            operator_class=operator_class,
            launch_time_us=Estimate(0.0, 0.0, 0.0),
            compute_efficiency=Estimate(1.0, 1.0, 1.0),
            memory_efficiency=Estimate(1.0, 1.0, 1.0),
            overlap_exponent=2.0,
            evidence_count=len(factors),
            source=f"Measured over predicted on {what} left out; it holds {held:.0%} (docs/accuracy.md)",
            hardware_id=hardware_id,
            engine=era.engine,
            since_version=era.since_version,
            since_date=era.since_date,
            further={FurtherConstant.TIME_FACTOR: Estimate(1.0, low, high)},
        )


def _ends(log_factors: Array, operator_class: OperatorClass) -> tuple[float, float]:
    """The ends of a range that holds 1."""
    tail = TAIL_OF_EXPERTS if operator_class in OF_EXPERTS.values() else TAIL
    low, high = np.quantile(log_factors, (tail, 1 - tail)).tolist()
    low, high = min(low, 0.0), max(high, 0.0)
    share = min(1.0, float(np.log(WIDEST)) / max(high - low, 1e-9))
    return float(np.exp(share * low)), float(np.exp(share * high))


def covered_by_others(rows: Sequence[LeftOut]) -> tuple[float, float]:
    """Of rows whose range is that of the other groups: the share that lies within it, its median width."""
    inside: list[bool] = []
    widths: list[float] = []
    for row_class in {class_of(row.question) for row in rows} - {None}:
        of_class = [row for row in rows if class_of(row.question) is row_class]
        groups = np.array([row.group for row in of_class])
        factors = np.array([row.log_time_factor for row in of_class])
        for group in np.unique(groups):
            mine = groups == group
            others = factors[~mine] if np.count_nonzero(~mine) >= FEWEST_ROWS else factors
            assert row_class is not None
            low, high = np.log(_ends(others, row_class))
            inside += ((low <= factors[mine]) & (factors[mine] <= high)).tolist()
            widths += [float(np.exp(high - low))] * int(mine.sum())
    return float(np.mean(inside)), float(np.median(widths))
