"""Which engine's switches are told, how its command is laid out, and the manifest as a file."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from ridgeline.v1.recommendation_service_pb2 import Launch, Plan, RecommendResponse, Switch

    OfEngine = TypeVar("OfEngine", Launch, Switch)

USUAL_ENGINE = "vllm"
"""The engine whose switches are told where the deployment states none."""
SUFFIXES = (".yaml", ".yml")


def best_launch(response: RecommendResponse) -> Launch | None:
    """How the best plan is started in the deployment's engine; None without a plan."""
    launches = response.plans[0].launches if response.plans else ()
    return of_engine(launches, response.baseline.deployment.engine)


def of_engine(told: Iterable[OfEngine], engine: str) -> OfEngine | None:
    """What is told for the engine, for the usual one where it is none of them, or for the first where that
    does not run on the device; None without any.
    """
    by_engine = {one.engine: one for one in told}
    usual = by_engine.get(USUAL_ENGINE, next(iter(by_engine.values()), None))
    return by_engine.get(engine.lower(), usual)


def lacking(plan: Plan, launch: Launch) -> list[str]:
    """The plan's techniques that a launch cannot tell its engine."""
    named = {text.partition(":")[0] for text in launch.not_expressed}
    return [technique for technique in plan.techniques if technique in named]


def command_lines(command: str, columns: int) -> Iterator[str]:
    """A command on one line where it fits, else on a line for each flag, as a shell reads it."""
    if len(command) <= columns:
        yield command
        return
    pieces: list[list[str]] = [[]]
    for word in shlex.split(command):
        if word.startswith("--") and pieces[-1]:
            pieces.append([])
        pieces[-1].append(word)
    start, *flags = map(shlex.join, pieces)
    yield from " \\\n    ".join((start, *flags)).split("\n")


def settings(config_file: str) -> Iterator[str]:
    """The settings of an engine's file one by one, such as `kv_cache_config.dtype: fp8`. The file has nothing
    but mappings, and two spaces for each level.
    """
    path: list[str] = []
    for line in config_file.splitlines():
        key, _, value = line.strip().partition(":")
        path[(len(line) - len(line.lstrip())) // 2 :] = [key]
        if value:
            yield f"{'.'.join(path)}:{value}"


def check_path(path: Path | None) -> None:
    """Raises click.UsageError for a file that no manifest can be written to."""
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise click.UsageError(
            f"--manifest is {str(path)!r}; give a file that ends in {' or '.join(SUFFIXES)}."
        )
    if not path.parent.is_dir():
        raise click.UsageError(f"--manifest is {str(path)!r}, but there is no folder {str(path.parent)!r}.")


def write_manifest(path: Path, launch: Launch) -> None:
    """Writes the manifest whole or not at all. Raises click.UsageError for a file that cannot be written."""
    from ridgeline.whole_file import whole_file

    try:
        with whole_file(path) as part:
            part.write_text(launch.manifest, encoding="utf-8", newline="\n")
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}.") from error
