"""The switches of engines, from the catalog's data files: flags, settings, steps, or why there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from string import Formatter
from types import MappingProxyType
from typing import Any

from ridgeline_catalog import switch_documents
from ridgeline_server.advisor.launching.yaml_text import Value, yaml_text
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.hardware import Hardware

Places = Mapping[str, str | None]
"""What stands for the places in a switch's values, such as `{tp}`; None where a deployment leaves it open."""


@dataclass(frozen=True)
class Flag:
    """A flag with its value, which may have places; empty for a flag that takes none."""

    name: str
    value: str

    def words(self, places: Places) -> tuple[str, ...]:
        """The words of a command line; none where a place of the value is left open."""
        if not self.value:
            return (self.name,)
        value = filled(self.value, places)
        return () if value is None else (self.name, value)


@dataclass(frozen=True)
class Lack:
    """Devices on which a switch that an engine has leads nowhere: those of a vendor that have a unit, those
    of a kind, or all but the named ones.
    """

    reason: str
    source: str
    vendor: str = ""
    with_unit: Dtype | None = None
    kind: str = ""
    but_on: tuple[str, ...] = ()

    def holds_on(self, hardware: Hardware) -> bool:
        """Whether a device is one of them."""
        if self.kind:
            return hardware.kind == self.kind
        if self.with_unit is None:
            return hardware.id not in self.but_on
        return hardware.vendor == self.vendor and self.with_unit in hardware.peak_flops_per_s


@dataclass(frozen=True)
class Setting:
    """How an engine is told one thing. `config` has the keys of its file, from the outermost to the innermost
    joined by dots; `without` names the flags, `without_config` the keys that are to go; `missing` says why
    there is no switch, `lacks` on which devices there is none.
    """

    flags: tuple[Flag, ...] = ()
    config: tuple[tuple[str, str], ...] = ()
    without: tuple[str, ...] = ()
    without_config: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    makes_checkpoint: bool = False
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    missing: str = ""
    lacks: tuple[Lack, ...] = ()

    def on(self, hardware: Hardware) -> Setting:
        """The setting on a device: none where the engine lacks it there."""
        for lack in self.lacks:
            if lack.holds_on(hardware):
                return Setting(missing=lack.reason, sources=(lack.source,))
        return self


@dataclass(frozen=True)
class EngineSwitches:
    """The switches of one release of an engine, by the ids of techniques and of what else is stated. It runs
    on the devices of `vendors` and on those of `kinds`, whoever makes them.
    """

    id: str
    display_name: str
    release: str
    vendors: tuple[str, ...]
    kinds: tuple[str, ...]
    reads_gguf: bool
    command: tuple[str, ...]
    config_file: Flag | None
    settings: Mapping[str, Setting]

    def runs_on(self, hardware: Hardware) -> bool:
        """Whether it is known to run on a device, or nothing is known against it."""
        if not (self.vendors or self.kinds) or hardware.vendor in self.vendors or hardware.kind in self.kinds:
            return True
        return not hardware.vendor or (bool(self.kinds) and not hardware.kind)


@cache
def engine_switches() -> tuple[EngineSwitches, ...]:
    """All engines with checked switches, by id."""
    return tuple(_engine(document) for _, document in switch_documents())


def lack_of(engine: str, technique_id: str, hardware: Hardware) -> str:
    """Why an engine, by its name, has no switch for a technique on a device; empty where it has, or nobody
    checked.
    """
    for switches in engine_switches():
        if switches.id == engine.lower() and technique_id in switches.settings:
            return switches.settings[technique_id].on(hardware).missing
    return ""


def lack_on_device(engine: str, technique_id: str, hardware: Hardware) -> str:
    """Why an engine that has a switch for a technique has it on other devices alone; empty otherwise."""
    for switches in engine_switches():
        setting = switches.settings.get(technique_id)
        if switches.id == engine.lower() and setting is not None and not setting.missing:
            return setting.on(hardware).missing
    return ""


def lack_everywhere(technique_id: str, hardware: Hardware) -> str:
    """That none of the engines that were looked up and run on a device has a technique there; empty where one
    has, or none was looked up.
    """
    running = [e for e in engine_switches() if e.runs_on(hardware) and technique_id in e.settings]
    if not running or not all(e.settings[technique_id].on(hardware).missing for e in running):
        return ""
    names = ", ".join(e.display_name for e in running)
    return f"No engine that was looked up ({names}) has it on {hardware.name}."


def lacking(engine: str, technique_id: str, hardware: Hardware) -> str:
    """Why a technique cannot be switched on on a device: in the stated engine, or, where none is stated, in
    any that was looked up. Empty where it can, or nobody checked.
    """
    return lack_of(engine, technique_id, hardware) if engine else lack_everywhere(technique_id, hardware)


def runs_on(engine: str, hardware: Hardware) -> bool:
    """Whether an engine, by its name, runs on a device as far as anything is known of it."""
    return all(each.runs_on(hardware) for each in engine_switches() if each.id == engine.lower())


def filled(text: str, places: Places) -> str | None:
    """The text with its places filled; None where one is left open. Raises KeyError for an unknown one."""
    values = {name: places[name] for name in _places_in(text)}
    return None if None in values.values() else text.format_map(values)


@cache
def _places_in(text: str) -> tuple[str, ...]:
    """The names of a text's places. Texts are those of the catalog's data files."""
    return tuple(name for _, name, _, _ in Formatter().parse(text) if name)


def config_text(config: Mapping[str, str]) -> str:
    """The file of settings as YAML; keys are joined by dots. Empty without settings."""
    root: dict[str, Value] = {}
    for path, value in config.items():
        *outer, last = path.split(".")
        node = root
        for key in outer:
            child = node.setdefault(key, {})
            assert isinstance(child, dict)
            node = child
        node[last] = _scalar(value)
    return yaml_text(root) if root else ""


_WORDS: Mapping[str, Value] = {"true": True, "false": False, "null": None}


def _scalar(text: str) -> Value:
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if re.fullmatch(r"[0-9]+", text) else text


def _engine(document: Mapping[str, Any]) -> EngineSwitches:
    config_file = document.get("config_file")
    return EngineSwitches(
        id=document["id"],
        display_name=document["display_name"],
        release=document["release"],
        vendors=tuple(document.get("vendors", ())),
        kinds=tuple(document.get("kinds", ())),
        reads_gguf=document.get("reads") == "gguf",
        command=tuple(document["command"]),
        config_file=None if config_file is None else _flag(config_file),
        settings=MappingProxyType(
            {name: _setting(stated, document["sources"]) for name, stated in document["settings"].items()}
        ),
    )


def _setting(stated: Mapping[str, Any], sources: Mapping[str, Any]) -> Setting:
    steps = stated.get("steps", ())
    read = dict.fromkeys(_sources(stated))
    return Setting(
        flags=tuple(_flag(flag) for flag in stated.get("flags", ())),
        config=tuple((entry["key"], entry["value"]) for entry in stated.get("config", ())),
        without=tuple(entry["flag"] for entry in stated.get("without", ()) if "flag" in entry),
        without_config=tuple(entry["key"] for entry in stated.get("without", ()) if "key" in entry),
        steps=tuple(step["text"] for step in steps),
        makes_checkpoint=any(step.get("makes_checkpoint", False) for step in steps),
        notes=tuple(stated.get("notes", ())),
        sources=tuple("{package} {release}: {file}".format_map(sources[name]) for name in read),
        missing=stated.get("none", ""),
        lacks=tuple(_lack(lack) for lack in stated.get("lacks", ())),
    )


def _lack(stated: Mapping[str, Any]) -> Lack:
    unit = stated.get("with_unit")
    return Lack(
        reason=stated["reason"],
        source=stated["source"],
        vendor=stated.get("vendor", ""),
        with_unit=None if unit is None else Dtype(unit),
        kind=stated.get("kind", ""),
        but_on=tuple(stated.get("but_on", ())),
    )


def _flag(stated: Mapping[str, Any]) -> Flag:
    return Flag(stated["flag"], stated.get("value", ""))


def _sources(stated: Mapping[str, Any]) -> Iterator[str]:
    """The names of the sources that a setting was read in."""
    for entry in (*stated.get("flags", ()), *stated.get("config", ()), *stated.get("without", ())):
        yield entry["read_in"]
        if "value_in" in entry:
            yield entry["value_in"]
    for step in stated.get("steps", ()):
        yield from (name["read_in"] for name in step.get("names", ()))
