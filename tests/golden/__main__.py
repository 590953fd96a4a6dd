"""Asks the forty questions again and shows what changed: `python -m tests.golden [--write]`.

A difference is a decision: read each one, and keep it with --write only where the new answer is better.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import tempfile
from pathlib import Path

import ridgeline
from tests.golden.settings import answers

GOLDEN = Path(__file__).parents[1] / "data" / "golden_recommendations.json"


def shipped(folder: Path) -> ridgeline.Client:
    """The service in this process, on a database in a folder with the catalog that ships."""
    return ridgeline.connect(database_url=f"sqlite:///{folder / 'golden.sqlite3'}")


def main() -> None:
    """Print the differences; exit code 1 where there are any that are not written."""
    parser = argparse.ArgumentParser(description="Show how recommendations changed.")
    parser.add_argument("--write", action="store_true", help="keep the new answers")
    write = parser.parse_args().write
    with tempfile.TemporaryDirectory() as folder, shipped(Path(folder)) as client:
        text = json.dumps(answers(client), indent=1) + "\n"
    old = GOLDEN.read_text(encoding="utf-8") if GOLDEN.exists() else ""
    found = list(difflib.unified_diff(old.splitlines(), text.splitlines(), lineterm="", n=4))
    print("\n".join(found))
    if write:
        GOLDEN.write_text(text, encoding="utf-8")
    elif found:
        sys.exit(1)


if __name__ == "__main__":
    main()
