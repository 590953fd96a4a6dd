"""Files of the packages of engines, downloaded with pip or read from a folder of their source."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WHEELS = (
    "--only-binary=:all:", "--implementation=cp", "--python-version=3.12", "--abi=cp312", "--abi=abi3",
    "--abi=none", "--platform=manylinux_2_34_x86_64", "--platform=manylinux_2_28_x86_64",
)  # fmt: skip


class UnavailableError(LookupError):
    """A package is on no registry, and no folder of its source was given."""


@dataclass(frozen=True)
class Packages:
    """Packages in a folder, to which missing ones are downloaded, and source folders by the engine's id."""

    folder: Path
    sources: Mapping[str, Path]

    def text(self, engine: str, package: str, release: str, file: str) -> str:
        """A file of a package's release. Raises UnavailableError where it cannot be had, and
        FileNotFoundError where neither the wheel nor the source distribution has the file.
        """
        if package.startswith("github "):
            if engine not in self.sources:
                raise UnavailableError(f"{package} is on no registry; give --source {engine}=FOLDER")
            return (self.sources[engine] / file).read_text(encoding="utf-8")
        for options in (WHEELS, (f"--no-binary={package}",)):
            for archive in _archives(self.folder, package, release, options):
                found = _member(archive, file)
                if found is not None:
                    return found
        raise FileNotFoundError(f"{package} {release} has no {file}")


@cache
def _archives(folder: Path, package: str, release: str, options: tuple[str, ...]) -> tuple[Path, ...]:
    """The package's archives of one kind in the folder, downloaded where none is there."""
    suffix = ".whl" if options is WHEELS else ".tar.gz"
    pattern = f"{package.replace('-', '_')}-{release}*{suffix}"
    if not list(folder.glob(pattern)):
        print(f"downloading {package} {release} as {suffix}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options]
        subprocess.run(
            [*command, f"--dest={folder}", f"{package}=={release}"], check=False, capture_output=True
        )
    return tuple(folder.glob(pattern))


def _member(archive: Path, file: str) -> str | None:
    """The text of a file of an archive; that of a source distribution has a folder of its own around all."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(file).decode("utf-8") if file in wheel.namelist() else None
    with tarfile.open(archive) as source:
        for member in source:
            if member.name.partition("/")[2] == file:
                stream = source.extractfile(member)
                return None if stream is None else stream.read().decode("utf-8")
    return None
