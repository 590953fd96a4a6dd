"""Gathers a command's options into the arguments of a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ridgeline.cli import deployment_file

LOAD = ("input_len", "output_len", "decode_keys", "slo_ttft_ms", "slo_tpot_ms")


def load(options: Mapping[str, Any]) -> dict[str, Any]:
    """The load as keyword arguments of `Client.analyze`. Raises click.UsageError for two loads at once."""
    kinds = ("batch", "concurrency", "request_rate")
    requests = {name: options[name] for name in kinds if options[name] is not None} or {"batch": 1}
    if len(requests) > 1:
        raise click.UsageError(
            "Give one of --batch, --concurrency and --request-rate: a load is a static batch, a closed loop "
            "or an open loop."
        )
    return requests | {name: options[name] for name in LOAD}


def deployment(options: Mapping[str, Any], file: Path | None) -> dict[str, Any]:
    """The deployment as keyword arguments: what the file says, then what the options say."""
    stated = deployment_file.read(file) if file is not None else {}
    by_module = module_formats(options["module_formats"])
    if by_module:
        stated["module_formats"] = {**stated.get("module_formats", {}), **by_module}
    others = (name for name in deployment_file.KEYS if name != "module_formats")
    return stated | {name: options[name] for name in others if options[name] is not None}


def module_formats(pairs: Sequence[str]) -> dict[str, str]:
    """The formats that --module-format states. Raises click.UsageError."""
    found = {}
    for pair in pairs:
        module, equals, stored = (part.strip() for part in pair.partition("="))
        if not (module and equals and stored):
            raise click.UsageError(
                f"--module-format is {pair!r}; give MODULE=DTYPE[:gGROUP][:ACTIVATIONS], such as "
                "experts=mxfp4."
            )
        found[module.replace("-", "_")] = stored
    return found


def circumstances(options: Mapping[str, Any]) -> dict[str, Any]:
    """On what the answer rests, as keyword arguments: the basis, figures replaced, the catalog's revision,
    and the command that states the deployment.
    """
    command = options["launch_command"]
    return ({"launch_command": command} if command is not None else {}) | {
        "ideal": options["ideal"],
        "overrides": overrides(options["overrides"]),
        "catalog_revision": options["catalog_revision"] or 0,
    }


def overrides(pairs: Sequence[str]) -> dict[str, str]:
    """The figures that --set replaces, values as text. Raises click.UsageError."""
    return dict(map(split_pair, pairs))


def assumed(pairs: Sequence[str]) -> dict[str, str]:
    """The figures that --assume states, values as text. Raises click.UsageError."""
    found = {}
    for pair in pairs:
        figure, equals, value = (part.strip() for part in pair.partition("="))
        if not (figure and equals and value):
            raise click.UsageError(f"{pair!r} is not FIGURE=VALUE, such as prefix_hit_rate=0.5.")
        found[figure.replace("-", "_")] = value
    return found


def split_pair(pair: str) -> tuple[str, str]:
    """`KEY=VALUE` in its parts. Raises click.UsageError."""
    key, equals, value = (part.strip() for part in pair.partition("="))
    if not (key and equals and value):
        raise click.UsageError(f"{pair!r} is not KEY=VALUE, such as bandwidth_bytes_per_s=1.5e12.")
    # Both `peaks.int8` and `peak.int8` are what people type.
    return (f"peaks.{key.removeprefix('peak.')}" if key.startswith("peak.") else key), value
