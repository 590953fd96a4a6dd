"""Measurements over the service: imports told row by row, what a measurement must be, lists, removal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from ridgeline.errors import InvalidArgumentError, NotFoundError, RidgelineError
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1 import measurement_pb2
from ridgeline.v1 import measurement_service_pb2 as pb
from ridgeline.v1.errors_pb2 import ErrorReason
from ridgeline.v1.measurement_pb2 import Measurement
from ridgeline_server.domain.measurement import COLUMNS
from ridgeline_server.rpc.embedding import EmbeddedService
from ridgeline_server.rpc.measurements import MAX_MEASUREMENTS
from ridgeline_server.rpc.pages import MAX_PAGE_BYTES
from ridgeline_server.store.startup import open_catalog
from ridgeline_server.store.tables import measurements as table
from tests.rpc import samples
from tests.rpc.ask import Ask, asker
from tests.rpc.conftest import Connect

CREATED, UPDATED, UNCHANGED, REFUSED = (
    catalog.IMPORT_ACTION_CREATED,
    catalog.IMPORT_ACTION_UPDATED,
    catalog.IMPORT_ACTION_UNCHANGED,
    catalog.IMPORT_ACTION_REFUSED,
)
NO_ENUM: Any = 99


@pytest.fixture
def service(database_url: str) -> Iterator[EmbeddedService]:
    """The service on a catalog without entries, on each database in turn."""
    service = EmbeddedService(open_catalog(database_url))
    yield service
    service.close()


@pytest.fixture
def measured(service: EmbeddedService) -> Ask:
    """Calls an rpc of MeasurementService."""
    return asker(service, "MeasurementService")


def sample(given_id: str = "m1", **changes: Any) -> Measurement:
    """A measurement in which None clears a field."""
    made = samples.measurement(given_id)
    for field, value in changes.items():
        if value is None:
            made.ClearField(field)  # type: ignore[arg-type]  # named by the tests
        else:
            setattr(made, field, value)
    return made


def imported(measured: Ask, *measurements: Measurement, **how: bool) -> pb.ImportMeasurementsResponse:
    given = [pb.MeasurementToImport(name=f"row {row.id}", measurement=row) for row in measurements]
    request = pb.ImportMeasurementsRequest(measurements=given, **how)
    response: pb.ImportMeasurementsResponse = measured("ImportMeasurements", request)
    return response


def actions(response: pb.ImportMeasurementsResponse) -> list[int]:
    return [outcome.action for outcome in response.outcomes]


def stored_ids(measured: Ask, **chosen: Any) -> list[str]:
    request = pb.ListMeasurementsRequest(filter=pb.MeasurementFilter(**chosen))
    return [found.id for found in measured("ListMeasurements", request).measurements]


def test_every_field_comes_back_with_who_imported_it_and_when(
    connect: Connect, way: str, empty_catalog_url: str
) -> None:
    client = connect(empty_catalog_url)
    client.import_measurements([samples.measurement()])
    found = client.get_measurement("m1").measurement
    assert found.principal == {"wire": "anonymous", "embedded": "local"}[way]
    assert found.create_time == found.update_time
    assert found.create_time.seconds > 0
    for field in ("principal", "create_time", "update_time"):
        found.ClearField(field)
    assert found == samples.measurement()


def test_the_contract_the_domain_and_the_table_have_the_same_fields() -> None:
    in_contract = [field.name for field in Measurement.DESCRIPTOR.fields]
    assert in_contract == [*COLUMNS, "principal", "create_time", "update_time"]
    assert in_contract == [column.name for column in table.columns]


def test_what_a_caller_says_of_the_import_itself_is_ignored(measured: Ask) -> None:
    imported(measured, sample(principal="root"))
    assert measured("GetMeasurement", pb.GetMeasurementRequest(id="m1")).measurement.principal == "local"
    assert actions(imported(measured, sample(principal="me"))) == [UNCHANGED]


def test_an_import_may_be_repeated_and_another_content_is_refused_or_replaces(measured: Ask) -> None:
    assert actions(imported(measured, sample("a"), sample("b"))) == [CREATED, CREATED]
    other = sample("b", value=13.0, notes=None)
    again = imported(measured, sample("a"), other)
    assert actions(again) == [UNCHANGED, REFUSED]
    error = again.outcomes[1].error
    assert error.reason == ErrorReason.ERROR_REASON_NAME_TAKEN
    assert "'b' belongs to a stored measurement that differs in value, notes" in error.message
    tried = imported(measured, other, allow_replace=True, validate_only=True)
    done = imported(measured, other, allow_replace=True)
    assert list(tried.outcomes) == list(done.outcomes)
    (outcome,) = done.outcomes
    assert outcome.action == UPDATED
    assert [(change.field, change.before, change.after) for change in outcome.changes] == [
        ("notes", '"Größe: 2 × 40 GB"', ""),
        ("value", "12.5", "13"),
    ]


def test_a_row_without_an_id_gets_that_of_its_content(measured: Ask) -> None:
    row = sample("")
    (first,) = imported(measured, row).outcomes
    assert first.action == CREATED
    assert first.id.startswith("row-")
    twice = imported(measured, row, row, sample("", value=13.0))
    assert actions(twice) == [UNCHANGED, UNCHANGED, CREATED]
    assert twice.outcomes[0].id == first.id != twice.outcomes[2].id


WRONG: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"id": "two words"}, {"id": "without spaces"}),
    ({"id": "x" * 256}, {"id": "up to 255 characters"}),
    ({"engine": None}, {"engine": "is empty; give its name in lower case"}),
    ({"engine": "vLLM"}, {"engine": 'is "vLLM"; give its name in lower case'}),
    ({"model_id": None, "model_published": None}, {"model_id": "model_published too; give the catalog's id"}),
    ({"hardware_id": None, "hardware_published": None}, {"hardware_id": "hardware_published too"}),
    ({"hardware_id": "X 100"}, {"hardware_id": 'is "X 100"'}),
    ({"weight_dtype": "INT4"}, {"weight_dtype": "such as bf16, int4 or int3"}),
    ({"n_devices": 0}, {"n_devices": "is 0; give 1 to 1,000,000"}),
    ({"tp": -1, "isl": -5, "osl": 2**31 - 1}, {"tp": "is -1", "isl": "is -5; give 0 to", "osl": "give 0 to"}),
    ({"phase": None}, {"phase": "is not set; give prefill, decode, static_batch, closed_loop, open_loop"}),
    ({"metric": None}, {"metric": "is not set; give output_tok_s_total"}),
    ({"phase": NO_ENUM, "metric": NO_ENUM}, {"phase": "is 99", "metric": "is 99"}),
    ({"confidence": NO_ENUM, "tier": NO_ENUM}, {"confidence": "give LOW", "tier": "give A, B, C"}),
    ({"value": None}, {"value": "is not set; give a number from 1e-9 to 1e15"}),
    ({"value": 0.0}, {"value": "is 0; give"}),
    ({"value": math.nan}, {"value": "is nan"}),
    ({"value": math.inf}, {"value": "is inf"}),
    ({"notes": "x" * 4001}, {"notes": "has 4,001 characters"}),
    ({"source": "\0"}, {"source": "control character U+0000"}),
    ({"batch": 8}, {"batch": "is 8, which closed_loop does not have; give concurrency, or another phase"}),
    ({"request_rate": 2.5, "concurrency": None}, {"request_rate": "is 2.5, which closed_loop does not have"}),
    (
        {"batch": 8, "phase": measurement_pb2.MEASUREMENT_PHASE_MEMORY},
        {"concurrency": "is 16, beside batch; give one of both"},
    ),
]


@pytest.mark.parametrize(("changes", "told"), WRONG)
def test_what_is_wrong_is_named_by_its_column_all_at_once(
    measured: Ask, changes: dict[str, Any], told: dict[str, str]
) -> None:
    response = imported(measured, sample("right"), sample(**changes))
    assert actions(response) == [CREATED, REFUSED]
    assert response.outcomes[0].name == "row right"
    error = response.outcomes[1].error
    assert error.reason == ErrorReason.ERROR_REASON_INVALID_FIELD
    found = {wrong.field: wrong.description for wrong in error.wrong_fields}
    assert found.keys() == told.keys()
    for field, part in told.items():
        assert part in found[field]
        assert "give" in found[field] or "leave" in found[field]
    assert stored_ids(measured) == ["right"]


@pytest.mark.parametrize(
    ("phase", "load"),
    [("PREFILL", "batch"), ("DECODE", "batch"), ("STATIC_BATCH", "batch"), ("CLOSED_LOOP", "concurrency"),
     ("OPEN_LOOP", "request_rate"), ("OFFLINE_MAX", "batch"), ("OFFLINE_MAX", "concurrency"),
     ("MEMORY", "batch"), ("OFFLINE_MAX", None), ("CLOSED_LOOP", None)],
)  # fmt: skip
def test_each_phase_has_its_load_or_none(measured: Ask, phase: str, load: str | None) -> None:
    number = measurement_pb2.MeasurementPhase.Value(f"MEASUREMENT_PHASE_{phase}")
    stated: dict[str, Any] = {} if load is None else {load: 3}
    response = imported(measured, sample(**{"concurrency": None, "phase": number, **stated}))
    assert actions(response) == [CREATED]


def test_what_no_prediction_can_be_compared_with_is_kept_and_told(service: EmbeddedService) -> None:
    ask, measured = asker(service), asker(service, "MeasurementService")
    ask("CreateHardware", catalog.CreateHardwareRequest(hardware=samples.device("x100", "fast one")))
    ask("CreateModel", catalog.CreateModelRequest(model=samples.model()))
    rows = [
        sample("known"),
        sample("alias", hardware_id="fast-one"),
        sample("bits", weight_dtype="int3", kv_dtype="int3"),
        sample("new", model_id="o/new", hardware_id="y200"),
        sample("nameless", model_id=None),
    ]
    response = imported(measured, *rows)
    assert actions(response) == [CREATED] * 5
    remarks = [list(outcome.remarks) for outcome in response.outcomes]
    assert remarks[:2] == [[], []]
    assert [remark.partition(",")[0] for remark in remarks[2]] == [
        "weight_dtype int3 is kept",
        "kv_dtype int3 is kept",
    ]
    assert remarks[3] == [
        "model_id o/new is not in the catalog yet",
        "hardware_id y200 is not in the catalog yet",
    ]
    assert remarks[4] == ["model_id is empty: no prediction can be compared with it"]
    found = measured("GetMeasurement", pb.GetMeasurementRequest(id="bits")).measurement
    assert (found.weight_dtype, found.kv_dtype) == ("int3", "int3")


@pytest.mark.parametrize("count", [0, MAX_MEASUREMENTS + 1])
def test_a_request_has_measurements_but_not_too_many(measured: Ask, count: int) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        imported(measured, *(Measurement() for _ in range(count)))
    assert [violation.field for violation in raised.value.violations] == ["measurements"]


def test_the_revision_of_the_catalog_stays(service: EmbeddedService) -> None:
    ask, measured = asker(service), asker(service, "MeasurementService")
    imported(measured, sample())
    measured("DeleteMeasurements", pb.DeleteMeasurementsRequest(ids=["m1"]))
    assert ask("ListHardware", catalog.ListHardwareRequest()).catalog_revision == 0
    assert not ask("ListChanges", catalog.ListChangesRequest()).changes


@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
def test_pages_of_any_size_give_every_measurement_once(measured: Ask, page_size: int) -> None:
    ids = [f"m{number}" for number in range(5)]
    imported(measured, *map(sample, ids))
    seen: list[str] = []
    token = ""
    while True:
        request = pb.ListMeasurementsRequest(page_size=page_size, page_token=token)
        page = measured("ListMeasurements", request)
        assert 1 <= len(page.measurements) <= page_size
        seen += [found.id for found in page.measurements]
        token = page.next_page_token
        if not token:
            break
    assert seen == ids


def test_a_row_that_is_written_or_removed_between_two_pages_shifts_no_other(measured: Ask) -> None:
    imported(measured, *map(sample, ("b", "d", "f")))
    first = measured("ListMeasurements", pb.ListMeasurementsRequest(page_size=2))
    imported(measured, *map(sample, ("a", "c", "e")))
    measured("DeleteMeasurements", pb.DeleteMeasurementsRequest(ids=["d"]))
    rest = measured("ListMeasurements", pb.ListMeasurementsRequest(page_token=first.next_page_token))
    assert [found.id for found in (*first.measurements, *rest.measurements)] == ["b", "d", "e", "f"]


def test_a_page_ends_before_it_grows_too_large_for_grpc(measured: Ask) -> None:
    ids = [f"m{number:04}" for number in range(400)]
    imported(measured, *(sample(name, notes="x" * 4000, source="y" * 4000) for name in ids))
    first = measured("ListMeasurements", pb.ListMeasurementsRequest(page_size=1000))
    assert MAX_PAGE_BYTES / 2 < first.ByteSize() < 4 * 2**20
    rest = measured(
        "ListMeasurements", pb.ListMeasurementsRequest(page_size=1000, page_token=first.next_page_token)
    )
    assert [found.id for found in (*first.measurements, *rest.measurements)] == ids


def test_filters_pick_what_meets_all_of_them(measured: Ask) -> None:
    memory = measurement_pb2.MEASUREMENT_PHASE_MEMORY
    imported(
        measured,
        sample("a"),
        sample("b", hardware_id="y200", engine="sglang"),
        sample("c", phase=memory, metric=measurement_pb2.MEASUREMENT_METRIC_MEMORY_GIB, source_group="g"),
    )
    assert stored_ids(measured, hardware_id="x100") == ["a", "c"]
    assert stored_ids(measured, engine="sglang") == ["b"]
    assert stored_ids(measured, phase=memory, hardware_id="x100") == ["c"]
    assert stored_ids(measured, metric=measurement_pb2.MEASUREMENT_METRIC_TPOT_MS) == ["a", "b"]
    assert stored_ids(measured, source_group="g", model_id="example/Tiny-1B") == ["c"]
    assert stored_ids(measured, model_id="nobody/s") == []


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (pb.ListMeasurementsRequest(page_size=-1), ["page_size"]),
        (
            pb.ListMeasurementsRequest(
                filter=pb.MeasurementFilter(hardware_id="\0", phase=NO_ENUM, metric=NO_ENUM)
            ),
            ["filter.hardware_id", "filter.phase", "filter.metric"],
        ),
        (pb.ListMeasurementsRequest(page_token="nonsense"), ["page_token"]),
        (pb.DeleteMeasurementsRequest(), ["ids"]),
        (pb.DeleteMeasurementsRequest(filter=pb.MeasurementFilter()), ["ids"]),
        (pb.DeleteMeasurementsRequest(ids=["a", "\0", ""]), ["ids[1]", "ids[2]"]),
        (pb.DeleteMeasurementsRequest(ids=["a"] * 1001), ["ids"]),
        (
            pb.DeleteMeasurementsRequest(ids=["a"], filter=pb.MeasurementFilter(engine="vllm")),
            ["filter"],
        ),
    ],
)
def test_a_wrong_request_is_told_what_it_lacks(measured: Ask, request_: Any, fields: list[str]) -> None:
    imported(measured, sample("a"))
    rpc = type(request_).__name__.removesuffix("Request")
    with pytest.raises(RidgelineError) as raised:
        measured(rpc, request_)
    assert raised.value.code == "INVALID_ARGUMENT"
    assert [violation.field for violation in raised.value.violations] == fields
    assert stored_ids(measured) == ["a"]


def test_a_token_belongs_to_its_query(measured: Ask) -> None:
    imported(measured, sample("a"), sample("b"))
    token = measured("ListMeasurements", pb.ListMeasurementsRequest(page_size=1)).next_page_token
    chosen = pb.MeasurementFilter(engine="vllm")
    with pytest.raises(RidgelineError) as raised:
        measured("ListMeasurements", pb.ListMeasurementsRequest(page_token=token, filter=chosen))
    assert raised.value.reason == "INVALID_PAGE_TOKEN"


def test_measurements_are_removed_by_ids_or_by_a_filter(measured: Ask) -> None:
    imported(measured, *(sample(name, engine="sglang" if name == "c" else "vllm") for name in "abcd"))
    with pytest.raises(NotFoundError) as raised:
        measured("DeleteMeasurements", pb.DeleteMeasurementsRequest(ids=["a", "x", "y"]))
    assert (raised.value.reason, raised.value.metadata["ids"]) == ("MEASUREMENT_NOT_FOUND", "x, y")
    by_engine = pb.DeleteMeasurementsRequest(filter=pb.MeasurementFilter(engine="vllm"), validate_only=True)
    assert measured("DeleteMeasurements", by_engine).deleted_count == 3
    assert stored_ids(measured) == ["a", "b", "c", "d"]
    assert measured("DeleteMeasurements", pb.DeleteMeasurementsRequest(ids=["a"])).deleted_count == 1
    by_engine.validate_only = False
    assert measured("DeleteMeasurements", by_engine).deleted_count == 2
    assert stored_ids(measured) == ["c"]


def test_an_unknown_id_is_not_found(measured: Ask) -> None:
    with pytest.raises(NotFoundError, match="No measurement has the id 'x'"):
        measured("GetMeasurement", pb.GetMeasurementRequest(id="x"))
