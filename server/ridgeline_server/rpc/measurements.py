"""MeasurementService: what was measured by users and by others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1 import measured_case_pb2, measurement_pb2
from ridgeline.v1 import measurement_service_pb2 as pb
from ridgeline_server.domain.measurement import FORMATS, Measurement
from ridgeline_server.rpc.calibration import calibrate
from ridgeline_server.rpc.cases import validate_cases
from ridgeline_server.rpc.checks import MAX_TEXT_LENGTH, Checks
from ridgeline_server.rpc.convert.changes import field_changes
from ridgeline_server.rpc.convert.measurements import (
    measurement_message,
    read_measurement,
    read_measurement_filter,
    stored_message,
)
from ridgeline_server.rpc.imports import ACTIONS, entry_error
from ridgeline_server.rpc.pages import MAX_PAGE_BYTES, PageToken, page_token, query_digest, read_page
from ridgeline_server.rpc.validation import summarize, validate
from ridgeline_server.store.batch import WriteAction
from ridgeline_server.store.catalog import CatalogCache
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.entries import Cursor
from ridgeline_server.store.measurements import MeasurementFilter, MeasurementOutcome, StoredMeasurement

MAX_MEASUREMENTS = 1000
"""Measurements of one import, and ids of one removal."""

METHOD = "ridgeline.v1.MeasurementService/ImportMeasurements"


@dataclass
class _Item:
    """One measurement of a request on its way: what is to be written, or what became of it."""

    request: pb.MeasurementToImport
    measurement: Measurement | None = None
    outcome: MeasurementOutcome | None = None
    error: Exception | None = None


class MeasurementServicer:
    """Reads and writes the stored measurements, and compares predictions with measured rows."""

    def __init__(self, store: CatalogStore, cache: CatalogCache) -> None:
        self._store = store
        self._cache = cache
        self._measurements = store.measurements

    def import_measurements(self, request: pb.ImportMeasurementsRequest) -> pb.ImportMeasurementsResponse:
        """Writes the measurements of a request in one transaction."""
        checks = Checks()
        if not request.measurements:
            checks.add("measurements", "is empty; give one measurement at least")
        elif len(request.measurements) > MAX_MEASUREMENTS:
            checks.add(
                "measurements",
                f"has {len(request.measurements):,} entries; give {MAX_MEASUREMENTS:,} at most, in several "
                "requests",
            )
        checks.raise_if_any()
        items = [_read(given) for given in request.measurements]
        right = [item for item in items if item.measurement is not None]
        measurements = [item.measurement for item in right if item.measurement is not None]
        outcomes = self._measurements.write(
            measurements, allow_replace=request.allow_replace, dry_run=request.validate_only
        )
        for item, outcome in zip(right, outcomes, strict=True):
            item.outcome, item.error = outcome, outcome.error
        known = _Catalog(self._store, measurements)
        return pb.ImportMeasurementsResponse(outcomes=[_outcome_message(item, known) for item in items])

    def list_measurements(self, request: pb.ListMeasurementsRequest) -> pb.ListMeasurementsResponse:
        """One page of measurements."""
        digest = query_digest(request)
        checks = Checks()
        limit, token = read_page(checks, request.page_size, request.page_token, digest)
        wanted = read_measurement_filter(checks, request.filter)
        checks.raise_if_any()
        messages: list[measurement_pb2.Measurement] = []
        size = 0

        def fits(found: StoredMeasurement) -> bool:
            nonlocal size
            messages.append(stored_message(found))
            size += messages[-1].ByteSize()
            return size <= MAX_PAGE_BYTES

        after = token.after.id.replace("\0", "\ufffd") if token else ""
        page = self._measurements.page(wanted, after=after, limit=limit, fits=fits)
        following = page_token(digest, PageToken(Cursor(page.after), 0)) if page.after is not None else ""
        return pb.ListMeasurementsResponse(
            measurements=messages[: len(page.measurements)], next_page_token=following
        )

    def get_measurement(self, request: pb.GetMeasurementRequest) -> pb.GetMeasurementResponse:
        """One measurement by its id."""
        checks = Checks()
        checks.text("id", request.id, MAX_TEXT_LENGTH, required=True)
        checks.raise_if_any()
        return pb.GetMeasurementResponse(measurement=stored_message(self._measurements.get(request.id)))

    def delete_measurements(self, request: pb.DeleteMeasurementsRequest) -> pb.DeleteMeasurementsResponse:
        """Removes measurements by their ids or by a filter."""
        checks = Checks()
        wanted = read_measurement_filter(checks, request.filter)
        everything = wanted == MeasurementFilter()
        if len(request.ids) > MAX_MEASUREMENTS:
            checks.add("ids", f"has {len(request.ids):,} entries; give {MAX_MEASUREMENTS:,} at most")
        else:
            for place, measurement_id in enumerate(request.ids):
                checks.text(f"ids[{place}]", measurement_id, MAX_TEXT_LENGTH, required=True)
        if request.ids and request.HasField("filter"):
            checks.add("filter", "is set beside ids; give one of both")
        elif not request.ids and everything and not checks.violations:
            checks.add("ids", "is empty, and the filter picks all; give ids, or set something in the filter")
        checks.raise_if_any()
        if request.ids:
            count = self._measurements.delete(request.ids, dry_run=request.validate_only)
        else:
            count = self._measurements.delete_matching(wanted, dry_run=request.validate_only)
        return pb.DeleteMeasurementsResponse(deleted_count=count)

    def validate_measurements(
        self, request: pb.ValidateMeasurementsRequest
    ) -> pb.ValidateMeasurementsResponse:
        """Rows with their predictions."""
        return validate(request, self._measurements, self._cache)

    def summarize_errors(self, request: pb.SummarizeErrorsRequest) -> pb.SummarizeErrorsResponse:
        """How far predictions are from measured figures."""
        return summarize(request)

    def validate_cases(
        self, request: measured_case_pb2.ValidateCasesRequest
    ) -> measured_case_pb2.ValidateCasesResponse:
        """Measured changes with their predictions."""
        return validate_cases(request, self._cache)

    def calibrate(self, request: pb.CalibrateRequest) -> pb.CalibrateResponse:
        """Corrects predictions by measured rows."""
        return calibrate(request, self._store, self._cache)


class _Catalog:
    """Which of the models and devices that measurements name the catalog has, looked up together."""

    def __init__(self, store: CatalogStore, measurements: Iterable[Measurement]) -> None:
        rows = list(measurements)
        self._models = store.models.known_names({row.model_id for row in rows} - {""})
        self._hardware = store.hardware.known_names({row.hardware_id for row in rows} - {""})

    def remarks(self, measurement: Measurement) -> list[str]:
        """What keeps a measurement from being compared with a prediction, in sentences."""
        told = []
        for what, name, known in (
            ("model", measurement.model_id, self._models),
            ("hardware", measurement.hardware_id, self._hardware),
        ):
            if not name:
                told.append(f"{what}_id is empty: no prediction can be compared with it")
            elif name not in known:
                told.append(f"{what}_id {name} is not in the catalog yet")
        for field, name in measurement.unknown_formats.items():
            formats = ", ".join(FORMATS[field])
            told.append(f"{field} {name} is kept, but the estimator does not know it; it knows {formats}")
        return told


def _read(request: pb.MeasurementToImport) -> _Item:
    checks = Checks()
    measurement = read_measurement(checks, request.measurement)
    if checks.violations:
        return _Item(request, error=checks.error())
    return _Item(request, measurement)


def _outcome_message(item: _Item, known: _Catalog) -> pb.MeasurementOutcome:
    message_id = item.measurement.id if item.measurement else item.request.measurement.id
    message = pb.MeasurementOutcome(name=item.request.name, id=message_id)
    if item.error is not None:
        message.action = catalog.IMPORT_ACTION_REFUSED
        message.error.CopyFrom(entry_error(item.error, METHOD))
        return message
    assert item.measurement is not None
    assert item.outcome is not None
    message.action = ACTIONS[item.outcome.action]
    if item.outcome.action is WriteAction.UPDATED and item.outcome.before is not None:
        before, after = (measurement_message(m) for m in (item.outcome.before, item.measurement))
        message.changes.extend(field_changes(before, after))
    message.remarks.extend(known.remarks(item.measurement))
    return message
