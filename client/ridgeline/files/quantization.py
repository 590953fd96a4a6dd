"""The quantiser's own file, in the form in which a config tells the same as `quantization_config`.

NVIDIA's Model Optimizer writes `hf_quant_config.json` beside the config. For a mixture of experts it may list
each matrix of each expert, tens of thousands of names; those of all experts of a layer are told in one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ridgeline.files.reading import read_object

FILE = "hf_quant_config.json"
MAX_BYTES = 2**24
"""The largest that is known, of 22,422 names, has 3 MB."""

_EXPERT = re.compile(r"(?<=experts\.)[0-9]{1,6}(?=\.)")


def read_quantization(folder: Path, config: Mapping[str, object], field: str) -> dict[str, object]:
    """What the file in a folder says, as a `quantization_config` of `config`.

    Raises InvalidArgumentError about `field` when the file cannot be read.
    """
    written = read_object(folder / FILE, field, MAX_BYTES)
    merged: dict[str, object] = {"quant_method": "modelopt"}
    if "producer" in written:
        merged["producer"] = written["producer"]
    scheme = written.get("quantization")
    if isinstance(scheme, Mapping):
        merged |= scheme
    layers = merged.get("quantized_layers")
    if isinstance(layers, Mapping):
        merged["quantized_layers"] = _compact(layers, set(_expert_counts(config)))
    return merged


def _compact(layers: Mapping[str, object], expert_counts: set[int]) -> dict[str, object]:
    """The layers, with `experts.*` for the names of all experts of a layer that are quantised alike."""
    groups: dict[str, dict[str, object]] = {}
    for name, scheme in layers.items():
        groups.setdefault(_EXPERT.sub("*", name, count=1), {})[name] = scheme
    compact: dict[str, object] = {}
    for pattern, members in groups.items():
        first = next(iter(members.values()))
        alike = all(scheme == first for scheme in members.values())
        if len(members) > 1 and len(members) in expert_counts and alike:
            compact[pattern] = first
        else:
            compact |= members
    return compact


def _expert_counts(config: Mapping[str, object]) -> Iterator[int]:
    """The numbers that the config gives under keys that speak of experts."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _expert_counts(value)
        elif "expert" in key and type(value) is int:
            yield value
