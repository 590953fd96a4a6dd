"""Reads and writes tables of measurements in the common schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ridgeline import jsonform
from ridgeline.errors import FieldViolation, InvalidArgumentError
from ridgeline.files.tables import Table, cell_value, shown, wanted, written
from ridgeline.v1.measurement_pb2 import Measurement

KEPT_BY_SERVICE = frozenset({"principal", "create_time", "update_time"})
MEASUREMENT_COLUMNS = tuple(
    field.name for field in Measurement.DESCRIPTOR.fields if field.name not in KEPT_BY_SERVICE
)
"""The columns of the common schema, in their order."""

PASSED_OVER = frozenset({"heldout_kind"})
"""Columns that tables of the common schema may have besides; they say nothing about what was measured."""

_FIELDS = {name: Measurement.DESCRIPTOR.fields_by_name[name] for name in MEASUREMENT_COLUMNS}


@dataclass(frozen=True)
class MeasurementRow:
    """One row of a table: where it begins, what it says, and the cells that no field can hold, by column;
    `measurement` is without those.
    """

    line: int
    measurement: Measurement
    violations: tuple[FieldViolation, ...] = ()


class MeasurementTable(Table):
    """The measurements of one table, read as they are needed."""

    rows_are = "measurements"
    known = MEASUREMENT_COLUMNS
    passed_over = PASSED_OVER

    @property
    def missing_columns(self) -> tuple[str, ...]:
        """Columns of the schema that the table does not have."""
        return tuple(column for column in MEASUREMENT_COLUMNS if column not in self.columns)

    def __iter__(self) -> Iterator[MeasurementRow]:
        """The rows that are not blank. Raises InvalidArgumentError where the text is no CSV."""
        for line, cells in self.cells():
            yield self._row(line, cells)

    def _row(self, line: int, cells: Sequence[str]) -> MeasurementRow:
        measurement = Measurement()
        misfit = self.misfit(cells)
        if misfit:
            return MeasurementRow(line, measurement, (misfit,))
        violations: list[FieldViolation] = []
        for column, text in zip(self.columns, cells, strict=True):
            if not text or column in PASSED_OVER:
                continue
            value = cell_value(_FIELDS[column], text)
            if value is None:
                violations.append(FieldViolation(column, f"is {shown(text)}; give {wanted(_FIELDS[column])}"))
            else:
                setattr(measurement, column, value)
        return MeasurementRow(line, measurement, tuple(violations))


def read_measurements(path: str | Path) -> list[Measurement]:
    """All measurements of a file, ready for `Client.import_many_measurements`.

    Raises InvalidArgumentError for a file that is no table of measurements, and with every cell that no field
    can hold, by line and column.
    """
    with MeasurementTable(path) as table:
        rows = list(table)
    wrong = [
        FieldViolation(f"line {row.line}, {violation.field}".removesuffix(", "), violation.description)
        for row in rows
        for violation in row.violations
    ]
    if wrong:
        raise InvalidArgumentError(f"The file {path} has wrong cells.", "INVALID_FIELD", wrong)
    return [row.measurement for row in rows]


def measurement_cells(measurement: Measurement) -> dict[str, object]:
    """A measurement as the cells of a row, by column; what is not set is left out."""
    told = jsonform.to_dict(measurement)
    return {
        column: written(_FIELDS[column], told[column])
        for column in MEASUREMENT_COLUMNS
        if told.get(column, "") not in ("", "UNSPECIFIED")
    }
