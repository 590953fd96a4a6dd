"""Model files: the catalog's own format, read and written, and the JSON of the Model message.

In the catalog's format `config` holds the config.json as an object, and what was read and when stand apart
from the source; in the message's JSON `config_json` holds the config's text and the source says it all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from ridgeline.errors import FieldViolation, InvalidArgumentError
from ridgeline.files.reading import unwrapped
from ridgeline.jsonform import from_dict, to_dict
from ridgeline.v1.model_pb2 import Model

_KEYS = (
    "id",
    "display_name",
    "aliases",
    "config",
    "source",
    "config_kind",
    "read_on",
    "published_parameters",
    "checkpoint",
    "notes",
)
"""What a file in the catalog's format may hold, in the order in which it is written."""

_READING = re.compile(
    r" \((?P<config_kind>[a-z][^()\n]*(?:\([^()\n]*\))?), read (?P<read_on>\d{4}-\d{2}-\d{2})\)\Z"
)
"""How a source tells what was read and when: ` (verbatim (re-serialised), read 2026-11-22)`."""


def read_model(content: Mapping[str, object], path: str = "model") -> Model:
    """The model entry that a file describes. Raises InvalidArgumentError with all that is wrong, named below
    `path`.
    """
    content = unwrapped(content, "model")
    if isinstance(content.get("config"), Mapping):
        content = _message_form(content, path)
    return from_dict(Model, content, path)


def model_document(message: Model) -> dict[str, object]:
    """A model in the catalog's file format, without what follows from its config or what the server keeps.

    Read and written again, the document stays the same. A config that is not an object in strict JSON, which
    holds infinities or half of a surrogate pair, stays text: the document is then the message's JSON.
    """
    config = _config_object(message.config_json)
    document: dict[str, object] = {"id": message.id}
    if message.display_name:
        document["display_name"] = message.display_name
    document["aliases"] = list(message.aliases)
    reading = _READING.search(message.source)
    if config is None:
        document["config_json"] = message.config_json
        document["source"] = message.source
    else:
        document["config"] = config
        document["source"] = message.source[: reading.start()] if reading else message.source
        document |= reading.groupdict() if reading else {}
    if message.HasField("checkpoint"):
        document["checkpoint"] = _whole_numbers(to_dict(message.checkpoint))
    document["notes"] = list(message.notes)
    return document


def _message_form(content: Mapping[str, object], path: str) -> dict[str, object]:
    """The catalog's format rewritten as the message's JSON."""
    violations = [
        FieldViolation(f"{path}.{key}", f"is unknown; a model file has {', '.join(_KEYS)}")
        for key in content
        if key not in _KEYS
    ]

    def text(key: str) -> str:
        value = content.get(key)
        if value is not None and not isinstance(value, str):
            violations.append(FieldViolation(f"{path}.{key}", "is not a text"))
        return value if isinstance(value, str) else ""

    read = [text("config_kind"), *(f"read {day}" for day in [text("read_on")] if day)]
    told = ", ".join(part for part in read if part)
    message = {
        **{key: content[key] for key in ("id", "display_name", "aliases", "checkpoint") if key in content},
        "config_json": json.dumps(content["config"], indent=2, ensure_ascii=False),
        "source": text("source") + (f" ({told})" if told else ""),
        "notes": content.get("notes"),
    }
    published = content.get("published_parameters")
    if published is not None:
        sentence = _published(published, f"{path}.published_parameters", violations)
        notes = content.get("notes") or []
        if isinstance(notes, list):
            message["notes"] = [*notes, sentence]
    if violations:
        raise InvalidArgumentError("The model file is wrong.", "INVALID_FIELD", violations)
    return message


def _published(published: object, path: str, violations: list[FieldViolation]) -> str:
    """The published parameter count as a note: nothing computes with it."""
    if isinstance(published, Mapping):
        value, source, note = (published.get(key) for key in ("value", "source", "note"))
        if type(value) is int and isinstance(source, str) and isinstance(note, str):
            return f"Published parameters: {value:,} ({source}): {note}"
    violations.append(
        FieldViolation(path, "does not tell a count; give value, a whole number, with source and note")
    )
    return ""


def _config_object(text: str) -> dict[str, object] | None:
    """The object in a config.json, when strict JSON in UTF-8 can hold it."""
    try:
        config = json.loads(text)
        json.dumps(config, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


def _whole_numbers(value: object) -> object:
    """Counts as whole numbers, which the contract's JSON holds as doubles."""
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value
