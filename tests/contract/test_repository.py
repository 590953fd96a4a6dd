"""The source tree itself: its top level, its lock files, and that it names no package index."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# The dependency groups and the extras of the distribution that each lock file answers.
LOCKS: dict[str, tuple[tuple[str, ...], tuple[str, ...] | None]] = {
    "build.txt": (("build",), None),
    "demo.txt": (("build",), ("server", "plots")),
    "dev.txt": (("build", "dev"), ("server", "postgres", "plots")),
    "service.txt": ((), ("server", "postgres")),
}
UNTRACKED_FOLDERS = {
    ".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache",
    ".hypothesis", "build", "dist", "node_modules",
}  # fmt: skip


def sources(repository: Path) -> Iterator[Path]:
    """Every file of the tree that git would track, found without git."""
    folders = [repository]
    while folders:
        for path in folders.pop().iterdir():
            if path.is_dir():
                if path.name not in UNTRACKED_FOLDERS and path != repository / "client" / "ridgeline" / "v1":
                    folders.append(path)
            elif path.name != ".git":
                yield path


def pins(lock: Path) -> dict[str, set[str]]:
    """The versions that a lock file allows, by normalized name; several differ by Python version."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)", lock.read_text(encoding="utf-8"), flags=re.MULTILINE
    ):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def test_the_top_level_holds_the_house_and_nothing_else(repository: Path) -> None:
    visible = {path.name for path in repository.iterdir() if not path.name.startswith(".")}
    assert visible - UNTRACKED_FOLDERS <= {
        "proto", "server", "client", "migrations", "catalog", "tests", "docker-compose.yml",
        "docs", "benchmarks", "examples", "deploy",
        "pyproject.toml", "hatch_build.py", "buf.yaml", "Makefile", "README.md", "LICENSE",
    }  # fmt: skip


def test_no_file_names_a_package_index(repository: Path) -> None:
    host = re.compile(rb"(pypi|pythonhosted|npmjs)\.(org|com|io|net)")
    option = re.compile(rb"^\s*(-i|-f|--(extra-)?index-url|--find-links)[ =]", flags=re.MULTILINE)
    for path in sources(repository):
        content = path.read_bytes()
        assert not host.search(content), f"{path} names a package index"
        if path.suffix == ".txt":
            assert not option.search(content), f"{path} sets a package index"


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_requirement_has_one_version_and_hashes(repository: Path, name: str) -> None:
    text = (repository / "deploy" / "locks" / name).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).strip())
    assert entries
    for entry in entries:
        assert re.match(r"[\w.-]+==[\w.]+ ", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_covers_what_pyproject_asks_for(repository: Path, name: str) -> None:
    pyproject = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    wanted: list[str] = []
    groups, extras = LOCKS[name]
    if extras is not None:
        wanted += pyproject["project"]["dependencies"]
        for extra in extras:
            wanted += pyproject["project"]["optional-dependencies"][extra]
    for group in groups:
        wanted += [entry for entry in pyproject["dependency-groups"][group] if isinstance(entry, str)]
    locked = pins(repository / "deploy" / "locks" / name)
    for text in wanted:
        requirement = Requirement(text)
        versions = locked.get(canonicalize_name(requirement.name), set())
        assert versions, f"{requirement.name} is missing from {name}; run `make lock`"
        assert all(requirement.specifier.contains(version) for version in versions), f"{text}: {versions}"


def test_the_lock_files_agree_on_every_version(repository: Path) -> None:
    everything = pins(repository / "deploy" / "locks" / "dev.txt")
    for name in LOCKS:
        for package, versions in pins(repository / "deploy" / "locks" / name).items():
            assert versions <= everything[package], f"{package} in {name}"


def test_the_build_requirements_are_the_build_group(repository: Path) -> None:
    pyproject = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["build-system"]["requires"] == pyproject["dependency-groups"]["build"]


def test_what_an_installation_depends_on_is_not_pinned(repository: Path) -> None:
    pyproject = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    for text in pyproject["project"]["dependencies"]:
        assert "==" not in text, f"{text}: whoever installs a library chooses the version"
