"""History over the service: past revisions, changes, and what a stale etag is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ridgeline.errors import AbortedError, NotFoundError, RidgelineError
from ridgeline.v1 import analysis_service_pb2, common_pb2, recommendation_service_pb2
from ridgeline.v1 import catalog_service_pb2 as pb
from ridgeline.v1.hardware_pb2 import Hardware
from ridgeline_server.rpc.embedding import EmbeddedService
from ridgeline_server.store.database import sqlite_url
from ridgeline_server.store.startup import open_embedded_catalog
from tests.rpc import samples
from tests.rpc.ask import Ask


@pytest.fixture
def device(ask: Ask) -> Hardware:
    """A device that was created and then made faster."""
    ask("CreateHardware", pb.CreateHardwareRequest(hardware=samples.device("x100", "Old Name")))
    faster = samples.device("x100")
    faster.bandwidth_bytes_per_s = 3e12
    faster.peaks[0].flops_per_s = 400e12
    faster.notes[:] = ["Two sources disagree."]
    updated: Hardware = ask("UpdateHardware", pb.UpdateHardwareRequest(hardware=faster)).hardware
    return updated


def test_an_entry_can_be_read_as_it_was(ask: Ask, device: Hardware) -> None:
    old = ask("GetHardware", pb.GetHardwareRequest(id="old name", catalog_revision=1))
    assert (old.catalog_revision, old.hardware.bandwidth_bytes_per_s) == (1, 2e12)
    assert ask("GetHardware", pb.GetHardwareRequest(id="x100")).hardware == device
    with pytest.raises(NotFoundError):
        ask("GetHardware", pb.GetHardwareRequest(id="old name"))


def test_a_list_can_be_read_as_it_was(ask: Ask, device: Hardware) -> None:
    ask("DeleteHardware", pb.DeleteHardwareRequest(id="x100"))
    listed = ask("ListHardware", pb.ListHardwareRequest(catalog_revision=2))
    assert (list(listed.hardware), listed.catalog_revision) == ([device], 2)
    assert not ask("ListHardware", pb.ListHardwareRequest()).hardware


@pytest.mark.parametrize("rpc", ["GetHardware", "ListHardware", "ListModels", "ListEfficiencyProfiles"])
def test_a_revision_out_of_range_is_told_with_the_range(ask: Ask, device: Hardware, rpc: str) -> None:
    request = getattr(pb, f"{rpc}Request")(
        catalog_revision=7, **({"id": "x100"} if rpc == "GetHardware" else {})
    )
    with pytest.raises(RidgelineError, match="has revisions 1 to 2") as raised:
        ask(rpc, request)
    assert (raised.value.code, raised.value.reason) == ("OUT_OF_RANGE", "CATALOG_REVISION_OUT_OF_RANGE")
    assert raised.value.metadata == {"first": "1", "last": "2"}
    request.catalog_revision = -1
    with pytest.raises(RidgelineError) as raised:
        ask(rpc, request)
    assert [violation.field for violation in raised.value.violations] == ["catalog_revision"]


def test_changes_tell_who_changed_what(ask: Ask, device: Hardware) -> None:
    ask("DeleteHardware", pb.DeleteHardwareRequest(id="x100"))
    deleted, updated, created = ask("ListChanges", pb.ListChangesRequest()).changes
    assert [change.action for change in (deleted, updated, created)] == [
        pb.CHANGE_ACTION_DELETED,
        pb.CHANGE_ACTION_UPDATED,
        pb.CHANGE_ACTION_CREATED,
    ]
    assert {change.principal for change in (deleted, updated, created)} == {"local"}
    assert {(change.field, change.before, change.after) for change in updated.changes} == {
        ("aliases", '["Old Name"]', ""),
        ("bandwidth_bytes_per_s", "2000000000000", "3000000000000"),
        ("notes", '["Two sources disagree.", "Größe: 2 × 40 GB"]', '["Two sources disagree."]'),
        ("peaks.bf16", "312000000000000", "400000000000000"),
    }
    assert not any(change.before for change in created.changes)
    assert not any(change.after for change in deleted.changes)
    assert updated.time.ToDatetime() >= created.time.ToDatetime()


def test_changes_of_a_models_config_are_told_by_key(ask: Ask) -> None:
    model = samples.model("o/m")
    ask("CreateModel", pb.CreateModelRequest(model=model))
    model.config_json = json.dumps({**json.loads(model.config_json), "num_hidden_layers": 3})
    model.ClearField("checkpoint")
    ask("UpdateModel", pb.UpdateModelRequest(model=model))
    (change,) = ask("ListChanges", pb.ListChangesRequest(after_revision=1)).changes
    told = {(c.field, c.before, c.after) for c in change.changes if not c.field.startswith("checkpoint")}
    assert told == {("config_json.num_hidden_layers", "2", "3")}


def test_changes_of_a_profiles_constants_are_told_one_by_one(ask: Ask) -> None:
    profile = samples.profile("fit")
    ask("CreateEfficiencyProfile", pb.CreateEfficiencyProfileRequest(efficiency_profile=profile))
    profile.further_constants["passes"].high = 5
    del profile.further_constants["serial_time_us"]
    profile.relatives[:] = ["x200"]
    ask("UpdateEfficiencyProfile", pb.UpdateEfficiencyProfileRequest(efficiency_profile=profile))
    (change,) = ask("ListChanges", pb.ListChangesRequest(after_revision=1)).changes
    assert {(c.field, c.before, c.after) for c in change.changes} == {
        ("further_constants.passes.high", "4", "5"),
        ("further_constants.serial_time_us.value", "0.25", ""),
        ("further_constants.serial_time_us.low", "0.1", ""),
        ("further_constants.serial_time_us.high", "0.5", ""),
        ("relatives", '["x100-pcie", "x200"]', '["x200"]'),
    }


def test_changes_come_in_pages_that_new_ones_do_not_disturb(ask: Ask) -> None:
    for number in range(5):
        ask("CreateHardware", pb.CreateHardwareRequest(hardware=samples.device(f"d{number}")))
    seen: list[int] = []
    token = ""
    while True:
        page = ask("ListChanges", pb.ListChangesRequest(page_size=2, page_token=token))
        seen += [change.catalog_revision for change in page.changes]
        token = page.next_page_token
        if not token:
            break
        ask("CreateModel", pb.CreateModelRequest(model=samples.model(f"o/{len(seen)}")))
    assert seen == [5, 4, 3, 2, 1]


def test_an_id_without_its_kind_is_refused(ask: Ask) -> None:
    with pytest.raises(RidgelineError) as raised:
        ask("ListChanges", pb.ListChangesRequest(id="x100"))
    assert [violation.field for violation in raised.value.violations] == ["kind"]


@pytest.mark.parametrize("rpc", ["UpdateHardware", "DeleteHardware"])
def test_a_stale_etag_is_told_what_changed_by_whom(ask: Ask, device: Hardware, rpc: str) -> None:
    stale = ask("GetHardware", pb.GetHardwareRequest(id="x100", catalog_revision=1)).hardware
    request = (
        pb.UpdateHardwareRequest(hardware=stale)
        if rpc == "UpdateHardware"
        else pb.DeleteHardwareRequest(id="x100", etag=stale.etag)
    )
    with pytest.raises(AbortedError) as raised:
        ask(rpc, request)
    assert raised.value.reason == "ETAG_MISMATCH"
    assert raised.value.metadata == {
        "etag": device.etag,
        "changed": "aliases, bandwidth_bytes_per_s, notes, peaks.bf16",
    }
    assert "local wrote it at" in str(raised.value)
    assert "bandwidth_bytes_per_s 2000000000000 -> 3000000000000" in str(raised.value)


def test_a_new_price_does_not_keep_the_old_ones_day(ask: Ask) -> None:
    ask("CreateHardware", pb.CreateHardwareRequest(hardware=samples.device()))
    change = Hardware(id="x100", price_usd_per_hour=9.0)
    request = pb.UpdateHardwareRequest(hardware=change)
    request.update_mask.paths.append("price_usd_per_hour")
    updated = ask("UpdateHardware", request).hardware
    assert updated.price_as_of not in ("", samples.device().price_as_of)


def test_an_answer_can_be_repeated_on_the_revision_that_it_names(
    shipped_sqlite_file: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(shipped_sqlite_file, tmp_path))
    service = EmbeddedService(open_embedded_catalog(sqlite_url(path)))
    question = analysis_service_pb2.AnalyzeRequest(
        model=common_pb2.ModelSelector(id="llama-2-7b"),
        hardware=common_pb2.HardwareSelector(id="x-mine"),
        workload=common_pb2.Workload(batch=1, input_len=64, output_len=8),
    )
    analyze = "ridgeline.v1.AnalysisService/Analyze"
    catalog = "ridgeline.v1.CatalogService/"
    service.answer(f"{catalog}CreateHardware", pb.CreateHardwareRequest(hardware=samples.device("x-mine")))
    first = service.answer(analyze, question)
    faster = samples.device("x-mine")
    faster.bandwidth_bytes_per_s *= 2
    service.answer(f"{catalog}UpdateHardware", pb.UpdateHardwareRequest(hardware=faster))
    second = service.answer(analyze, question)
    question.catalog_revision = first.catalog_revision  # type: ignore[union-attr]
    again = service.answer(analyze, question)
    service.answer(f"{catalog}DeleteHardware", pb.DeleteHardwareRequest(id="x-mine"))
    assert again == first != second
    assert service.answer(analyze, question) == first
    asked = recommendation_service_pb2.RecommendRequest(
        model=question.model, hardware=question.hardware, workload=question.workload,
        catalog_revision=question.catalog_revision,
    )  # fmt: skip
    advice = service.answer("ridgeline.v1.RecommendationService/Recommend", asked)
    assert advice.baseline.metrics == first.metrics  # type: ignore[union-attr]
    service.close()
