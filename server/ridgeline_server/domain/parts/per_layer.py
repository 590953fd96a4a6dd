"""Keys that a config gives for each layer, in the spellings that all families share."""

from __future__ import annotations

from collections.abc import Mapping

from ridgeline_server.domain.config.fields import shown, whole
from ridgeline_server.domain.parts.reading import Reading

Keys = dict[str, int]
_LISTED = "_per_layer"


def keys_of_layers(reading: Reading) -> list[Keys]:
    """For each layer the keys that replace the config's: out of lists with an entry per layer, under the key
    itself or with `_per_layer` behind it, out of transformers' per_layer_config, or as the family says.
    """
    family, fields, layers = reading.family, reading.fields, reading.layer_count
    keys: list[Keys] = [{} for _ in range(layers)]
    sizes = (*family.head_keys, *family.kv_head_keys, *family.head_dim_keys, *family.mlp_keys)
    for key in (*sizes, *family.listed_keys):
        for spelt in (key, key + _LISTED):
            entries = fields.value(spelt)
            if isinstance(entries, list | tuple):
                _take_list(reading, spelt, entries, keys)
    stated = fields.value("per_layer_config")
    if stated is not None:
        _take_objects(reading, stated, keys)
    if family.per_layer is not None:
        for own, more in zip(keys, family.per_layer(reading), strict=False):
            own.update(more)
    return keys


def _take_list(
    reading: Reading, key: str, entries: list[object] | tuple[object, ...], keys: list[Keys]
) -> None:
    numbers = [number for entry in entries if (number := whole(entry)) is not None]
    if len(numbers) != len(entries) or len(numbers) != reading.layer_count:
        if reading.fields.sound:
            reading.fields.refuse(
                key, f"is {shown(entries)}; give a whole number for each of {reading.layer_count} layers"
            )
        numbers = [1] * reading.layer_count
    for own, number in zip(keys, numbers, strict=True):
        own[key.removesuffix(_LISTED)] = number


def _take_objects(reading: Reading, stated: object, keys: list[Keys]) -> None:
    """The per_layer_config of transformers: {"05": {"head_dim": 512}, ...}."""
    entries = stated.items() if isinstance(stated, Mapping) else [("", None)]
    for layer, own in entries:
        number = int(layer) if isinstance(layer, str) and layer.isdecimal() and len(layer) < 6 else -1
        numbers = own.values() if isinstance(own, Mapping) else [None]
        if not 0 <= number < len(keys) or any(whole(value) is None for value in numbers):
            if reading.fields.sound:
                reading.fields.refuse(
                    "per_layer_config",
                    f"has {shown(layer)}: {shown(own)}; give whole numbers under a layer from 0 to "
                    f"{reading.layer_count - 1}",
                )
            continue
        assert isinstance(own, Mapping)
        keys[number].update({str(key): whole(value) or 0 for key, value in own.items()})
