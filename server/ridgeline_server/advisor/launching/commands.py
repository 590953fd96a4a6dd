"""Reads a launch command of an engine: what it states of a deployment, and what of it cannot be read."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import PurePosixPath
from typing import Any

from ridgeline_catalog import switch_documents

Fields = dict[str, str | float]
"""Fields of the contract's Deployment by their paths; formats and drafts by the names of enums' values."""

_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)=.*", re.DOTALL)
HARMLESS_VARIABLES = frozenset({"CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "HF_HOME", "HF_TOKEN"})
"""Environment variables before a command that change no figure."""
MODEL_FLAGS = frozenset({"--model", "--model-path", "--hf-repo"})
"""Flags that name the model, which is read by itself."""
UNKNOWN = "of which it is not known whether it changes performance; leave it out where it does not"


@dataclass
class Command:
    """A command that was read. `places` are values of places of a launch, such as `offload_gib`, of which
    only the model tells what they state. `notes` say what of it was left out of the deployment, `faults`
    what may change performance and cannot be read: with any of them the deployment is not the command's.
    """

    engine: str = ""
    model: str = ""
    fields: Fields = field(default_factory=dict)
    places: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def read_command(text: str) -> Command:
    """What a command line states. Flags that are not known are faults, each named."""
    command = Command()
    try:
        words = shlex.split(text.replace("\\\n", " "))
    except ValueError as error:
        command.faults.append(f"cannot be read as a shell would: {error}; close what it leaves open")
        return command
    while words and (variable := _ASSIGNMENT.fullmatch(words[0])):
        if variable["name"] not in HARMLESS_VARIABLES:
            command.faults.append(f"sets {variable['name']}, {UNKNOWN}")
        del words[0]
    found = _program(words)
    if found is None:
        known = ", ".join(shlex.join(p) for engine in _engines() for p in engine["programs"])
        command.faults.append(f"starts with none of the known commands; give one that starts with {known}")
        return command
    engine, arguments = found
    command.engine = engine["id"]
    _Reader(engine["command_flags"], command).read(arguments)
    return command


@cache
def _engines() -> tuple[Mapping[str, Any], ...]:
    return tuple(document for _, document in switch_documents())


def _program(words: Sequence[str]) -> tuple[Mapping[str, Any], Sequence[str]] | None:
    """The engine whose command it is, whatever its path or Python's version, and the words behind it."""
    if not words:
        return None
    name = re.sub(r"^python3?(\.\d+)?$", "python", PurePosixPath(words[0]).name)
    plain = [name, *words[1:]]
    for engine in _engines():
        for program in engine["programs"]:
            if plain[: len(program)] == program:
                return engine, words[len(program) :]
    return None


class _Reader:
    """Reads the words behind a program's name by the flags that its engine is known to have."""

    def __init__(self, known: Mapping[str, Mapping[str, Any]], command: Command) -> None:
        self._known = known
        self._names = {
            alias: name for name, entry in known.items() for alias in (name, *entry.get("also", ()))
        }
        self._command = command
        self._stated: dict[str, str] = {}

    def read(self, arguments: Sequence[str]) -> None:
        """Fills the command's fields, notes and faults."""
        for typed, value in self._pairs(arguments):
            self._state(typed, value)
        harmless = []
        for name, value in self._stated.items():
            if name in MODEL_FLAGS:
                self._command.model = value
            elif self._known[name].get("harmless"):
                harmless.append(name)
            else:
                self._settle(name, value)
        if harmless:
            self._command.notes.append(f"{', '.join(harmless)}: no figure depends on it")

    def _pairs(self, arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
        """Flags as they were typed, with their values where they have one; the model's name is kept apart."""
        words = list(arguments)
        while words:
            word = words.pop(0)
            if not word.startswith("-"):
                self._command.model = self._command.model or word
                continue
            typed, equals, value = word.partition("=")
            if equals:
                yield typed, value
            elif self._is_switch(typed) or not words or _is_flag(words[0]):
                yield typed, None
            else:
                yield typed, words.pop(0)

    def _is_switch(self, typed: str) -> bool:
        name = self._name(typed)
        return name is not None and bool(self._known[name].get("switch"))

    def _name(self, typed: str) -> str | None:
        """A flag's own name; engines take dashes for underscores."""
        spellings = [typed]
        if typed.startswith("--"):
            spellings += ("--" + typed[2:].replace("_", "-"), "--" + typed[2:].replace("-", "_"))
        return next((self._names[spelling] for spelling in spellings if spelling in self._names), None)

    def _state(self, typed: str, value: str | None) -> None:
        name = self._name(typed)
        faults = self._command.faults
        if name is None:
            faults.append(f"has {typed}, {UNKNOWN}")
        elif value is None and not self._known[name].get("switch"):
            faults.append(f"has {typed} without a value")
        elif "json" in self._known[name]:
            self._state_json(typed, value or "", self._known[name]["json"])
        else:
            self._stated[name] = value or ""

    def _state_json(self, typed: str, text: str, keys: Mapping[str, str]) -> None:
        """An object whose keys stand for flags."""
        try:
            stated = json.loads(text)
        except ValueError:
            stated = None
        if not isinstance(stated, dict):
            self._command.faults.append(f"has {typed} with {text!r}; give a JSON object")
            return
        for key, value in stated.items():
            if key in keys:
                self._stated[keys[key]] = str(value)
            else:
                self._command.faults.append(f"has {key} in {typed}, {UNKNOWN}")

    def _settle(self, name: str, value: str) -> None:
        entry, command = self._known[name], self._command
        beside = next((path for other, path in entry.get("beside", {}).items() if self._has(other)), None)
        if "refused" in entry:
            command.faults.append(f"has {' '.join(filter(None, (name, value)))}, {entry['refused']}")
        elif entry.get("needs", name) not in self._stated:
            command.faults.append(
                f"has {name} {value} and not {entry['needs']}, by which devices are counted; give both"
            )
        elif "values" in entry:
            if value in entry["values"]:
                for path, stated in entry["values"][value].items():
                    self._set(name, path, stated)
            else:
                known = ", ".join(entry["values"])
                command.faults.append(f"has {name} {value}, which is not known; known are {known}")
        elif beside is None and "ignored" in entry:
            command.notes.append(f"{' '.join(filter(None, (name, value)))}: {entry['ignored']}")
        elif entry.get("unless") not in self._stated:
            number = None if value in entry.get("all", ()) else self._number(name, value, entry)
            if isinstance(number, (int, float)) and "place" in entry:
                if number < 0:
                    command.faults.append(f"has {name} {value}; give 0 or more")
                command.places[entry["place"]] = number
            elif number is not None:
                self._set(name, beside or entry["field"], number)

    def _has(self, other: str) -> bool:
        """Whether a flag is given, with its value where one is named behind it."""
        name, _, value = other.partition(" ")
        return name in self._stated and value in ("", self._stated[name])

    def _set(self, name: str, path: str, value: str | float) -> None:
        taken = self._command.fields.setdefault(path, value)
        if taken != value:
            self._command.faults.append(
                f"has {name}, which makes {path} {value}, where it is {taken} already"
            )

    def _number(self, name: str, value: str, entry: Mapping[str, Any]) -> str | float | None:
        """What a field is set to; None after noting why it is nothing."""
        if entry.get("field", "").endswith(".id"):
            return value
        if "product" in entry:
            factors = [self._count(other) for other in entry["product"]]
            return None if None in factors else prod(factor for factor in factors if factor is not None)
        if entry.get("parts"):
            return self._parts(name, value)
        number = _parsed(value)
        if number is None:
            self._command.faults.append(f"has {name} {value}; give a number")
            return None
        divisor = self._count(entry["over"]) if "over" in entry else 1
        if divisor is None or not divisor:
            return None
        if "over" in entry and number % divisor:
            self._command.faults.append(
                f"has {name} {value}, which {entry['over']} {divisor:g} does not divide"
            )
            return None
        return number // divisor if "over" in entry else number

    def _parts(self, name: str, value: str) -> int | None:
        """How many equal parts a value such as `1,1` has; None after noting that they differ."""
        parts = [_parsed(part.strip()) for part in value.split(",")]
        if None in parts or len(set(parts)) > 1:
            self._command.faults.append(
                f"has {name} {value}; devices are taken to share alike: give each the same number"
            )
            return None
        return len(parts)

    def _count(self, name: str) -> float | None:
        """A number that another flag states, 1 where it is not given; None where it is none."""
        return _parsed(self._stated.get(name, "1"))


def _is_flag(word: str) -> bool:
    return word.startswith("-") and _parsed(word) is None


def _parsed(text: str) -> float | None:
    """A number, whole where it is written so."""
    if re.fullmatch(r"-?[0-9]{1,10}", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?[0-9]*\.[0-9]+", text) else None
