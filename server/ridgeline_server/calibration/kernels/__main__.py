"""Fits the kernel timings and writes the catalog's efficiency profiles of their classes.

    python -m ridgeline_server.calibration.kernels TIMINGS PROFILES

TIMINGS is a folder of gemm.csv.gz, decode_attention.csv.gz, prefill_attention.csv.gz and moe.csv.gz, PROFILES
one where gemm.json, decode-attention.json, prefill-attention.json and moe.json are written. Takes a minute.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Mapping
from pathlib import Path

import ridgeline_catalog
from ridgeline_server.calibration.documents import file_of
from ridgeline_server.calibration.kernels.classes import FORMS
from ridgeline_server.calibration.kernels.counts import SYSTEMS, Device, Kernels
from ridgeline_server.calibration.kernels.profiles import profiles_of
from ridgeline_server.calibration.kernels.rows import read_timings


def catalog_devices() -> Mapping[str, Device]:
    """The catalog's figures of the systems that were timed, by the names that the timings have."""
    documents = {document["id"]: document for _, document in ridgeline_catalog.hardware_documents()}
    found: dict[str, Device] = {}
    for name, system in SYSTEMS.items():
        document = documents[system.device_id]
        found[name] = Device(
            system.device_id,
            float(document["bandwidth_bytes_per_s"]["value"]),
            {dtype: float(peak["value"]) for dtype, peak in document["peak_flops_per_s"].items()},
            system.clock_hz,
            system.cache_bytes,
        )
    return found


def read_kernels(folder: Path, name: str) -> Kernels:
    """The timed kernels in a folder's file of a class."""
    text = gzip.decompress((folder / f"{name}.csv.gz").read_bytes()).decode()
    return FORMS[name].read(read_timings(text), catalog_devices())


def main() -> None:
    """Read, fit and write all classes."""
    parser = argparse.ArgumentParser(description="Fit efficiency profiles to kernel timings.")
    parser.add_argument("timings", type=Path, help="folder of the timings")
    parser.add_argument("profiles", type=Path, help="folder that the profiles are written to")
    asked = parser.parse_args()
    for name, form in FORMS.items():
        text = file_of(profiles_of(read_kernels(asked.timings, name), form))
        (asked.profiles / f"{name.replace('_', '-')}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
