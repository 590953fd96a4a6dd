"""Gathers a command's options into the arguments of a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ridgeline.cli import deployment_file

LOAD = ("batch", "input_len", "output_len", "decode_keys", "slo_ttft_ms", "slo_tpot_ms")


def load(options: Mapping[str, Any]) -> dict[str, Any]:
    """The load as keyword arguments of `Client.analyze`."""
    return {name: options[name] for name in LOAD}


def deployment(options: Mapping[str, Any], file: Path | None) -> dict[str, Any]:
    """The deployment as keyword arguments: what the file says, then what the options say."""
    stated = deployment_file.read(file) if file is not None else {}
    stated |= {name: options[name] for name in deployment_file.KEYS if options[name] is not None}
    return stated


def circumstances(options: Mapping[str, Any]) -> dict[str, Any]:
    """On what the answer rests, as keyword arguments: the basis, figures replaced, the catalog's revision."""
    return {
        "ideal": options["ideal"],
        "overrides": overrides(options["overrides"]),
        "catalog_revision": options["catalog_revision"] or 0,
    }


def overrides(pairs: Sequence[str]) -> dict[str, str]:
    """The figures that --set replaces, values as text. Raises click.UsageError."""
    return dict(map(split_pair, pairs))


def split_pair(pair: str) -> tuple[str, str]:
    """`KEY=VALUE` in its parts. Raises click.UsageError."""
    key, equals, value = (part.strip() for part in pair.partition("="))
    if not (key and equals and value):
        raise click.UsageError(f"{pair!r} is not KEY=VALUE, such as bandwidth_bytes_per_s=1.5e12.")
    # Both `peaks.int8` and `peak.int8` are what people type.
    return (f"peaks.{key.removeprefix('peak.')}" if key.startswith("peak.") else key), value
