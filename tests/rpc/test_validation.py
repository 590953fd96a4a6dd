"""Predictions beside measured rows over the service: a row is answered as its analysis, wrong rows are told
one by one, errors are summarised over all.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

import ridgeline
from ridgeline.errors import InvalidArgumentError, OutOfRangeError
from ridgeline.v1 import measurement_pb2
from ridgeline.v1 import measurement_service_pb2 as pb
from ridgeline.v1.efficiency_profile_pb2 import PROFILE_LEVEL_UNSPECIFIED
from ridgeline.v1.measurement_pb2 import Measurement
from ridgeline_server.rpc.embedding import EmbeddedService
from ridgeline_server.rpc.validation import MAX_ROWS
from ridgeline_server.store.startup import open_catalog
from tests.rpc import samples
from tests.rpc.ask import asker
from tests.rpc.conftest import Connect

CLOSED_LOOP = measurement_pb2.MEASUREMENT_PHASE_CLOSED_LOOP
TPOT, TTFT = measurement_pb2.MEASUREMENT_METRIC_TPOT_MS, measurement_pb2.MEASUREMENT_METRIC_TTFT_MS
MODEL = "meta-llama/Llama-3.1-8B"


def row(given_id: str = "m1", **changes: Any) -> Measurement:
    """A closed loop on an H100 in which None clears a field."""
    made = Measurement(
        id=given_id,
        engine="vllm",
        engine_version="0.19.0",
        model_id=MODEL,
        hardware_id="h100-sxm",
        weight_dtype="fp8",
        act_dtype="fp8",
        kv_dtype="fp8",
        tp=2,
        phase=CLOSED_LOOP,
        isl=1024,
        osl=1024,
        concurrency=64,
        metric=TPOT,
        value=7.5,
    )
    for field, value in changes.items():
        if value is None:
            made.ClearField(field)  # type: ignore[arg-type]  # named by the tests
        else:
            setattr(made, field, value)
    return made


def test_a_prediction_is_the_analysis_of_the_row(client: ridgeline.Client) -> None:
    answer = client.validate_measurements([row(), row("m2", metric=TTFT)])
    options: Any = {"weights": "fp8", "activations": "fp8", "kv": "fp8", "tp": 2, "engine": "vllm@0.19.0"}
    told = client.analyze(MODEL, "h100-sxm", concurrency=64, input_len=1024, output_len=1024, **options)
    tpot, ttft = answer.predictions
    for prediction, metric in ((tpot, told.metrics.tpot_ms), (ttft, told.metrics.ttft_ms)):
        assert prediction.predicted == pytest.approx(metric.expected)
        assert prediction.ideal == pytest.approx(metric.ideal)
        assert prediction.low <= prediction.predicted <= prediction.high
    assert (tpot.id, tpot.metric, tpot.measured, tpot.model_class) == ("m1", TPOT, 7.5, "dense")
    assert (tpot.hardware_id, tpot.engine, tpot.phase) == ("h100-sxm", "vllm 0.19.0", CLOSED_LOOP)
    assert tpot.profile_level != PROFILE_LEVEL_UNSPECIFIED
    assert answer.catalog_revision == told.catalog_revision


def test_an_alias_of_the_catalog_is_as_good_as_an_id(client: ridgeline.Client) -> None:
    both = client.validate_measurements([row(), row(model_id="llama-3.1-8b")]).predictions
    assert both[0].predicted == both[1].predicted


UNANSWERED: list[tuple[dict[str, Any], str]] = [
    ({"model_id": "org/none"}, "model_id: no model is named 'org/none'"),
    ({"hardware_id": "x100"}, "hardware_id: no hardware is named 'x100'"),
    ({"model_id": None, "model_published": "Some Model"}, "model_id: is empty"),
    ({"weight_dtype": "int3"}, "weight_dtype: int3 is not a format that is costed"),
    ({"hardware_id": "a100-sxm-80gb", "tp": 3}, "tp"),
    ({"isl": None}, "isl: is not stated"),
    ({"n_devices": 3}, "n_devices: is 3"),
    ({"osl": 1}, "metric: this load has no tpot_ms over 0"),
    ({"phase": measurement_pb2.MEASUREMENT_PHASE_MEMORY}, "metric: rows of memory have no tpot_ms"),
    ({"value": -1.0}, "value: is -1"),
    ({"value": math.nan}, "value: is nan"),
    ({"value": None}, "value: is not set"),
    ({"metric": None}, "metric: is not set"),
    ({"engine": None}, "engine: is empty"),
]


@pytest.mark.parametrize(("changes", "reason"), UNANSWERED, ids=lambda value: str(value))
def test_a_row_without_an_answer_tells_why_and_stops_no_other(
    client: ridgeline.Client, changes: dict[str, Any], reason: str
) -> None:
    wrong, right = client.validate_measurements([row("wrong", **changes), row("right")]).predictions
    assert reason in wrong.unanswered_reason
    assert not any(wrong.HasField(field) for field in ("predicted", "low", "high", "ideal"))
    assert wrong.profile_level == PROFILE_LEVEL_UNSPECIFIED
    assert (right.id, right.unanswered_reason) == ("right", "")


def test_stored_rows_come_in_pages_on_the_revision_of_the_first(
    connect: Connect, empty_catalog_url: str
) -> None:
    client = connect(empty_catalog_url)
    stored = [samples.measurement(f"m{number}") for number in range(5)]
    client.import_measurements([*stored, samples.measurement("other")])
    service = EmbeddedService(open_catalog(empty_catalog_url))
    ask = asker(service, "MeasurementService")
    request = pb.ValidateMeasurementsRequest(filter=pb.MeasurementFilter(), page_size=4)
    first = ask("ValidateMeasurements", request)
    client.create_hardware(samples.device("new"))
    request.page_token = first.next_page_token
    second = ask("ValidateMeasurements", request)
    service.close()
    assert [p.id for page in (first, second) for p in page.predictions] == [
        *(f"m{n}" for n in range(5)),
        "other",
    ]
    assert first.catalog_revision == second.catalog_revision
    assert not second.next_page_token
    assert [p.id for p in client.iter_predictions(engine="vllm")] == [
        m.id for m in client.iter_measurements(engine="vllm")
    ]


def test_any_number_of_rows_is_asked_about_in_chunks_on_one_revision(client: ridgeline.Client) -> None:
    rows = [row(f"m{number}", concurrency=1 + number % 7) for number in range(MAX_ROWS + 3)]
    found = list(client.iter_predictions(iter(rows)))
    assert [prediction.id for prediction in found] == [given.id for given in rows]
    assert found[1].predicted == found[MAX_ROWS + 1 - (MAX_ROWS % 7)].predicted


def test_requests_that_cannot_be_meant_are_refused(client: ridgeline.Client) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        client.validate_measurements([row()] * (MAX_ROWS + 1))
    assert (
        raised.value.violations[0].description == "has 1,001 entries; give 1,000 at most, in several requests"
    )
    with pytest.raises(OutOfRangeError):
        client.validate_measurements([row()], catalog_revision=10_000)


def test_both_kinds_of_rows_at_once_are_refused(seeded_database_url: str) -> None:
    service = EmbeddedService(open_catalog(seeded_database_url))
    request = pb.ValidateMeasurementsRequest(measurements=[row()], filter=pb.MeasurementFilter())
    with pytest.raises(InvalidArgumentError) as raised:
        asker(service, "MeasurementService")("ValidateMeasurements", request)
    service.close()
    assert [violation.field for violation in raised.value.violations] == ["filter"]


def answered(measured: float, predicted: float, **fields: Any) -> pb.MeasurementPrediction:
    """A prediction with an interval of 20% on both sides and an ideal figure of half of it."""
    return pb.MeasurementPrediction(
        measured=measured,
        predicted=predicted,
        low=predicted / 1.2,
        high=predicted * 1.2,
        ideal=predicted / 2,
        **fields,
    )


def test_errors_are_summarised_over_all_rows_and_by_groups(client: ridgeline.Client) -> None:
    predictions = [
        answered(10, 11, hardware_id="a", metric=TPOT),
        answered(10, 8, hardware_id="a", metric=TTFT),
        answered(10, 15, hardware_id="b", metric=TPOT),
        pb.MeasurementPrediction(measured=10, hardware_id="c", unanswered_reason="isl: is not stated"),
    ]
    told = client.summarize_errors(predictions, by=["hardware", "metric"])
    whole = told.overall
    assert (whole.group, whole.rows, whole.answered) == ("all", 4, 3)
    assert (whole.median_error, whole.mean_error) == pytest.approx((0.2, 0.8 / 3))
    assert whole.covered_share == pytest.approx(1 / 3)
    assert whole.median_width == pytest.approx(1.44)
    assert whole.median_ideal_error == pytest.approx(0.45)
    by_device, by_metric = told.groupings
    assert [(s.group, s.rows, s.answered) for s in by_device.summaries] == [
        ("a", 2, 2),
        ("b", 1, 1),
        ("c", 1, 0),
    ]
    assert not by_device.summaries[2].HasField("median_error")
    assert [s.group for s in by_metric.summaries] == ["not stated", "tpot_ms", "ttft_ms"]


def test_a_client_validates_rows_and_sums_up_in_one_call(client: ridgeline.Client) -> None:
    found = client.validate([row(), row("m2", isl=None)], by=["level"])
    assert [bool(p.unanswered_reason) for p in found.predictions] == [False, True]
    assert (found.errors.overall.rows, found.errors.overall.answered) == (2, 1)
    (grouping,) = found.errors.groupings
    assert [summary.rows for summary in grouping.summaries] == [1, 1]


WRONG_COLUMNS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "measured", "is empty"),
    ({"measured": [1.0], "predicted": [1.0, 2.0]}, "predicted", "has 2 entries, and measured has 1"),
    (
        {"measured": [1.0, 0.0], "predicted": [0.0, 0.0], "low": [0, 0], "high": [0, 0], "ideal": [0, 0]},
        "measured[1]",
        "is 0; give a number over 0, up to 1e+15",
    ),
    (
        {"measured": [1.0], "predicted": [math.nan], "low": [1], "high": [1], "ideal": [1]},
        "predicted[0]",
        "is nan; give a number over 0",
    ),
    (
        {"measured": [1.0], "predicted": [1.0], "low": [0], "high": [1], "ideal": [1]},
        "low[0]",
        "is 0; give a number over 0",
    ),
]


@pytest.mark.parametrize(("columns", "field", "told"), WRONG_COLUMNS)
def test_columns_that_do_not_fit_are_refused(
    seeded_database_url: str, columns: dict[str, Any], field: str, told: str
) -> None:
    service = EmbeddedService(open_catalog(seeded_database_url))
    with pytest.raises(InvalidArgumentError) as raised:
        asker(service, "MeasurementService")("SummarizeErrors", pb.SummarizeErrorsRequest(**columns))
    service.close()
    violations = {violation.field: violation.description for violation in raised.value.violations}
    assert told in violations[field]


def test_groups_that_do_not_fit_are_refused(seeded_database_url: str) -> None:
    service = EmbeddedService(open_catalog(seeded_database_url))
    columns: Any = {name: [1.0] for name in ("measured", "predicted", "low", "high", "ideal")}
    wrong = pb.GroupColumn(name="hardware", groups=["a"], group_indices=[1])
    request = pb.SummarizeErrorsRequest(**columns, groupings=[wrong, pb.GroupColumn(groups=["a"])])
    with pytest.raises(InvalidArgumentError) as raised:
        asker(service, "MeasurementService")("SummarizeErrors", request)
    service.close()
    assert [violation.field for violation in raised.value.violations] == [
        "groupings[0].group_indices",
        "groupings[1].name",
        "groupings[1].group_indices",
    ]


def test_a_grouping_that_there_is_not_is_refused_by_the_client(client: ridgeline.Client) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        client.summarize_errors([answered(1, 1)], by=["colour"])
    assert "metric, phase, hardware" in raised.value.violations[0].description


def test_lengths_beyond_any_model_are_answered_or_told(client: ridgeline.Client) -> None:
    rows = [row("long", isl=100_000_000), row("many", concurrency=1_000_000, osl=100_000_000)]
    for prediction in client.validate_measurements(rows).predictions:
        assert bool(prediction.unanswered_reason) != prediction.HasField("predicted")


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_figure_that_json_cannot_hold_is_told_and_not_echoed(
    client: ridgeline.Client, value: float
) -> None:
    (told,) = client.validate_measurements([row(value=value)]).predictions
    assert told.measured == 0.0
    assert "value: is" in told.unanswered_reason


@pytest.mark.parametrize("value", [1e300, -2.0, 1e-12])
def test_a_figure_out_of_bounds_leaves_the_other_rows_and_their_summary_as_they_are(
    client: ridgeline.Client, value: float
) -> None:
    (wrong, right), errors = client.validate([row("m1", value=value), row("m2")], by=["engine"])
    assert wrong.unanswered_reason == f"value: is {value:.6g}; give a number from 1e-9 to 1e15"
    assert right.HasField("predicted")
    assert (errors.overall.rows, errors.overall.answered) == (2, 1)
