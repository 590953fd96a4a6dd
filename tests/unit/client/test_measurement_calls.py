"""What the Python client sends about measurements: imports in chunks, lists in pages, removals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ridgeline import errors
from ridgeline.client import Client
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1 import measurement_pb2
from ridgeline.v1 import measurement_service_pb2 as service
from ridgeline.v1.measurement_pb2 import Measurement
from tests.unit.client.test_catalog_calls import Answering


def stored(request: service.ImportMeasurementsRequest) -> service.ImportMeasurementsResponse:
    outcomes = [
        service.MeasurementOutcome(name=given.name, action=catalog.IMPORT_ACTION_CREATED)
        for given in request.measurements
    ]
    return service.ImportMeasurementsResponse(outcomes=outcomes)


def test_measurements_are_imported_under_their_ids_or_names() -> None:
    transport = Answering(stored)
    named = service.MeasurementToImport(name="a.csv:7", measurement=Measurement(id="m2"))
    Client(transport).import_measurements(
        [Measurement(id="m1"), named], allow_replace=True, validate_only=True
    )
    (request,) = transport.sent
    assert [(given.name, given.measurement.id) for given in request.measurements] == [
        ("m1", "m1"),
        ("a.csv:7", "m2"),
    ]
    assert request.allow_replace
    assert request.validate_only


def test_many_measurements_go_in_chunks_and_are_read_as_they_go() -> None:
    transport = Answering(stored)
    read: list[int] = []

    def measurements() -> Iterator[Measurement]:
        for number in range(2500):
            read.append(number)
            yield Measurement(id=f"m{number}")

    answers = Client(transport).import_many_measurements(measurements())
    assert len(next(answers).outcomes) == 1000
    assert len(read) == 1001
    assert [len(answer.outcomes) for answer in answers] == [1000, 500]


def test_a_chunk_is_not_larger_than_a_server_takes() -> None:
    transport = Answering(stored)
    rows = (Measurement(notes="x" * 4000, source="y" * 4000) for _ in range(500))
    list(Client(transport).import_many_measurements(rows))
    assert len(transport.sent) == 4
    assert max(request.ByteSize() for request in transport.sent) < 2**20 + 10_000


def test_what_is_no_measurement_is_told() -> None:
    with pytest.raises(errors.InvalidArgumentError, match="of type str; give a Measurement message"):
        Client(Answering(stored)).import_measurements(["m1"])  # type: ignore[list-item]  # the slip


def pages(request: service.ListMeasurementsRequest) -> service.ListMeasurementsResponse:
    last = request.page_token == "2"
    return service.ListMeasurementsResponse(
        measurements=[Measurement(id="b" if last else "a")], next_page_token="" if last else "2"
    )


def test_a_list_has_all_pages_of_what_was_asked_for() -> None:
    transport = Answering(pages)
    client = Client(transport)
    whole = client.list_measurements(
        hardware_id="x100",
        model_id="o/m",
        engine="vllm",
        phase="closed_loop",
        metric="tpot_ms",
        source_group="g",
    )
    assert [found.id for found in whole.measurements] == ["a", "b"]
    assert whole.next_page_token == ""
    assert all(
        request.filter
        == service.MeasurementFilter(
            hardware_id="x100",
            model_id="o/m",
            engine="vllm",
            phase=measurement_pb2.MEASUREMENT_PHASE_CLOSED_LOOP,
            metric=measurement_pb2.MEASUREMENT_METRIC_TPOT_MS,
            source_group="g",
        )
        for request in transport.sent
    )
    assert [found.id for found in client.iter_measurements()] == ["a", "b"]
    assert [found.id for found in client.iter_measurements(limit=1)] == ["a"]
    assert not transport.sent[-1].HasField("filter")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"phase": "closed"}, "filter.phase"),
        ({"metric": "ttft"}, "filter.metric"),
        ({"engine": "\ud800"}, "filter.engine"),
        ({"limit": 0}, "limit"),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused(query: dict[str, Any], field: str) -> None:
    transport = Answering(pages)
    with pytest.raises(errors.InvalidArgumentError) as raised:
        Client(transport).list_measurements(**query)
    assert [violation.field for violation in raised.value.violations] == [field]
    assert transport.sent == []


def test_removals_name_ids_or_what_they_share() -> None:
    transport = Answering(lambda request: service.DeleteMeasurementsResponse(deleted_count=2))
    client = Client(transport)
    assert client.delete_measurements(["a", "b"]).deleted_count == 2
    client.delete_measurements("a")
    client.delete_measurements(source_group="g", validate_only=True)
    assert [list(request.ids) for request in transport.sent] == [["a", "b"], ["a"], []]
    assert transport.sent[2].filter == service.MeasurementFilter(source_group="g")
    assert [request.validate_only for request in transport.sent] == [False, False, True]
    with pytest.raises(errors.InvalidArgumentError):
        client.delete_measurements(["\ud800"])


def test_one_measurement_is_asked_for_by_its_id() -> None:
    transport = Answering(lambda request: service.GetMeasurementResponse(measurement=Measurement(id="m1")))
    assert Client(transport).get_measurement("m1").measurement.id == "m1"
    assert transport.sent == [service.GetMeasurementRequest(id="m1")]


def predicted(request: service.ValidateMeasurementsRequest) -> service.ValidateMeasurementsResponse:
    rows = request.measurements or [Measurement(id=f"stored{request.page_token}")]
    return service.ValidateMeasurementsResponse(
        predictions=[service.MeasurementPrediction(id=row.id) for row in rows],
        next_page_token="2" if not request.measurements and not request.page_token else "",
        catalog_revision=request.catalog_revision or 7,
    )


def test_predictions_are_asked_for_in_chunks_on_the_revision_of_the_first() -> None:
    transport = Answering(predicted)
    rows = (Measurement(id=f"m{number}") for number in range(1500))
    found = list(Client(transport).iter_predictions(rows))
    assert [prediction.id for prediction in found] == [f"m{number}" for number in range(1500)]
    assert [(len(sent.measurements), sent.catalog_revision) for sent in transport.sent] == [
        (1000, 0),
        (500, 7),
    ]


def test_predictions_of_stored_rows_come_page_by_page() -> None:
    transport = Answering(predicted)
    found = Client(transport).iter_predictions(engine="vllm", metric="tpot_ms")
    assert not transport.sent
    assert [prediction.id for prediction in found] == ["stored", "stored2"]
    assert [(sent.filter.engine, sent.page_size) for sent in transport.sent] == [("vllm", 1000)] * 2


def test_a_summary_sends_columns_and_each_group_by_its_place() -> None:
    transport = Answering(lambda _: service.SummarizeErrorsResponse())
    predictions = [
        service.MeasurementPrediction(measured=2, predicted=3, low=1, high=4, ideal=1, engine="b"),
        service.MeasurementPrediction(measured=-1, engine="a", unanswered_reason="value: is -1"),
        service.MeasurementPrediction(measured=1e300, low=1, high=9, engine="a", unanswered_reason="wide"),
        service.MeasurementPrediction(measured=5, predicted=6, low=5, high=7, ideal=2, engine="b"),
    ]
    Client(transport).summarize_errors(iter(predictions), by=["engine", "level"])
    (request,) = transport.sent
    # A figure that is none, of a row without an answer, must not spoil the others' summary.
    assert list(request.measured) == [2, 1, 1, 5]
    assert list(request.predicted) == [3, 0, 0, 6]
    assert list(request.high) == [4, 0, 0, 7]
    engine, level = request.groupings
    assert (list(engine.groups), list(engine.group_indices)) == (["b", "a"], [0, 1, 1, 0])
    assert (list(level.groups), list(level.group_indices)) == ([""], [0, 0, 0, 0])


def test_a_calibration_sends_rows_or_a_choice() -> None:
    transport = Answering(lambda _: service.CalibrateResponse())
    client = Client(transport)
    client.calibrate([Measurement(id="m1")])
    client.calibrate(save=True, hardware_id="h100-sxm")
    first, second = transport.sent
    assert ([row.id for row in first.measurements], first.save) == (["m1"], False)
    assert not first.HasField("filter")
    assert (second.filter.hardware_id, second.save) == ("h100-sxm", True)
