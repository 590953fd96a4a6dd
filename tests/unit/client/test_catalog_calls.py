"""Lists that come in pages, imports that go in chunks, and what happened before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message

from ridgeline import errors
from ridgeline.catalog_requests import ImportSource
from ridgeline.client import Client
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1 import types_pb2
from ridgeline.v1.efficiency_profile_pb2 import EfficiencyProfile
from ridgeline.v1.hardware_pb2 import Hardware
from ridgeline.v1.model_pb2 import Model

R = TypeVar("R", bound=Message)


class Answering:
    """A transport that answers by a function and keeps what it was sent."""

    target = "nowhere"

    def __init__(self, answer: Callable[[Any], Message]) -> None:
        self.answer = answer
        self.sent: list[Any] = []

    def call(self, method: str, request: Message, response_type: type[R]) -> R:
        kept = type(request)()
        kept.CopyFrom(request)
        self.sent.append(kept)
        answer = self.answer(request)
        assert isinstance(answer, response_type)
        return answer

    def stream(self, method: str, request: Message, response_type: type[R]) -> Iterator[R]:
        raise AssertionError(f"{method} is not asked here")

    def pause(self, seconds: float) -> None:
        raise AssertionError("nothing is tried again here")

    def close(self) -> None:
        """Nothing to close."""


def thousands(request: catalog.ListHardwareRequest) -> catalog.ListHardwareResponse:
    """A catalog of 2,500 devices; pages hold 400 at most, as a server with large entries would end them."""
    start = int(request.page_token or 0)
    end = min(start + min(request.page_size, 400), 2500)
    return catalog.ListHardwareResponse(
        hardware=[Hardware(id=f"d{number}") for number in range(start, end)],
        next_page_token=str(end) if end < 2500 else "",
        catalog_revision=7,
    )


def test_a_list_has_all_pages() -> None:
    transport = Answering(thousands)
    whole = Client(transport).list_hardware(vendor="NVIDIA", order_by="memory_bytes desc")
    assert [device.id for device in whole.hardware] == [f"d{number}" for number in range(2500)]
    assert (whole.next_page_token, whole.catalog_revision) == ("", 7)
    assert {(request.filter.vendor, request.order_by) for request in transport.sent} == {
        ("NVIDIA", "memory_bytes desc")
    }


@pytest.mark.parametrize("limit", [1, 399, 400, 401, 2500, 9999])
def test_a_limit_ends_a_list_and_its_pages(limit: int) -> None:
    transport = Answering(thousands)
    whole = Client(transport).list_hardware(limit=limit)
    assert len(whole.hardware) == min(limit, 2500)
    assert len(transport.sent) == -(-min(limit, 2500) // 400)


def test_an_iterator_asks_for_a_page_when_it_is_needed() -> None:
    transport = Answering(thousands)
    devices = Client(transport).iter_hardware()
    assert transport.sent == []
    assert next(devices).id == "d0"
    assert len(transport.sent) == 1
    assert sum(1 for _ in devices) == 2499
    assert len(transport.sent) == 7


def test_every_filter_reaches_its_field() -> None:
    transport = Answering(lambda request: catalog.ListHardwareResponse())
    Client(transport).list_hardware(
        vendor="AMD",
        kind="gpu",
        dtypes=("fp8", "int8"),
        min_memory_bytes=1e11,
        min_bandwidth_bytes_per_s=2e12,
        origin="user",
        order_by="tdp_watts",
        catalog_revision=5,
    )
    assert transport.sent == [
        catalog.ListHardwareRequest(
            page_size=1000,
            filter=catalog.HardwareFilter(
                vendor="AMD",
                kind="gpu",
                dtypes=[types_pb2.DTYPE_FP8, types_pb2.DTYPE_INT8],
                min_memory_bytes=1e11,
                min_bandwidth_bytes_per_s=2e12,
                origin=types_pb2.ORIGIN_USER,
            ),
            order_by="tdp_watts",
            catalog_revision=5,
        )
    ]


def test_every_filter_of_models_reaches_its_field() -> None:
    transport = Answering(lambda request: catalog.ListModelsResponse())
    Client(transport).list_models(
        family="llama",
        min_parameter_count=1e9,
        max_parameter_count=9e9,
        min_context_len=4096,
        weights="int4",
        origin="builtin",
        mixture_of_experts=False,
        limit=3,
    )
    (request,) = transport.sent
    assert request.filter == catalog.ModelFilter(
        family="llama",
        min_parameter_count=1e9,
        max_parameter_count=9e9,
        min_context_len=4096,
        weight_dtype=types_pb2.DTYPE_INT4,
        origin=types_pb2.ORIGIN_BUILTIN,
        mixture_of_experts=False,
    )
    assert request.filter.HasField("mixture_of_experts")
    assert request.page_size == 3


def test_a_query_that_cannot_be_sent_is_told_before_the_first_page() -> None:
    transport = Answering(thousands)
    client = Client(transport)
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.iter_hardware(dtypes=("fp9",), origin="mine", limit=0, catalog_revision=2**40)
    assert [violation.field for violation in raised.value.violations] == [
        "filter.dtypes",
        "filter.origin",
        "catalog_revision",
        "limit",
    ]
    with pytest.raises(TypeError, match="vender"):
        client.list_hardware(vender="NVIDIA")  # type: ignore[call-arg]  # the slip that is tested
    assert transport.sent == []


def stored(request: catalog.ImportEntriesRequest) -> catalog.ImportEntriesResponse:
    return catalog.ImportEntriesResponse(
        outcomes=[
            catalog.ImportOutcome(name=entry.name, action=catalog.IMPORT_ACTION_CREATED)
            for entry in request.entries
        ],
        catalog_revision=3,
    )


def test_entries_of_all_kinds_are_imported_under_their_ids() -> None:
    transport = Answering(stored)
    named = catalog.EntryToImport(name="card.json", hardware=Hardware(id="x"))
    entries: list[ImportSource] = [Hardware(id="h"), Model(id="m"), EfficiencyProfile(id="p"), named]
    Client(transport).import_entries(entries, allow_existing=True, all_or_nothing=True, validate_only=True)
    (request,) = transport.sent
    assert [(entry.name, entry.WhichOneof("entry")) for entry in request.entries] == [
        ("h", "hardware"),
        ("m", "model"),
        ("p", "efficiency_profile"),
        ("card.json", "hardware"),
    ]
    assert request.allow_existing
    assert request.all_or_nothing
    assert request.validate_only


def test_many_entries_go_in_chunks_and_are_read_as_they_go() -> None:
    transport = Answering(stored)
    read: list[int] = []

    def entries() -> Iterator[Hardware]:
        for number in range(250):
            read.append(number)
            yield Hardware(id=f"d{number}")

    answers = Client(transport).import_many(entries())
    assert len(next(answers).outcomes) == 100
    assert len(read) == 101
    assert [len(answer.outcomes) for answer in answers] == [100, 50]


def test_a_chunk_is_not_larger_than_a_server_takes() -> None:
    transport = Answering(stored)
    config = "x" * 400_000
    assert (
        len(list(Client(transport).import_many(Model(id=f"m{n}", config_json=config) for n in range(10))))
        == 5
    )
    assert max(request.ByteSize() for request in transport.sent) < 2**20


def test_what_is_no_entry_is_told() -> None:
    with pytest.raises(errors.InvalidArgumentError, match="of type dict"):
        Client(Answering(stored)).import_entries([{"id": "x"}])  # type: ignore[list-item]  # the slip


def test_changes_come_in_pages_too() -> None:
    def changes(request: catalog.ListChangesRequest) -> catalog.ListChangesResponse:
        last = request.page_token == "2"
        return catalog.ListChangesResponse(
            changes=[catalog.Change(catalog_revision=1 if last else 2)], next_page_token="" if last else "2"
        )

    transport = Answering(changes)
    client = Client(transport)
    whole = client.list_changes(kind="hardware", entry_id="h100", after_revision=4, principal="ann")
    assert [change.catalog_revision for change in whole.changes] == [2, 1]
    assert [change.catalog_revision for change in client.iter_changes(limit=1)] == [2]
    first = transport.sent[0]
    assert (first.kind, first.id, first.after_revision, first.principal) == (
        catalog.ENTRY_KIND_HARDWARE,
        "h100",
        4,
        "ann",
    )


@pytest.mark.parametrize("kind", ["hardware", "model", "efficiency_profile"])
def test_a_past_revision_can_be_asked_for(kind: str) -> None:
    responses = {
        "hardware": catalog.GetHardwareResponse(),
        "model": catalog.GetModelResponse(),
        "efficiency_profile": catalog.GetEfficiencyProfileResponse(),
    }
    transport = Answering(lambda request: responses[kind])
    getattr(Client(transport), f"get_{kind}")("x", catalog_revision=12)
    assert transport.sent[0].catalog_revision == 12


def test_the_readable_revisions_and_the_changed_fields_are_in_the_errors() -> None:
    absent = errors.of_code("OUT_OF_RANGE", "No revision 9.", metadata={"first": "2", "last": "7"})
    assert isinstance(absent, errors.OutOfRangeError)
    assert absent.revisions == (2, 7)
    assert errors.OutOfRangeError("No revision 9.").revisions is None
    stale = errors.of_code("ABORTED", "It changed.", metadata={"changed": "tdp_watts, notes", "etag": "e"})
    assert isinstance(stale, errors.AbortedError)
    assert stale.changed == ("tdp_watts", "notes")
