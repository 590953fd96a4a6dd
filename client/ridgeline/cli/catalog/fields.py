"""Changes fields of an entry as --set and --unset say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from ridgeline.cli import question

ASKED = {
    "whole": "give a whole number",
    "number": "give a number",
    "dtype": "give a number format",
    "dtypes": "give number formats, separated by commas",
}


def change(
    message: Any,
    pairs: Iterable[str],
    unset: Iterable[str],
    allowed: Mapping[str, str],
    required: frozenset[str] = frozenset(),
) -> list[str]:
    """Sets and clears fields of an entry; returns the paths of those that it touched.

    `allowed` maps each field that can be set to its type: `text`, `list`, `number`, `whole`, `dtype` or
    `dtypes`; those that are `required` cannot be cleared. Raises click.UsageError with all that is wrong.
    """
    touched: dict[str, None] = {}
    problems: list[str] = []
    # Rates first: what a rate is summed in belongs to it.
    ordered = sorted(map(question.split_pair, pairs), key=lambda pair: pair[0].startswith("accumulate."))
    for key, value in ordered:
        kind = _kind(key, allowed, problems)
        if kind is not None:
            try:
                _assign(message, key, _value(value, kind))
                touched[key] = None
            except ValueError as error:
                problems.append(f"{key} is {value!r}; {error}")
    for key in unset:
        whole = any(name.startswith(f"{key}.") for name in allowed)
        if key in required:
            problems.append(f"{key} is required; give it another value with --set {key}=VALUE")
        elif whole or _kind(key, allowed, problems) is not None:
            _clear(message, key)
            touched[key] = None
    if problems:
        raise click.UsageError(f"{'; '.join(problems)}.")
    return list(touched)


def top_level(paths: Iterable[str]) -> list[str]:
    """The fields of an update mask for paths: a rate and what it is summed in are one."""
    names = (path.partition(".")[0] for path in paths)
    return list(dict.fromkeys("peaks" if name == "accumulate" else name for name in names))


def _kind(key: str, allowed: Mapping[str, str], problems: list[str]) -> str | None:
    """The type of a field, None after noting that it cannot be set."""
    first, _, rest = key.partition(".")
    kind = allowed.get(f"{first}.<dtype>" if f"{first}.<dtype>" in allowed else key)
    if kind is None:
        problems.append(f"{key} cannot be set; give one of {', '.join(allowed)}")
    elif f"{first}.<dtype>" in allowed and not _dtype(rest):
        problems.append(f"{key} names no number format; give {first}.<dtype> with one of {_dtypes()}")
        return None
    return kind


def _value(text: str, kind: str) -> Any:
    if kind == "text":
        return text
    if kind in ("list", "dtypes"):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return parts if kind == "list" else [_dtype_of(part) for part in parts]
    if kind == "dtype":
        return _dtype_of(text)
    try:
        return int(text) if kind == "whole" else float(text)
    except ValueError:
        raise ValueError(ASKED[kind]) from None


def _dtype_of(name: str) -> int:
    number = _dtype(name)
    if not number:
        raise ValueError(f"give one of {_dtypes()}")
    return number


def _dtype(name: str) -> int | None:
    from ridgeline import jsonform
    from ridgeline.v1 import types_pb2

    return jsonform.enum_number(types_pb2.Dtype.DESCRIPTOR, name)


def _dtypes() -> str:
    from ridgeline import jsonform
    from ridgeline.v1 import types_pb2

    return ", ".join(jsonform.enum_choices(types_pb2.Dtype.DESCRIPTOR))


def _assign(message: Any, key: str, value: Any) -> None:
    first, _, rest = key.partition(".")
    if first == "peaks":
        peak = _peak(message, rest)
        (peak if peak is not None else message.peaks.add(dtype=_dtype(rest))).flops_per_s = value
    elif first == "accumulate":
        peak = _peak(message, rest)
        if peak is None:
            raise ValueError(f"but there is no rate that it could belong to; set peaks.{rest} first")
        peak.accumulate = value
    elif rest:
        setattr(getattr(message, first), rest, value)
    elif isinstance(value, list):
        del getattr(message, key)[:]
        getattr(message, key).extend(value)
    else:
        setattr(message, key, value)


def _clear(message: Any, key: str) -> None:
    first, _, rest = key.partition(".")
    if rest and first in ("peaks", "accumulate"):
        peak = _peak(message, rest)
        if peak is not None and first == "peaks":
            message.peaks.remove(peak)
        elif peak is not None:
            peak.ClearField("accumulate")
    elif rest:
        getattr(message, first).ClearField(rest)
    else:
        message.ClearField(key)


def _peak(message: Any, dtype: str) -> Any:
    number = _dtype(dtype)
    return next((peak for peak in message.peaks if peak.dtype == number), None)
