"""What the catalog's switches claim of an engine's source: flags, keys and values, each with its file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

CHECKED = Path(__file__).parents[1] / "data" / "engine_flags.csv"
"""The claims that were found in the sources."""


class Claim(NamedTuple):
    """A flag, a key or a value, and the file that is claimed to have it."""

    engine: str
    package: str
    release: str
    file: str
    kind: str
    name: str


def claims(document: Mapping[str, Any]) -> Iterator[tuple[str, Claim]]:
    """Every claim of an engine's file, behind the name of its source. Numbers and places claim nothing."""
    flags = [document["config_file"]] if "config_file" in document else []
    for setting in document["settings"].values():
        flags += setting.get("flags", [])
        for entry in setting.get("config", ()):
            for key in entry["key"].split("."):
                yield entry["read_in"], _claim(document, entry["read_in"], "key", key)
            yield from _value(document, entry["read_in"], entry["value"])
        for entry in setting.get("without", ()):
            kind = "flag" if "flag" in entry else "key"
            yield entry["read_in"], _claim(document, entry["read_in"], kind, entry[kind])
        for step in setting.get("steps", ()):
            for name in step.get("names", ()):
                yield name["read_in"], _claim(document, name["read_in"], "value", name["name"])
    for flag in flags:
        yield flag["read_in"], _claim(document, flag["read_in"], "flag", flag["flag"])
        yield from _value(document, flag.get("value_in", flag["read_in"]), flag.get("value", ""))


def checked() -> frozenset[Claim]:
    """The claims that were found."""
    with CHECKED.open(encoding="utf-8", newline="") as table:
        return frozenset(Claim(*(row[field] for field in Claim._fields)) for row in csv.DictReader(table))


def write_checked(found: frozenset[Claim]) -> None:
    """Writes the claims that were found, in order."""
    with CHECKED.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(Claim._fields)
        writer.writerows(sorted(found))


def _value(document: Mapping[str, Any], source: str, value: str) -> Iterator[tuple[str, Claim]]:
    is_free = "{" in value or value in ("", "true", "false", "null") or value.replace(".", "").isdigit()
    if not is_free:
        yield source, _claim(document, source, "value", value)


def _claim(document: Mapping[str, Any], source: str, kind: str, name: str) -> Claim:
    read = document["sources"][source]
    return Claim(document["id"], read["package"], read["release"], read["file"], kind, name)
