"""The catalog's devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Unpack

from ridgeline import catalog_requests, requests
from ridgeline.calls.base import CATALOG, Calls, mask, merged, revision, text
from ridgeline.catalog_requests import HardwareQuery
from ridgeline.requests import HardwareSource
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1.hardware_pb2 import Hardware


class HardwareCalls(Calls):
    """Reads and writes devices."""

    def get_hardware(self, name: str, *, catalog_revision: int = 0) -> catalog.GetHardwareResponse:
        """One device by id or alias, as it is or as it was at a revision of the catalog.

        Raises NotFoundError with the nearest names, and OutOfRangeError for a revision that cannot be read.
        """
        request = catalog.GetHardwareRequest(id=text("id", name), catalog_revision=revision(catalog_revision))
        return self._call(f"{CATALOG}/GetHardware", request, catalog.GetHardwareResponse)

    def list_hardware(self, **query: Unpack[HardwareQuery]) -> catalog.ListHardwareResponse:
        """The devices that match a query (see HardwareQuery), all pages in one response.

        Raises InvalidArgumentError for a query that cannot be meant, and OutOfRangeError for a revision that
        cannot be read.
        """
        return merged(self._hardware_pages(query))

    def iter_hardware(self, **query: Unpack[HardwareQuery]) -> Iterator[Hardware]:
        """The same one by one: a page is asked for when its first device is."""
        return (device for page in self._hardware_pages(query) for device in page.hardware)

    def create_hardware(
        self, hardware: HardwareSource, *, validate_only: bool = False
    ) -> catalog.CreateHardwareResponse:
        """Add a device.

        Raises InvalidArgumentError with all that is wrong, and AlreadyExistsError for a taken id or alias.
        """
        request = catalog.CreateHardwareRequest(
            hardware=requests.hardware_entry(hardware), validate_only=validate_only
        )
        return self._call(f"{CATALOG}/CreateHardware", request, catalog.CreateHardwareResponse)

    def update_hardware(
        self,
        hardware: HardwareSource,
        *,
        fields: Sequence[str] = (),
        allow_missing: bool = False,
        validate_only: bool = False,
    ) -> catalog.UpdateHardwareResponse:
        """Change the device that `hardware.id` names: the named fields, or all when none is named.

        An etag in `hardware` must still be current: AbortedError tells what changed meanwhile. Raises
        InvalidArgumentError with all that is wrong, and NotFoundError unless `allow_missing` lets it be
        added.
        """
        request = catalog.UpdateHardwareRequest(
            hardware=requests.hardware_entry(hardware),
            update_mask=mask(fields),
            allow_missing=allow_missing,
            validate_only=validate_only,
        )
        return self._call(f"{CATALOG}/UpdateHardware", request, catalog.UpdateHardwareResponse)

    def delete_hardware(self, name: str, *, etag: str = "") -> catalog.DeleteHardwareResponse:
        """Remove a device. Raises NotFoundError, and AbortedError when `etag` is given and not current."""
        request = catalog.DeleteHardwareRequest(id=text("id", name), etag=text("etag", etag))
        return self._call(f"{CATALOG}/DeleteHardware", request, catalog.DeleteHardwareResponse)

    def _hardware_pages(self, query: HardwareQuery) -> Iterator[catalog.ListHardwareResponse]:
        request, limit = catalog_requests.hardware_list(**query)
        return self._pages(
            f"{CATALOG}/ListHardware", request, catalog.ListHardwareResponse, "hardware", limit
        )
