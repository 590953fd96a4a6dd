"""Timings made for a test, and samples of the shipped ones."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

from ridgeline_server.calibration.kernels.__main__ import catalog_devices
from ridgeline_server.calibration.kernels.classes import FORMS
from ridgeline_server.calibration.kernels.counts import Kernels
from ridgeline_server.calibration.kernels.rows import read_timings

SHIPPED = Path(__file__).parents[3] / "data" / "kernels"
"""The timings that the catalog's profiles are fitted to."""
FOUND_ON: dict[str, object] = {"system": "h100_sxm", "backend": "vllm", "version": "0.24.0", "source": "test"}


def timed(name: str, *rows: dict[str, object]) -> Kernels:
    """The kernels of a class in a file of such rows, on an H100 and vLLM unless they say otherwise."""
    full = [FOUND_ON | {"measured_us": 100.0} | row for row in rows]
    lines = [",".join(full[0]), *(",".join(map(str, row.values())) for row in full)]
    return FORMS[name].read(read_timings("\n".join(lines)), catalog_devices())


@cache
def shipped_text(name: str, step: int = 1) -> str:
    """Every so many lines of the shipped file of a class."""
    lines = gzip.decompress((SHIPPED / f"{name}.csv.gz").read_bytes()).decode().splitlines()
    return "\n".join([lines[0], *lines[1::step]])


@cache
def shipped(name: str, step: int = 1) -> Kernels:
    """The kernels in those lines."""
    return FORMS[name].read(read_timings(shipped_text(name, step)), catalog_devices())
