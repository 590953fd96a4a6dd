"""Writes small safetensors files, by the format's description."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

BYTES = {"BF16": 2, "F16": 2, "F32": 4, "F8_E4M3": 1, "U8": 1, "I32": 4}

Tensors = Mapping[str, tuple[str, Sequence[int]]]
"""dtype and shape by name."""


def header(tensors: Tensors) -> dict[str, Any]:
    """The header of a file that holds these tensors one after the other."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + prod(shape) * BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    return entries


def write(path: Path, tensors: Tensors) -> Path:
    """A file whose weights are all zero."""
    entries = header(tensors)
    size = max((entry["data_offsets"][1] for name, entry in entries.items() if name in tensors), default=0)
    return write_raw(path, json.dumps(entries).encode(), size)


def write_raw(path: Path, text: bytes, data_size: int, length: int | None = None) -> Path:
    """A file with any header; `length` may lie about its length."""
    path.write_bytes(
        (len(text) if length is None else length).to_bytes(8, "little") + text + bytes(data_size)
    )
    return path
