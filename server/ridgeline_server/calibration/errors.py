"""How far predictions are from measurements: errors, intervals that held, rows that were not answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ridgeline_server.calibration.predictions import Prediction


@dataclass(frozen=True)
class ErrorSummary:
    """The errors of a group of rows. `median_error` and `mean_error` are of |predicted / measured - 1|,
    `median_ratio` of predicted / measured, `median_width` of high / low; None where no row was answered.
    `covered_share` is the share of the answered rows whose measured value lies within low and high.
    """

    group: str
    rows: int
    answered: int
    median_error: float | None = None
    mean_error: float | None = None
    ninetieth_error: float | None = None
    median_ideal_error: float | None = None
    median_ratio: float | None = None
    covered_share: float | None = None
    median_width: float | None = None

    @property
    def answered_share(self) -> float:
        """Share of the rows with an answer, 0 to 1."""
        return self.answered / self.rows if self.rows else 0.0


GROUPINGS: Mapping[str, Callable[[Prediction], str]] = MappingProxyType(
    {
        "metric": lambda found: found.measurement.metric,
        "hardware": lambda found: found.measurement.hardware_id,
        "model_class": lambda found: found.model_class,
        "engine": lambda found: " ".join(
            filter(None, (found.measurement.engine, found.measurement.engine_version))
        ),
        "phase": lambda found: found.measurement.phase,
    }
)
"""What errors are told apart by."""


def summarise(predictions: Iterable[Prediction], grouping: str | None = None) -> tuple[ErrorSummary, ...]:
    """One summary for each group, in the order of their names; without a grouping one of all rows."""
    key = GROUPINGS[grouping] if grouping else lambda _: ALL
    rows = list(predictions)
    return summarise_columns(Columns.of(rows), [key(prediction) for prediction in rows])


Array = NDArray[np.float64]

ALL = "all"
"""The group of all rows."""
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Columns:
    """Measured figures of N rows, and what is predicted; each of shape (N,). A row without an answer has no
    `predicted` over 0.
    """

    measured: Array
    predicted: Array
    low: Array
    high: Array
    ideal: Array

    @classmethod
    def of(cls, predictions: Sequence[Prediction]) -> Columns:
        """The columns of predictions."""
        measured = np.array([p.measurement.value for p in predictions], dtype=np.float64)
        told = (
            np.array([getattr(p, name) or 0.0 for p in predictions], dtype=np.float64)
            for name in ("predicted", "low", "high", "ideal")
        )
        return cls(measured, *told)

    def at(self, rows: NDArray[np.intp]) -> Columns:
        """The columns of some rows."""
        return Columns(*(getattr(self, field.name)[rows] for field in fields(self)))


def summarise_columns(columns: Columns, groups: Sequence[str]) -> tuple[ErrorSummary, ...]:
    """One summary for each group, in the order of their names; `groups` has one for each row."""
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group or NOT_STATED, []).append(place)
    return tuple(_summary(name, columns.at(np.array(places[name]))) for name in sorted(places))


def _summary(group: str, columns: Columns) -> ErrorSummary:
    (answered,) = np.nonzero(columns.predicted > 0)
    rows = len(columns.predicted)
    if not len(answered):
        return ErrorSummary(group, rows, 0)
    told = columns.at(answered)
    error = np.abs(told.predicted / told.measured - 1)
    return ErrorSummary(
        group,
        rows,
        len(answered),
        median_error=float(np.median(error)),
        mean_error=float(error.mean()),
        ninetieth_error=float(np.quantile(error, 0.9)),
        median_ideal_error=float(np.median(np.abs(told.ideal / told.measured - 1))),
        median_ratio=float(np.median(told.predicted / told.measured)),
        covered_share=float(np.mean((told.low <= told.measured) & (told.measured <= told.high))),
        median_width=float(np.median(told.high / told.low)),
    )
