"""Reads a model from what lies in its folder: the config, the quantiser's file and the weights' headers.

A `config.json` stands for its folder, whether the file or the folder is named: what lies beside it says how
the weights are stored, and leaving that out would describe another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ridgeline.files import quantization
from ridgeline.files.checkpoints import CheckpointError, read_totals
from ridgeline.files.reading import config_text, parse_json, read_text
from ridgeline.v1.model_pb2 import Model

CONFIG = "config.json"


@dataclass(frozen=True)
class Config:
    """The text of a config.json; `notes` tell what of it stood in another file."""

    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FolderModel:
    """A model without an id; `remarks` tell what its folder holds and could not be read."""

    model: Model
    remarks: tuple[str, ...] = ()


def read_config(path: Path, field: str) -> Config:
    """The config in a file or a folder. Raises InvalidArgumentError about `field`.

    Where the config itself tells nothing of quantisation, the quantiser's file beside it does.
    """
    text = read_text(path, field)
    folder = home(path)
    if folder is None:
        return Config(text)
    try:
        config = parse_json(text)
    except ValueError:
        return Config(text)  # The server tells what is wrong with it.
    if not isinstance(config, dict) or _is_quantized(config):
        return Config(text)
    file = quantization.find(folder, field)
    if file is None:
        return Config(text)
    whole = config | {"quantization_config": quantization.read_quantization(file, config, field)}
    note = f"quantization_config was read from {file.name} beside {CONFIG}."
    return Config(config_text(whole, field), (note,))


def read_model_folder(path: Path, field: str = "model") -> FolderModel:
    """The model in a config.json or its folder, with the totals of the weights that lie there.

    Totals that cannot be told are left out, with a remark: the config describes the model without them.
    Raises InvalidArgumentError about `field` for a config that cannot be read.
    """
    config = read_config(path, field)
    model = Model(config_json=config.text, notes=config.notes)
    folder = home(path)
    if folder is None:
        return FolderModel(model)
    try:
        totals = read_totals(folder)
    except CheckpointError as error:
        return FolderModel(model, (f"The checkpoint's totals were not read: {error}.",))
    if totals is not None:
        model.checkpoint.CopyFrom(totals)
    return FolderModel(model)


def home(path: Path) -> Path | None:
    """The model's folder: the path itself, or where a config.json lies; None for a file of another name."""
    if path.is_dir():
        return path
    return path.parent if path.name == CONFIG else None


def _is_quantized(config: Mapping[str, object]) -> bool:
    """Whether the config itself tells how the weights are stored."""
    inner = config.get("text_config")
    places = [config, inner] if isinstance(inner, Mapping) else [config]
    return any(place.get(key) for place in places for key in ("quantization_config", "compression_config"))
