"""Reads tables of measured cases: a before and an after in each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ridgeline.errors import FieldViolation
from ridgeline.files.tables import Table, cell_value, shown, wanted
from ridgeline.v1.measured_case_pb2 import MeasuredCase
from ridgeline.v1.measurement_pb2 import Measurement

SIDES = ("before", "after")
SIDE_COLUMNS = (
    "weight_dtype", "weight_format", "act_dtype", "kv_dtype", "n_devices", "tp", "pp", "phase", "batch",
    "concurrency", "request_rate", "isl", "osl",
)  # fmt: skip
"""What may differ between the sides: columns of measurements, each with the side's name before it."""
SHARED_COLUMNS = ("engine", "engine_version", "model_id", "hardware_id", "metric")
"""Columns of measurements that both sides have in common."""
_OWN = {
    "case_id": "case_id",
    "class": "case_class",
    "technique": "technique",
    "speedup": "speedup",
    "source": "source",
    "source_group": "source_group",
}
"""Columns of the case itself, and the fields that hold them."""
CASE_COLUMNS = (
    "case_id", "class", "technique", *SHARED_COLUMNS,
    *(f"{side}_{column}" for side in SIDES for column in (*SIDE_COLUMNS, "features")),
    "speedup", "source", "source_group",
)  # fmt: skip
"""The columns that are read, in their order."""
PASSED_OVER = frozenset(
    {
        *("effect", "accuracy_change", "confidence", "heldout_kind", "notes"),
        *("published_baseline", "published_optimisation", "published_metric"),
    }
)
"""Columns that tables of cases may have besides: what follows from others, and words of the source."""


@dataclass(frozen=True)
class CaseRow:
    """One row of a table: where it begins, what it says, and the cells that no field can hold, by column;
    `case` is without those.
    """

    line: int
    case: MeasuredCase
    violations: tuple[FieldViolation, ...] = ()


class CaseTable(Table):
    """The cases of one table, read as they are needed."""

    rows_are = "cases"
    known = CASE_COLUMNS
    passed_over = PASSED_OVER

    def __iter__(self) -> Iterator[CaseRow]:
        """The rows that are not blank. Raises InvalidArgumentError where the text is no CSV."""
        for line, cells in self.cells():
            yield self._row(line, cells)

    def _row(self, line: int, cells: Sequence[str]) -> CaseRow:
        case = MeasuredCase()
        misfit = self.misfit(cells)
        if misfit:
            return CaseRow(line, case, (misfit,))
        violations = []
        for column, text in zip(self.columns, cells, strict=True):
            if text and column not in PASSED_OVER:
                problem = _fill(case, column, text)
                if problem:
                    violations.append(FieldViolation(column, f"is {shown(text)}; give {problem}"))
        return CaseRow(line, case, tuple(violations))


def _fill(case: MeasuredCase, column: str, text: str) -> str:
    """Writes a cell into its field; what the field can hold where it cannot hold this."""
    side, _, rest = column.partition("_")
    if side in SIDES and rest == "features":
        pairs = [pair.partition("=") for pair in text.split(";")]
        if not all(key and value for key, _, value in pairs):
            return "key=value, several with ; between them"
        getattr(case, f"{side}_features").update({key.strip(): value.strip() for key, _, value in pairs})
        return ""
    if side in SIDES:
        return _set(getattr(case, side), rest, text)
    if column in SHARED_COLUMNS:
        return next(filter(None, (_set(getattr(case, name), column, text) for name in SIDES)), "")
    return _set(case, _OWN[column], text)


def _set(message: MeasuredCase | Measurement, name: str, text: str) -> str:
    field = message.DESCRIPTOR.fields_by_name[name]
    value = cell_value(field, text)
    if value is None:
        return wanted(field)
    setattr(message, name, value)
    return ""
