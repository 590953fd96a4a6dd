"""Reads the text and the JSON of the files that a user names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ridgeline.errors import FieldViolation, InvalidArgumentError
from ridgeline.jsonform import is_unicode

MAX_FILE_BYTES = 2**20
"""More than any config.json or device file has; a larger file is something else, such as weights."""


GGUF = b"GGUF"
"""How llama.cpp's files begin."""


def names_file(name: str) -> bool:
    """Whether a name means a file: it ends in .json or begins like a path, or there is such a file, or a
    folder with a config.json.
    """
    if name.lower().endswith(".json") or name.startswith(("./", "../", "/")):
        return True
    path = Path(name)
    try:
        return path.is_file() or (path / "config.json").is_file()
    except (OSError, ValueError):
        return False


def read_text(path: Path, field: str, max_bytes: int = MAX_FILE_BYTES) -> str:
    """The text of a file, or of config.json in a folder. Raises InvalidArgumentError about `field`."""
    try:
        if path.is_dir():
            path = path / "config.json"
            if path.exists() and not path.is_file():
                # A pipe that someone left in a folder would be waited for; one that is named is meant.
                raise wrong_file(path, field, "is no regular file; give a JSON file")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
        if data.startswith(GGUF):
            problem = "is a GGUF file; give the config.json of the model that it was made from"
        elif len(data) <= max_bytes:
            return data.decode("utf-8-sig")
        else:
            problem = f"has more than {max_bytes:,} bytes; give a JSON file"
    except FileNotFoundError:
        problem = "does not exist; give the path of a JSON file, or a name of the catalog"
    except UnicodeDecodeError:
        problem = "is not a text in UTF-8; give a JSON file"
    except (OSError, ValueError) as error:
        problem = f"cannot be read: {error.strerror if isinstance(error, OSError) else error}"
    raise wrong_file(path, field, problem)


def read_object(path: Path, field: str, max_bytes: int = MAX_FILE_BYTES) -> dict[str, object]:
    """The JSON object in a file. Raises InvalidArgumentError about `field`."""
    try:
        content = parse_json(read_text(path, field, max_bytes))
    except ValueError as error:
        raise wrong_file(path, field, str(error)) from None
    if not isinstance(content, dict):
        raise wrong_file(path, field, "does not hold a JSON object")
    return content


def parse_json(text: str) -> object:
    """The value of a JSON text. Raises ValueError that says what is wrong, also for a key with two values."""
    try:
        return json.loads(text, object_pairs_hook=_with_one_value_each)
    except _TwoValuesError as error:
        raise ValueError(f"gives the key {error} two values; keep the one that holds") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None


class _TwoValuesError(ValueError):
    """A key that stands twice in an object, which readers of JSON take one way or the other."""


def _with_one_value_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            if found[key] != value:
                raise _TwoValuesError(json.dumps(key[:60]))
    return found


def config_text(config: Mapping[str, object], field: str) -> str:
    """A config as the text of a config.json. Raises InvalidArgumentError about `field` when JSON cannot hold
    it.
    """
    try:
        text = json.dumps(config, indent=2, ensure_ascii=False)
        # Half a surrogate pair can be written as an escape alone.
        return text if is_unicode(text) else json.dumps(config, indent=2)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(
            "The config cannot be sent.", "INVALID_FIELD", [FieldViolation(field, f"is not JSON: {error}")]
        ) from None


def unwrapped(content: Mapping[str, object], key: str) -> Mapping[str, object]:
    """The entry in a file: what `get` printed holds it under `key`."""
    entry = content.get(key)
    return entry if isinstance(entry, Mapping) and content.keys() <= {key, "catalog_revision"} else content


def wrong_file(path: Path, field: str, problem: str) -> InvalidArgumentError:
    """The error for a file that cannot be used; `problem` is a sentence about it."""
    return InvalidArgumentError(
        f"The file {path} cannot be used.", "INVALID_FIELD", [FieldViolation(field, f"{path} {problem}")]
    )
