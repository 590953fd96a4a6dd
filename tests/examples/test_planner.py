"""The planner's notebook: it runs, its choice is right, and it is kept without outputs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ridgeline

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[2] / "examples" / "planner.ipynb"
LIMIT_S = 120
COST = "cost_usd_per_million_output_tokens"

EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=100).execute()
nbformat.write(notebook, sys.argv[2])
"""
"""In a process of its own: the kernel's libraries warn of things that our tests take for errors."""


@pytest.fixture(scope="module")
def executed(catalog_url: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The notebook's code cells, run."""
    folder = tmp_path_factory.mktemp("planner")
    ran = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(NOTEBOOK), str(folder / "executed.ipynb")],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "RIDGELINE_DATABASE_URL": catalog_url},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    cells = json.loads((folder / "executed.ipynb").read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def text_of(cell: dict[str, Any]) -> str:
    """What a cell printed."""
    return "".join(line for output in cell["outputs"] for line in output.get("text", []))


def test_it_draws_a_picture(executed: list[dict[str, Any]]) -> None:
    assert any("image/png" in output.get("data", {}) for cell in executed for output in cell["outputs"])


def test_it_chooses_the_cheapest_that_is_safe(executed: list[dict[str, Any]], catalog_url: str) -> None:
    with ridgeline.connect(database_url=catalog_url) as client:
        rows = client.sweep(
            ["llama-3.1-8b"],
            ["l40s", "a100-sxm-80gb", "h100-sxm"],
            deployments=[{}, {"weights": "int4"}],
            concurrency=[1, 2, 4, 8, 16, 32, 64, 128],
            input_len=[2000],
            output_len=[300],
        ).to_arrow()
    safe = [
        row
        for row in rows.to_pylist()
        if row["fits"] and row["ttft_ms_high"] <= 2000 and row["tpot_ms_high"] <= 40
    ]
    assert len(safe) < rows.num_rows, "the limits leave something out"
    best = min(safe, key=lambda row: row[COST])
    assert text_of(executed[-1]).split() == [
        best["hardware_id"],
        best["weight_dtype"],
        str(best["requests"]),
    ]


def test_it_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")]
