"""Turns Python arguments into the requests that import, list and remove measurements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias, TypedDict, Unpack

from ridgeline.catalog_requests import CHUNK_BYTES, read_limit
from ridgeline.errors import FieldViolation, InvalidArgumentError
from ridgeline.requests import Checks
from ridgeline.v1 import measurement_service_pb2 as service
from ridgeline.v1.measurement_pb2 import Measurement, MeasurementMetric, MeasurementPhase

MAX_IMPORT_MEASUREMENTS = 1000
"""Measurements that the contract allows in one import, and ids in one removal."""

MeasurementSource: TypeAlias = Measurement | service.MeasurementToImport
"""A measurement to import, alone or with the name of the place where it was read."""


class MeasurementChoice(TypedDict, total=False):
    """Which measurements are meant: those that match all that is given. Texts are compared as they are
    stored.

    `phase` is one of prefill, decode, static_batch, closed_loop, open_loop, offline_max and memory, `metric`
    such as ttft_ms or output_tok_s_total.
    """

    hardware_id: str
    model_id: str
    engine: str
    phase: str
    metric: str
    source_group: str


class MeasurementQuery(MeasurementChoice, total=False):
    """Which measurements to list (see MeasurementChoice). `limit` ends the list."""

    limit: int | None


def measurement_list(
    *, limit: int | None = None, **choice: Unpack[MeasurementChoice]
) -> tuple[service.ListMeasurementsRequest, int | None]:
    """The request for a MeasurementQuery, and its limit. Raises InvalidArgumentError."""
    checks = Checks()
    request = service.ListMeasurementsRequest(filter=_filter(checks, choice))
    return request, read_limit(limit, checks)


def measurement_removal(
    ids: Sequence[str], *, validate_only: bool = False, **choice: Unpack[MeasurementChoice]
) -> service.DeleteMeasurementsRequest:
    """The request that removes measurements. Raises InvalidArgumentError."""
    checks = Checks()
    given = (ids,) if isinstance(ids, str) else ids
    request = service.DeleteMeasurementsRequest(
        ids=[checks.text(f"ids[{place}]", measurement_id) for place, measurement_id in enumerate(given)],
        filter=_filter(checks, choice),
        validate_only=validate_only,
    )
    checks.raise_if_any()
    return request


def to_import(source: object) -> service.MeasurementToImport:
    """A measurement with its place; its own id when it came without one. Raises InvalidArgumentError."""
    if isinstance(source, service.MeasurementToImport):
        return source
    if isinstance(source, Measurement):
        return service.MeasurementToImport(name=source.id, measurement=source)
    raise InvalidArgumentError(
        "The argument has the wrong type.",
        "INVALID_FIELD",
        [FieldViolation("measurements", f"is of type {type(source).__name__}; give a Measurement message")],
    )


def chunks(sources: Iterable[MeasurementSource]) -> Iterator[list[service.MeasurementToImport]]:
    """Measurements in lists that one request can carry, read as they are needed."""
    chunk: list[service.MeasurementToImport] = []
    size = 0
    for source in sources:
        given = to_import(source)
        added = given.ByteSize()
        if chunk and (len(chunk) == MAX_IMPORT_MEASUREMENTS or size + added > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(given)
        size += added
    if chunk:
        yield chunk


def _filter(checks: Checks, choice: MeasurementChoice) -> service.MeasurementFilter | None:
    """What is to be picked; None when nothing is said."""
    wanted = service.MeasurementFilter(
        hardware_id=checks.text("filter.hardware_id", choice.get("hardware_id", "")),
        model_id=checks.text("filter.model_id", choice.get("model_id", "")),
        engine=checks.text("filter.engine", choice.get("engine", "")),
        source_group=checks.text("filter.source_group", choice.get("source_group", "")),
    )
    if "phase" in choice:
        number = checks.choice("filter.phase", MeasurementPhase.DESCRIPTOR, choice["phase"])
        wanted.phase = MeasurementPhase.ValueType(number)
    if "metric" in choice:
        number = checks.choice("filter.metric", MeasurementMetric.DESCRIPTOR, choice["metric"])
        wanted.metric = MeasurementMetric.ValueType(number)
    return wanted if wanted.ByteSize() else None
