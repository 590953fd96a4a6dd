"""Calibrating by measured rows over the service: what it moves, what it leaves, what it writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ridgeline.errors import AbortedError, InvalidArgumentError, RidgelineError
from ridgeline.v1 import analysis_service_pb2, common_pb2, types_pb2
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1 import measurement_service_pb2 as pb
from ridgeline.v1.analysis_service_pb2 import AnalyzeResponse
from ridgeline.v1.efficiency_profile_pb2 import (
    OPERATOR_CLASS_DECODE_TIME,
    OPERATOR_CLASS_ENGINE_MEMORY,
    PROFILE_LEVEL_SETTING,
    EfficiencyProfile,
    Estimate,
)
from ridgeline.v1.measurement_pb2 import (
    MEASUREMENT_METRIC_MEMORY_GIB,
    MEASUREMENT_METRIC_TTFT_MS,
    Measurement,
    MeasurementMetric,
)
from ridgeline_server.calibration.questions import MeasuredQuestion
from ridgeline_server.calibration.refit import Group, Refit
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.rpc import calibration
from ridgeline_server.rpc.embedding import EmbeddedService
from ridgeline_server.store.builtin import BuiltinCatalog, read_builtin_catalog
from ridgeline_server.store.seed import seed
from ridgeline_server.store.startup import open_catalog
from tests.rpc.ask import Ask, asker
from tests.rpc.test_validation import row

MODEL, OTHER_MODEL = "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-14B"
DEVICE, OTHER_DEVICE = "h100-sxm", "h200-sxm"
CALIBRATED = "calibrated-"
GIB = 2.0**30
CREATED, UPDATED, UNCHANGED = (
    catalog.IMPORT_ACTION_CREATED,
    catalog.IMPORT_ACTION_UPDATED,
    catalog.IMPORT_ACTION_UNCHANGED,
)


@pytest.fixture(scope="module")
def shipped() -> BuiltinCatalog:
    """Two models and two devices of the catalog with all of its profiles."""
    whole = read_builtin_catalog()
    return BuiltinCatalog(
        tuple(entry for entry in whole.hardware if entry.id in (DEVICE, OTHER_DEVICE)),
        tuple(entry for entry in whole.models if entry.id in (MODEL, OTHER_MODEL)),
        whole.profiles,
        "test",
    )


@pytest.fixture
def service(database_url: str, shipped: BuiltinCatalog) -> Iterator[EmbeddedService]:
    """The service on such a catalog, on each database in turn; times of decode have a range."""
    store = open_catalog(database_url)
    seed(store, shipped)
    service = EmbeddedService(store)
    asker(service)(
        "CreateEfficiencyProfile",
        catalog.CreateEfficiencyProfileRequest(
            efficiency_profile=EfficiencyProfile(
                id="test-range",
                operator_class=OPERATOR_CLASS_DECODE_TIME,
                source="a test",
                further_constants={"time_factor": Estimate(value=1.0, low=0.6, high=1.6)},
            )
        ),
    )
    yield service
    service.close()


@pytest.fixture
def ask(service: EmbeddedService) -> Ask:
    """Calls an rpc of MeasurementService."""
    return asker(service, "MeasurementService")


def calibrated(ask: Ask, *rows: Measurement, save: bool = True, **filters: str) -> pb.CalibrateResponse:
    chosen = pb.MeasurementFilter(**filters) if filters else None  # type: ignore[arg-type]
    request = pb.CalibrateRequest(measurements=rows, filter=chosen, save=save)
    response: pb.CalibrateResponse = ask("Calibrate", request)
    return response


def analyzed(service: EmbeddedService, model: str = MODEL, hardware: str = DEVICE) -> AnalyzeResponse:
    """The setting of `row`, of any model on any device."""
    fp8 = types_pb2.DTYPE_FP8
    request = analysis_service_pb2.AnalyzeRequest(
        model=common_pb2.ModelSelector(id=model),
        hardware=common_pb2.HardwareSelector(id=hardware),
        workload=common_pb2.Workload(concurrency=64, input_len=1024, output_len=1024),
        deployment=common_pb2.Deployment(
            weight_dtype=fp8,
            activation_dtype=fp8,
            kv_dtype=fp8,
            parallel=common_pb2.Parallelism(tp=2),
            engine="vllm",
            engine_version="0.19.0",
        ),
    )
    response: AnalyzeResponse = asker(service, "AnalysisService")("Analyze", request)
    return response


def tpot_ms(service: EmbeddedService, model: str = MODEL, hardware: str = DEVICE) -> float:
    return analyzed(service, model, hardware).metrics.tpot_ms.expected


def profiles(service: EmbeddedService) -> dict[str, EfficiencyProfile]:
    """The calibrated profiles of the catalog, by id."""
    found: dict[str, EfficiencyProfile] = {}
    request = catalog.ListEfficiencyProfilesRequest(page_size=1000)
    for profile in asker(service)("ListEfficiencyProfiles", request).efficiency_profiles:
        if profile.id.startswith(CALIBRATED):
            found[profile.id] = profile
    return found


def factors(service: EmbeddedService) -> dict[str, tuple[float, int]]:
    """Time factors of the calibrated profiles and how many rows each rests on, by id."""
    return {
        name: (profile.further_constants["time_factor"].value, profile.evidence_count)
        for name, profile in profiles(service).items()
    }


@pytest.fixture
def slower(service: EmbeddedService) -> Measurement:
    """A row that took 1.4 times as long as predicted."""
    return row("", value=1.4 * tpot_ms(service))


def test_one_row_brings_its_setting_near_to_it(
    service: EmbeddedService, ask: Ask, slower: Measurement
) -> None:
    before = analyzed(service).metrics.tpot_ms
    response = calibrated(ask, slower)
    answer = analyzed(service)
    after = answer.metrics.tpot_ms
    assert before.expected < after.expected < slower.value
    assert slower.value - after.expected < 1.1 * (after.expected - before.expected)
    assert after.low < after.expected < after.high < 1.5 * after.low
    levels = {use.operator_class: use.level for use in answer.profiles}
    assert levels[OPERATOR_CLASS_DECODE_TIME] == PROFILE_LEVEL_SETTING
    (told,) = response.rows
    assert told.before.predicted == pytest.approx(before.expected)
    assert (told.now.predicted, told.now.low, told.now.high) == pytest.approx(
        (after.expected, after.low, after.high)
    )
    assert told.now.profile_level == PROFILE_LEVEL_SETTING
    assert answer.catalog_revision == response.catalog_revision


def test_neighbours_move_a_little_and_other_devices_not_at_all(
    service: EmbeddedService, ask: Ask, slower: Measurement
) -> None:
    own, model, device = (
        tpot_ms(service), tpot_ms(service, OTHER_MODEL), tpot_ms(service, MODEL, OTHER_DEVICE)
    )  # fmt: skip
    calibrated(ask, slower)
    moved = tpot_ms(service) / own
    neighbour = tpot_ms(service, OTHER_MODEL) / model
    assert 1 < neighbour < 1 + (moved - 1) / 2 + 0.1
    assert neighbour < moved
    assert tpot_ms(service, MODEL, OTHER_DEVICE) == device


def test_deleting_the_profiles_restores_the_old_answer(
    service: EmbeddedService, ask: Ask, slower: Measurement
) -> None:
    before = analyzed(service)
    calibrated(ask, slower)
    for name in profiles(service):
        asker(service)("DeleteEfficiencyProfile", catalog.DeleteEfficiencyProfileRequest(id=name))
    after = analyzed(service)
    after.catalog_revision = before.catalog_revision
    assert after == before


def test_an_earlier_revision_answers_as_before(
    service: EmbeddedService, ask: Ask, slower: Measurement
) -> None:
    first = analyzed(service).catalog_revision
    before = tpot_ms(service)
    calibrated(ask, slower)
    request = pb.ValidateMeasurementsRequest(measurements=[slower], catalog_revision=first)
    (prediction,) = ask("ValidateMeasurements", request).predictions
    assert prediction.predicted == pytest.approx(before)


def rows_of_two_models(service: EmbeddedService) -> list[Measurement]:
    """Rows that differ in model, engine, metric and load."""
    own = tpot_ms(service)
    return [
        row("a", value=1.4 * own),
        row("b", value=1.2 * own, notes="another day"),
        row("c", model_id=OTHER_MODEL, value=1.1 * tpot_ms(service, OTHER_MODEL)),
        row("d", engine="sglang", engine_version="", value=1.3 * own),
        row("e", metric=MEASUREMENT_METRIC_TTFT_MS, value=300.0),
        row("f", hardware_id=OTHER_DEVICE, value=0.8 * own),
    ]


def test_row_by_row_ends_where_all_at_once_does(service: EmbeddedService, ask: Ask) -> None:
    rows = rows_of_two_models(service)
    at_once = calibrated(ask, *rows, save=False)
    wanted = {
        made.profile.id: (made.profile.further_constants["time_factor"].value, made.profile.evidence_count)
        for made in at_once.profiles
    }
    assert factors(service) == {}
    for given in (rows[3], rows[5], rows[0], rows[2], rows[4], rows[1]):
        calibrated(ask, given)
    found = factors(service)
    assert found.keys() == wanted.keys()
    for name, (value, count) in wanted.items():
        assert found[name][0] == pytest.approx(value, rel=1e-9)
        assert found[name][1] == count


def test_rows_that_come_at_the_same_time_all_count(service: EmbeddedService, ask: Ask) -> None:
    rows = [given for given in rows_of_two_models(service) if given.hardware_id == DEVICE]
    wanted = {made.profile.id for made in calibrated(ask, *rows, save=False).profiles}
    with ThreadPoolExecutor(len(rows)) as pool:
        list(pool.map(lambda given: calibrated(ask, given), rows))
    assert factors(service).keys() == wanted
    assert {made.action for made in calibrated(ask, *rows).profiles} == {UNCHANGED}


def test_a_dry_run_tells_what_would_be_and_writes_nothing(
    service: EmbeddedService, ask: Ask, slower: Measurement
) -> None:
    revision = analyzed(service).catalog_revision
    tried = calibrated(ask, slower, save=False)
    assert (tried.stored_count, tried.catalog_revision) == (1, revision)
    assert {made.action for made in tried.profiles} == {CREATED}
    assert profiles(service) == {}
    assert not ask("ListMeasurements", pb.ListMeasurementsRequest()).measurements
    done = calibrated(ask, slower)
    assert done.catalog_revision == revision + 1
    assert [made.profile.further_constants for made in done.profiles] == [
        made.profile.further_constants for made in tried.profiles
    ]


def test_the_same_row_again_changes_nothing(ask: Ask, slower: Measurement) -> None:
    first = calibrated(ask, slower)
    again = calibrated(ask, slower)
    assert {made.action for made in again.profiles} == {UNCHANGED}
    assert (again.stored_count, again.catalog_revision) == (0, first.catalog_revision)
    (stored,) = ask("ListMeasurements", pb.ListMeasurementsRequest()).measurements
    assert stored.id == again.rows[0].before.id


def test_profiles_of_the_same_settings_are_replaced_and_others_left(
    service: EmbeddedService, ask: Ask, slower: Measurement
) -> None:
    calibrated(ask, slower)
    before = profiles(service)
    response = calibrated(ask, row("b", value=slower.value * 1.1))
    assert {made.action for made in response.profiles} == {UPDATED}
    assert profiles(service).keys() == before.keys()
    assert {profile.evidence_count for profile in profiles(service).values()} == {2}
    told = {made.profile.id: made.factor_before for made in response.profiles}
    assert told == {
        name: pytest.approx(profile.further_constants["time_factor"].value)
        for name, profile in before.items()
    }
    calibrated(ask, row("c", hardware_id=OTHER_DEVICE))
    assert before.keys() < profiles(service).keys()
    request = catalog.GetEfficiencyProfileRequest(id="test-range")
    assert asker(service)("GetEfficiencyProfile", request).efficiency_profile.id == "test-range"


def test_errors_are_of_rows_that_others_predict(service: EmbeddedService, ask: Ask) -> None:
    own = tpot_ms(service)
    first = calibrated(ask, row("a", value=1.4 * own))
    assert first.before.median_error == pytest.approx(0.4 / 1.4)
    assert not first.HasField("after")
    assert not any(comparison.HasField("after") for comparison in first.comparisons)
    second = calibrated(ask, row("b", value=1.38 * own))
    assert second.after.answered == 2
    assert second.after.median_error < second.before.median_error
    third = calibrated(ask, row("c", hardware_id=OTHER_DEVICE))
    by_group = {(c.grouping, c.before.group): c for c in third.comparisons}
    assert not by_group["hardware", OTHER_DEVICE].HasField("after")
    assert {grouping for grouping, _ in by_group} == {"hardware", "engine", "metric"}


def test_stored_rows_are_chosen_by_a_filter(service: EmbeddedService, ask: Ask) -> None:
    given = [pb.MeasurementToImport(measurement=each) for each in rows_of_two_models(service)]
    ask("ImportMeasurements", pb.ImportMeasurementsRequest(measurements=given))
    response = calibrated(ask, engine="sglang")
    assert not response.rows
    # All rows of the device count, since they tell about the engine too.
    assert response.before.rows == 5
    assert {made.profile.hardware_id for made in response.profiles} == {DEVICE}


def test_rows_of_memory_and_rows_that_cannot_be_predicted_make_no_profiles(
    service: EmbeddedService, ask: Ask, slower: Measurement
) -> None:
    memory = row("memory", metric=MEASUREMENT_METRIC_MEMORY_GIB, phase="MEASUREMENT_PHASE_MEMORY", value=20)
    response = calibrated(ask, slower, memory, row("bad", isl=None))
    assert [told.before.id for told in response.rows][1:] == ["memory", "bad"]
    assert not response.rows[2].now.HasField("predicted")
    assert response.rows[2].now.unanswered_reason.startswith("isl: is not stated")
    ((unused),) = response.unused
    assert (unused.count, unused.example_id) == (1, "bad")
    assert unused.reason.startswith("isl: is not stated")
    assert {made.profile.evidence_count for made in response.profiles} == {1}


def part(metric: str, value: float, **changes: Any) -> Measurement:
    """A part of the memory of a start of vLLM 0.19.0, of no load."""
    number = MeasurementMetric.Value(f"MEASUREMENT_METRIC_{metric}")
    usual = {"isl": None, "osl": None, "concurrency": None, "phase": "MEASUREMENT_PHASE_MEMORY"}
    return row("", metric=number, value=value, **{**usual, **changes})


def parts(service: EmbeddedService) -> list[Measurement]:
    """Twice the activations, half of what is outside of torch, as many graphs as predicted."""
    memory = analyzed(service).memory
    return [
        part("ACTIVATIONS_GIB", 2.0 * memory.activations_bytes / GIB),
        part("NON_TORCH_GIB", 0.5 * memory.non_torch_bytes / GIB),
        part("CUDA_GRAPH_GIB", memory.cuda_graph_bytes / GIB),
        part("WEIGHTS_GIB", memory.weights_bytes / GIB),
        part("KV_POOL_GIB", memory.kv_pool_bytes.value / GIB),
    ]


MEMORY_PROFILE = "calibrated-engine-memory-h100-sxm-vllm-0.19.0"


def test_parts_of_memory_fill_the_answers_about_their_device_and_engine(
    service: EmbeddedService, ask: Ask
) -> None:
    before, other, elsewhere = (analyzed(service, *of) for of in ((), (OTHER_MODEL,), (MODEL, OTHER_DEVICE)))
    response = calibrated(ask, *parts(service))
    (made,) = response.profiles
    assert (made.profile.id, made.action) == (MEMORY_PROFILE, CREATED)
    assert made.profile.operator_class == OPERATOR_CLASS_ENGINE_MEMORY
    assert made.profile.evidence_count == 3
    constants = made.profile.further_constants
    assert {name: constants[name].value for name in constants} == {
        "activation_factor": pytest.approx(2.0),
        "non_torch_factor": pytest.approx(0.5),
        "cuda_graph_factor": pytest.approx(1.0),
    }
    for told in response.rows[:3]:
        assert told.now.predicted == pytest.approx(told.now.measured)
        assert told.now.low < told.now.measured < told.now.high
    now = analyzed(service)
    assert now.memory.activations_bytes == pytest.approx(2.0 * before.memory.activations_bytes)
    assert now.memory.non_torch_bytes == pytest.approx(0.5 * before.memory.non_torch_bytes)
    assert now.memory.kv_pool_bytes.value == pytest.approx(
        before.memory.kv_pool_bytes.value
        - before.memory.activations_bytes
        + 0.5 * before.memory.non_torch_bytes
    )
    assert "as 3 measured rows of vllm 0.19.0 on h100-sxm say" in now.memory.engine_note
    assert MEMORY_PROFILE in {used.profile_id for used in now.profiles}
    moved = analyzed(service, OTHER_MODEL).memory
    assert moved.activations_bytes == pytest.approx(2.0 * other.memory.activations_bytes)
    assert analyzed(service, MODEL, OTHER_DEVICE).memory == elsewhere.memory


def test_parts_of_memory_given_again_or_stored_before_say_the_same(
    service: EmbeddedService, ask: Ask
) -> None:
    given = parts(service)
    calibrated(ask, given[0])
    calibrated(ask, *given[1:])
    first = profiles(service)[MEMORY_PROFILE]
    again = calibrated(ask, hardware_id=DEVICE)
    assert [made.action for made in again.profiles] == [UNCHANGED]
    assert profiles(service)[MEMORY_PROFILE] == first
    assert {name: estimate.value for name, estimate in first.further_constants.items()} == {
        "activation_factor": pytest.approx(2.0),
        "non_torch_factor": pytest.approx(0.5),
        "cuda_graph_factor": pytest.approx(1.0),
    }


def test_factors_of_memory_go_with_their_rows_and_stay_in_earlier_revisions(
    service: EmbeddedService, ask: Ask
) -> None:
    before = analyzed(service)
    given = parts(service)
    revision = calibrated(ask, *given).catalog_revision
    slower = row("slow", value=1.4 * tpot_ms(service))
    ask("DeleteMeasurements", pb.DeleteMeasurementsRequest(filter=pb.MeasurementFilter(hardware_id=DEVICE)))
    dry = calibrated(ask, slower, save=False)
    assert MEMORY_PROFILE not in {made.profile.id for made in dry.profiles}
    assert MEMORY_PROFILE in profiles(service)
    calibrated(ask, slower)
    assert MEMORY_PROFILE not in profiles(service)
    assert analyzed(service).memory == before.memory
    request = catalog.GetEfficiencyProfileRequest(id=MEMORY_PROFILE, catalog_revision=revision)
    assert asker(service)("GetEfficiencyProfile", request).efficiency_profile.evidence_count == 3


def test_each_row_of_a_part_is_predicted_from_the_others(service: EmbeddedService, ask: Ask) -> None:
    of_one, of_another = (2.0, 2.2)
    rows = [
        part("ACTIVATIONS_GIB", of_one * analyzed(service).memory.activations_bytes / GIB),
        part(
            "ACTIVATIONS_GIB",
            of_another * analyzed(service, OTHER_MODEL).memory.activations_bytes / GIB,
            model_id=OTHER_MODEL,
        ),
    ]
    response = calibrated(ask, *rows, save=False)
    assert not profiles(service)
    assert response.before.median_error == pytest.approx((1 - 1 / of_one + 1 - 1 / of_another) / 2)
    assert response.after.median_error == pytest.approx((0.1 + 1 - 1 / 1.1) / 2)
    assert response.after.answered == 2


def test_an_alias_is_stored_as_the_id_that_it_means(
    service: EmbeddedService, ask: Ask, slower: Measurement
) -> None:
    slower.hardware_id, slower.model_id = "h100", "llama-3.1-8b"
    calibrated(ask, slower)
    (stored,) = ask("ListMeasurements", pb.ListMeasurementsRequest()).measurements
    assert (stored.hardware_id, stored.model_id) == (DEVICE, MODEL)
    assert tpot_ms(service) > slower.value / 1.4 * 1.15


def test_a_row_measured_at_a_wide_interval_is_calibrated_by(
    service: EmbeddedService, ask: Ask, slower: Measurement
) -> None:
    wide = EfficiencyProfile(
        id="a-test-range",
        hardware_id=DEVICE,
        engine="vllm",
        since_version="0.9.0",
        since_date="2025-05",
        operator_class=OPERATOR_CLASS_DECODE_TIME,
        source="a test",
        further_constants={"time_factor": Estimate(value=1.0, low=0.25, high=4.0)},
    )
    request = catalog.UpdateEfficiencyProfileRequest(efficiency_profile=wide, allow_missing=True)
    asker(service)("UpdateEfficiencyProfile", request)
    (told,) = calibrated(ask, slower).rows
    assert "wider than 3 times" in told.before.unanswered_reason
    assert told.now.predicted == pytest.approx(slower.value, rel=0.2)


def refusal(ask: Ask, *rows: Measurement, **filters: str) -> dict[str, str]:
    with pytest.raises(RidgelineError) as raised:
        calibrated(ask, *rows, save=True, **filters)
    assert isinstance(raised.value, InvalidArgumentError)
    return {violation.field: violation.description for violation in raised.value.violations}


def test_what_cannot_be_calibrated_by_is_refused_and_not_stored(service: EmbeddedService, ask: Ask) -> None:
    (told,) = refusal(ask, row("a", isl=None), hardware_id=DEVICE).items()
    assert told == (
        "measurements[0]",
        "cannot be predicted: isl: is not stated, and rows of closed_loop need it",
    )
    assert "no model is named" in refusal(ask, row("a", model_id="org/none"))["measurements[0]"]
    off = refusal(ask, row("a", value=7.5e6))["measurements[0]"]
    assert "over 30 times off is of another unit or load" in off
    assert refusal(ask, row("a"), row("b", value=-1.0))["measurements[1].value"].startswith("is -1")
    assert refusal(ask, *[row("a")] * 1001)["measurements"].startswith("has 1,001 entries")
    assert "import some" in refusal(ask, engine="sglang")["filter"]
    assert not ask("ListMeasurements", pb.ListMeasurementsRequest()).measurements


def test_an_empty_filter_is_refused(ask: Ask) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        ask("Calibrate", pb.CalibrateRequest(filter=pb.MeasurementFilter()))
    assert "picks all stored measurements" in raised.value.violations[0].description


def test_an_id_of_another_row_is_refused(service: EmbeddedService, ask: Ask) -> None:
    own = tpot_ms(service)
    calibrated(ask, row("a", value=own))
    told = refusal(ask, row("a", value=1.1 * own))["measurements[0].id"]
    assert "differs in value" in told
    assert "leave the id out" in told
    assert {count for _, count in factors(service).values()} == {1}


def test_engines_of_any_spelling_make_ids_that_the_catalog_takes(service: EmbeddedService, ask: Ask) -> None:
    given: Any = row("a", engine="my_engine+x/2.0", value=tpot_ms(service))
    names = {made.profile.id for made in calibrated(ask, given).profiles}
    assert "calibrated-decode-time-h100-sxm-my-engine-x-2-0" in names


def test_fitted_constants_are_written_and_go_when_they_no_longer_predict_better(
    service: EmbeddedService, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = next(p.profile for p in read_builtin_catalog().profiles if p.id == "generic-gemm")
    fitted = replace(fitted, id=f"{CALIBRATED}gemm-test", hardware_id=DEVICE, engine="vllm")

    def kept(questions: Sequence[MeasuredQuestion], _: ProfileSet) -> tuple[Refit, ...]:
        left_out = np.full(len(questions), 7.0)
        places = tuple(range(len(questions)))
        group = Group(DEVICE, "vllm", "")
        return (Refit(group, places, "model", 0.2, 0.1, is_kept=True, profiles=(fitted,), left_out=left_out),)

    def dropped(questions: Sequence[MeasuredQuestion], known: ProfileSet) -> tuple[Refit, ...]:
        assert fitted.id not in {p.id for p in known.profiles}
        return tuple(replace(r, is_kept=False, profiles=()) for r in kept(questions, known))

    def calibrated_ids() -> set[str]:
        answer = asker(service)(
            "ListEfficiencyProfiles", catalog.ListEfficiencyProfilesRequest(page_size=1000)
        )
        return {p.id for p in answer.efficiency_profiles if p.id.startswith(CALIBRATED)}

    monkeypatch.setattr("ridgeline_server.rpc.calibration.refit", kept)
    request = pb.CalibrateRequest(measurements=[row("one"), row("two", concurrency=8)], save=True)
    told = ask("Calibrate", request)
    (tried,) = told.refits
    assert (tried.hardware_id, tried.rows, tried.kept) == (DEVICE, 2, True)
    assert list(tried.profile_ids) == [fitted.id]
    assert told.after.median_ratio == pytest.approx(7.0 / 7.5)
    assert fitted.id in calibrated_ids()

    monkeypatch.setattr("ridgeline_server.rpc.calibration.refit", dropped)
    again = ask("Calibrate", request)
    assert not again.refits[0].kept
    assert fitted.id not in calibrated_ids()
    assert again.catalog_revision > told.catalog_revision


@pytest.mark.parametrize("model", [MODEL, OTHER_MODEL])
def test_one_time_to_the_first_token_is_answered_afterwards(
    service: EmbeddedService, ask: Ask, model: str
) -> None:
    first = row("first", model_id=model, metric=MEASUREMENT_METRIC_TTFT_MS)
    first.value = 1.5 * analyzed(service, model).metrics.ttft_ms.expected
    (told,) = calibrated(ask, first).rows
    assert told.now.unanswered_reason == ""
    assert told.now.low < told.now.predicted < told.now.high < 3 * told.now.low
    assert told.before.predicted < told.now.predicted < first.value


def test_a_row_that_is_no_answer_afterwards_says_why(ask: Ask, slower: Measurement) -> None:
    told = calibrated(ask, slower, row("lost", osl=None)).rows[1]
    for prediction in (told.before, told.now):
        assert prediction.unanswered_reason == "osl: is not stated, and rows of closed_loop need it"


def test_rows_that_never_stop_coming_are_told(
    ask: Ask, slower: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = calibration._rows_of
    times = 0

    def growing(*arguments: Any) -> Any:
        nonlocal times
        times += 1
        rows = read(*arguments)
        return [*rows, *(replace(rows[0], id=f"other-{n}") for n in range(times))]

    monkeypatch.setattr(calibration, "_rows_of", growing)
    with pytest.raises(AbortedError) as raised:
        calibrated(ask, slower)
    assert raised.value.reason == "CONCURRENT_WRITES"
    assert f"Others stored or removed rows of {DEVICE}" in raised.value.message
    assert "repeat the call" in raised.value.message
    assert times == calibration.ROUNDS + 1
    monkeypatch.setattr(calibration, "_rows_of", read)
    assert calibrated(ask, slower).stored_count == 0
