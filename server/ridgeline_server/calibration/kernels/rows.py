"""The files of kernel timings: text into columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Texts = NDArray[np.str_]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Timings:
    """Columns of a file of timings by their names, each of shape (R,), as text."""

    columns: Mapping[str, Texts]

    def text(self, name: str) -> Texts:
        """A column as it is in the file."""
        return self.columns[name]

    def number(self, name: str) -> Array:
        """A column of numbers."""
        return self.columns[name].astype(np.float64)

    def take(self, which: Mask) -> Timings:
        """The rows that a mask keeps."""
        return Timings({name: column[which] for name, column in self.columns.items()})


def read_timings(text: str) -> Timings:
    """The rows of a CSV file with a header, sorted; a row that two packages hold counts once.

    `source`, which tells the package, is left out. Raises ValueError where a row has no `measured_us`.
    """
    table = csv.DictReader(io.StringIO(text))
    names = [name for name in table.fieldnames or () if name != "source"]
    if "measured_us" not in names:
        raise ValueError("the file has no column measured_us: it is no file of kernel timings")
    rows = sorted({tuple(row[name] for name in names) for row in table})
    columns = np.array(rows, dtype=np.str_).reshape(-1, len(names)).T
    return Timings(dict(zip(names, columns, strict=True)))
