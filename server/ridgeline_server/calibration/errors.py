"""How far predictions are from measurements: errors, intervals that held, rows that were not answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

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
    key = GROUPINGS[grouping] if grouping else lambda _: "all"
    groups: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        groups.setdefault(key(prediction) or "not stated", []).append(prediction)
    return tuple(_summary(name, groups[name]) for name in sorted(groups))


def _summary(group: str, predictions: list[Prediction]) -> ErrorSummary:
    answered = [p for p in predictions if p.predicted is not None]
    if not answered:
        return ErrorSummary(group, len(predictions), 0)
    measured = np.array([p.measurement.value for p in answered])
    predicted, low, high, ideal = (
        np.array([getattr(p, name) for p in answered], dtype=np.float64)
        for name in ("predicted", "low", "high", "ideal")
    )
    error = np.abs(predicted / measured - 1)
    return ErrorSummary(
        group,
        len(predictions),
        len(answered),
        median_error=float(np.median(error)),
        mean_error=float(error.mean()),
        ninetieth_error=float(np.quantile(error, 0.9)),
        median_ideal_error=float(np.median(np.abs(ideal / measured - 1))),
        median_ratio=float(np.median(predicted / measured)),
        covered_share=float(np.mean((low <= measured) & (measured <= high))),
        median_width=float(np.median(high / low)),
    )
