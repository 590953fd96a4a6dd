"""Measurements: the contract's message and the domain's, and the filter of lists.

What a measurement must be is told here alone. The names of its fields are those of the contract and of the
common schema's columns, so that a client can tell the line and the column of what is wrong.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from ridgeline.v1 import measurement_pb2 as pb
from ridgeline.v1 import measurement_service_pb2 as service
from ridgeline_server.domain.measurement import (
    FORMATS,
    LOADS,
    MeasuredMetric,
    Measurement,
    Phase,
    content_id,
)
from ridgeline_server.rpc.checks import MAX_NAME_LENGTH, MAX_TEXT_LENGTH, Checks, Range
from ridgeline_server.rpc.convert.bookkeeping import timestamp
from ridgeline_server.rpc.convert.enums import CONFIDENCE, MEASURED_METRIC, PHASE, TIER
from ridgeline_server.rpc.convert.hardware import check_slug
from ridgeline_server.rpc.convert.models import check_model_id
from ridgeline_server.store.measurements import MeasurementFilter, StoredMeasurement

VALUE = Range(1e-9, 1e15, "a number from 1e-9 to 1e15")
REQUEST_RATE = Range(1e-6, 1e9, "requests per second from 1e-6 to 1e9")
MAX_DEVICES = 1_000_000
MAX_REQUESTS = 1_000_000
MAX_TOKENS = 100_000_000

_WHOLE = {
    **dict.fromkeys(("n_devices", "tp", "pp", "ep", "attention_dp", "moe_tp"), (1, MAX_DEVICES)),
    **dict.fromkeys(("isl", "osl", "past_tokens"), (0, MAX_TOKENS)),
    **dict.fromkeys(("batch", "concurrency"), (1, MAX_REQUESTS)),
}
"""The least and the largest value of each whole number."""

_SHORT_TEXTS = ("source_group", "engine_version", "weight_format")
_TEXTS = ("source", "model_published", "hardware_published", "ambiguous", "notes")
_LOADS = ("batch", "concurrency", "request_rate")

_ID = re.compile(r"[^\s\x00-\x1f\x7f]{1,255}")
_ID_RULE = "up to 255 characters without spaces, or none, for an id that is made of the content"
_WORD = re.compile(r"[a-z0-9][a-z0-9._+/-]{0,62}")
_ENGINE_RULE = "its name in lower case without spaces, such as vllm or llama.cpp"
_FORMAT_RULE = "its name in lower case without spaces, such as bf16, int4 or int3"


def read_measurement(checks: Checks, message: pb.Measurement) -> Measurement:
    """The measurement that a message describes; one without an id gets that of its content. Use it when
    nothing is noted.
    """
    if message.id:
        checks.pattern("id", message.id, _ID, _ID_RULE)
    checks.pattern("engine", message.engine, _WORD, _ENGINE_RULE)
    _check_name(checks, message, "model")
    _check_name(checks, message, "hardware")
    for field in FORMATS:
        if getattr(message, field):
            checks.pattern(field, getattr(message, field), _WORD, _FORMAT_RULE)
    for field in _SHORT_TEXTS:
        checks.text(field, getattr(message, field), MAX_NAME_LENGTH)
    for field in _TEXTS:
        checks.text(field, getattr(message, field), MAX_TEXT_LENGTH)
    whole: dict[str, Any] = {field: _whole(checks, message, field) for field in _WHOLE}
    rate = message.request_rate if message.HasField("request_rate") else None
    if rate is not None:
        checks.number("request_rate", rate, REQUEST_RATE)
    phase = checks.enum("phase", message.phase, PHASE)
    if message.phase == 0:
        checks.add("phase", f"is not set; give {', '.join(Phase)}")
    metric = checks.enum("metric", message.metric, MEASURED_METRIC)
    if message.metric == 0:
        checks.add("metric", f"is not set; give {', '.join(MeasuredMetric)}")
    _check_load(checks, message, phase)
    if message.HasField("value"):
        checks.number("value", message.value, VALUE)
    else:
        checks.add("value", f"is not set; give {VALUE.words}")
    texts: dict[str, Any] = {field: getattr(message, field) for field in (*FORMATS, *_SHORT_TEXTS, *_TEXTS)}
    measurement = Measurement(
        id=message.id,
        engine=message.engine,
        model_id=message.model_id,
        hardware_id=message.hardware_id,
        phase=phase or Phase.STATIC_BATCH,
        request_rate=rate,
        metric=metric or MeasuredMetric.TTFT_MS,
        value=message.value,
        confidence=checks.enum("confidence", message.confidence, CONFIDENCE),
        tier=checks.enum("tier", message.tier, TIER),
        **texts,
        **whole,
    )
    return measurement if measurement.id else replace(measurement, id=content_id(measurement))


def _check_name(checks: Checks, message: pb.Measurement, what: str) -> None:
    """A model or a device has an id of the catalog, or at least the source's name for it."""
    field = f"{what}_id"
    name = getattr(message, field)
    if name:
        (check_model_id if what == "model" else check_slug)(checks, field, name)
    elif not getattr(message, f"{what}_published").strip():
        checks.add(
            field,
            f"is empty, and {what}_published too; give the catalog's id, or what the source calls it "
            f"as {what}_published",
        )


def _whole(checks: Checks, message: pb.Measurement, field: str) -> int | None:
    if not message.HasField(field):  # type: ignore[arg-type]  # the names of optional fields
        return None
    value: int = getattr(message, field)
    checks.whole(field, value, *_WHOLE[field])
    return value


def _check_load(checks: Checks, message: pb.Measurement, phase: Phase | None) -> None:
    """A load is one number of one kind, and the kind is that of the phase."""
    stated = [field for field in _LOADS if message.HasField(field)]  # type: ignore[arg-type]  # as above
    fitting = LOADS[phase] if phase is not None else _LOADS
    for field in stated:
        if field not in fitting:
            checks.add(
                field,
                f"is {getattr(message, field):g}, which {phase} does not have; give {' or '.join(fitting)}, "
                "or another phase",
            )
    if len(stated) > 1 and all(field in fitting for field in stated):
        checks.add(stated[1], f"is {getattr(message, stated[1]):g}, beside {stated[0]}; give one of both")


def measurement_message(measurement: Measurement) -> pb.Measurement:
    """A measurement as the contract's message, without who imported it and when."""
    message = pb.Measurement(
        id=measurement.id,
        engine=measurement.engine,
        model_id=measurement.model_id,
        hardware_id=measurement.hardware_id,
        phase=PHASE.to_proto[measurement.phase],
        request_rate=measurement.request_rate,
        metric=MEASURED_METRIC.to_proto[measurement.metric],
        value=measurement.value,
        confidence=CONFIDENCE.number(measurement.confidence),
        tier=TIER.number(measurement.tier),
    )
    for field in (*FORMATS, *_SHORT_TEXTS, *_TEXTS):
        setattr(message, field, getattr(measurement, field))
    for field in _WHOLE:
        value = getattr(measurement, field)
        if value is not None:
            setattr(message, field, value)
    return message


def stored_message(stored: StoredMeasurement) -> pb.Measurement:
    """A stored measurement as the contract's message."""
    message = measurement_message(stored.measurement)
    message.principal = stored.principal
    message.create_time.CopyFrom(timestamp(stored.create_time))
    message.update_time.CopyFrom(timestamp(stored.update_time))
    return message


def read_measurement_filter(checks: Checks, message: service.MeasurementFilter) -> MeasurementFilter:
    """The measurements that a request asks for. Use it when nothing is noted."""
    for field in ("hardware_id", "model_id", "engine", "source_group"):
        checks.text(f"filter.{field}", getattr(message, field), MAX_NAME_LENGTH)
    return MeasurementFilter(
        hardware_id=message.hardware_id,
        model_id=message.model_id,
        engine=message.engine,
        phase=checks.enum("filter.phase", message.phase, PHASE),
        metric=checks.enum("filter.metric", message.metric, MEASURED_METRIC),
        source_group=message.source_group,
    )
