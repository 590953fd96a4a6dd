"""Measured figures of one setting on two devices, or of two models, beside what is predicted of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import fields
from itertools import combinations
from math import log
from typing import NamedTuple

from ridgeline_server.calibration.predictions import Prediction, predict
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.domain.measurement import Measurement
from ridgeline_server.store.engines import builtin_engines
from tests.accuracy.published import ShippedNames, published

TWO_DIES = frozenset({"mi250", "mi250x"})
"""Devices whose two dies the rows count as devices, and the catalog as one: nothing compares them."""
BESIDE = frozenset(
    {
        "id",
        "source",
        "model_published",
        "hardware_published",
        "value",
        "confidence",
        "tier",
        "ambiguous",
        "notes",
    }
)
"""Fields of a measurement that do not belong to its setting."""


class Change(NamedTuple):
    """The logarithms of a measured and of a predicted speedup between `systems`, two ids, by one source."""

    systems: tuple[str, str]
    source_group: str
    measured: float
    predicted: float


def predictions(profiles: ProfileSet) -> list[Prediction]:
    """What is predicted of every row that measured a time or a rate, however far off it may be."""
    rows = [
        row for row in published() if row.metric.value.endswith(("_ms", "_s")) or "tok_s" in row.metric.value
    ]
    return list(predict(rows, ShippedNames(), builtin_engines(), profiles, widest=float("inf")))


def changes(predicted: Iterable[Prediction], system: str) -> Iterator[Change]:
    """What is measured and predicted of every setting that one source measured of two devices
    (`hardware_id`), or of two models on one device (`model_id`).
    """
    settings: dict[Hashable, dict[str, Prediction]] = defaultdict(dict)
    for found in predicted:
        row = found.measurement
        if found.predicted is not None and row.hardware_id not in TWO_DIES:
            settings[_setting(row, system)].setdefault(getattr(row, system), found)
    for by_system in settings.values():
        for pair in combinations(sorted(by_system), 2):
            yield _change(pair, *(by_system[each] for each in pair))


def _setting(row: Measurement, system: str) -> Hashable:
    names = [each.name for each in fields(row) if each.name not in BESIDE | {system}]
    return tuple(getattr(row, name) for name in names)


def _change(pair: tuple[str, str], before: Prediction, after: Prediction) -> Change:
    assert before.predicted is not None
    assert after.predicted is not None
    row = before.measurement
    sign = 1 if row.metric.is_rate else -1
    return Change(
        pair,
        row.source_group,
        sign * log(after.measurement.value / row.value),
        sign * log(after.predicted / before.predicted),
    )
