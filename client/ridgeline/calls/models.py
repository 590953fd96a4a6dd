"""The catalog's models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Unpack

from ridgeline import catalog_requests, requests
from ridgeline.calls.base import CATALOG, Calls, mask, merged, revision, text
from ridgeline.catalog_requests import ModelQuery
from ridgeline.requests import ModelEntrySource, ModelSource
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1.model_pb2 import Model


class ModelCalls(Calls):
    """Reads and writes models."""

    def get_model(self, name: str, *, catalog_revision: int = 0) -> catalog.GetModelResponse:
        """One model by id or alias, as it is or as it was at a revision of the catalog.

        Raises NotFoundError with the nearest names, and OutOfRangeError for a revision that cannot be read.
        """
        request = catalog.GetModelRequest(id=text("id", name), catalog_revision=revision(catalog_revision))
        return self._call(f"{CATALOG}/GetModel", request, catalog.GetModelResponse)

    def list_models(self, **query: Unpack[ModelQuery]) -> catalog.ListModelsResponse:
        """The models that match a query (see ModelQuery), all pages in one response.

        Raises InvalidArgumentError for a query that cannot be meant, and OutOfRangeError for a revision that
        cannot be read.
        """
        return merged(self._model_pages(query))

    def iter_models(self, **query: Unpack[ModelQuery]) -> Iterator[Model]:
        """The same one by one: a page is asked for when its first model is."""
        return (model for page in self._model_pages(query) for model in page.models)

    def create_model(
        self, model: ModelEntrySource, *, validate_only: bool = False
    ) -> catalog.CreateModelResponse:
        """Add a model's entry; `import_model` needs nothing but its config.json.

        Raises InvalidArgumentError with all that is wrong, and AlreadyExistsError for a taken id or alias.
        """
        request = catalog.CreateModelRequest(model=requests.model_entry(model), validate_only=validate_only)
        return self._call(f"{CATALOG}/CreateModel", request, catalog.CreateModelResponse)

    def update_model(
        self,
        model: ModelEntrySource,
        *,
        fields: Sequence[str] = (),
        allow_missing: bool = False,
        validate_only: bool = False,
    ) -> catalog.UpdateModelResponse:
        """Change the model that `model.id` names: the named fields, or all when none is named.

        An etag in `model` must still be current: AbortedError tells what changed meanwhile. Raises
        InvalidArgumentError with all that is wrong, and NotFoundError unless `allow_missing` lets it be
        added.
        """
        request = catalog.UpdateModelRequest(
            model=requests.model_entry(model),
            update_mask=mask(fields),
            allow_missing=allow_missing,
            validate_only=validate_only,
        )
        return self._call(f"{CATALOG}/UpdateModel", request, catalog.UpdateModelResponse)

    def delete_model(self, name: str, *, etag: str = "") -> catalog.DeleteModelResponse:
        """Remove a model. Raises NotFoundError, and AbortedError when `etag` is given and not current."""
        request = catalog.DeleteModelRequest(id=text("id", name), etag=text("etag", etag))
        return self._call(f"{CATALOG}/DeleteModel", request, catalog.DeleteModelResponse)

    def import_model(
        self,
        config: ModelSource,
        *,
        id: str = "",  # noqa: A002  # the field's own word
        source: str = "",
        allow_existing: bool = False,
        validate_only: bool = False,
    ) -> catalog.ImportModelResponse:
        """Add a model from its config.json: a path, a folder's path, or the config as a dictionary.

        `id` is needed when the config has no `_name_or_path`; `source` says where the config was read. Raises
        InvalidArgumentError for a config that cannot be understood, and AlreadyExistsError for a taken id.
        """
        request = catalog.ImportModelRequest(
            config_json=requests.model_config(config),
            id=text("id", id),
            source=text("source", source),
            allow_existing=allow_existing,
            validate_only=validate_only,
        )
        return self._call(f"{CATALOG}/ImportModel", request, catalog.ImportModelResponse)

    def _model_pages(self, query: ModelQuery) -> Iterator[catalog.ListModelsResponse]:
        request, limit = catalog_requests.model_list(**query)
        return self._pages(f"{CATALOG}/ListModels", request, catalog.ListModelsResponse, "models", limit)
