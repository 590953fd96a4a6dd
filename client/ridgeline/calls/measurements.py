"""What was measured, by users and by others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Unpack

from ridgeline import measurement_requests
from ridgeline.calls.base import Calls, merged, text
from ridgeline.measurement_requests import MeasurementChoice, MeasurementQuery, MeasurementSource
from ridgeline.v1 import measurement_service_pb2 as service
from ridgeline.v1.measurement_pb2 import Measurement

MEASUREMENTS = "ridgeline.v1.MeasurementService"


class MeasurementCalls(Calls):
    """Imports, reads and removes measurements. `ridgeline.files.read_measurements` reads them from a file."""

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

    def _measurement_pages(self, query: MeasurementQuery) -> Iterator[service.ListMeasurementsResponse]:
        request, limit = measurement_requests.measurement_list(**query)
        return self._pages(
            f"{MEASUREMENTS}/ListMeasurements",
            request,
            service.ListMeasurementsResponse,
            "measurements",
            limit,
        )
