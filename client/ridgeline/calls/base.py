"""What all calls of the client share: the way to the service, and lists that come in pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from ridgeline import requests
from ridgeline.catalog_requests import MAX_PAGE_SIZE
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1 import measurement_service_pb2 as measurements

R = TypeVar("R", bound=Message)
P = TypeVar(
    "P",
    catalog.ListHardwareResponse,
    catalog.ListModelsResponse,
    catalog.ListEfficiencyProfilesResponse,
    catalog.ListChangesResponse,
    measurements.ListMeasurementsResponse,
)
ListRequest: TypeAlias = (
    catalog.ListHardwareRequest
    | catalog.ListModelsRequest
    | catalog.ListEfficiencyProfilesRequest
    | catalog.ListChangesRequest
    | measurements.ListMeasurementsRequest
)

CATALOG = "ridgeline.v1.CatalogService"


class Transport(Protocol):
    """A way to the service. `target` names it for people."""

    target: str

    def call(self, method: str, request: Message, response_type: type[R]) -> R:
        """Call `package.Service/Method`; raises RidgelineError."""
        ...

    def stream(self, method: str, request: Message, response_type: type[R]) -> Iterator[R]:
        """The responses of a streaming `package.Service/Method`, each when it is taken; raises
        RidgelineError. Closing the iterator ends the call.
        """
        ...

    def pause(self, seconds: float) -> None:
        """Wait before trying again."""
        ...

    def close(self) -> None:
        """Give back what the transport holds."""
        ...


class Calls:
    """Calls of one service over a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _call(self, method: str, request: Message, response_type: type[R]) -> R:
        return self._transport.call(method, request, response_type)

    def _pages(
        self, method: str, request: ListRequest, response_type: type[P], field: str, limit: int | None
    ) -> Iterator[P]:
        """The pages of a list, each asked for when it is needed. `field` holds a page's entries.

        Those of the catalog all see the revision of the first one. They end with the last, or with the
        `limit`-th entry.
        """
        left = limit
        request.page_size = MAX_PAGE_SIZE if limit is None else min(limit, MAX_PAGE_SIZE)
        while True:
            page = self._call(method, request, response_type)
            request.page_token = page.next_page_token
            page.next_page_token = ""
            if left is not None:
                entries = getattr(page, field)
                del entries[left:]
                left -= len(entries)
            yield page
            if not request.page_token or left == 0:
                return


def merged(pages: Iterator[P]) -> P:
    """All pages as one response."""
    whole = next(pages)
    for page in pages:
        whole.MergeFrom(page)
    return whole


def mask(fields: Sequence[str]) -> FieldMask:
    """The mask of an update."""
    return FieldMask(paths=requests.field_paths(fields))


def text(field: str, value: str) -> str:
    """A string that the wire can carry. Raises InvalidArgumentError."""
    checks = requests.Checks()
    sent = checks.text(field, value)
    checks.raise_if_any()
    return sent


def revision(value: int) -> int:
    """A catalog revision that the wire can carry. Raises InvalidArgumentError."""
    checks = requests.Checks()
    sent = checks.whole("catalog_revision", value)
    checks.raise_if_any()
    return sent
