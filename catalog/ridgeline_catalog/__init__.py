"""The data files: hardware, models and efficiency profiles that seed the catalog, evidence, engines, and how
engines are switched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

Document = dict[str, Any]
"""One data file as parsed JSON. Its form is stated in schemas/ where there is a schema for its kind."""


def hardware_documents() -> Iterator[tuple[str, Document]]:
    """The devices, as (file name, document), sorted by file name."""
    return _documents("hardware")


def model_documents() -> Iterator[tuple[str, Document]]:
    """The models, as (file name, document), sorted by file name."""
    return _documents("models")


def efficiency_documents() -> Iterator[tuple[str, Document]]:
    """The calibrated efficiency profiles, as (name, document): the name of a file that holds one profile, or
    that of a file with `profiles`, and the profile's position. Sorted by file name, then by position.
    """
    for file_name, document in _documents("efficiency"):
        if "profiles" not in document:
            yield file_name, document
            continue
        for position, profile in enumerate(document["profiles"], 1):
            yield f"{file_name}, profile {position}", profile


def evidence_documents() -> Iterator[tuple[str, Document]]:
    """What is published about each technique, as (file name, document), sorted by file name."""
    return _documents("evidence")


def engine_documents() -> Iterator[tuple[str, Document]]:
    """What serving engines keep of a device's memory, as (file name, document), sorted by file name."""
    return _documents("engines")


def switch_documents() -> Iterator[tuple[str, Document]]:
    """How serving engines are told what to do, as (file name, document), sorted by file name."""
    return _documents("switches")


def _documents(folder: str) -> Iterator[tuple[str, Document]]:
    """Each JSON file of a folder of this package; none where no file of the kind ships, because neither git
    nor a wheel keeps an empty folder. Raises json.JSONDecodeError where a file is not JSON.
    """
    directory = files(__name__) / folder
    if not directory.is_dir():
        return
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".json"):
            yield entry.name, json.loads(entry.read_text(encoding="utf-8"))
