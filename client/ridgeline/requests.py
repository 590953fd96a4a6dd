"""Turns Python arguments into the contract's request messages.

Only what the wire cannot carry is refused here, such as a number that no 32-bit field holds or a format that
has no name; everything else is the server's to judge, so that every client gets the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import TypeAlias

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from ridgeline.errors import FieldViolation, InvalidArgumentError
from ridgeline.files import config_text, names_file, read_config, read_device, read_model, read_object
from ridgeline.jsonform import INT32_MAX, INT32_MIN, enum_choices, enum_number, fits_int32, is_unicode
from ridgeline.v1 import common_pb2, recommendation_service_pb2, types_pb2
from ridgeline.v1.hardware_pb2 import Hardware, PeakRate
from ridgeline.v1.model_pb2 import Model

ModelSource: TypeAlias = str | Path | Mapping[str, object]
"""A name of the catalog, the path of a config.json or of its folder, or a config as a dictionary."""

HardwareSource: TypeAlias = str | Path | Mapping[str, object] | Hardware
"""A name of the catalog, the path of a device file, what such a file holds, or a message."""

ModelEntrySource: TypeAlias = str | Path | Mapping[str, object] | Model
"""The path of a model entry's file, what such a file holds, or a message."""

_DTYPE = types_pb2.Dtype.DESCRIPTOR
_GOAL = recommendation_service_pb2.Goal.DESCRIPTOR
_OVERRIDES = (
    "bandwidth_bytes_per_s", "memory_bytes", "usable_memory_bytes", "clock_hz", "price_usd_per_hour",
)  # fmt: skip


@dataclass
class Checks:
    """Collects what the wire cannot carry, so that all of it is told at once."""

    violations: list[FieldViolation] = field(default_factory=list)

    def add(self, path: str, description: str) -> None:
        """Note one wrong field."""
        self.violations.append(FieldViolation(path, description))

    def raise_if_any(self) -> None:
        """Raise InvalidArgumentError when something was noted."""
        if self.violations:
            raise InvalidArgumentError("The request has wrong fields.", "INVALID_FIELD", self.violations)

    def whole(self, path: str, value: object) -> int:
        """A value for a 32-bit field; 0 after noting a violation."""
        if hasattr(value, "__index__") and not isinstance(value, bool):
            if fits_int32(value):
                return index(value)
            self.add(path, f"is {value}; no more than {INT32_MIN:,} to {INT32_MAX:,} can be sent")
        else:
            self.add(path, f"is {value!r}; give a whole number")
        return 0

    def number(self, path: str, value: object) -> float:
        """A value for a double field; 0 after noting a violation."""
        try:
            return float(value)  # type: ignore[arg-type]  # whatever converts itself, such as numpy's scalars
        except (TypeError, ValueError):
            self.add(path, f"is {value!r}; give a number")
        except OverflowError:
            self.add(path, "is too large for a floating-point number")
        return 0.0

    def flag(self, path: str, value: object) -> bool:
        """True or false; false after noting a violation."""
        if isinstance(value, bool):
            return value
        self.add(path, f"is {value!r}; give True or False")
        return False

    def choice(self, path: str, enum: EnumDescriptor, value: object) -> int:
        """The number of an enum's value; 0 after noting a violation."""
        number = enum_number(enum, value) if isinstance(value, str) else None
        if not number:
            self.add(path, f"is {value!r}; give one of {', '.join(enum_choices(enum))}")
        return number or 0

    def text(self, path: str, value: object) -> str:
        """A string that is valid Unicode; empty after noting a violation."""
        if isinstance(value, str) and is_unicode(value):
            return value
        self.add(
            path, f"is {value!r}; give a string" + (" of valid Unicode" if isinstance(value, str) else "")
        )
        return ""


def model_selector(model: object, checks: Checks, path: str = "model") -> common_pb2.ModelSelector:
    """Which model the field at `path` is about; see ModelSource."""
    try:
        if isinstance(model, Path) or (isinstance(model, str) and names_file(model)):
            return common_pb2.ModelSelector(config_json=read_config(Path(model), path).text)
        if isinstance(model, Mapping):
            return common_pb2.ModelSelector(config_json=config_text(model, f"{path}.config_json"))
    except InvalidArgumentError as error:
        checks.violations += error.violations
        return common_pb2.ModelSelector()
    return common_pb2.ModelSelector(id=checks.text(path, model))


def hardware_selector(
    hardware: object, overrides: Mapping[str, object] | None, checks: Checks, path: str = "hardware"
) -> common_pb2.HardwareSelector:
    """Which device the field at `path` is about; see HardwareSource."""
    selector = common_pb2.HardwareSelector()
    if isinstance(hardware, str) and not names_file(hardware):
        selector.id = checks.text(path, hardware)
    else:
        try:
            selector.inline.CopyFrom(hardware_entry(hardware, f"{path}.inline"))
        except InvalidArgumentError as error:
            checks.violations += error.violations
    if overrides:
        selector.overrides.CopyFrom(_overrides(overrides, checks))
    return selector


def _overrides(overrides: Mapping[str, object], checks: Checks) -> common_pb2.HardwareOverrides:
    message = common_pb2.HardwareOverrides()
    for key, value in overrides.items():
        path = f"hardware.overrides.{key}"
        if key in _OVERRIDES:
            setattr(message, key, checks.number(path, value))
        elif key == "peaks" and isinstance(value, Mapping):
            message.peaks.extend(_peak(path, dtype, rate, checks) for dtype, rate in value.items())
        elif key.startswith("peaks."):
            message.peaks.append(_peak("hardware.overrides.peaks", key.removeprefix("peaks."), value, checks))
        else:
            checks.add(
                path,
                f"is not a figure that can be replaced; give one of {', '.join(_OVERRIDES)}, peaks.<dtype>",
            )
    return message


def _peak(path: str, dtype: object, rate: object, checks: Checks) -> PeakRate:
    where = f"{path}.{dtype}"
    return PeakRate(
        dtype=types_pb2.Dtype.ValueType(checks.choice(where, _DTYPE, dtype)),
        flops_per_s=checks.number(where, rate),
    )


def goal(value: object, checks: Checks) -> recommendation_service_pb2.Goal.ValueType:
    """What a plan improves."""
    return recommendation_service_pb2.Goal.ValueType(checks.choice("goal", _GOAL, value))


def assumed_figures(
    figures: Mapping[str, object], checks: Checks
) -> recommendation_service_pb2.AssumedFigures:
    """The figures that techniques would have to assume, by their fields."""
    message = recommendation_service_pb2.AssumedFigures()
    known = message.DESCRIPTOR.fields_by_name
    for name, value in figures.items():
        if name in known:
            whole = known[name].cpp_type == FieldDescriptor.CPPTYPE_INT32
            setattr(
                message,
                name,
                _whole(name, value, checks) if whole else checks.number(f"assumed.{name}", value),
            )
        else:
            checks.add(f"assumed.{name}", f"is no such figure; give one of {', '.join(known)}")
    return message


def _whole(figure: str, value: object, checks: Checks) -> int:
    """A figure that is a whole number, as a number or as the text that a command line has."""
    text = value.strip() if isinstance(value, str) else ""
    return checks.whole(f"assumed.{figure}", int(text) if text.isdecimal() else value)


def hardware_entry(hardware: object, path: str = "hardware") -> Hardware:
    """A device as a message. Raises InvalidArgumentError with all that is wrong, named below `path`."""
    if isinstance(hardware, Hardware):
        return hardware
    if isinstance(hardware, (str, Path)):
        return read_device(read_object(Path(hardware), path), path)
    if isinstance(hardware, Mapping):
        return read_device(hardware, path)
    raise _wrong_type(path, hardware, "the path of a device file, its content or a Hardware message")


def model_entry(model: object, path: str = "model") -> Model:
    """A model's entry as a message. Raises InvalidArgumentError with all that is wrong, named below
    `path`.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, (str, Path)):
        return read_model(read_object(Path(model), path), path)
    if isinstance(model, Mapping):
        return read_model(model, path)
    raise _wrong_type(path, model, "the path of a model file, its content or a Model message")


def model_config(config: object, path: str = "config_json") -> str:
    """The text of a config.json from its path, its folder's path or its content.

    Raises InvalidArgumentError.
    """
    if isinstance(config, (str, Path)):
        return read_config(Path(config), path).text
    if isinstance(config, Mapping):
        return config_text(config, path)
    raise _wrong_type(path, config, "the path of a config.json or its content as a dictionary")


def field_paths(fields: Sequence[str]) -> list[str]:
    """The paths of an update mask; one string would silently be read as its letters."""
    return [fields] if isinstance(fields, str) else list(fields)


def _wrong_type(path: str, value: object, wanted: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        "The argument has the wrong type.",
        "INVALID_FIELD",
        [FieldViolation(path, f"is of type {type(value).__name__}; give {wanted}")],
    )
