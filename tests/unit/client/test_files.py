"""Catalog entries in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ridgeline import errors, jsonform
from ridgeline.files import read_device, read_model
from ridgeline.v1 import types_pb2
from ridgeline.v1.hardware_pb2 import FigureSource, Hardware, Link, PeakRate
from ridgeline.v1.model_pb2 import Model
from ridgeline_server.rpc.convert import hardware, models
from ridgeline_server.store.builtin import BuiltinCatalog, read_builtin_catalog

CATALOG = Path(__file__).resolve().parents[3] / "catalog" / "ridgeline_catalog"

DEVICE: dict[str, Any] = {
    "id": "x100",
    "display_name": "Example",
    "kind": "gpu",
    "aliases": ["x"],
    "memory_bytes": {"value": 1024, "source": "sheet", "read_on": "2026-11-22", "confidence": "high"},
    "bandwidth_bytes_per_s": {"value": 2e12},
    "peak_flops_per_s": {
        "bf16": {"value": 3e14, "source": "sheet", "note": "dense", "accumulate": "fp32"},
        "int8": 6e14,
    },
    "unsupported_dtypes": {"value": ["fp8"], "source": "white paper"},
    "link": {
        "kind": "L",
        "bandwidth_bytes_per_s": {"value": 5e10, "source": "guess", "confidence": "low"},
        "domain_size": {"value": 8},
    },
    "price_usd_per_hour": {"value": 2, "read_on": "2026-11-22"},
    "notes": ["n"],
}


def test_the_catalogs_format_becomes_a_message() -> None:
    assert read_device(DEVICE) == Hardware(
        id="x100",
        display_name="Example",
        kind="gpu",
        aliases=["x"],
        memory_bytes=1024,
        bandwidth_bytes_per_s=2e12,
        peaks=[
            PeakRate(dtype=types_pb2.DTYPE_BF16, flops_per_s=3e14, accumulate=types_pb2.DTYPE_FP32),
            PeakRate(dtype=types_pb2.DTYPE_INT8, flops_per_s=6e14),
        ],
        unsupported_dtypes=[types_pb2.DTYPE_FP8],
        link=Link(kind="L", bandwidth_bytes_per_s=5e10, domain_size=8),
        price_usd_per_hour=2,
        price_as_of="2026-11-22",
        sources=[
            FigureSource(
                field="link.bandwidth_bytes_per_s", source="guess", confidence=types_pb2.CONFIDENCE_LOW
            ),
            FigureSource(
                field="memory_bytes",
                source="sheet",
                read_on="2026-11-22",
                confidence=types_pb2.CONFIDENCE_HIGH,
            ),
            FigureSource(field="peaks.bf16", source="sheet", note="dense"),
            FigureSource(field="price_usd_per_hour", read_on="2026-11-22"),
            FigureSource(field="unsupported_dtypes", source="white paper"),
        ],
        notes=["n"],
    )


def test_what_a_message_prints_is_read_back_wrapped_or_not() -> None:
    message = read_device(DEVICE)
    printed = json.loads(jsonform.to_json(message))
    assert read_device(printed) == message
    assert read_device({"hardware": printed, "catalog_revision": 3}) == message


@pytest.fixture(scope="module")
def builtin() -> BuiltinCatalog:
    """The built-in catalog as seeding reads it."""
    return read_builtin_catalog()


@pytest.mark.parametrize("path", sorted((CATALOG / "hardware").glob("*.json")), ids=lambda path: path.stem)
def test_a_device_file_reads_as_the_entry_that_is_seeded(path: Path, builtin: BuiltinCatalog) -> None:
    """Two readers of one format, the client's and the seed's, must agree."""
    seeded = hardware.entry_message(next(e for e in builtin.hardware if e.id == path.stem))
    read = read_device(json.loads(path.read_text(encoding="utf-8")))
    for message in (seeded, read):
        message.ClearField("origin")
        message.ClearField("suspicions")
        message.sources.sort(key=lambda source: source.field)
        message.peaks.sort(key=lambda peak: peak.dtype)
    assert read == seeded


@pytest.mark.parametrize("path", sorted((CATALOG / "models").glob("*.json")), ids=lambda path: path.stem)
def test_a_model_file_reads_as_the_entry_that_is_seeded(path: Path, builtin: BuiltinCatalog) -> None:
    read = read_model(json.loads(path.read_text(encoding="utf-8")))
    seeded = models.entry_message(next(e for e in builtin.models if e.id == read.id))
    assert json.loads(read.config_json) == json.loads(seeded.config_json)
    assert (read.display_name, read.source, list(read.aliases)) == (
        seeded.display_name,
        seeded.source,
        list(seeded.aliases),
    )


def test_a_models_message_is_read_back_wrapped_or_not() -> None:
    message = Model(id="a/b", config_json='{"x": 1}', notes=["n"], parameter_count=5, etag="e")
    printed = json.loads(jsonform.to_json(message))
    assert read_model(printed) == message
    assert read_model({"model": printed, "catalog_revision": 3}) == message


def test_a_config_alone_is_no_models_file() -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        read_model({"model_type": "llama", "num_hidden_layers": 2})
    assert [v.field for v in raised.value.violations] == ["model.model_type", "model.num_hidden_layers"]


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"memory_bytes": {"source": "sheet"}}, ["hardware.memory_bytes"]),
        ({"memory_bytes": {"value": 1, "unit": "GB"}}, ["hardware.memory_bytes"]),
        ({"unsupported_dtypes": {"source": "sheet"}}, ["hardware.unsupported_dtypes"]),
        ({"unsupported_dtypes": {"value": ["bf17"]}}, ["hardware.unsupported_dtypes[0]"]),
        ({"link": {"kind": "L", "domain_size": {"value": 8.5}}}, ["hardware.link.domain_size"]),
        ({"sources": "a sheet"}, ["hardware.sources"]),
        ({"peak_flops_per_s": [1]}, ["hardware.peak_flops_per_s"]),
        ({"peak_flops_per_s": {"bf17": 1}}, ["hardware.peaks[0].dtype"]),
        ({"memory_bytes": {"value": "80 GB"}}, ["hardware.memory_bytes"]),
        ({"colour": "green"}, ["hardware.colour"]),
        ({"link": "NVLink"}, ["hardware.link"]),
    ],
)
def test_what_is_wrong_in_a_device_file_is_named(change: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        read_device({**DEVICE, **change})
    assert [v.field for v in raised.value.violations] == fields
