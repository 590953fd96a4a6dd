"""Reads and writes the files of catalog entries: the catalog's own formats, or the JSON of the messages.

What `get` printed, with the entry under `hardware` or `model`, is read too.
"""

from __future__ import annotations

from ridgeline.files.devices import device_document, device_text, read_device
from ridgeline.files.folders import read_config, read_model_folder
from ridgeline.files.models import model_document, read_model
from ridgeline.files.reading import MAX_FILE_BYTES, config_text, names_file, read_object, read_text

__all__ = [
    "MAX_FILE_BYTES",
    "config_text",
    "device_document",
    "device_text",
    "model_document",
    "names_file",
    "read_config",
    "read_device",
    "read_model",
    "read_model_folder",
    "read_object",
    "read_text",
]
