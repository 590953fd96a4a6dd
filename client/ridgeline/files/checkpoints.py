"""Totals of a checkpoint, read from the headers of its safetensors files; the weights themselves stay unread.

A safetensors file begins with the length of its header (8 bytes, little-endian) and the header: a JSON object
that gives each tensor's dtype, shape and place. The tensors follow without gaps, so that a file that was cut
off, or whose header lies, does not add up.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, TypeGuard

from ridgeline.v1.model_pb2 import CheckpointTotals

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit (`MAX_HEADER_SIZE` of the safetensors library)."""
MAX_INDEX_BYTES = 100_000_000
MAX_PREFIXES = 256
"""Far more beginnings of tensor names than any model has."""

DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
    "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64,
}  # fmt: skip
"""Bits of an element by safetensors dtype. A dtype that is not here is counted by the bytes it takes."""

WRAPPERS = frozenset({"model", "language_model", "transformer", "backbone", "gpt_neox", "thinker"})
"""Name parts that only say what is inside: the part after them tells what a tensor belongs to."""

_LFS_POINTER = b"version https://git-lfs"


class CheckpointError(ValueError):
    """A checkpoint whose totals cannot be told; the message is a sentence about one of its files."""


@dataclass(frozen=True)
class _Tensor:
    name: str
    dtype: str
    element_count: int
    size: int


def read_totals(folder: Path) -> CheckpointTotals | None:
    """The totals of the checkpoint in a folder; None when it holds no safetensors files.

    Its files are those of model.safetensors.index.json, else model.safetensors, else all that end in
    .safetensors. Raises CheckpointError when one is missing or is no whole safetensors file.
    """
    files, indexed = _files(folder)
    if not files:
        return None
    homes: dict[str, str] = {}
    size = 0
    by_dtype: Counter[str] = Counter()
    by_prefix: Counter[str] = Counter()
    for file in files:
        for tensor in _tensors(file):
            if tensor.name in homes:
                other = homes[tensor.name]
                raise CheckpointError(
                    f"{file.name} and {other} both hold {_shown(tensor.name)}; no {INDEX} tells which counts"
                )
            homes[tensor.name] = file.name
            size += tensor.size
            by_dtype[tensor.dtype] += tensor.element_count
            by_prefix[prefix(tensor.name)] += tensor.element_count
            if len(by_prefix) > MAX_PREFIXES:
                raise CheckpointError(
                    f"{file.name} has tensors of over {MAX_PREFIXES} parts: that is no language model"
                )
    absent = next((name for name in indexed if name not in homes), None)
    if absent is not None:
        raise CheckpointError(f"{INDEX} lists {_shown(absent)}, which none of the files holds")
    return CheckpointTotals(
        element_count=by_dtype.total(),
        bytes=size,
        element_count_by_dtype=by_dtype,
        element_count_by_prefix=by_prefix,
    )


def prefix(name: str) -> str:
    """What a tensor's name begins with: `model.layers`, `visual`, `lm_head`."""
    parts = name.split(".")
    inner = next((position for position, part in enumerate(parts) if part not in WRAPPERS), len(parts) - 1)
    return ".".join(parts[: inner + 1])


def _files(folder: Path) -> tuple[list[Path], Mapping[str, object]]:
    """The checkpoint's files, and the tensors that its index lists."""
    try:
        if (folder / INDEX).is_file():
            indexed = _index(folder / INDEX)
            names = sorted({_plain(name) for name in indexed.values()})
            missing = [name for name in names if not (folder / name).is_file()]
            if missing:
                raise CheckpointError(
                    f"{missing[0]} is missing: {len(missing)} of {len(names)} files that {INDEX} names"
                )
            return [folder / name for name in names], indexed
        if (folder / SINGLE).is_file():
            return [folder / SINGLE], {}
        return sorted(file for file in folder.glob("*.safetensors") if file.is_file()), {}
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read: {error.strerror}") from None


def _index(path: Path) -> Mapping[str, object]:
    """The tensors of an index with the names of their files."""
    with path.open("rb") as file:
        text = file.read(MAX_INDEX_BYTES + 1)
    content = _json(text, path) if len(text) <= MAX_INDEX_BYTES else None
    files = content.get("weight_map") if content is not None else None
    if not isinstance(files, dict) or not files:
        raise CheckpointError(f"{path.name} has no weight_map of tensors and their files")
    return files


def _plain(name: object) -> str:
    """The name of a file in the index's own folder."""
    if (
        isinstance(name, str)
        and name.endswith(".safetensors")
        and Path(name).name == name
        and "\\" not in name
    ):
        return name
    raise CheckpointError(f"{INDEX} names {_shown(name)}, which is no safetensors file beside it")


def _tensors(path: Path) -> Iterator[_Tensor]:
    """The tensors of a file."""
    try:
        with path.open("rb") as file:
            file_size = file.seek(0, 2)
            file.seek(0)
            header, data_size = _header(path, file, file_size)
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error.strerror}") from None
    told = 0
    for name, entry in header.items():
        if name != "__metadata__":
            tensor = _tensor(path, name, entry)
            told += tensor.size
            yield tensor
    if told > data_size:
        raise CheckpointError(
            f"{path.name} is cut off: its tensors take {told:,} bytes, it has {data_size:,}; fetch it again"
        )
    if told < data_size:
        raise CheckpointError(f"{path.name} has {data_size - told:,} bytes that its header does not tell of")


def _header(path: Path, file: BinaryIO, file_size: int) -> tuple[Mapping[str, object], int]:
    """The header of a safetensors file, and the bytes that follow it."""
    start = file.read(8)
    if _LFS_POINTER.startswith(start) and start:
        raise CheckpointError(f"{path.name} is a Git LFS pointer, not the weights; run `git lfs pull`")
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > file_size - 8:
        if length > MAX_HEADER_BYTES:
            raise CheckpointError(f"{path.name} is no safetensors file: it begins with no header's length")
        raise CheckpointError(
            f"{path.name} is cut off within its header: it has {file_size:,} bytes; fetch it again"
        )
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path.name} has a header of {length:,} bytes; the format allows {MAX_HEADER_BYTES:,}"
        )
    return _json(file.read(length), path), file_size - 8 - length


def _json(text: bytes, path: Path) -> dict[str, object]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} is damaged: what it holds is not JSON where it should be")
    return content


def _tensor(path: Path, name: str, entry: object) -> _Tensor:
    """A tensor of a header, checked: its shape must take the bytes that it says it takes."""
    told = entry if isinstance(entry, dict) else {}
    dtype, shape, place = told.get("dtype"), told.get("shape"), told.get("data_offsets")
    if isinstance(dtype, str) and _whole(shape) and _whole(place) and len(place) == 2:
        count, size = prod(shape), place[1] - place[0]
        bits = DTYPE_BITS.get(dtype)
        right = count <= 8 * size if bits is None else count * bits == 8 * size
        if right and size >= 0 and len(dtype) <= 32 and dtype.isprintable():
            return _Tensor(name, dtype, count, size)
    raise CheckpointError(
        f"{path.name} is damaged: dtype, shape and place of {_shown(name)} do not go together"
    )


def _whole(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _shown(name: object) -> str:
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:77]}..."
