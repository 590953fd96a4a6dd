"""Renders switches and whole launches for a deployment, for every engine that runs on its device."""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ridgeline_server.advisor.launching.manifests import manifest_text
from ridgeline_server.advisor.launching.places import NAMES, places_of
from ridgeline_server.advisor.launching.settings import CONVERT, LISTEN, REPLICAS, settings_of, unsettled
from ridgeline_server.advisor.launching.switches import (
    EngineSwitches,
    Places,
    Setting,
    config_text,
    engine_switches,
    filled,
)
from ridgeline_server.advisor.results import Launch, Plan, Switch
from ridgeline_server.advisor.wording import listed
from ridgeline_server.domain.deployment import Deployment
from ridgeline_server.domain.efficiency import version_key
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.workload import Workload

CONFIG_FILE = "config.yaml"
"""The name that a command gives to the file of settings."""
CONFIG_FOLDER = "/etc/ridgeline"
"""Where a manifest mounts that file."""
MADE_CHECKPOINT = "CHECKPOINT"
"""Stands in a command for the checkpoint that its steps make."""


def switches_of(
    technique_id: str, model: Model, hardware: Hardware, workload: Workload, deployment: Deployment
) -> tuple[Switch, ...]:
    """How a technique is switched on, given the deployment and the load that it makes."""
    places = places_of(model, workload, deployment)
    found = []
    for engine in engine_switches():
        if engine.runs_on(hardware) and technique_id in engine.settings:
            setting = engine.settings[technique_id].on(hardware)
            kept = _flags_of(engine, model, deployment) if setting.without else frozenset[str]()
            found.append(_switch(engine, setting, places, kept))
    return tuple(found)


def _flags_of(engine: EngineSwitches, model: Model, deployment: Deployment) -> frozenset[str]:
    """The names of the flags that tell an engine a deployment."""
    needed = settings_of(model, deployment, reads_gguf=engine.reads_gguf)
    settings = (engine.settings[name] for name in needed if name in engine.settings)
    return frozenset(flag.name for setting in settings for flag in setting.flags)


def switches_by_name(technique_id: str) -> tuple[Switch, ...]:
    """How a technique is switched on in any engine, with the names of what a deployment states for values."""
    return tuple(
        _switch(engine, _anywhere(setting), NAMES, frozenset(flag.name for flag in setting.flags))
        for engine in engine_switches()
        if (setting := engine.settings.get(technique_id)) is not None
    )


def _anywhere(setting: Setting) -> Setting:
    """The setting with notes on the devices where there is none."""
    return replace(setting, notes=(*setting.notes, *(lack.reason for lack in setting.lacks)))


def launches_of(model: Model, today: Hardware, plan: Plan) -> tuple[Launch, ...]:
    """A plan's deployment as each engine is told it that runs on the plan's device, today's if it stays: the
    engine of the deployment first.
    """
    hardware = plan.hardware or today
    places = places_of(model, plan.workload, plan.deployment)
    untold = tuple(unsettled(model, plan.deployment))
    stated = plan.deployment.engine
    own = "" if stated is None else stated.asked_engine.lower()
    engines = sorted(engine_switches(), key=lambda engine: engine.id != own)
    return tuple(
        _launch(engine, model, hardware, plan, places, untold)
        for engine in engines
        if engine.runs_on(hardware)
    )


def _switch(engine: EngineSwitches, setting: Setting, places: Places, kept: Container[str]) -> Switch:
    """A setting of an engine; of what is to go the flags that are `kept` stay."""
    words = (flag.words(places) for flag in setting.flags)
    return Switch(
        engine=engine.id,
        release=engine.release,
        flags=tuple(shlex.join(flag) for flag in words if flag),
        config_file=config_text(_config(setting, places)),
        steps=(*_left_out(setting, kept), *setting.steps),
        notes=setting.notes,
        sources=setting.sources,
        missing=setting.missing,
    )


def _left_out(setting: Setting, kept: Container[str]) -> Iterator[str]:
    """What is to be taken out of a command line and of the file of settings, in sentences."""
    flags = [name for name in setting.without if name not in kept]
    if flags:
        yield f"Leave out {listed(flags)}."
    if setting.without_config:
        yield f"Leave {listed(setting.without_config)} out of the file of settings."


def _config(setting: Setting, places: Places) -> Mapping[str, str]:
    found = {key: filled(value, places) for key, value in setting.config}
    return {key: value for key, value in found.items() if value is not None}


@dataclass
class _Told:
    """What an engine has been told so far: flags and settings of its file by name, and what could not be."""

    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_expressed: list[str] = field(default_factory=list)
    makes_checkpoint: bool = False

    def add(self, name: str, setting: Setting, places: Places) -> None:
        """Tells the engine a setting. A flag that has another value already is not told."""
        if setting.missing:
            self.not_expressed.append(f"{name}: {setting.missing}")
            return
        for words in filter(None, (flag.words(places) for flag in setting.flags)):
            told = self.flags.setdefault(words[0], words)
            if told != words:
                wanted, taken = shlex.join(words), shlex.join(told)
                self.not_expressed.append(f"{name}: it takes {wanted}, and {taken} is needed already.")
        self.config |= _config(setting, places)
        self.steps += (f"{name}: {step}" for step in setting.steps)
        self.notes += (f"{name}: {note}" for note in setting.notes)
        self.makes_checkpoint |= setting.makes_checkpoint

    def command(self, engine: EngineSwitches, model: str, config_file: str) -> tuple[str, ...]:
        """The words of the command line."""
        start = [word.format(model=model) for word in engine.command]
        flags = dict(self.flags)
        if self.config and engine.config_file is not None:
            flags[engine.config_file.name] = engine.config_file.words({"config_file": config_file})
        return (*start, *(word for words in flags.values() for word in words))


def _launch(
    engine: EngineSwitches,
    model: Model,
    hardware: Hardware,
    plan: Plan,
    places: Places,
    untold: Sequence[str],
) -> Launch:
    """A plan's deployment as one engine is told it; no engine has a setting for what is `untold`."""
    deployment = plan.deployment
    told = _Told(notes=list(_release_notes(engine, deployment)))
    needed = settings_of(model, deployment, reads_gguf=engine.reads_gguf)
    for name in dict.fromkeys((*needed, *plan.techniques)):
        if name == REPLICAS:
            continue
        if name in engine.settings:
            told.add(name, engine.settings[name].on(hardware), places)
        else:
            told.not_expressed.append(f"{name}: nothing was checked for it.")
    if engine.reads_gguf and not told.makes_checkpoint:
        told.add(CONVERT, engine.settings[CONVERT], places)
    told.not_expressed += untold
    replicas = deployment.parallel.dp
    if replicas > 1:
        told.notes.append(f"Start {replicas:,} of these behind one address; the manifest does so by itself.")
    name = _checkpoint(engine, model, made=told.makes_checkpoint)
    config = config_text(told.config)
    command = shlex.join(told.command(engine, name, CONFIG_FILE))
    told.add(LISTEN, engine.settings[LISTEN], places)
    return Launch(
        engine=engine.id,
        release=engine.release,
        command=command,
        config_file=config,
        steps=tuple(told.steps),
        notes=tuple(told.notes),
        not_expressed=tuple(told.not_expressed),
        manifest=manifest_text(
            engine=engine.id,
            release=engine.release,
            model=model.id or "model",
            command=told.command(engine, name, f"{CONFIG_FOLDER}/{CONFIG_FILE}"),
            replicas=replicas,
            devices=deployment.parallel.replica_devices,
            vendor=hardware.vendor,
            accelerator="" if plan.hardware is None else plan.hardware.id,
            files=_files(config),
            folder=CONFIG_FOLDER,
        ),
    )


def _release_notes(engine: EngineSwitches, deployment: Deployment) -> Iterator[str]:
    """That the flags are of another release than the one that the deployment states."""
    stated = deployment.engine
    if stated is None or stated.asked_engine.lower() != engine.id or not stated.asked_version:
        return
    asked = stated.asked_version
    if asked == engine.release or (version_key(asked) or asked) == version_key(engine.release):
        return
    yield (
        f"{engine.id} {asked}: the flags were looked up in {engine.release} and may be other ones in this "
        "release."
    )


def _files(config: str) -> Mapping[str, str]:
    return {CONFIG_FILE: config} if config else {}


def _checkpoint(engine: EngineSwitches, model: Model, *, made: bool) -> str:
    """What the engine is given as its model."""
    if engine.reads_gguf:
        return "MODEL.gguf"
    return MADE_CHECKPOINT if made else model.id or "MODEL"
