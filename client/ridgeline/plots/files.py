"""Saves drawn figures as SVG or PNG; needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ridgeline.whole_file import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png")
NEEDS_EXTRA = 'drawing into a file needs matplotlib; install it with `pip install "ridgeline[plots]"`'
PNG_DOTS_PER_INCH = 160

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": "#222222",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "svg.hashsalt": "ridgeline",
}
"""matplotlib settings of all pictures. The fixed salt gives equal figures equal SVG files."""


class MissingExtraError(ImportError):
    """matplotlib is not installed."""


def require_matplotlib() -> None:
    """Raises MissingExtraError, with the way out, when matplotlib cannot be imported."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(NEEDS_EXTRA) from error


def save(figure: Figure, path: Path) -> None:
    """Writes the figure in the format of the path's suffix, whole or not at all. Raises OSError."""
    from matplotlib import style

    metadata = {"Date": None} if path.suffix.lower() == ".svg" else {"Software": "Ridgeline"}
    with whole_file(path) as part, style.context(STYLE):
        figure.savefig(part, format=path.suffix[1:].lower(), dpi=PNG_DOTS_PER_INCH, metadata=metadata)
