"""The import contracts of pyproject.toml hold, cover every layer, and would notice a breach."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Tool = Callable[..., subprocess.CompletedProcess[str]]

BESIDE_THE_CORE = ("probe",)
CORE = ("domain", "roofline", "advisor", "planning", "calibration")


@pytest.fixture(scope="module")
def contracts(repository: Path) -> dict[str, dict[str, Any]]:
    """The declared contracts by name."""
    pyproject = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    return {contract["name"]: contract for contract in pyproject["tool"]["importlinter"]["contracts"]}


def test_the_contracts_hold(tool: Tool) -> None:
    result = tool(["lint-imports", "--no-cache"])
    assert result.returncode == 0, result.stdout


def test_the_layers_are_the_designs(contracts: dict[str, dict[str, Any]]) -> None:
    layers = contracts["The core's layers import only what stands lower"]["layers"]
    assert tuple(layer.strip("()") for layer in reversed(layers)) == CORE


def test_every_layer_that_exists_is_kept_from_the_wire_and_the_database(
    repository: Path, contracts: dict[str, dict[str, Any]]
) -> None:
    covered = set(contracts["The core knows neither the wire nor the database"]["source_modules"])
    existing = {
        f"ridgeline_server.{layer}"
        for layer in (*CORE, *BESIDE_THE_CORE)
        if (repository / "server" / "ridgeline_server" / layer).is_dir()
    }
    assert existing
    assert existing <= covered


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("server/ridgeline_server/domain/hardware.py", "import ridgeline_server.roofline"),
        ("server/ridgeline_server/roofline/__init__.py", "import sqlalchemy"),
        ("server/ridgeline_server/advisor/__init__.py", "from google.protobuf import message"),
        ("server/ridgeline_server/probe/__init__.py", "import sqlalchemy"),
        ("server/ridgeline_server/probe/__init__.py", "import ridgeline_server.roofline"),
        ("server/ridgeline_server/store/__init__.py", "import grpc"),
        ("client/ridgeline/client.py", "import ridgeline_server.domain"),
        ("client/ridgeline/errors.py", "import numpy"),
    ],
)
def test_a_breach_is_noticed(
    repository: Path, tool: Tool, tmp_path: Path, module: str, statement: str
) -> None:
    shutil.copyfile(repository / "pyproject.toml", tmp_path / "pyproject.toml")
    packages = ("client", "server", "migrations", "catalog")
    for package in packages:
        shutil.copytree(repository / package, tmp_path / package, ignore=shutil.ignore_patterns("*.json"))
    with (tmp_path / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{statement}\n")
    path = ":".join(str(tmp_path / package) for package in packages)
    result = tool(["lint-imports", "--no-cache"], cwd=tmp_path, environment={"PYTHONPATH": path})
    assert result.returncode == 1, result.stdout
    assert "BROKEN" in result.stdout
