"""Calibrates by a table, and tells all that is wrong with its rows at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ridgeline.client import Client
    from ridgeline.errors import FieldViolation
    from ridgeline.files.measurements import MeasurementRow
    from ridgeline.v1.measurement_service_pb2 import CalibrateResponse

MOST_ROWS = 1000
"""Rows of a table that one calibration takes."""


def calibrate(
    client: Client, given: Mapping[str, Any], device: str | None, places: list[str]
) -> CalibrateResponse:
    """Calibrate by the rows of a table, those of a device where one is given; `places` gets where each row
    stands. Raises InvalidArgumentError with all that is wrong with rows of which a cell cannot be read.
    """
    from ridgeline.errors import InvalidArgumentError
    from ridgeline.files import MeasurementTable

    engine = (given["engine"] or "").partition("@")[0]
    rows: list[MeasurementRow] = []
    with MeasurementTable(given["path"]) as table:
        empty = True
        for row in table:
            known, empty = row.measurement, False
            chosen = device is None or known.hardware_id in (given["hardware"], device)
            if not chosen or engine not in ("", known.engine):
                continue
            rows.append(row)
            places.append(f"line {row.line}")
            if len(rows) > MOST_ROWS:
                raise click.UsageError(
                    f"{table.name} has more than {MOST_ROWS:,} rows; import it with `ridgeline measurements "
                    "import`, then calibrate by the stored rows: `ridgeline calibrate --hardware ID`."
                )
        if empty:
            raise click.UsageError(f"{table.name} has no rows below its header.")
        if not rows:
            raise click.UsageError(f"{table.name} has no row that the options choose.")
    if any(row.violations for row in rows):
        wrong = list(_wrong_cells(client, rows))
        raise InvalidArgumentError(f"The file {given['path']} has wrong cells.", "INVALID_FIELD", wrong)
    return client.calibrate([row.measurement for row in rows], save=not given["dry_run"])


def _wrong_cells(client: Client, rows: Sequence[MeasurementRow]) -> Iterator[FieldViolation]:
    """All that is wrong with rows, by line: what no field can hold, and what the service says of the rest."""
    from ridgeline.errors import FieldViolation

    judged = client.import_measurements([row.measurement for row in rows], validate_only=True)
    for row, outcome in zip(rows, judged.outcomes, strict=True):
        unread = {wrong.field for wrong in row.violations}
        told = [(wrong.field, wrong.description) for wrong in row.violations]
        # Of a row that is cut into the wrong cells nothing was read.
        if "" not in unread:
            judgements = outcome.error.wrong_fields
            told += [(wrong.field, wrong.description) for wrong in judgements if wrong.field not in unread]
        for field, description in told:
            yield FieldViolation(f"line {row.line}, {field}".removesuffix(", "), description)
