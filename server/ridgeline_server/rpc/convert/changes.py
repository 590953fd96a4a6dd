"""What differs between two states of an entry, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from ridgeline.v1.catalog_service_pb2 import FieldChange

BOOKKEEPING = frozenset({"id", "origin", "etag", "create_time", "update_time", "suspicions"})
"""Fields that the catalog keeps itself."""

MAX_VALUE_LENGTH = 1000
"""Characters of a value that a change tells: a list of changes must not be larger than what was changed."""

_KEYED = {"PeakRate": "dtype", "FigureSource": "field"}
"""Lists whose entries are told apart by one of their fields, not by their place."""


def field_changes(
    before: Message | None, after: Message | None, computed: Iterable[str] = ()
) -> list[FieldChange]:
    """The fields that differ, in the order of their paths; None is an entry that does not exist. `computed`
    names fields that follow from others, and are left out.
    """
    skipped = BOOKKEEPING.union(computed)
    old = {} if before is None else dict(_leaves(before, skipped))
    new = {} if after is None else dict(_leaves(after, skipped))
    return [
        FieldChange(field=path, before=_cut(old.get(path, "")), after=_cut(new.get(path, "")))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]


def _cut(value: str) -> str:
    return value if len(value) <= MAX_VALUE_LENGTH else f"{value[: MAX_VALUE_LENGTH - 1]}…"


def _leaves(message: Message, skipped: frozenset[str], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The set fields of a message, as paths and JSON."""
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if field.name in skipped and not prefix:
            continue
        if path == "config_json":
            yield from _config_leaves(path, value)
        elif not field.is_repeated and field.message_type is not None:
            yield from _leaves(value, skipped, f"{path}.")
        elif field.message_type is not None and _maps_to_messages(field.message_type):
            for key in sorted(value):
                yield from _leaves(value[key], skipped, f"{path}.{key}.")
        elif field.message_type is not None and field.message_type.name in _KEYED:
            key = field.message_type.fields_by_name[_KEYED[field.message_type.name]]
            for entry in value:
                name = _plain(getattr(entry, key.name), key)
                yield from _keyed_leaves(entry, key.name, f"{path}.{name}")
        else:
            yield path, _json(_list_or_plain(value, field))


def _maps_to_messages(entry: Descriptor) -> bool:
    return entry.GetOptions().map_entry and entry.fields_by_name["value"].message_type is not None


def _keyed_leaves(entry: Message, key: str, path: str) -> Iterator[tuple[str, str]]:
    """A peak's rate stands for the peak; what else there is follows under it."""
    for field, value in entry.ListFields():
        if field.name == key:
            continue
        leaf = path if field.name == "flops_per_s" else f"{path}.{field.name}"
        yield leaf, _json(_plain(value, field))


def _config_leaves(path: str, text: str) -> Iterator[tuple[str, str]]:
    """The keys of a config, and its text only where that is no JSON object."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        yield path, _json(text)
        return
    for key, value in config.items():
        yield f"{path}.{key if _is_unicode(key) else json.dumps(key)}", _json(value)


def _list_or_plain(value: Any, field: FieldDescriptor) -> Any:
    if isinstance(value, Mapping) or (field.message_type and field.message_type.GetOptions().map_entry):
        return {key: _number(value[key]) for key in sorted(value)}
    if field.is_repeated:
        return [_plain(entry, field) for entry in value]
    return _plain(value, field)


def _plain(value: Any, field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        prefix = f"{field.enum_type.values[0].name.removesuffix('UNSPECIFIED')}"
        return known.name.removeprefix(prefix).lower() if known else value
    return _number(value)


def _number(value: Any) -> Any:
    """Whole numbers without the `.0` of a double."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else value


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if _is_unicode(text) else json.dumps(value)


def _is_unicode(text: str) -> bool:
    """Whether a message can hold a text. Half of a surrogate pair, which JSON may escape, it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
