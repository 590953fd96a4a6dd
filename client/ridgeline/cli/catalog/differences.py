"""Says in lines what changed in an entry's fields."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ridgeline.v1.catalog_service_pb2 import FieldChange

NOTHING = "nothing"
SOURCES = "sources"
MOST_CHARACTERS = 60
_ABSENT = object()


def lines(changes: Sequence[FieldChange]) -> Iterator[str]:
    """`field: before -> after` for each field; of a config or a list only what differs, of a figure's source
    only the document when that is another.
    """
    documents = {name for name in map(_cited, changes) if f"{name}.source" in {c.field for c in changes}}
    for change in changes:
        if _cited(change) not in documents or change.field.endswith(".source"):
            yield from _lines(change.field, _value(change.before), _value(change.after))


def fields(changes: Iterable[FieldChange]) -> list[str]:
    """The names of the fields, the parts of all sources as one."""
    return list(dict.fromkeys(SOURCES if _cited(change) else change.field for change in changes))


def _cited(change: FieldChange) -> str:
    """The source that a change is about, such as `sources.peaks.fp16`; empty for other fields."""
    return change.field.rpartition(".")[0] if change.field.startswith(f"{SOURCES}.") else ""


def _lines(field: str, before: Any, after: Any) -> Iterator[str]:
    before, after = _inner(before), _inner(after)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            old, new = before.get(key, _ABSENT), after.get(key, _ABSENT)
            if old != new:
                yield from _lines(f"{field}.{key}", old, new)
    elif isinstance(before, list) or isinstance(after, list):
        old, new = _items(before), _items(after)
        gone = [f"- {_shown(item)}" for item in old if item not in new]
        come = [f"+ {_shown(item)}" for item in new if item not in old]
        yield f"{field}: {'; '.join([*gone, *come]) or 'in another order'}"
    else:
        yield f"{field}: {_shown(before)} -> {_shown(after)}"


def _items(value: Any) -> list[Any]:
    """A value as the items of a list."""
    return value if isinstance(value, list) else [] if value is _ABSENT else [value]


def _value(text: str) -> Any:
    """The value that a change tells as JSON."""
    if not text:
        return _ABSENT
    try:
        return json.loads(text)
    except ValueError:
        return text


def _inner(value: Any) -> Any:
    """The object that a text holds, such as a config's, or the value itself."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _shown(value: Any) -> str:
    """A value for people: 3,350,000,000,000, 2026 and 0.8; short texts as they are, long ones cut."""
    if value is _ABSENT or value is None:
        return NOTHING
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return format(value, ".12g" if abs(value) < 1e4 else ",.15g" if abs(value) < 1e15 else ".6g")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
