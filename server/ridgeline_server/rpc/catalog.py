"""CatalogService: hardware, models and efficiency profiles."""

from __future__ import annotations

from functools import partial
from typing import Any

from ridgeline.v1 import catalog_service_pb2 as pb
from ridgeline_server.rpc.changes import changes_response
from ridgeline_server.rpc.checks import MAX_TEXT_LENGTH, Checks
from ridgeline_server.rpc.convert import hardware, models, profiles
from ridgeline_server.rpc.convert.filters import no_filter, read_hardware_filter, read_model_filter
from ridgeline_server.rpc.entry_kinds import EntryKind
from ridgeline_server.rpc.imports import import_entries, over_stored
from ridgeline_server.store.catalog_store import CatalogStore
from ridgeline_server.store.entries import ModelEntry
from ridgeline_server.store.errors import Resource


class CatalogServicer:
    """Reads and writes the stored catalog."""

    def __init__(self, store: CatalogStore) -> None:
        self._store = store
        self._hardware = EntryKind(
            "hardware",
            store.hardware,
            hardware.read_entry,
            hardware.entry_message,
            dependents={"price_usd_per_hour": "price_as_of"},
        )
        self._models = EntryKind(
            "model",
            store.models,
            models.read_entry,
            models.entry_message,
            models.COMPUTED,
            dependents={"config_json": "checkpoint"},
        )
        self._profiles = EntryKind(
            "efficiency_profile", store.profiles, profiles.read_entry, profiles.entry_message
        )
        self._by_field: dict[str, EntryKind[Any, Any]] = {
            resource.field: resource for resource in (self._hardware, self._models, self._profiles)
        }
        self._by_kind: dict[Resource, EntryKind[Any, Any]] = {
            resource.repository.resource: resource for resource in self._by_field.values()
        }

    def get_hardware(self, request: pb.GetHardwareRequest) -> pb.GetHardwareResponse:
        """One device by id or alias."""
        message, revision = self._hardware.get(request.id, request.catalog_revision)
        return pb.GetHardwareResponse(hardware=message, catalog_revision=revision)

    def list_hardware(self, request: pb.ListHardwareRequest) -> pb.ListHardwareResponse:
        """One page of devices."""
        page, token, revision = self._hardware.list_page(request, read_hardware_filter)
        return pb.ListHardwareResponse(hardware=page, next_page_token=token, catalog_revision=revision)

    def create_hardware(self, request: pb.CreateHardwareRequest) -> pb.CreateHardwareResponse:
        """Adds a device."""
        message, revision = self._hardware.create(request.hardware, validate_only=request.validate_only)
        return pb.CreateHardwareResponse(hardware=message, catalog_revision=revision)

    def update_hardware(self, request: pb.UpdateHardwareRequest) -> pb.UpdateHardwareResponse:
        """Changes a device."""
        message, revision = self._hardware.update(
            request.hardware,
            request.update_mask.paths,
            allow_missing=request.allow_missing,
            validate_only=request.validate_only,
        )
        return pb.UpdateHardwareResponse(hardware=message, catalog_revision=revision)

    def delete_hardware(self, request: pb.DeleteHardwareRequest) -> pb.DeleteHardwareResponse:
        """Removes a device."""
        return pb.DeleteHardwareResponse(catalog_revision=self._hardware.delete(request.id, request.etag))

    def get_model(self, request: pb.GetModelRequest) -> pb.GetModelResponse:
        """One model by id or alias."""
        message, revision = self._models.get(request.id, request.catalog_revision)
        return pb.GetModelResponse(model=message, catalog_revision=revision)

    def list_models(self, request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        """One page of models."""
        page, token, revision = self._models.list_page(request, read_model_filter)
        return pb.ListModelsResponse(models=page, next_page_token=token, catalog_revision=revision)

    def create_model(self, request: pb.CreateModelRequest) -> pb.CreateModelResponse:
        """Adds a model."""
        message, revision = self._models.create(request.model, validate_only=request.validate_only)
        return pb.CreateModelResponse(model=message, catalog_revision=revision)

    def update_model(self, request: pb.UpdateModelRequest) -> pb.UpdateModelResponse:
        """Changes a model."""
        message, revision = self._models.update(
            request.model,
            request.update_mask.paths,
            allow_missing=request.allow_missing,
            validate_only=request.validate_only,
        )
        return pb.UpdateModelResponse(model=message, catalog_revision=revision)

    def delete_model(self, request: pb.DeleteModelRequest) -> pb.DeleteModelResponse:
        """Removes a model."""
        return pb.DeleteModelResponse(catalog_revision=self._models.delete(request.id, request.etag))

    def import_model(self, request: pb.ImportModelRequest) -> pb.ImportModelResponse:
        """Adds a model from the text of its config.json alone."""
        checks = Checks()
        entry = _imported(checks, request)
        checks.raise_if_any()
        repository, dry_run = self._models.repository, request.validate_only
        if request.allow_existing:
            stored = repository.update(
                entry.id, partial(over_stored, entry), missing=lambda: entry, dry_run=dry_run
            )
        else:
            stored = repository.create(entry, dry_run=dry_run)
        message = self._models.written(stored.entry, dry_run)
        return pb.ImportModelResponse(model=message, catalog_revision=stored.revision)

    def get_efficiency_profile(
        self, request: pb.GetEfficiencyProfileRequest
    ) -> pb.GetEfficiencyProfileResponse:
        """One profile by id."""
        message, revision = self._profiles.get(request.id, request.catalog_revision)
        return pb.GetEfficiencyProfileResponse(efficiency_profile=message, catalog_revision=revision)

    def list_efficiency_profiles(
        self, request: pb.ListEfficiencyProfilesRequest
    ) -> pb.ListEfficiencyProfilesResponse:
        """One page of efficiency profiles."""
        page, token, revision = self._profiles.list_page(request, no_filter)
        return pb.ListEfficiencyProfilesResponse(
            efficiency_profiles=page, next_page_token=token, catalog_revision=revision
        )

    def create_efficiency_profile(
        self, request: pb.CreateEfficiencyProfileRequest
    ) -> pb.CreateEfficiencyProfileResponse:
        """Adds a profile."""
        message, revision = self._profiles.create(
            request.efficiency_profile, validate_only=request.validate_only
        )
        return pb.CreateEfficiencyProfileResponse(efficiency_profile=message, catalog_revision=revision)

    def update_efficiency_profile(
        self, request: pb.UpdateEfficiencyProfileRequest
    ) -> pb.UpdateEfficiencyProfileResponse:
        """Changes a profile."""
        message, revision = self._profiles.update(
            request.efficiency_profile,
            request.update_mask.paths,
            allow_missing=request.allow_missing,
            validate_only=request.validate_only,
        )
        return pb.UpdateEfficiencyProfileResponse(efficiency_profile=message, catalog_revision=revision)

    def delete_efficiency_profile(
        self, request: pb.DeleteEfficiencyProfileRequest
    ) -> pb.DeleteEfficiencyProfileResponse:
        """Removes a profile."""
        return pb.DeleteEfficiencyProfileResponse(
            catalog_revision=self._profiles.delete(request.id, request.etag)
        )

    def import_entries(self, request: pb.ImportEntriesRequest) -> pb.ImportEntriesResponse:
        """Writes many entries in one transaction."""
        return import_entries(request, self._by_field, self._store.database)

    def list_changes(self, request: pb.ListChangesRequest) -> pb.ListChangesResponse:
        """One page of what was written."""
        return changes_response(request, self._store, self._by_kind)


def _imported(checks: Checks, request: pb.ImportModelRequest) -> ModelEntry:
    """The entry that an import describes. Use it when nothing is noted."""
    model = checks.config("config_json", request.config_json, request.id or None)
    entry_id = request.id or (model.id if model else "")
    if request.id or entry_id:
        models.check_model_id(checks, "id", entry_id)
    elif model:
        checks.add("id", "is empty, and the config has no _name_or_path to take it from; give an id")
    checks.text("source", request.source, MAX_TEXT_LENGTH)
    return ModelEntry(id=entry_id, config_json=request.config_json, source=request.source)
