"""Writes plain values as YAML: mappings, lists, numbers, truth values, nothing and texts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

Value: TypeAlias = "str | int | float | bool | dict[str, Value] | list[Value] | None"

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_TAKEN = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Words that readers of YAML 1.1 take for something else than a text."""


def yaml_text(value: Mapping[str, Value]) -> str:
    """The mapping as a YAML document in block style, ended by a line break."""
    lines: list[str] = []
    _add_mapping(lines, "", value)
    return "\n".join(lines) + "\n"


def _add_mapping(lines: list[str], indent: str, value: Mapping[str, Value]) -> None:
    for key, item in value.items():
        _add_item(lines, indent, f"{indent}{_scalar(key)}:", item)


def _add_item(lines: list[str], indent: str, mark: str, item: Value) -> None:
    """Adds an entry of a mapping behind its key."""
    if isinstance(item, dict) and item:
        lines.append(mark)
        _add_mapping(lines, f"{indent}  ", item)
    elif isinstance(item, list) and item:
        lines.append(mark)
        _add_list(lines, indent, item)
    elif isinstance(item, str) and "\n" in item:
        # A literal block keeps its last line break.
        lines.append(f"{mark} |")
        lines.extend(f"{indent}  {line}" if line else indent for line in item.splitlines())
    else:
        lines.append(f"{mark} {_scalar(item)}")


def _add_list(lines: list[str], indent: str, items: Sequence[Value]) -> None:
    for item in items:
        if isinstance(item, dict) and item:
            first, inner = len(lines), f"{indent}  "
            _add_mapping(lines, inner, item)
            lines[first] = f"{indent}- {lines[first].removeprefix(inner)}"
        else:
            lines.append(f"{indent}- {_scalar(item)}")


def _scalar(value: Value) -> str:
    """A value on one line."""
    return _text(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@lru_cache(maxsize=1024)
def _text(value: str) -> str:
    """What is JSON is YAML too, so that any text that is not plainly one is quoted."""
    plain = _PLAIN.fullmatch(value) and value.lower() not in _TAKEN
    return value if plain else json.dumps(value, ensure_ascii=False)
