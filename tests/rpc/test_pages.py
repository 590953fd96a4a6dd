"""Pages of the catalog's lists."""

from __future__ import annotations

import base64
import json

import pytest

from ridgeline.errors import RidgelineError
from ridgeline.v1 import catalog_service_pb2 as pb
from ridgeline_server.rpc.checks import MAX_CONFIG_LENGTH
from ridgeline_server.rpc.pages import MAX_PAGE_BYTES
from tests.rpc import samples
from tests.rpc.ask import Ask


def add_devices(ask: Ask, count: int) -> list[str]:
    ids = [f"d{number:03}" for number in range(count)]
    for entry_id in ids:
        ask("CreateHardware", pb.CreateHardwareRequest(hardware=samples.device(entry_id)))
    return ids


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 1000])
def test_pages_of_any_size_give_every_entry_once(ask: Ask, page_size: int) -> None:
    ids = add_devices(ask, 7)
    seen: list[str] = []
    token = ""
    while True:
        page = ask("ListHardware", pb.ListHardwareRequest(page_size=page_size, page_token=token))
        assert 1 <= len(page.hardware) <= page_size
        seen += [device.id for device in page.hardware]
        token = page.next_page_token
        if not token:
            break
    assert seen == ids


def test_the_page_size_may_change_from_page_to_page(ask: Ask) -> None:
    ids = add_devices(ask, 5)
    first = ask("ListHardware", pb.ListHardwareRequest(page_size=2))
    rest = ask("ListHardware", pb.ListHardwareRequest(page_size=10, page_token=first.next_page_token))
    assert [device.id for device in (*first.hardware, *rest.hardware)] == ids


def test_pages_see_the_revision_of_the_first_whatever_is_written_meanwhile(ask: Ask) -> None:
    ids = add_devices(ask, 4)
    first = ask("ListHardware", pb.ListHardwareRequest(page_size=2))
    ask("DeleteHardware", pb.DeleteHardwareRequest(id="d002"))
    ask("CreateHardware", pb.CreateHardwareRequest(hardware=samples.device("d0015")))
    rest = ask("ListHardware", pb.ListHardwareRequest(page_token=first.next_page_token))
    assert [device.id for device in (*first.hardware, *rest.hardware)] == ids
    assert rest.catalog_revision == first.catalog_revision == 4
    assert [device.id for device in ask("ListHardware", pb.ListHardwareRequest()).hardware] == [
        "d000",
        "d001",
        "d0015",
        "d003",
    ]


def test_an_empty_list_is_one_empty_page(ask: Ask) -> None:
    page = ask("ListModels", pb.ListModelsRequest())
    assert not page.models
    assert not page.next_page_token


@pytest.mark.parametrize("page_size", [-1, 1001])
def test_a_page_size_out_of_bounds_is_a_wrong_field(ask: Ask, page_size: int) -> None:
    with pytest.raises(RidgelineError) as raised:
        ask("ListHardware", pb.ListHardwareRequest(page_size=page_size, page_token="nonsense"))
    assert [v.field for v in raised.value.violations] == ["page_size", "page_token"]


@pytest.mark.parametrize("token", ["nonsense", "bm9uc2Vuc2U=", "////", "ö", "aGFyZHdhcmUK"])
def test_a_token_that_no_page_gave_is_refused(ask: Ask, token: str) -> None:
    with pytest.raises(RidgelineError) as raised:
        ask("ListHardware", pb.ListHardwareRequest(page_token=token))
    assert (raised.value.code, raised.value.reason) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
    assert [v.field for v in raised.value.violations] == ["page_token"]


def test_a_token_of_another_list_is_refused(ask: Ask) -> None:
    add_devices(ask, 2)
    token = ask("ListHardware", pb.ListHardwareRequest(page_size=1)).next_page_token
    with pytest.raises(RidgelineError) as raised:
        ask("ListModels", pb.ListModelsRequest(page_token=token))
    assert raised.value.reason == "INVALID_PAGE_TOKEN"


def test_a_page_ends_before_it_grows_too_large_for_grpc(ask: Ask) -> None:
    ids = [f"large/{number:02}" for number in range(10)]
    for entry_id in ids:
        model = samples.model(entry_id)
        model.config_json += " " * (MAX_CONFIG_LENGTH - 10_000)
        ask("CreateModel", pb.CreateModelRequest(model=model))
    first = ask("ListModels", pb.ListModelsRequest())
    assert 1 < len(first.models) < 10
    assert MAX_PAGE_BYTES / 2 < first.ByteSize() < 4 * 2**20
    rest = ask("ListModels", pb.ListModelsRequest(page_token=first.next_page_token))
    assert [model.id for model in (*first.models, *rest.models)] == ids
    assert not rest.next_page_token


@pytest.mark.parametrize("end", ["soon", 7, "2026-13-45", None, True])
def test_a_forged_end_of_a_page_is_refused(ask: Ask, end: object) -> None:
    add_devices(ask, 3)
    request = pb.ListHardwareRequest(order_by="update_time", page_size=1)
    token = ask("ListHardware", request).next_page_token
    digest, revision, entry_id, _ = json.loads(base64.urlsafe_b64decode(token))
    forged = base64.urlsafe_b64encode(json.dumps([digest, revision, entry_id, end]).encode()).decode()
    request.page_token = forged
    if end is None:
        assert ask("ListHardware", request).hardware is not None
        return
    with pytest.raises(RidgelineError) as raised:
        ask("ListHardware", request)
    assert (raised.value.code, raised.value.reason) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
