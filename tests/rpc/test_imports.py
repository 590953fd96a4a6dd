"""Imports over the service: what becomes of each entry, and what it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ridgeline.errors import InvalidArgumentError
from ridgeline.v1 import catalog_service_pb2 as pb
from ridgeline.v1.errors_pb2 import ErrorReason
from ridgeline.v1.model_pb2 import Model
from ridgeline_server.rpc.imports import MAX_ENTRIES
from tests.rpc import samples
from tests.rpc.ask import Ask

CREATED, UPDATED, UNCHANGED, REFUSED, NOT_WRITTEN = (
    pb.IMPORT_ACTION_CREATED,
    pb.IMPORT_ACTION_UPDATED,
    pb.IMPORT_ACTION_UNCHANGED,
    pb.IMPORT_ACTION_REFUSED,
    pb.IMPORT_ACTION_NOT_WRITTEN,
)


def hardware(entry_id: str, **changes: Any) -> pb.EntryToImport:
    """A device to import."""
    device = samples.device(entry_id)
    for name, value in changes.items():
        setattr(device, name, value)
    return pb.EntryToImport(name=f"{entry_id}.json", hardware=device)


def import_entries(ask: Ask, *entries: pb.EntryToImport, **options: bool) -> pb.ImportEntriesResponse:
    """Imports entries."""
    response: pb.ImportEntriesResponse = ask(
        "ImportEntries", pb.ImportEntriesRequest(entries=entries, **options)
    )
    return response


def actions(response: pb.ImportEntriesResponse) -> list[int]:
    """What became of each."""
    return [outcome.action for outcome in response.outcomes]


def test_entries_of_all_kinds_are_written_in_one_revision(ask: Ask) -> None:
    response = import_entries(
        ask,
        hardware("x100"),
        pb.EntryToImport(name="m", model=samples.model("o/m")),
        pb.EntryToImport(name="p", efficiency_profile=samples.profile("p")),
    )
    assert actions(response) == [CREATED] * 3
    assert [outcome.id for outcome in response.outcomes] == ["x100", "o/m", "p"]
    assert response.catalog_revision == 1
    assert ask("GetModel", pb.GetModelRequest(id="o/m")).model.layer_count == 2


@pytest.mark.parametrize("text", ['"_comment": "\\ud800"', '"_\\ud800": 1', '"_x": ["\\udfff"]'])
def test_half_a_surrogate_pair_in_a_config_is_told_as_it_is_escaped(ask: Ask, text: str) -> None:
    model = samples.model("o/m")
    import_entries(ask, pb.EntryToImport(model=model))
    model.config_json = f"{{{text}, {model.config_json.lstrip()[1:]}"
    response = import_entries(ask, pb.EntryToImport(model=model), allow_existing=True)
    assert actions(response) == [UPDATED]
    (change,) = response.outcomes[0].changes
    assert "\\ud" in change.field + change.after
    assert ask("ListChanges", pb.ListChangesRequest()).changes[0].changes == [change]
    assert ask("GetModel", pb.GetModelRequest(id="o/m")).model.config_json == model.config_json


def test_an_import_tells_each_field_that_it_changes_and_a_dry_run_tells_the_same(ask: Ask) -> None:
    import_entries(ask, hardware("x100"), hardware("same"))
    entries = (hardware("x100", bandwidth_bytes_per_s=3e12), hardware("same"), hardware("new"))
    tried = import_entries(ask, *entries, allow_existing=True, validate_only=True)
    assert actions(tried) == [UPDATED, UNCHANGED, CREATED]
    (change,) = tried.outcomes[0].changes
    assert (change.field, change.before, change.after) == (
        "bandwidth_bytes_per_s",
        "2000000000000",
        "3000000000000",
    )
    assert not tried.outcomes[1].changes
    assert tried.catalog_revision == 1
    assert ask("GetHardware", pb.GetHardwareRequest(id="x100")).hardware.bandwidth_bytes_per_s == 2e12
    done = import_entries(ask, *entries, allow_existing=True)
    assert list(done.outcomes) == list(tried.outcomes)
    assert done.catalog_revision == 2


def test_a_refused_entry_is_told_as_a_call_for_it_alone_would_fail(ask: Ask) -> None:
    wrong = hardware("x100", memory_bytes=-1.0, kind="toaster")
    unreadable = pb.EntryToImport(name="m", model=samples.model("o/m"))
    unreadable.model.config_json = "{"
    response = import_entries(ask, wrong, unreadable, pb.EntryToImport(name="empty"), hardware("right"))
    assert actions(response) == [REFUSED, REFUSED, REFUSED, CREATED]
    fields = [[w.field for w in outcome.error.wrong_fields] for outcome in response.outcomes]
    assert fields == [
        ["memory_bytes", "usable_memory_bytes", "kind"],
        ["config_json"],
        ["entry"],
        [],
    ]
    with pytest.raises(InvalidArgumentError) as alone:
        ask("CreateHardware", pb.CreateHardwareRequest(hardware=wrong.hardware))
    assert [(v.field, v.description) for v in alone.value.violations] == [
        (f"hardware.{w.field}", w.description) for w in response.outcomes[0].error.wrong_fields
    ]
    assert response.outcomes[0].error.reason == ErrorReason.ERROR_REASON_INVALID_FIELD
    assert [device.id for device in ask("ListHardware", pb.ListHardwareRequest()).hardware] == ["right"]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(hardware("wrong", memory_bytes=-1.0), id="refused by the checks"),
        pytest.param(hardware("mine", bandwidth_bytes_per_s=9e12), id="refused by the store"),
    ],
)
@pytest.mark.parametrize("validate_only", [False, True])
def test_all_or_nothing_holds_back_what_is_right(ask: Ask, wrong: Any, validate_only: bool) -> None:
    import_entries(ask, hardware("mine"))
    response = import_entries(
        ask, hardware("a"), wrong, hardware("mine2"), all_or_nothing=True, validate_only=validate_only
    )
    assert actions(response) == [NOT_WRITTEN, REFUSED, NOT_WRITTEN]
    assert response.catalog_revision == 1
    assert [device.id for device in ask("ListHardware", pb.ListHardwareRequest()).hardware] == ["mine"]


def test_an_id_that_is_given_twice_is_refused_the_second_time(ask: Ask) -> None:
    first, second = hardware("x100"), hardware("x100", bandwidth_bytes_per_s=3e12)
    second.name = "other.json"
    response = import_entries(ask, first, second)
    assert actions(response) == [CREATED, REFUSED]
    (wrong,) = response.outcomes[1].error.wrong_fields
    assert "x100.json has too" in wrong.description
    assert ask("GetHardware", pb.GetHardwareRequest(id="x100")).hardware.bandwidth_bytes_per_s == 2e12


def test_a_model_without_an_id_is_called_as_its_config_calls_it(ask: Ask) -> None:
    named = json.dumps({**samples.CONFIG, "_name_or_path": "org/named"})
    entries = [
        pb.EntryToImport(name="named", model=Model(config_json=named)),
        pb.EntryToImport(name="nameless", model=Model(config_json=json.dumps(samples.CONFIG))),
    ]
    response = import_entries(ask, *entries)
    assert actions(response) == [CREATED, REFUSED]
    assert response.outcomes[0].id == "org/named"
    assert response.outcomes[1].error.wrong_fields[0].field == "id"


def test_a_config_that_comes_alone_leaves_the_names_of_the_catalog(ask: Ask) -> None:
    import_entries(ask, pb.EntryToImport(model=samples.model("o/m", "mine")))
    longer = json.dumps({**samples.CONFIG, "num_hidden_layers": 3})
    response = import_entries(
        ask, pb.EntryToImport(model=Model(id="o/m", config_json=longer)), allow_existing=True
    )
    assert actions(response) == [UPDATED]
    model = ask("GetModel", pb.GetModelRequest(id="mine")).model
    assert (model.layer_count, model.display_name) == (3, "Example o/m")


def test_what_is_assumed_or_suspicious_is_told_with_the_entry(ask: Ask) -> None:
    bare = {key: value for key, value in samples.CONFIG.items() if key != "max_position_embeddings"}
    model = pb.EntryToImport(model=Model(id="o/m", config_json=json.dumps(bare)))
    model.model.checkpoint.element_count = 999_999
    (outcome,) = import_entries(ask, model).outcomes
    assert any("no limit of the context is known" in remark for remark in outcome.remarks)
    assert any("hold 999,999 elements" in remark for remark in outcome.remarks)


@pytest.mark.parametrize("count", [0, MAX_ENTRIES + 1])
def test_a_request_has_entries_but_not_too_many(ask: Ask, count: int) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        import_entries(ask, *(pb.EntryToImport() for _ in range(count)))
    assert [violation.field for violation in raised.value.violations] == ["entries"]
