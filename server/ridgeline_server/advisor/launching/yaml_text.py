"""Writes plain values as YAML: mappings, lists, numbers, truth values, nothing and texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

Value: TypeAlias = "str | int | float | bool | dict[str, Value] | list[Value] | None"

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_TAKEN = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Words that readers of YAML 1.1 take for something else than a text."""


def yaml_text(value: Mapping[str, Value]) -> str:
    """The mapping as a YAML document in block style, ended by a line break."""
    return "\n".join(_mapping(value)) + "\n"


def _mapping(value: Mapping[str, Value]) -> Iterator[str]:
    for key, item in value.items():
        yield from _item(f"{_scalar(key)}:", item)


def _item(mark: str, item: Value) -> Iterator[str]:
    """An entry of a mapping behind its key."""
    if isinstance(item, dict) and item:
        yield mark
        yield from (f"  {line}" for line in _mapping(item))
    elif isinstance(item, list) and item:
        yield mark
        yield from _list(item)
    elif isinstance(item, str) and "\n" in item:
        # A literal block keeps its last line break, and has no spaces on empty lines.
        yield f"{mark} |"
        yield from (f"  {line}" if line else "" for line in item.splitlines())
    else:
        yield f"{mark} {_scalar(item)}"


def _list(items: Sequence[Value]) -> Iterator[str]:
    for item in items:
        if isinstance(item, dict) and item:
            first, *rest = _mapping(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        else:
            yield f"- {_scalar(item)}"


def _scalar(value: Value) -> str:
    """A value on one line."""
    return _text(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@lru_cache(maxsize=1024)
def _text(value: str) -> str:
    """What is JSON is YAML too, so that any text that is not plainly one is quoted."""
    plain = _PLAIN.fullmatch(value) and value.lower() not in _TAKEN
    return value if plain else json.dumps(value, ensure_ascii=False)
