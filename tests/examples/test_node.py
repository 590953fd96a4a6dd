"""The client for Node, with the packages of its lock file."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "node"
LIMIT_S = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with its packages; skips without Node, and without a registry to get them of."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs Node and npm, which are not installed")
    copy = tmp_path_factory.mktemp("node") / "node"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("node_modules"))
    try:
        reached = subprocess.run(
            [npm, "ping", "--fetch-retries=0"], cwd=copy, capture_output=True, timeout=LIMIT_S, check=False
        )
        if reached.returncode:
            pytest.skip(f"npm reaches no registry: {reached.stderr.decode()[-300:]}")
    except subprocess.TimeoutExpired:
        pytest.skip("npm reaches no registry: it does not answer")
    subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=copy,
        check=True,
        capture_output=True,
        timeout=LIMIT_S,
    )
    return copy


def client(folder: Path, server: str, model: str) -> subprocess.CompletedProcess[str]:
    """Run the example against a server."""
    return subprocess.run(
        ["node", "client.js", server, model, "rtx-a6000"],
        cwd=folder,
        env={**os.environ, "RIDGELINE_PROTO": str(REPOSITORY / "proto")},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_it_asks_streams_and_reads_a_refusal(folder: Path, server: str) -> None:
    ran = client(folder, server, "llama-2-7b")
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("today: TPOT ")
    assert lines[1].startswith("plan: ")
    assert lines[2:4] == ["sweep: 4 of 8 rows, Arrow", "sweep: 8 of 8 rows, Arrow"]
    assert lines[4].startswith("refused: ")
    assert any("workload" in line for line in lines[5:])


def test_it_ends_with_the_sentence_of_the_service(folder: Path, server: str) -> None:
    ran = client(folder, server, "no-such-model")
    assert ran.returncode == 1
    assert "no-such-model" in ran.stderr
