"""The catalog's efficiency profiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ridgeline import catalog_requests
from ridgeline.calls.base import CATALOG, Calls, mask, merged, revision, text
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1.efficiency_profile_pb2 import EfficiencyProfile


class ProfileCalls(Calls):
    """Reads and writes efficiency profiles."""

    def get_efficiency_profile(
        self, name: str, *, catalog_revision: int = 0
    ) -> catalog.GetEfficiencyProfileResponse:
        """One efficiency profile by id, as it is or as it was at a revision of the catalog.

        Raises NotFoundError, and OutOfRangeError for a revision that cannot be read.
        """
        request = catalog.GetEfficiencyProfileRequest(
            id=text("id", name), catalog_revision=revision(catalog_revision)
        )
        return self._call(f"{CATALOG}/GetEfficiencyProfile", request, catalog.GetEfficiencyProfileResponse)

    def list_efficiency_profiles(
        self, *, order_by: str = "", catalog_revision: int = 0, limit: int | None = None
    ) -> catalog.ListEfficiencyProfilesResponse:
        """The efficiency profiles, all pages in one response, by id or by `order_by` (`update_time desc`).

        Raises InvalidArgumentError for an order that there is not, and OutOfRangeError for a revision that
        cannot be read.
        """
        return merged(self._profile_pages(order_by, catalog_revision, limit))

    def iter_efficiency_profiles(
        self, *, order_by: str = "", catalog_revision: int = 0, limit: int | None = None
    ) -> Iterator[EfficiencyProfile]:
        """The same one by one: a page is asked for when its first profile is."""
        pages = self._profile_pages(order_by, catalog_revision, limit)
        return (profile for page in pages for profile in page.efficiency_profiles)

    def create_efficiency_profile(
        self, efficiency_profile: EfficiencyProfile, *, validate_only: bool = False
    ) -> catalog.CreateEfficiencyProfileResponse:
        """Add an efficiency profile.

        Raises InvalidArgumentError with all that is wrong, and AlreadyExistsError for a taken id.
        """
        request = catalog.CreateEfficiencyProfileRequest(
            efficiency_profile=efficiency_profile, validate_only=validate_only
        )
        return self._call(
            f"{CATALOG}/CreateEfficiencyProfile", request, catalog.CreateEfficiencyProfileResponse
        )

    def update_efficiency_profile(
        self,
        efficiency_profile: EfficiencyProfile,
        *,
        fields: Sequence[str] = (),
        allow_missing: bool = False,
        validate_only: bool = False,
    ) -> catalog.UpdateEfficiencyProfileResponse:
        """Change the efficiency profile that its `id` names: the named fields, or all when none is named.

        An etag in it must still be current: AbortedError tells what changed meanwhile. Raises
        InvalidArgumentError with all that is wrong, and NotFoundError unless `allow_missing` lets it be
        added.
        """
        request = catalog.UpdateEfficiencyProfileRequest(
            efficiency_profile=efficiency_profile,
            update_mask=mask(fields),
            allow_missing=allow_missing,
            validate_only=validate_only,
        )
        return self._call(
            f"{CATALOG}/UpdateEfficiencyProfile", request, catalog.UpdateEfficiencyProfileResponse
        )

    def delete_efficiency_profile(
        self, name: str, *, etag: str = ""
    ) -> catalog.DeleteEfficiencyProfileResponse:
        """Remove an efficiency profile. Raises NotFoundError, and AbortedError when `etag` is given and not
        current.
        """
        request = catalog.DeleteEfficiencyProfileRequest(id=text("id", name), etag=text("etag", etag))
        return self._call(
            f"{CATALOG}/DeleteEfficiencyProfile", request, catalog.DeleteEfficiencyProfileResponse
        )

    def _profile_pages(
        self, order_by: str, catalog_revision: int, limit: int | None
    ) -> Iterator[catalog.ListEfficiencyProfilesResponse]:
        request, limit = catalog_requests.profile_list(
            order_by=order_by, catalog_revision=catalog_revision, limit=limit
        )
        return self._pages(
            f"{CATALOG}/ListEfficiencyProfiles",
            request,
            catalog.ListEfficiencyProfilesResponse,
            "efficiency_profiles",
            limit,
        )
