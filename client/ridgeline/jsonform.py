"""The one mapping between the contract's messages and JSON.

- Keys are the fields' own names, in snake_case and in the order of the contract.
- Fields without presence are printed even at their default; `optional` fields, oneof members and sub-messages
  only when they are set.
- Maps are objects, their keys in alphabetical order.
- Numbers are numbers, and whole ones have no fraction, whatever the field's type: a `double` count is 32, not
  32.0. A double that is not finite, which Ridgeline never sends, is null.
- Enum values are their names without the enum's prefix: `MEMORY` for `BOUND_MEMORY`, `UNSPECIFIED` when
  unset; a number that this release has no name for stays a number.
- Timestamps are RFC 3339 strings in UTC.

The way back accepts what the way there prints, besides null for an unset field, enum names in any case or
with their prefix, and keys that are left out. A key that the message does not have is an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from operator import index
from typing import Any, SupportsIndex, TypeVar

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from ridgeline.errors import FieldViolation, InvalidArgumentError

M = TypeVar("M", bound=Message)

INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1

_Writer = Callable[[Any], object]
_ABSENT = object()


def to_dict(message: Message) -> dict[str, object]:
    """The message as JSON values, ready for `json.dumps`."""
    return {
        name: write(getattr(message, name))
        for name, presence, write in _writers(message.DESCRIPTOR)
        if not presence or message.HasField(name)
    }


def to_json(message: Message, indent: int | None = 2) -> str:
    """The message as JSON text; `indent` None puts it on one line."""
    return json.dumps(to_dict(message), indent=indent, ensure_ascii=False, allow_nan=False)


def from_dict(message_type: type[M], value: Mapping[str, object], path: str = "") -> M:
    """Build a message from JSON values.

    Raises InvalidArgumentError with every wrong key and value, named below `path`.
    """
    violations: list[FieldViolation] = []
    message = message_type()
    _fill(message, value, path, violations)
    if violations:
        raise InvalidArgumentError(
            f"The JSON of {message_type.DESCRIPTOR.name} is wrong in {_count(violations)}.",
            "INVALID_FIELD",
            violations,
        )
    return message


def enum_name(enum: EnumDescriptor, number: int) -> str | int:
    """A value's name without the enum's prefix; the number itself when this release has no name for it."""
    return _enum_names(enum).get(number, number)


def enum_number(enum: EnumDescriptor, name: str) -> int | None:
    """The number of a value's name, in any case and with or without the prefix; None when there is none."""
    return _enum_numbers(enum).get(name.upper())


def enum_choices(enum: EnumDescriptor) -> list[str]:
    """The names that can be given, in lower case and in the order of the contract."""
    return [name.lower() for number, name in _enum_names(enum).items() if number != 0]


@cache
def _enum_names(enum: EnumDescriptor) -> dict[int, str]:
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
    return {value.number: value.name.removeprefix(prefix) for value in enum.values}


@cache
def _enum_numbers(enum: EnumDescriptor) -> dict[str, int]:
    return {
        **{name: number for number, name in _enum_names(enum).items()},
        **{value.name: value.number for value in enum.values},
    }


@cache
def _writers(descriptor: Descriptor) -> tuple[tuple[str, bool, _Writer], ...]:
    return tuple((f.name, f.has_presence, _writer(f)) for f in descriptor.fields)


def _writer(field: FieldDescriptor) -> _Writer:
    if _is_map(field):
        write_value = _item_writer(field.message_type.fields_by_name["value"])
        return lambda entries: {key: write_value(entries[key]) for key in sorted(entries)}
    write_item = _item_writer(field)
    if field.is_repeated:
        return lambda items: [write_item(item) for item in items]
    return write_item


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _item_writer(field: FieldDescriptor) -> _Writer:
    if field.message_type is not None:
        return (
            Timestamp.ToJsonString
            if field.message_type.full_name == Timestamp.DESCRIPTOR.full_name
            else to_dict
        )
    if field.enum_type is not None:
        enum = field.enum_type
        return lambda number: enum_name(enum, number)
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return _double
    return lambda value: value


LARGEST_WHOLE = 2.0**53
"""Up to here every whole number is a double of its own."""


def _double(number: float) -> float | int | None:
    """A double as JSON writes it: whole numbers without a fraction, a negative zero apart."""
    if not math.isfinite(number):
        return None
    whole = number.is_integer() and abs(number) <= LARGEST_WHOLE
    return int(number) if whole and (number or math.copysign(1.0, number) > 0) else number


def _fill(message: Message, value: object, path: str, violations: list[FieldViolation]) -> None:
    if not isinstance(value, Mapping):
        violations.append(FieldViolation(path, f"is {_kind(value)}; give an object"))
        return
    fields = message.DESCRIPTOR.fields_by_name
    for key, item in value.items():
        name = _key(key)
        field = fields.get(name)
        where = f"{path}.{name}" if path else name
        if field is None:
            known = ", ".join(fields)
            violations.append(
                FieldViolation(where, f"is not a field of {message.DESCRIPTOR.name}; it has {known}")
            )
        elif item is None:
            continue
        elif _is_map(field):
            _fill_map(message, field, item, where, violations)
        elif field.is_repeated:
            _fill_repeated(message, field, item, where, violations)
        elif field.message_type is not None:
            part = getattr(message, field.name)
            part.SetInParent()
            _fill_part(part, item, where, violations)
        else:
            scalar = _scalar(field, item, where, violations)
            if scalar is not _ABSENT:
                setattr(message, field.name, scalar)


def _fill_repeated(
    message: Message, field: FieldDescriptor, value: object, path: str, violations: list[FieldViolation]
) -> None:
    if not isinstance(value, (list, tuple)):
        violations.append(FieldViolation(path, f"is {_kind(value)}; give a list"))
        return
    items = getattr(message, field.name)
    for position, item in enumerate(value):
        where = f"{path}[{position}]"
        if field.message_type is not None:
            _fill_part(items.add(), item, where, violations)
        else:
            scalar = _scalar(field, item, where, violations)
            if scalar is not _ABSENT:
                items.append(scalar)


def _fill_map(
    message: Message, field: FieldDescriptor, value: object, path: str, violations: list[FieldViolation]
) -> None:
    """Fill a map from names to numbers or messages, which is what the contract has."""
    if not isinstance(value, Mapping):
        violations.append(FieldViolation(path, f"is {_kind(value)}; give an object"))
        return
    key_field, value_field = field.message_type.fields
    for key, item in value.items():
        where = f"{path}.{_key(key)}"
        name = _scalar(key_field, key, where, violations)
        if value_field.message_type is not None:
            if name is not _ABSENT:
                _fill_part(getattr(message, field.name)[name], item, where, violations)
            continue
        scalar = _scalar(value_field, item, where, violations)
        if name is not _ABSENT and scalar is not _ABSENT:
            getattr(message, field.name)[name] = scalar


def _fill_part(part: Message, value: object, path: str, violations: list[FieldViolation]) -> None:
    if not isinstance(part, Timestamp):
        _fill(part, value, path, violations)
        return
    try:
        part.FromJsonString(value if isinstance(value, str) else "")
    except ValueError:
        violations.append(
            FieldViolation(path, f"is {json.dumps(value)}; give a UTC time such as 2026-11-22T09:00:00Z")
        )


def _scalar(field: FieldDescriptor, value: object, path: str, violations: list[FieldViolation]) -> object:
    """The value as the field's type, or _ABSENT after adding a violation."""
    if field.enum_type is not None:
        number = enum_number(field.enum_type, value) if isinstance(value, str) else None
        if number is not None:
            return number
        wanted = f"one of {', '.join(_enum_names(field.enum_type).values())}"
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if isinstance(value, str) and is_unicode(value):
            return value
        wanted = "a string of valid Unicode"
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if isinstance(value, bool):
            return value
        wanted = "true or false"
    elif field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e308:
            return float(value)
        wanted = "a number"
    else:
        if isinstance(value, SupportsIndex) and not isinstance(value, bool) and fits_int32(value):
            return index(value)
        wanted = f"a whole number from {INT32_MIN:,} to {INT32_MAX:,}"
    violations.append(FieldViolation(path, f"is {_kind(value)}; give {wanted}"))
    return _ABSENT


def fits_int32(value: SupportsIndex) -> bool:
    """Whether a whole number can be sent in a 32-bit field."""
    return INT32_MIN <= index(value) <= INT32_MAX


def is_unicode(value: str) -> bool:
    """Whether a string can be sent: half a surrogate pair cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _key(key: object) -> str:
    """A key as messages can name it: what is no string of valid Unicode is escaped, and no field's name."""
    return key if isinstance(key, str) and is_unicode(key) else ascii(key)


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    shown = repr(value) if not isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _count(violations: list[FieldViolation]) -> str:
    return "one place" if len(violations) == 1 else f"{len(violations)} places"
