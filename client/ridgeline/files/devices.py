"""Device files: the catalog's own format, both ways, and the JSON of the Hardware message.

Each figure is an object with its value and where it was read, the peak rates stand under `peak_flops_per_s`
by dtype, and `unsupported_dtypes` is a figure whose value is a list. A price's day is `as_of`, or else the
day it was read. What the service keeps for itself (origin, etag, times, suspicions) is in no file. Writing
and reading back loses nothing: keys, figures and dtypes have one order, and sources come by field.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

from ridgeline.errors import FieldViolation, InvalidArgumentError
from ridgeline.files.reading import unwrapped
from ridgeline.jsonform import enum_name, from_dict, to_dict
from ridgeline.v1.hardware_pb2 import Hardware
from ridgeline.v1.types_pb2 import Dtype

_FIGURES = (
    "memory_bytes",
    "usable_memory_bytes",
    "bandwidth_bytes_per_s",
    "clock_hz",
    "tdp_watts",
    "price_usd_per_hour",
)
_LINK_FIGURES = ("bandwidth_bytes_per_s", "domain_size")

_SAID = ("source", "read_on", "confidence")
_FIGURE_KEYS = ("value", *_SAID, "as_of", "accumulate", "note")

_SCALES = {"bandwidth_bytes_per_s": 9, "peak_flops_per_s": 12, "clock_hz": 9}
"""Powers of ten in which a file writes what stands below a key: 3350e9 bytes/s, 989.4e12 operations/s, 1.83e9
hertz.
"""


def device_document(message: Hardware) -> dict[str, object]:
    """The content of a device's file. `device_text` makes the text of it."""
    said = {source.field: source for source in message.sources}

    def figure(field: str, value: object, **more: str) -> dict[str, object]:
        """A value with what is said about it, which is then used up."""
        stated = _stated(to_dict(said[field])) if field in said else {}
        if stated:
            del said[field]
        note = {key: stated.pop(key) for key in ("note",) if key in stated}
        return {"value": value, **stated, **more, **note}

    def price() -> dict[str, object]:
        known = said.get("price_usd_per_hour")
        dated = message.price_as_of and not (known and known.read_on == message.price_as_of)
        more = {"as_of": message.price_as_of} if dated else {}
        return figure("price_usd_per_hour", message.price_usd_per_hour, **more)

    document: dict[str, object] = {
        "id": message.id,
        "display_name": message.display_name,
        "vendor": message.vendor,
        **({"release_year": message.release_year} if message.HasField("release_year") else {}),
        "kind": message.kind,
        "aliases": list(message.aliases),
        "memory_bytes": figure("memory_bytes", message.memory_bytes),
    }
    if message.HasField("usable_memory_bytes"):
        document["usable_memory_bytes"] = figure("usable_memory_bytes", message.usable_memory_bytes)
    document["bandwidth_bytes_per_s"] = figure("bandwidth_bytes_per_s", message.bandwidth_bytes_per_s)
    document["peak_flops_per_s"] = {
        name: figure(
            f"peaks.{name}",
            peak.flops_per_s,
            **({"accumulate": _dtype(peak.accumulate)} if peak.accumulate else {}),
        )
        for peak in message.peaks
        for name in [_dtype(peak.dtype)]
    }
    if message.unsupported_dtypes:
        names = [_dtype(number) for number in message.unsupported_dtypes]
        document["unsupported_dtypes"] = figure("unsupported_dtypes", names)
    if message.HasField("clock_hz"):
        document["clock_hz"] = figure("clock_hz", message.clock_hz)
    if message.HasField("link"):
        link: dict[str, object] = {"kind": message.link.kind}
        link["bandwidth_bytes_per_s"] = figure(
            "link.bandwidth_bytes_per_s", message.link.bandwidth_bytes_per_s
        )
        if message.link.HasField("domain_size"):
            link["domain_size"] = figure("link.domain_size", message.link.domain_size)
        document["link"] = link
    if message.HasField("tdp_watts"):
        document["tdp_watts"] = figure("tdp_watts", message.tdp_watts)
    if message.HasField("price_usd_per_hour"):
        document["price_usd_per_hour"] = price()
    document["notes"] = list(message.notes)
    if said:
        document["sources"] = [{"field": field, **_stated(to_dict(said[field]))} for field in sorted(said)]
    return document


def device_text(document: Mapping[str, object]) -> str:
    """The text of a device's file, numbers as people write them: 80 GiB in digits, bandwidths as 3350e9."""
    return "".join(_lines(document, "\n", 0)) + "\n"


def read_device(content: Mapping[str, object], path: str = "hardware") -> Hardware:
    """The device that a file describes. Raises InvalidArgumentError with all that is wrong, named below
    `path`.
    """
    content = unwrapped(content, "hardware")
    return _read_document(content, path) if _is_document(content) else from_dict(Hardware, content, path)


def _read_document(content: Mapping[str, object], path: str) -> Hardware:
    """The device in the catalog's format; keys that it shares with the message's JSON may be written as
    there.
    """
    violations: list[FieldViolation] = []
    sources: list[dict[str, object]] = []
    message: dict[str, object] = {}

    def take(figure: object, field: str) -> object:
        """The figure's value; what is said about it becomes an entry of `sources`."""
        if not isinstance(figure, Mapping):
            return figure
        unknown = [key for key in figure if key not in _FIGURE_KEYS]
        if unknown or "value" not in figure:
            wrong = f"has the unknown key {unknown[0]}" if unknown else "has no value"
            violations.append(
                FieldViolation(f"{path}.{field}", f"{wrong}; a figure has {', '.join(_FIGURE_KEYS)}")
            )
            return None
        said = {key: figure[key] for key in (*_SAID, "note") if key in figure}
        if said:
            sources.append({"field": field, **said})
        return figure["value"]

    def peaks(value: object) -> list[dict[str, object]]:
        if not isinstance(value, Mapping):
            violations.append(
                FieldViolation(f"{path}.peak_flops_per_s", "is not an object; give one figure for each dtype")
            )
            return []
        return [
            {"dtype": dtype, "flops_per_s": take(figure, f"peaks.{dtype}"), **_part(figure, "accumulate")}
            for dtype, figure in value.items()
        ]

    for key, value in content.items():
        if key == "peak_flops_per_s":
            message["peaks"] = peaks(value)
        elif key == "link" and isinstance(value, Mapping):
            figures = {name: take(value[name], f"link.{name}") for name in _LINK_FIGURES if name in value}
            message[key] = {**value, **figures}
        elif key == "sources" and isinstance(value, list):
            sources += value
        elif key in _FIGURES or key == "unsupported_dtypes":
            message[key] = take(value, key)
        else:
            message[key] = value
    figure = content.get("price_usd_per_hour")
    as_of = _part(figure, "as_of") or _part(figure, "read_on")
    if as_of:
        message.setdefault("price_as_of", next(iter(as_of.values())))
    if violations:
        raise InvalidArgumentError("The device file has wrong figures.", "INVALID_FIELD", violations)
    if sources:
        message.setdefault("sources", sources)
    device = from_dict(Hardware, message, path)
    device.sources.sort(key=lambda source: source.field)
    return device


def _is_document(content: Mapping[str, object]) -> bool:
    """Whether an object is a device in the catalog's format and not the message's JSON."""
    return "peak_flops_per_s" in content or any(
        isinstance(content.get(name), Mapping) for name in (*_FIGURES, "unsupported_dtypes")
    )


def _part(figure: object, key: str) -> dict[str, object]:
    return {key: figure[key]} if isinstance(figure, Mapping) and key in figure else {}


def _stated(source: Mapping[str, object]) -> dict[str, object]:
    """What a FigureSource's JSON states, in the spelling of files."""
    stated = {key: source[key] for key in (*_SAID, "note") if source[key]}
    confidence = str(stated.pop("confidence")).lower()
    return stated if confidence == "unspecified" else {**stated, "confidence": confidence}


def _dtype(number: int) -> str:
    return str(enum_name(Dtype.DESCRIPTOR, number)).lower()


def _lines(node: object, newline: str, scale: int) -> Iterator[str]:
    """JSON with two spaces of indentation, in pieces."""
    inner = f"{newline}  "
    if isinstance(node, Mapping) and node:
        for position, (key, value) in enumerate(node.items()):
            yield f"{',' if position else '{'}{inner}{_string(key)}: "
            yield from _lines(value, inner, _SCALES.get(key, scale))
        yield f"{newline}}}"
    elif isinstance(node, list) and node:
        for position, value in enumerate(node):
            yield f"{',' if position else '['}{inner}"
            yield from _lines(value, inner, scale)
        yield f"{newline}]"
    elif isinstance(node, float):
        yield _number(node, scale)
    else:
        yield _string(node)


_string: Callable[[object], str] = json.JSONEncoder(ensure_ascii=False).encode


def _number(value: float, scale: int) -> str:
    """The shortest decimal that reads as the same double, in units of a power of ten."""
    if not scale and value.is_integer():
        return str(int(value))
    if not scale:
        return repr(value)
    return f"{Decimal(repr(value)).scaleb(-scale).normalize():f}e{scale}"
