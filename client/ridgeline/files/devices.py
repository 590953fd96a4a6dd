"""Device files: the catalog's own format, and the JSON of the Hardware message.

In the catalog's format each figure is an object with its value and where it was read, and the peak rates
stand under `peak_flops_per_s` by dtype; in the message's JSON figures are numbers and the rates a list named
`peaks`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ridgeline.errors import FieldViolation, InvalidArgumentError
from ridgeline.files.reading import unwrapped
from ridgeline.jsonform import from_dict
from ridgeline.v1.hardware_pb2 import Hardware

_FIGURES = ("memory_bytes", "usable_memory_bytes", "bandwidth_bytes_per_s", "tdp_watts", "price_usd_per_hour")
_FIGURE_KEYS = ("value", "source", "read_on", "confidence", "note", "accumulate")


def read_device(content: Mapping[str, object], path: str = "hardware") -> Hardware:
    """The device that a file describes. Raises InvalidArgumentError with all that is wrong, named below
    `path`.
    """
    content = unwrapped(content, "hardware")
    if _is_catalog_format(content):
        content = _message_form(content, path)
    return from_dict(Hardware, content, path)


def _is_catalog_format(content: Mapping[str, object]) -> bool:
    return "peak_flops_per_s" in content or any(isinstance(content.get(name), Mapping) for name in _FIGURES)


def _message_form(content: Mapping[str, object], path: str) -> dict[str, object]:
    """The catalog's format rewritten as the message's JSON; keys that both share are taken as they are."""
    violations: list[FieldViolation] = []
    sources: list[dict[str, object]] = []

    def take(figure: object, field: str) -> object:
        """The figure's number; what is said about it becomes an entry of `sources`."""
        if not isinstance(figure, Mapping):
            return figure
        unknown = [key for key in figure if key not in _FIGURE_KEYS]
        if unknown or "value" not in figure:
            wrong = f"has the unknown key {unknown[0]}" if unknown else "has no value"
            violations.append(
                FieldViolation(f"{path}.{field}", f"{wrong}; a figure has {', '.join(_FIGURE_KEYS)}")
            )
            return None
        said = {key: figure[key] for key in ("source", "read_on", "confidence", "note") if key in figure}
        if "accumulate" in figure:
            notes = [f"{figure['accumulate']} accumulation", *([said["note"]] if "note" in said else [])]
            said["note"] = "; ".join(map(str, notes))
        if said:
            sources.append({"field": field, **said})
        return figure["value"]

    message: dict[str, object] = {}
    for key, value in content.items():
        if key == "peak_flops_per_s":
            peaks = value if isinstance(value, Mapping) else {}
            if not isinstance(value, Mapping):
                violations.append(
                    FieldViolation(f"{path}.{key}", "is not an object; give one figure for each dtype")
                )
            message["peaks"] = [
                {"dtype": dtype, "flops_per_s": take(figure, f"peaks.{dtype}")}
                for dtype, figure in peaks.items()
            ]
        elif key == "link" and isinstance(value, Mapping):
            bandwidth = take(value.get("bandwidth_bytes_per_s"), "link.bandwidth_bytes_per_s")
            message[key] = {**value, "bandwidth_bytes_per_s": bandwidth}
        elif key in _FIGURES:
            message[key] = take(value, key)
        else:
            message[key] = value
    if sources:
        message["sources"] = sources
    if violations:
        raise InvalidArgumentError("The device file has wrong figures.", "INVALID_FIELD", violations)
    return message
