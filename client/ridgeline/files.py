"""Reads catalog entries from files: the catalog's own file formats, or the JSON of the contract's messages.

The catalog's format of a device is that of `device_file`; in the message's JSON figures are numbers and the
rates a list named `peaks`. In the catalog's format of a model `config` holds the config.json as an object; in
the message's JSON `config_json` holds its text. What `get` printed, with the entry under `hardware` or
`model`, is read too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ridgeline.device_file import device_document, device_text, is_document, read_document
from ridgeline.errors import FieldViolation, InvalidArgumentError
from ridgeline.jsonform import from_dict
from ridgeline.v1.hardware_pb2 import Hardware
from ridgeline.v1.model_pb2 import Model

__all__ = [
    "device_document",
    "device_text",
    "names_file",
    "read_device",
    "read_model",
    "read_object",
    "read_text",
]

MAX_FILE_BYTES = 2**20
"""More than any config.json or device file has; a larger file is something else, such as weights."""

_READING = {"config_kind": "", "read_on": "read "}
"""What a model's file tells about the reading of its config; it becomes part of the source."""


def names_file(name: str) -> bool:
    """Whether a name means a file: it ends in .json, or there is such a file, or a folder with a
    config.json.
    """
    if name.lower().endswith(".json"):
        return True
    path = Path(name)
    try:
        return path.is_file() or (path / "config.json").is_file()
    except (OSError, ValueError):
        return False


def read_text(path: Path, field: str) -> str:
    """The text of a file, or of config.json in a folder. Raises InvalidArgumentError about `field`."""
    try:
        if path.is_dir():
            path = path / "config.json"
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) <= MAX_FILE_BYTES:
            return data.decode("utf-8-sig")
        problem = f"has more than {MAX_FILE_BYTES:,} bytes; give a JSON file"
    except FileNotFoundError:
        problem = "does not exist; give the path of a JSON file, or a name of the catalog"
    except UnicodeDecodeError:
        problem = "is not a text in UTF-8; give a JSON file"
    except (OSError, ValueError) as error:
        problem = f"cannot be read: {error.strerror if isinstance(error, OSError) else error}"
    raise _wrong_file(path, field, problem)


def read_object(path: Path, field: str) -> dict[str, object]:
    """The JSON object in a file. Raises InvalidArgumentError about `field`."""
    try:
        content = json.loads(read_text(path, field))
    except (ValueError, RecursionError) as error:
        raise _wrong_file(path, field, f"is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise _wrong_file(path, field, "does not hold a JSON object")
    return content


def _wrong_file(path: Path, field: str, problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"The file {path} cannot be used.", "INVALID_FIELD", [FieldViolation(field, f"{path} {problem}")]
    )


def read_model(content: Mapping[str, object], path: str = "model") -> Model:
    """The model entry that a file describes. Raises InvalidArgumentError with all that is wrong, named below
    `path`.
    """
    content = _unwrapped(content, "model")
    if isinstance(content.get("config"), Mapping):
        kept = {key: content[key] for key in ("id", "display_name", "aliases", "notes") if key in content}
        read = [f"{before}{content[key]}" for key, before in _READING.items() if key in content]
        source = str(content.get("source", "")) + (f" ({', '.join(read)})" if read else "")
        content = {**kept, "source": source, "config_json": json.dumps(content["config"], indent=2)}
    return from_dict(Model, content, path)


def read_device(content: Mapping[str, object], path: str = "hardware") -> Hardware:
    """The device that a file describes. Raises InvalidArgumentError with all that is wrong, named below
    `path`.
    """
    content = _unwrapped(content, "hardware")
    return read_document(content, path) if is_document(content) else from_dict(Hardware, content, path)


def _unwrapped(content: Mapping[str, object], key: str) -> Mapping[str, object]:
    entry = content.get(key)
    return entry if isinstance(entry, Mapping) and content.keys() <= {key, "catalog_revision"} else content
