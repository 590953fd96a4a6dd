"""Predicts measured rows, and summarises how far predictions are from them.

Rows come in requests of up to a thousand and summaries in a call of their own, which takes the columns of all
of them: a median over a file is no mean of its parts' medians, so whoever summarises needs every row. The
client that asks has them already, and 48 bytes a row to send them back are nothing beside the predictions. A
stream of rows in one call would need a second kind of handler on both ways to the service, and would lose all
that was answered when it breaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields

import numpy as np

from ridgeline.v1 import measurement_pb2
from ridgeline.v1 import measurement_service_pb2 as pb
from ridgeline_server.calibration.errors import ALL, Columns, summarise_columns
from ridgeline_server.calibration.predictions import Prediction, predict
from ridgeline_server.domain.errors import FieldViolation, InvalidFieldsError
from ridgeline_server.domain.measurement import Measurement
from ridgeline_server.rpc.checks import MAX_NAME_LENGTH, Checks, Range
from ridgeline_server.rpc.convert.measurements import VALUE, read_measurement, read_measurement_filter
from ridgeline_server.rpc.convert.predictions import (
    prediction_message,
    summary_message,
    wrong_row_message,
)
from ridgeline_server.rpc.entry_kinds import read_revision
from ridgeline_server.rpc.measured_names import MeasuredNames
from ridgeline_server.rpc.pages import PageToken, page_token, query_digest, read_page
from ridgeline_server.store.catalog import CatalogCache, CatalogSnapshot
from ridgeline_server.store.engines import builtin_engines
from ridgeline_server.store.entries import Cursor
from ridgeline_server.store.measurements import MeasurementRepository

MAX_ROWS = 1000
"""Rows of one request that are predicted."""
MAX_SUMMARISED = 1_000_000
MAX_GROUPINGS = 20
MEASURED = Range(0.0, VALUE.high, f"a number over 0, up to {VALUE.high:g}")
PREDICTED = Range(0.0, float(np.finfo(np.float64).max), "a number over 0")
"""What a column may hold; the low end is not in it."""


def validate(
    request: pb.ValidateMeasurementsRequest, stored: MeasurementRepository, cache: CatalogCache
) -> pb.ValidateMeasurementsResponse:
    """The rows of a request, or a page of stored ones, with their predictions."""
    checks = Checks()
    digest = query_digest(request)
    limit, token = read_page(checks, request.page_size, request.page_token, digest)
    revision = read_revision(checks, request.catalog_revision)
    wanted = read_measurement_filter(checks, request.filter)
    check_row_count(checks, request.measurements)
    if request.measurements and request.HasField("filter"):
        checks.add("filter", "is set beside measurements; give one of both")
    elif not request.measurements and not request.HasField("filter"):
        checks.add("measurements", "is empty, and filter is not set; give rows, or a filter of stored ones")
    checks.raise_if_any()
    # All pages are answered on the revision of the first.
    snapshot = cache.snapshot(token.revision if token else revision)
    if request.measurements:
        predictions = _of_rows(request.measurements, snapshot)
        return pb.ValidateMeasurementsResponse(predictions=predictions, catalog_revision=snapshot.revision)
    page = stored.page(wanted, after=token.after.id.replace("\0", "\ufffd") if token else "", limit=limit)
    found = predicted([row.measurement for row in page.measurements], snapshot)
    following = ""
    if page.after is not None:
        following = page_token(digest, PageToken(Cursor(page.after), snapshot.revision))
    return pb.ValidateMeasurementsResponse(
        predictions=map(prediction_message, found),
        next_page_token=following,
        catalog_revision=snapshot.revision,
    )


def check_row_count(checks: Checks, rows: Sequence[measurement_pb2.Measurement]) -> None:
    """Whether one request may have so many rows."""
    if len(rows) > MAX_ROWS:
        checks.add(
            "measurements",
            f"has {len(rows):,} entries; give {MAX_ROWS:,} at most, in several requests",
        )


def predicted(rows: Sequence[Measurement], snapshot: CatalogSnapshot) -> Iterable[Prediction]:
    """The predictions of rows on a revision of the catalog, in their order."""
    return predict(rows, MeasuredNames(snapshot), builtin_engines(), snapshot.profiles)


def _of_rows(
    rows: Sequence[measurement_pb2.Measurement], snapshot: CatalogSnapshot
) -> list[pb.MeasurementPrediction]:
    """Predictions of given rows, those that are wrong among them."""
    answers: list[pb.MeasurementPrediction | None] = []
    right: list[Measurement] = []
    for row in rows:
        checks = Checks()
        measurement = read_measurement(checks, row)
        if checks.violations:
            answers.append(wrong_row_message(row, InvalidFieldsError(checks.violations)))
        else:
            answers.append(None)
            right.append(measurement)
    found = iter(predicted(right, snapshot))
    return [prediction_message(next(found)) if answer is None else answer for answer in answers]


def summarize(request: pb.SummarizeErrorsRequest) -> pb.SummarizeErrorsResponse:
    """The errors of the columns in a request, of all rows and by groups."""
    checks = Checks()
    columns = _read_columns(checks, request)
    _check_groupings(checks, request)
    checks.raise_if_any()
    (overall,) = summarise_columns(columns, [ALL] * len(columns.measured))
    response = pb.SummarizeErrorsResponse(overall=summary_message(overall))
    for grouping in request.groupings:
        names = list(grouping.groups)
        of_rows = [names[index] for index in grouping.group_indices]
        response.groupings.add(
            name=grouping.name, summaries=map(summary_message, summarise_columns(columns, of_rows))
        )
    return response


def _read_columns(checks: Checks, request: pb.SummarizeErrorsRequest) -> Columns:
    """The columns of a request. Use them when nothing is noted."""
    columns = Columns(
        *(np.array(getattr(request, field.name), dtype=np.float64) for field in fields(Columns))
    )
    count = len(columns.measured)
    if not 0 < count <= MAX_SUMMARISED:
        told = "is empty" if not count else f"has {count:,} entries"
        checks.add("measured", f"{told}; give 1 to {MAX_SUMMARISED:,}")
    for field in fields(Columns):
        column = getattr(columns, field.name)
        if len(column) != count:
            checks.add(field.name, f"has {len(column):,} entries, and measured has {count:,}; give as many")
    if checks.violations:
        return columns
    answered = columns.predicted != 0
    for field in fields(Columns):
        column = getattr(columns, field.name)
        # A row without an answer has neither an interval nor an ideal figure.
        counts = answered if field.name != "measured" else np.ones(count, dtype=bool)
        bounds = MEASURED if field.name == "measured" else PREDICTED
        wrong = np.flatnonzero(counts & ~((column > bounds.low) & (column <= bounds.high)))
        if len(wrong):
            place = int(wrong[0])
            checks.add(f"{field.name}[{place}]", f"is {column[place]:.6g}; give {bounds.words}")
    return columns


def _check_groupings(checks: Checks, request: pb.SummarizeErrorsRequest) -> None:
    if len(request.groupings) > MAX_GROUPINGS:
        checks.add("groupings", f"has {len(request.groupings):,} entries; give {MAX_GROUPINGS} at most")
        return
    count = len(request.measured)
    for place, grouping in enumerate(request.groupings):
        field = f"groupings[{place}]"
        checks.text(f"{field}.name", grouping.name, MAX_NAME_LENGTH, required=True)
        if len(grouping.group_indices) != count:
            checks.add(
                f"{field}.group_indices",
                f"has {len(grouping.group_indices):,} entries, and measured has {count:,}; give as many",
            )
        last = len(grouping.groups) - 1
        beyond = next((index for index in grouping.group_indices if not 0 <= index <= last), None)
        if beyond is not None:
            checks.add(
                f"{field}.group_indices",
                f"has {beyond}, and groups has {last + 1:,} entries; give indices from 0 to {max(last, 0):,}",
            )


def as_fields_of(error: InvalidFieldsError, row: int) -> list[FieldViolation]:
    """What is wrong with a row, as fields of its request."""
    return [violation.under(f"measurements[{row}]") for violation in error.violations]
