"""What was measured, by users and by others, beside what is predicted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Unpack

from ridgeline import measurement_requests
from ridgeline.calls.base import Calls, merged, text
from ridgeline.measurement_requests import MeasurementChoice, MeasurementQuery, MeasurementSource
from ridgeline.v1 import measurement_service_pb2 as service
from ridgeline.v1.measured_case_pb2 import MeasuredCase, ValidateCasesRequest, ValidateCasesResponse
from ridgeline.v1.measurement_pb2 import Measurement

MEASUREMENTS = "ridgeline.v1.MeasurementService"


class Validation(NamedTuple):
    """Measured rows with their predictions, and how far off these are."""

    predictions: list[service.MeasurementPrediction]
    errors: service.SummarizeErrorsResponse


class MeasurementCalls(Calls):
    """Imports, reads and removes measurements, predicts and calibrates by them.
    `ridgeline.files.read_measurements` reads them from a file.
    """

    def import_measurements(
        self,
        measurements: Iterable[MeasurementSource],
        *,
        allow_replace: bool = False,
        validate_only: bool = False,
    ) -> service.ImportMeasurementsResponse:
        """Write up to 1,000 measurements in one transaction. The answer has an outcome for each, in their
        order.

        A refused measurement is an outcome, not an error: its `error` tells why, and the others are written.
        One that is stored alike is UNCHANGED; another one of the same id is replaced with `allow_replace`,
        else the new one is refused. `validate_only` tells what would change and writes nothing.

        Raises InvalidArgumentError for no measurements or too many; `import_many_measurements` takes any
        number.
        """
        request = service.ImportMeasurementsRequest(
            measurements=map(measurement_requests.to_import, measurements),
            allow_replace=allow_replace,
            validate_only=validate_only,
        )
        return self._call(f"{MEASUREMENTS}/ImportMeasurements", request, service.ImportMeasurementsResponse)

    def import_many_measurements(
        self,
        measurements: Iterable[MeasurementSource],
        *,
        allow_replace: bool = False,
        validate_only: bool = False,
    ) -> Iterator[service.ImportMeasurementsResponse]:
        """Write any number of measurements, a chunk in each transaction, and give each chunk's answer as it
        comes.

        What an answer tells is stored, whatever happens afterwards. When a call fails, repeat the whole: what
        is stored already is UNCHANGED. See `import_measurements`.
        """
        for chunk in measurement_requests.chunks(measurements):
            yield self.import_measurements(chunk, allow_replace=allow_replace, validate_only=validate_only)

    def list_measurements(self, **query: Unpack[MeasurementQuery]) -> service.ListMeasurementsResponse:
        """The measurements that match a query (see MeasurementQuery), by id, all pages in one response.

        Raises InvalidArgumentError for a query that cannot be meant.
        """
        return merged(self._measurement_pages(query))

    def iter_measurements(self, **query: Unpack[MeasurementQuery]) -> Iterator[Measurement]:
        """The same one by one: a page is asked for when its first measurement is."""
        pages = self._measurement_pages(query)
        return (measurement for page in pages for measurement in page.measurements)

    def get_measurement(self, measurement_id: str) -> service.GetMeasurementResponse:
        """One measurement by its id. Raises NotFoundError."""
        request = service.GetMeasurementRequest(id=text("id", measurement_id))
        return self._call(f"{MEASUREMENTS}/GetMeasurement", request, service.GetMeasurementResponse)

    def delete_measurements(
        self, ids: Sequence[str] = (), *, validate_only: bool = False, **choice: Unpack[MeasurementChoice]
    ) -> service.DeleteMeasurementsResponse:
        """Remove the measurements with these ids, up to 1,000, or all that match a MeasurementChoice; not
        both. `validate_only` tells how many they are and removes none.

        Raises NotFoundError when one of the ids is of no measurement, and InvalidArgumentError when nothing
        is given.
        """
        request = measurement_requests.measurement_removal(ids, validate_only=validate_only, **choice)
        return self._call(f"{MEASUREMENTS}/DeleteMeasurements", request, service.DeleteMeasurementsResponse)

    def validate_measurements(
        self, measurements: Iterable[Measurement], *, catalog_revision: int = 0
    ) -> service.ValidateMeasurementsResponse:
        """Predict what up to 1,000 rows measured. The answer has a prediction for each, in their order.

        A row that cannot be predicted is told with its `unanswered_reason`, and so is a wrong one. Raises
        InvalidArgumentError for no rows or too many (`iter_predictions` takes any number), and
        OutOfRangeError for a revision that cannot be read.
        """
        request = measurement_requests.validation(measurements, catalog_revision)
        method = f"{MEASUREMENTS}/ValidateMeasurements"
        return self._call(method, request, service.ValidateMeasurementsResponse)

    def iter_predictions(
        self,
        measurements: Iterable[Measurement] | None = None,
        *,
        catalog_revision: int = 0,
        **choice: Unpack[MeasurementChoice],
    ) -> Iterator[service.MeasurementPrediction]:
        """The predictions of any number of rows, in their order; without `measurements`, of the stored ones
        that match a MeasurementChoice, by id. Rows are read and asked about as their predictions are needed,
        all on the revision of the first.
        """
        revision = catalog_revision
        if measurements is not None:
            for chunk in measurement_requests.row_chunks(measurements):
                answer = self.validate_measurements(chunk, catalog_revision=revision)
                revision = answer.catalog_revision
                yield from answer.predictions
            return
        request = measurement_requests.stored_validation(catalog_revision, choice)
        while True:
            page = self._call(
                f"{MEASUREMENTS}/ValidateMeasurements", request, service.ValidateMeasurementsResponse
            )
            yield from page.predictions
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def summarize_errors(
        self, predictions: Iterable[service.MeasurementPrediction], *, by: Sequence[str] = ()
    ) -> service.SummarizeErrorsResponse:
        """How far off predictions are, over all and by groups: metric, phase, hardware, model, model_class,
        engine, level. Takes up to a million. Raises InvalidArgumentError for none, and for other groupings.
        """
        request = measurement_requests.error_summary(predictions, by)
        return self._call(f"{MEASUREMENTS}/SummarizeErrors", request, service.SummarizeErrorsResponse)

    def validate(
        self,
        measurements: Iterable[Measurement] | None = None,
        *,
        by: Sequence[str] = (),
        catalog_revision: int = 0,
        **choice: Unpack[MeasurementChoice],
    ) -> Validation:
        """The predictions of rows, or of stored ones, and the summaries of their errors: `iter_predictions`,
        then `summarize_errors`.
        """
        measurement_requests.check_groupings(by)
        predictions = list(self.iter_predictions(measurements, catalog_revision=catalog_revision, **choice))
        return Validation(predictions, self.summarize_errors(predictions, by=by))

    def validate_cases(
        self, cases: Iterable[MeasuredCase], *, catalog_revision: int = 0
    ) -> ValidateCasesResponse:
        """Predict what up to 5,000 changes did that were measured before and after. The answer has a
        prediction for each, in their order, and how right they are: over all, by class and by technique.

        A case that cannot be predicted is told with its `unanswered_reason`, and so is a wrong one. Raises
        InvalidArgumentError for no cases or too many, and OutOfRangeError for a revision that cannot be read.
        """
        request = ValidateCasesRequest(cases=cases, catalog_revision=catalog_revision)
        return self._call(f"{MEASUREMENTS}/ValidateCases", request, ValidateCasesResponse)

    def calibrate(
        self,
        measurements: Iterable[Measurement] = (),
        *,
        save: bool = False,
        **choice: Unpack[MeasurementChoice],
    ) -> service.CalibrateResponse:
        """Correct predictions by up to 1,000 rows, by stored ones that match a MeasurementChoice, or by both;
        all stored rows of the same devices count too. The answer has the rows before and now, errors of rows
        that are predicted from the others, and the profiles.

        With `save` the rows are stored as measurements and the profiles written, as a new revision of the
        catalog; without it nothing is written. Raises InvalidArgumentError for wrong rows and where none can
        be predicted.
        """
        request = measurement_requests.calibration(measurements, save=save, choice=choice)
        return self._call(f"{MEASUREMENTS}/Calibrate", request, service.CalibrateResponse)

    def _measurement_pages(self, query: MeasurementQuery) -> Iterator[service.ListMeasurementsResponse]:
        request, limit = measurement_requests.measurement_list(**query)
        return self._pages(
            f"{MEASUREMENTS}/ListMeasurements",
            request,
            service.ListMeasurementsResponse,
            "measurements",
            limit,
        )
