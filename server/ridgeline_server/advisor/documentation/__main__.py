"""Writes the techniques' pages into a folder, and removes pages of techniques that are gone.

python -m ridgeline_server.advisor.documentation docs/techniques
"""

from __future__ import annotations

import sys
from pathlib import Path

from ridgeline_server.advisor.documentation.pages import pages


def write(folder: Path) -> None:
    """Write all pages into a folder that holds nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    current = pages()
    for path in folder.glob("*.md"):
        if path.name not in current:
            path.unlink()
    for name, text in current.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
