"""The sdist and the wheel hold what they should; a light installation needs neither numpy nor SQLAlchemy."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

VERSION = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]["version"]
Tool = Callable[..., subprocess.CompletedProcess[str]]

PACKAGES = ("ridgeline", "ridgeline_server", "ridgeline_migrations", "ridgeline_catalog")
FOLDERS = {
    "ridgeline": "client",
    "ridgeline_server": "server",
    "ridgeline_migrations": "migrations",
    "ridgeline_catalog": "catalog",
}
# What the light installation goes without.
EXTRA_MODULES = (
    "alembic", "grpc_health", "grpc_reflection", "matplotlib", "numpy", "psycopg", "sqlalchemy",
    "ridgeline_catalog", "ridgeline_migrations", "ridgeline_server",
)  # fmt: skip

# Stands in for an environment without the extras: importing any of them fails as if it were not installed.
BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRA_MODULES!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None

sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def sdist(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of this tree."""
    folder = tmp_path_factory.mktemp("sdist")
    result = tool(["pyproject-build", "--sdist", "--no-isolation", "--outdir", str(folder)])
    assert result.returncode == 0, result.stdout + result.stderr
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(sdist: Path, tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel made from the source distribution, as a packager would: no git, no generated code at hand."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", str(folder)]
    result = tool(["python", "-m", "pip", "wheel", *options, str(sdist)])
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def light_site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's `ridgeline` package alone, ready for sys.path."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith("ridgeline/")])
    return folder


def run_light(site: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program that sees the light installation and none of the extras."""
    return subprocess.run(
        [sys.executable, "-I", "-c", f"{BLOCKER}\nsys.path.insert(0, {str(site)!r})\n{program}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_wheel_is_pure_python(wheel: Path) -> None:
    assert wheel.name == f"ridgeline-{VERSION}-py3-none-any.whl"


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel_names: set[str]) -> None:
    assert {name.partition("/")[0] for name in wheel_names} == {*PACKAGES, f"ridgeline-{VERSION}.dist-info"}


def test_the_wheel_holds_every_source_and_data_file_of_the_tree(
    repository: Path, wheel_names: set[str]
) -> None:
    for package, folder in FOLDERS.items():
        expected = {
            path.relative_to(repository / folder).as_posix()
            for path in (repository / folder / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert f"{package}/__init__.py" in expected
        assert expected <= wheel_names


def test_the_wheel_holds_the_compiled_contract_with_its_types(
    repository: Path, wheel_names: set[str]
) -> None:
    protos = [path.stem for path in (repository / "proto" / "ridgeline" / "v1").glob("*.proto")]
    assert protos
    for proto in protos:
        for suffix in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi"):
            assert f"ridgeline/v1/{proto}{suffix}" in wheel_names
    assert "ridgeline/py.typed" in wheel_names


def test_the_wheel_installs_both_commands(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        scripts = archive.read(name).decode()
    assert "ridgeline = ridgeline.cli:main" in scripts
    assert "ridgeline-server = ridgeline_server.__main__:main" in scripts


def test_the_sdist_holds_the_protos_and_not_what_is_generated_from_them(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert any(name.endswith("/proto/ridgeline/v1/catalog_service.proto") for name in names)
    assert not [name for name in names if "/client/ridgeline/v1/" in name]


def test_the_light_installation_asks_for_no_numbers_and_no_database(metadata: Message) -> None:
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist") or []]
    base = {requirement.name for requirement in requirements if requirement.marker is None}
    assert base == {
        "click",
        "googleapis-common-protos",
        "grpcio",
        "grpcio-status",
        "platformdirs",
        "protobuf",
        "rich",
    }


def test_the_generated_code_accepts_the_oldest_runtimes_we_allow(metadata: Message, light_site: Path) -> None:
    floors = {
        requirement.name: min(
            Version(part.version) for part in requirement.specifier if part.operator == ">="
        )
        for requirement in map(Requirement, metadata.get_all("Requires-Dist") or [])
        if requirement.name in {"grpcio", "protobuf"}
    }
    modules = sorted((light_site / "ridgeline" / "v1").glob("*_pb2*.py"))
    text = "\n".join(module.read_text(encoding="utf-8") for module in modules)
    protobuf_generators = set(re.findall(r"# Protobuf Python Version: (\S+)", text))
    grpc_generators = set(re.findall(r"GRPC_GENERATED_VERSION = '([^']+)'", text))
    assert protobuf_generators
    assert grpc_generators
    assert floors["protobuf"] >= max(map(Version, protobuf_generators))
    assert floors["grpcio"] >= max(map(Version, grpc_generators))


def test_every_module_but_the_plots_imports_without_the_extras(light_site: Path) -> None:
    result = run_light(
        light_site,
        "import importlib, pkgutil, ridgeline\n"
        f"assert ridgeline.__file__.startswith({str(light_site)!r}), ridgeline.__file__\n"
        "for module in pkgutil.walk_packages(ridgeline.__path__, 'ridgeline.'):\n"
        "    if not module.name.startswith('ridgeline.plots.') and not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "        print(module.name)\n",
    )
    assert result.returncode == 0, result.stderr
    assert "ridgeline.v1.catalog_service_pb2_grpc" in result.stdout.split()


def test_an_import_of_the_client_leaves_the_server_and_numpy_unloaded() -> None:
    program = (
        "import sys, ridgeline, ridgeline.cli\n"
        f"loaded = sorted(set({EXTRA_MODULES!r}) & {{name.partition('.')[0] for name in sys.modules}})\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)\n"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr


def test_the_light_command_line_helps_without_the_extras(light_site: Path) -> None:
    result = run_light(
        light_site, "from ridgeline.cli import main\nsys.argv = ['ridgeline', '--help']\nmain()"
    )
    assert result.returncode == 0, result.stderr
    assert "recommend" in result.stdout


def test_the_light_command_line_says_how_to_get_the_embedded_service(light_site: Path) -> None:
    result = run_light(
        light_site,
        "from ridgeline.cli import main\n"
        "sys.argv = ['ridgeline', 'analyze', 'llama-2-7b', 'rtx-a6000', '--input-len', '8']\n"
        "main()",
    )
    assert result.returncode != 0
    assert "ridgeline[server]" in result.stderr
    assert "Traceback" not in result.stderr
