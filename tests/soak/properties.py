"""What holds of every file that was imported, whatever was done to it before."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ridgeline.jsonform import enum_name
from ridgeline.v1.hardware_pb2 import Hardware
from ridgeline.v1.model_pb2 import Model
from ridgeline.v1.types_pb2 import Dtype
from ridgeline_server.store.names import name_key
from tests.rpc.samples import COMPUTED_OF_MODELS
from tests.soak.mutations import Document, config_of
from tests.soak.recount import is_plain, odd_numbers, recounted

SIZES = ("vocab_size", "hidden_size", "num_hidden_layers")
"""Numbers that count for every model: with more of one there are more parameters."""

WITHOUT_WEIGHT = frozenset(
    {"transformers_version", "bos_token_id", "eos_token_id", "pad_token_id", "initializer_range", "use_cache",
     "rms_norm_eps", "layer_norm_eps", "attention_dropout", "_name_or_path", "rope_theta", "torch_dtype",
     "dtype", "hidden_act", "quantization_config"}
)  # fmt: skip
"""Keys that change no number of weights, whatever they say."""

FIGURES = ("memory_bytes", "bandwidth_bytes_per_s")
OPTIONAL_FIGURES = ("usable_memory_bytes", "clock_hz", "tdp_watts", "price_usd_per_hour")


class Violation(Exception):  # noqa: N818  # the word of those who read the report
    """A property that was broken, and how."""

    def __init__(self, broken: str, how: str) -> None:
        self.broken = broken
        super().__init__(f"{broken}: {how}")


@dataclass(frozen=True)
class Baseline:
    """A model's config as it ships, and what the service computes from it."""

    config: Document
    model: Model


def stated(entry: Hardware | Model) -> Hardware | Model:
    """An entry without what the service adds."""
    copy = type(entry)()
    copy.CopyFrom(entry)  # type: ignore[arg-type]  # of the same type
    for name in ("origin", "etag", "create_time", "update_time", "suspicions"):
        copy.ClearField(name)
    if isinstance(copy, Model):
        for name in COMPUTED_OF_MODELS:
            copy.ClearField(name)  # type: ignore[arg-type]
    return copy


def check_keys(text: str) -> None:
    """No key of a file that was taken has two values."""

    def told(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        twice = [key for key, value in pairs if _typed(found[key]) != _typed(value)]
        if twice:
            raise Violation("a key has one value", f"{twice[0]} has two")
        return found

    json.loads(text, object_pairs_hook=told)


def check_refusal(text: str) -> None:
    """A refusal is a sentence for people."""
    if not text.strip() or "Traceback" in text or len(text) > 20_000:
        raise Violation("a refusal says why", repr(text))


def check_same(found: object, wanted: object, broken: str) -> None:
    """Two things are equal; of messages and objects the fields are told that differ."""
    if found == wanted:
        return
    if isinstance(found, Hardware | Model) and isinstance(wanted, Hardware | Model):
        found, wanted = (
            {field.name: value for field, value in message.ListFields()} for message in (found, wanted)
        )
    if isinstance(found, dict) and isinstance(wanted, dict):
        differing = [key for key in {**found, **wanted} if found.get(key, ...) != wanted.get(key, ...)]
        found, wanted = ({key: each.get(key, ...) for key in differing} for each in (found, wanted))
    raise Violation(broken, f"{str(found)[:1000]} instead of {str(wanted)[:1000]}")


def with_plain_config(entry: Hardware | Model) -> Hardware | Model:
    """The entry with its config as JSON is usually printed."""
    if isinstance(entry, Model):
        entry.config_json = json.dumps(json.loads(entry.config_json), indent=2)
    return entry


def check_kept(read: Hardware | Model, stored: Hardware | Model) -> None:
    """The catalog holds what the file was read as; an alias that reads like another name adds nothing."""
    wanted = stated(read)
    names = {name_key(name): name for name in reversed((read.id, *read.aliases))}
    kept = [
        name for name in read.aliases if names.get(name_key(name)) is name or names[name_key(name)] == name
    ]
    del wanted.aliases[:]
    wanted.aliases.extend(name for name in dict.fromkeys(kept) if name_key(name) != name_key(read.id))
    check_same(stated(stored), wanted, "what was read is what is stored")


def check_config(config: object, stored: Model) -> None:
    """The stored config says what the file's says, number for number."""
    check_same(_typed(json.loads(stored.config_json)), _typed(config), "a config is stored as it is")


def _typed(value: object) -> object:
    """A value in a form in which 1, 1.0 and true differ and NaN equals itself."""
    if isinstance(value, dict):
        return {key: _typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    return (type(value).__name__, repr(value))


def check_count(stored: Model) -> bool:
    """The parameters are those of a formula, where there is one for the config. Whether there was."""
    config = json.loads(stored.config_json)
    if is_plain(config) and odd_numbers(config):
        raise Violation("a size is a whole number", f"{', '.join(odd_numbers(config))} were taken")
    count = recounted(config)
    if count is None:
        return False
    check_same(stored.parameter_count, count, "the parameters are those of the config's numbers")
    return True


def check_against(before: Baseline, stored: Model) -> bool:
    """What one change of a config does to its parameters. Whether that could be told."""
    after = config_of({"config": json.loads(stored.config_json)})
    keys = {**before.config, **after}
    changed = [key for key in keys if _typed(before.config.get(key, ...)) != _typed(after.get(key, ...))]
    old, new = before.model.parameter_count, stored.parameter_count
    if all(key in WITHOUT_WEIGHT for key in changed):
        check_same(new, old, f"no weight depends on {', '.join(changed) or 'what surrounds the config'}")
        return True
    if len(changed) != 1 or changed[0] not in SIZES:
        return False
    (key,) = changed
    said, says = before.config.get(key), after.get(key)
    if says is None:
        if new != old and list(stored.assumptions) == list(before.model.assumptions):
            raise Violation("what is assumed of a size is told", f"{key} is left out: {old} -> {new}")
    elif not _is_size(says):
        raise Violation("a size is a whole number", f"{key} is {says!r} and was taken")
    elif _is_size(said):
        more, less = float(str(says)) > float(str(said)), float(str(says)) < float(str(said))
        if (more, less) != (new > old, new < old):
            raise Violation("more of a size are more parameters", f"{key} {said} -> {says}: {old} -> {new}")
    return True


def _is_size(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()


def check_device_figures(content: Mapping[str, Any], stored: Hardware) -> None:
    """Each figure of the device is the one that stands in the file."""
    if set(content) <= {"hardware", "catalog_revision"} and isinstance(content.get("hardware"), dict):
        content = content["hardware"]
    figures = {name: getattr(stored, name) for name in FIGURES}
    present = {field.name: value for field, value in stored.ListFields()}
    figures |= {name: present.get(name) for name in OPTIONAL_FIGURES}
    for name, found in figures.items():
        check_same(_float(found), _float(_value(content.get(name))), f"{name} is that of the file")
    peaks = content.get("peak_flops_per_s")
    if isinstance(peaks, dict):
        wanted = {_plain(dtype): _float(_value(said)) for dtype, said in peaks.items()}
        found_peaks = {
            str(enum_name(Dtype.DESCRIPTOR, peak.dtype)).lower(): peak.flops_per_s for peak in stored.peaks
        }
        check_same(found_peaks, wanted, "the peaks are those of the file")
    check_same(stored.display_name, content.get("display_name") or "", "the name is that of the file")
    check_same(list(stored.notes), content.get("notes") or [], "the notes are those of the file")


def _value(figure: Any) -> Any:
    return figure.get("value") if isinstance(figure, dict) else figure


def _plain(dtype: str) -> str:
    return re.sub("^dtype_", "", dtype.lower())


def _float(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else value
