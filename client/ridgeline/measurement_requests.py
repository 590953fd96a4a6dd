"""Turns Python arguments into the requests that import, list and remove measurements, and compare
predictions with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias, TypedDict, Unpack

from ridgeline import jsonform
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


def row_chunks(measurements: Iterable[Measurement]) -> Iterator[list[Measurement]]:
    """Rows in lists that one request can carry, read as they are needed."""
    for chunk in chunks(measurements):
        yield [given.measurement for given in chunk]


def validation(
    measurements: Iterable[Measurement], catalog_revision: int
) -> service.ValidateMeasurementsRequest:
    """The request that predicts rows. Raises InvalidArgumentError."""
    checks = Checks()
    request = service.ValidateMeasurementsRequest(
        measurements=(to_import(row).measurement for row in measurements),
        catalog_revision=checks.whole("catalog_revision", catalog_revision),
    )
    checks.raise_if_any()
    return request


def stored_validation(
    catalog_revision: int, choice: MeasurementChoice
) -> service.ValidateMeasurementsRequest:
    """The request that predicts stored rows. Raises InvalidArgumentError."""
    checks = Checks()
    request = service.ValidateMeasurementsRequest(
        filter=_filter(checks, choice) or service.MeasurementFilter(),
        page_size=MAX_IMPORT_MEASUREMENTS,
        catalog_revision=checks.whole("catalog_revision", catalog_revision),
    )
    checks.raise_if_any()
    return request


def _enum_word(field: str) -> Callable[[service.MeasurementPrediction], str]:
    enum = service.MeasurementPrediction.DESCRIPTOR.fields_by_name[field].enum_type

    def word(prediction: service.MeasurementPrediction) -> str:
        number: int = getattr(prediction, field)
        return str(jsonform.enum_name(enum, number)).lower() if number else ""

    return word


GROUPINGS: Mapping[str, Callable[[service.MeasurementPrediction], str]] = MappingProxyType(
    {
        "metric": _enum_word("metric"),
        "phase": _enum_word("phase"),
        "hardware": lambda prediction: prediction.hardware_id,
        "model": lambda prediction: prediction.model_id,
        "model_class": lambda prediction: prediction.model_class,
        "engine": lambda prediction: prediction.engine,
        "level": _enum_word("profile_level"),
    }
)
"""What errors may be told apart by."""


def check_groupings(by: Sequence[str]) -> None:
    """Raises InvalidArgumentError for a grouping that there is not."""
    wrong = [name for name in by if name not in GROUPINGS]
    if wrong:
        raise InvalidArgumentError(
            "The groupings are wrong.",
            "INVALID_FIELD",
            [FieldViolation("by", f"has {name!r}; give {', '.join(GROUPINGS)}") for name in wrong],
        )


def error_summary(
    predictions: Iterable[service.MeasurementPrediction], by: Sequence[str]
) -> service.SummarizeErrorsRequest:
    """The columns of predictions, for their summary. Raises InvalidArgumentError for a grouping that there is
    not.
    """
    check_groupings(by)
    request = service.SummarizeErrorsRequest(groupings=[service.GroupColumn(name=name) for name in by])
    places: list[dict[str, int]] = [{} for _ in by]
    for prediction in predictions:
        answered = prediction.HasField("predicted")
        # A refused row may have any figure; none of a row without an answer is used.
        request.measured.append(prediction.measured if answered else 1.0)
        for name in ("predicted", "low", "high", "ideal"):
            getattr(request, name).append(getattr(prediction, name) if answered else 0.0)
        for column, known in zip(request.groupings, places, strict=True):
            group = GROUPINGS[column.name](prediction)
            column.group_indices.append(known.setdefault(group, len(known)))
    for column, known in zip(request.groupings, places, strict=True):
        column.groups.extend(known)
    return request


def calibration(
    measurements: Iterable[Measurement], *, save: bool, choice: MeasurementChoice
) -> service.CalibrateRequest:
    """The request that calibrates. Raises InvalidArgumentError."""
    checks = Checks()
    request = service.CalibrateRequest(
        measurements=(to_import(row).measurement for row in measurements),
        filter=_filter(checks, choice),
        save=save,
    )
    checks.raise_if_any()
    return request


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
