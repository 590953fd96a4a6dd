"""Model files: the catalog's own format, and the JSON of the Model message.

In the catalog's format `config` holds the config.json as an object; in the message's JSON `config_json` holds
its text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ridgeline.files.reading import unwrapped
from ridgeline.jsonform import from_dict
from ridgeline.v1.model_pb2 import Model

_READING = {"config_kind": "", "read_on": "read "}
"""What a model's file tells about the reading of its config; it becomes part of the source."""


def read_model(content: Mapping[str, object], path: str = "model") -> Model:
    """The model entry that a file describes. Raises InvalidArgumentError with all that is wrong, named below
    `path`.
    """
    content = unwrapped(content, "model")
    if isinstance(content.get("config"), Mapping):
        kept = {key: content[key] for key in ("id", "display_name", "aliases", "notes") if key in content}
        read = [f"{before}{content[key]}" for key, before in _READING.items() if key in content]
        source = str(content.get("source", "")) + (f" ({', '.join(read)})" if read else "")
        content = {**kept, "source": source, "config_json": json.dumps(content["config"], indent=2)}
    return from_dict(Model, content, path)
