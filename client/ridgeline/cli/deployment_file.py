"""Reads a deployment from a file, as the arguments that `Client.analyze` takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

_WHOLE = (
    "weight_group_size", "tp", "pp", "ep", "attention_dp", "dp", "chunk_tokens", "kv_window", "draft_tokens",
)  # fmt: skip
_NUMBERS = (
    "prefix_hit_rate", "kv_keep_ratio", "acceptance_rate", "offload_weights", "offload_kv",
    "host_bandwidth_bytes_per_s", "skip_layers", "expert_spread", "node_bandwidth_bytes_per_s",
    "memory_utilization",
)  # fmt: skip
_FLAGS = ("sparse_weights", "eager")
KEYS = (
    "weights", "weight_group_size", "lm_head", "activations", "kv", "module_formats", "tp", "pp", "ep",
    "attention_dp", "dp", "node_bandwidth_bytes_per_s", "engine", "memory_utilization", "eager", "attention",
    "chunk_tokens", "prefix_hit_rate", "kv_keep_ratio", "kv_window", "draft", "draft_tokens",
    "draft_weights", "acceptance_rate", "offload_weights", "offload_kv", "host_bandwidth_bytes_per_s",
    "sparse_weights", "skip_layers", "expert_spread",
)  # fmt: skip
"""What a deployment has, in the order of the options: arguments of `Client.analyze`."""

_OPTION_KEYS = {
    "module_format": "module_formats",
    "host_bandwidth": "host_bandwidth_bytes_per_s",
    "node_bandwidth": "node_bandwidth_bytes_per_s",
}
"""Options whose names differ from their arguments'."""
_PARTS = ("parallel", "speculation", "offload")
_MESSAGE_KEYS = {
    "weight_dtype": "weights",
    "lm_head_dtype": "lm_head",
    "activation_dtype": "activations",
    "kv_dtype": "kv",
    "skipped_layer_share": "skip_layers",
    "expert_popularity_spread": "expert_spread",
    **{f"parallel.{degree}": degree for degree in ("tp", "pp", "ep", "attention_dp", "dp")},
    "speculation.draft": "draft",
    "speculation.tokens": "draft_tokens",
    "speculation.draft_weight_dtype": "draft_weights",
    "speculation.acceptance_rate": "acceptance_rate",
    "offload.weight_share": "offload_weights",
    "offload.kv_share": "offload_kv",
    "offload.host_bandwidth_bytes_per_s": "host_bandwidth_bytes_per_s",
}
"""Keys of a `deployment` in an answer's JSON, so that a plan can be fed back."""


def read(path: Path) -> dict[str, Any]:
    """The deployment in a JSON or TOML file. Raises click.UsageError with all that is wrong."""
    import tomllib  # here, since no command without a deployment file has a use for it

    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        kind = "TOML" if path.suffix.lower() == ".toml" else "JSON (a TOML file ends in .toml)"
        raise click.UsageError(f"{path} is not {kind}: {error}") from error
    if not isinstance(content, Mapping):
        raise click.UsageError(f'{path} holds no object; give keys such as {{"weights": "int4"}}.')
    inner = content.get("deployment")
    return arguments(inner if isinstance(inner, Mapping) else content, str(path))


def arguments(content: Mapping[str, object], where: str) -> dict[str, Any]:
    """Checked arguments from keys and values; `where` says in messages where they stand."""
    found: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in _as_options(content):
        name = _OPTION_KEYS.get(key, key)
        if name not in KEYS:
            problems.append(f"{key} is no part of a deployment; it has {', '.join(KEYS)}")
        elif name in _WHOLE and (not isinstance(value, int) or isinstance(value, bool)):
            problems.append(f"{key} is {value!r}; give a whole number")
        elif name in _NUMBERS and (not isinstance(value, int | float) or isinstance(value, bool)):
            problems.append(f"{key} is {value!r}; give a number")
        elif name in _FLAGS and not isinstance(value, bool):
            problems.append(f"{key} is {value!r}; give true or false")
        elif name == "module_formats":
            found[name] = _module_formats(value, problems)
        elif name in (*_WHOLE, *_NUMBERS, *_FLAGS):
            found[name] = value
        elif not isinstance(value, str):
            problems.append(f'{key} is {value!r}; give a name such as "int8"')
        elif value.upper() not in ("UNSPECIFIED", ""):
            found[name] = value
    if problems:
        raise click.UsageError(f"{where}: {'; '.join(problems)}.")
    return found


def from_text(pairs: Mapping[str, str], where: str) -> dict[str, Any]:
    """Checked arguments from keys and values as they are typed, such as `tp` and `2`."""
    return arguments({key: _typed(key.replace("-", "_"), text) for key, text in pairs.items()}, where)


def _typed(key: str, text: str) -> object:
    """A value in the type of its key; a text that is none of that type stays one, to be refused."""
    name = _OPTION_KEYS.get(key, key)
    if name in _FLAGS:
        return {"true": True, "false": False}.get(text.lower(), text)
    if name == "module_formats":
        return [text]
    try:
        return int(text) if name in _WHOLE else float(text) if name in _NUMBERS else text
    except ValueError:
        return text


def _as_options(content: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Keys and values as options name them, whether a person wrote them or an answer has them."""
    flat: dict[str, object] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name in _PARTS and isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": part for inner, part in value.items()}
        else:
            flat[name] = value
    flat.pop("speculation.acceptance_rate_source", None)
    drafting = flat.pop("speculation.draft_model", None)
    if isinstance(drafting, Mapping) and isinstance(drafting.get("id"), str):
        flat["speculation.draft"] = drafting["id"]
    version = flat.pop("engine_version", "")
    if version:
        flat["engine"] = f"{flat.get('engine', '')}@{version}"
    for name, value in flat.items():
        yield _MESSAGE_KEYS.get(name, name), value


def _module_formats(value: object, problems: list[str]) -> dict[str, str]:
    """Formats by module class: from a table, from a list of `MODULE=FORMAT`, or from an answer's list."""
    if isinstance(value, Mapping):
        pairs = [(str(module), stored) for module, stored in value.items()]
    elif isinstance(value, list):
        pairs = [_module_format(entry) for entry in value]
    else:
        pairs = [("", value)]
    for module, stored in pairs:
        if not module or not isinstance(stored, str):
            problems.append(f'module_formats has {stored!r}; give a table such as {{"experts": "mxfp4"}}')
            return {}
    return {module: str(stored) for module, stored in pairs}


def _module_format(entry: object) -> tuple[str, object]:
    if isinstance(entry, str):
        module, equals, stored = (part.strip() for part in entry.partition("="))
        return (module.replace("-", "_"), stored) if equals and stored else ("", entry)
    if not isinstance(entry, Mapping) or not {"module_class", "dtype"} <= entry.keys():
        return "", entry
    text = str(entry["dtype"]).lower()
    if "group_size" in entry:
        text += f":g{entry['group_size']}"
    activations = str(entry.get("activation_dtype", "UNSPECIFIED"))
    if activations.upper() != "UNSPECIFIED":
        text += f":{activations.lower()}"
    return str(entry["module_class"]), text
