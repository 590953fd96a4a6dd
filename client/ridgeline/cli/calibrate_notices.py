"""What is to be known of rows that were calibrated by: why some have no answer, which move nothing, and which
are so far off that they may not be meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from ridgeline.cli import parts, printable, styles
from ridgeline.cli.catalog import screens
from ridgeline.plots import words
from ridgeline.v1 import measurement_pb2

if TYPE_CHECKING:
    from rich.console import Console

    from ridgeline.v1.measurement_service_pb2 import (
        CalibratedRow,
        CalibrateResponse,
        MeasurementPrediction,
    )

FAR_OFF = 3.0
"""Times that a prediction is off from which the measured row is doubted."""
NOT_USED = 30.0
"""The same from which it is not used, which is told with its reason."""
WHOLE = ("memory_gib", "weights_gib", "kv_pool_gib")
"""Metrics of memory that nothing is corrected by; other parts of it are."""


def show(response: CalibrateResponse, console: Console) -> None:
    """A sentence for each thing that holds of some of the given rows."""
    for sentence in _unanswered(response):
        parts.paragraph(console, sentence, left=0)
    for sentence in (*_doubts(response.rows), *_unmoved(response.rows)):
        parts.paragraph(console, sentence, mark=Text("!", styles.WARNING))


def reason(row: CalibratedRow) -> str:
    """Why a row has no answer now, or had none before; empty where it has and had one."""
    return row.now.unanswered_reason or row.before.unanswered_reason


def _unanswered(response: CalibrateResponse) -> Iterator[str]:
    """The reasons of given rows without an answer, but for those that are told of all rows of the devices."""
    if len(response.rows) < 2:
        return
    told = {unused.reason for unused in response.unused}
    by_reason: dict[tuple[str, str], list[str]] = {}
    for row in response.rows:
        if (why := reason(row)) and why not in told:
            when = "No answer" if row.now.unanswered_reason else "No answer before"
            by_reason.setdefault((when, why), []).append(row.before.id)
    for (when, why), ids in by_reason.items():
        yield f"{when}: {_counted(ids)}: {printable.line(why)}"


def _doubts(rows: Sequence[CalibratedRow]) -> Iterator[str]:
    far = [row.before.id for row in rows if FAR_OFF < max(map(_off, (row.before, row.now))) <= NOT_USED]
    if far:
        yield (
            f"Over {FAR_OFF:g} times off: {_counted(far)}. The measured figure may be in another unit, or of "
            "another load. `ridgeline measurements delete` removes a row, and `ridgeline calibrate --reset` "
            "what was calibrated by it."
        )


def _off(prediction: MeasurementPrediction) -> float:
    """How many times too high or too low a prediction is; 1 without an answer."""
    if not prediction.HasField("predicted"):
        return 1.0
    ratio = prediction.predicted / prediction.measured
    return max(ratio, 1 / ratio)


def _unmoved(rows: Sequence[CalibratedRow]) -> Iterator[str]:
    """Rows of memory as a whole, and of what follows from the rest of it."""
    metrics = [words.name(measurement_pb2.MeasurementMetric.DESCRIPTOR, row.before.metric) for row in rows]
    whole = [
        (row.before.id, metric.replace(" ", "_"))
        for row, metric in zip(rows, metrics, strict=True)
        if metric.replace(" ", "_") in WHOLE
    ]
    if whole:
        named = ", ".join(sorted({metric for _, metric in whole}))
        yield (
            f"Moves nothing: {_counted([name for name, _ in whole])} of {named}. An engine's memory is "
            "corrected by its parts: activations_gib, non_torch_gib and cuda_graph_gib."
        )


def _counted(ids: Sequence[str]) -> str:
    counted = screens.counted(len(ids), "row")
    return f"{counted}, such as {printable.line(ids[0])}" if len(ids) > 1 else f"row {printable.line(ids[0])}"
