"""Reads what a RecommendRequest lets plans change: load, number and kind of devices, the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from ridgeline.v1.recommendation_service_pb2 import RecommendRequest
from ridgeline_server.advisor.results import DEFAULT_ACCURACY_LOSS, Freedom
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import MAX_BATCH
from ridgeline_server.rpc.checks import Checks, Range
from ridgeline_server.rpc.questions import read_device, read_model
from ridgeline_server.store.catalog import CatalogSnapshot
from ridgeline_server.store.errors import NotFoundError

ACCURACY_LOSS = Range(0.0, 1.0, "a share from 0 to 1")
MOST_DEVICES = 1_000
"""Kinds of devices that are compared at most."""
MOST_MODELS = 100
"""Models that are compared at most."""

ANNOUNCED = "(announced)"
"""How the display name ends of a device that was announced and that nobody can have yet."""

Selector = TypeVar("Selector")
Entry = TypeVar("Entry")


def read_freedom(
    request: RecommendRequest, snapshot: CatalogSnapshot, checks: Checks
) -> tuple[Freedom, list[NotFoundError]]:
    """The freedom that a request states, and the names in it that there are not: these are told after all
    wrong fields. The models that the catalog has for it are not in it yet, see `with_siblings`.
    """
    most = request.max_devices if request.HasField("max_devices") else None
    if most is not None:
        checks.whole("max_devices", most, 1, MAX_BATCH)
    loss = DEFAULT_ACCURACY_LOSS
    if request.HasField("max_accuracy_loss"):
        loss = request.max_accuracy_loss
        checks.number("max_accuracy_loss", loss, ACCURACY_LOSS)
    unknown: list[NotFoundError] = []

    def named(
        field: str,
        selectors: Sequence[Selector],
        permission: str,
        most: int,
        read: Callable[[Selector, str, CatalogSnapshot, Checks], Entry | None],
    ) -> tuple[Entry, ...] | None:
        """The entries that selectors name; None where nothing of the kind may change."""
        if not getattr(request, permission):
            if selectors:
                checks.add(field, f"is given, but {permission} is not set; set it, or leave this out")
            return None
        if len(selectors) > most:
            checks.add(field, f"has {len(selectors):,} entries; give {most:,} at most")
            return ()
        found = []
        for index, selector in enumerate(selectors):
            try:
                found.append(read(selector, f"{field}[{index}]", snapshot, checks))
            except NotFoundError as error:
                unknown.append(error)
        return tuple(entry for entry in found if entry is not None)

    hardware = named(
        "other_hardware", request.other_hardware, "allow_hardware_change", MOST_DEVICES, read_device
    )
    models = named("other_models", request.other_models, "allow_model_change", MOST_MODELS, read_model)
    if request.allow_hardware_change and not request.other_hardware:
        hardware = _all_devices(snapshot, checks)
    freedom = Freedom(
        load=request.allow_load_change,
        devices=request.allow_devices_change,
        max_devices=most,
        max_accuracy_loss=loss,
        unknown_accuracy=request.allow_unknown_accuracy,
        hardware=hardware,
        models=models,
    )
    return freedom, unknown


def with_siblings(
    freedom: Freedom, request: RecommendRequest, model: Model, snapshot: CatalogSnapshot
) -> Freedom:
    """The freedom with the catalog's smaller models, where the request allows a change and names none."""
    if not request.allow_model_change or request.other_models:
        return freedom
    return replace(freedom, models=snapshot.smaller_siblings(model))


def _all_devices(snapshot: CatalogSnapshot, checks: Checks) -> tuple[Hardware, ...]:
    """The catalog's devices but those that are merely announced, which take a name."""
    devices = snapshot.all_hardware(MOST_DEVICES)
    if devices is None:
        checks.add(
            "other_hardware",
            f"is empty, and the catalog has over {MOST_DEVICES:,} devices; name those that may be taken",
        )
    return tuple(device for device in devices or () if not device.display_name.endswith(ANNOUNCED))
