"""Looks up the models and devices that measured rows name, each name once, hit or miss."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.store.catalog import CatalogSnapshot
from ridgeline_server.store.errors import NotFoundError

T = TypeVar("T", Model, Hardware)


class MeasuredNames:
    """The names of one revision as `calibration.questions` asks for them.

    A thousand rows name a handful of models, and a miss searches the catalog for near names: both are looked
    up once. Misses are LookupErrors that begin with the row's field.
    """

    def __init__(self, snapshot: CatalogSnapshot) -> None:
        self._model = lru_cache(None)(_found("model_id", snapshot.model))
        self._hardware = lru_cache(None)(_found("hardware_id", snapshot.hardware))

    def model(self, name: str) -> Model:
        """The model with this id or alias. Raises LookupError, and UnsupportedConfigError."""
        return _told(self._model(name))

    def hardware(self, name: str) -> Hardware:
        """The device with this id or alias. Raises LookupError."""
        return _told(self._hardware(name))


def _found(field: str, find: Callable[[str], T]) -> Callable[[str], T | LookupError]:
    def look_up(name: str) -> T | LookupError:
        if not name:
            return LookupError(f"{field}: is empty, so nothing can be predicted for the row")
        try:
            return find(name)
        except NotFoundError as error:
            return LookupError(f"{field}: {error}")

    return look_up


def _told(found: T | LookupError) -> T:
    if isinstance(found, LookupError):
        raise found
    return found
