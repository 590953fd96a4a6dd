"""Reads and writes files: entries in the catalog's own formats or as the JSON of the messages, and tables of
measurements and of measured cases.

What `get` printed, with the entry under `hardware` or `model`, is read too.
"""

from __future__ import annotations

from ridgeline.files.cases import CASE_COLUMNS, CaseTable
from ridgeline.files.devices import device_document, device_text, read_device
from ridgeline.files.folders import read_config, read_model_folder
from ridgeline.files.measurements import (
    MEASUREMENT_COLUMNS,
    MeasurementTable,
    measurement_cells,
    read_measurements,
)
from ridgeline.files.models import model_document, read_model
from ridgeline.files.reading import MAX_FILE_BYTES, config_text, names_file, read_object, read_text

__all__ = [
    "CASE_COLUMNS",
    "MAX_FILE_BYTES",
    "MEASUREMENT_COLUMNS",
    "CaseTable",
    "MeasurementTable",
    "config_text",
    "device_document",
    "device_text",
    "measurement_cells",
    "model_document",
    "names_file",
    "read_config",
    "read_device",
    "read_measurements",
    "read_model",
    "read_model_folder",
    "read_object",
    "read_text",
]
