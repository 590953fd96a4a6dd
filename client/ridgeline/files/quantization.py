"""The quantiser's own file, in the form in which a config tells the same as `quantization_config`.

NVIDIA's Model Optimizer writes `hf_quant_config.json` beside the config. For a mixture of experts it may list
each matrix of each expert, tens of thousands of names; those of all experts of a layer are told in one.
AutoGPTQ wrote `quantize_config.json` and AutoAWQ `quant_config.json` before configs held the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ridgeline.errors import InvalidArgumentError
from ridgeline.files.reading import read_object, wrong_file

MODEL_OPTIMIZER = "hf_quant_config.json"
METHODS = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
"""Files of one format for all layers, with the method that each stands for."""
FILES = (MODEL_OPTIMIZER, *METHODS)
BITS = ("bits", "w_bit")
"""How such files tell the size of a weight: AutoGPTQ's word and AutoAWQ's."""
PLACES = frozenset({"model_name_or_path", "model_file_base_name"})
"""What AutoGPTQ notes of the machine that it ran on."""
MAX_BYTES = 2**24
"""The largest that is known, of 22,422 names, has 3 MB."""

_EXPERT = re.compile(r"(?<=experts\.)[0-9]{1,6}(?=\.)")


def find(folder: Path, field: str) -> Path | None:
    """The quantiser's file in a folder. Raises InvalidArgumentError about `field` for several."""
    found = [folder / name for name in FILES if (folder / name).is_file()]
    if len(found) > 1:
        others = " and ".join(path.name for path in found[1:])
        raise wrong_file(
            found[0], field, f"lies beside {others}; keep the one that tells how weights are stored"
        )
    return found[0] if found else None


def read_quantization(file: Path, config: Mapping[str, object], field: str) -> dict[str, object]:
    """What the quantiser's file says, as a `quantization_config` of `config`.

    Raises InvalidArgumentError about `field` when the file cannot be read or does not tell it.
    """
    written = read_object(file, field, MAX_BYTES)
    if file.name == MODEL_OPTIMIZER:
        return _of_model_optimizer(written, config)
    if not any(type(written.get(key)) is int for key in BITS):
        raise _unclear(file, field)
    kept = {key: value for key, value in written.items() if key not in PLACES}
    return {"quant_method": METHODS[file.name], **kept}


def _unclear(file: Path, field: str) -> InvalidArgumentError:
    return wrong_file(
        file,
        field,
        f"does not tell the bits of a weight ({' or '.join(BITS)}), so that it is not known how the weights "
        "are stored; correct it, or take it away when they are as config.json says",
    )


def _of_model_optimizer(written: Mapping[str, object], config: Mapping[str, object]) -> dict[str, object]:
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
