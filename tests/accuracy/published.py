"""The published measurements that ship with the tests, as the questions that they answer."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import ridgeline_catalog
from ridgeline.files import read_measurements
from ridgeline_server.calibration.questions import MeasuredQuestion, UnansweredError, question_of
from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.efficiency import EfficiencyProfile
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.measurement import Measurement
from ridgeline_server.domain.model import Model
from ridgeline_server.rpc.checks import Checks
from ridgeline_server.rpc.convert.measurements import read_measurement
from ridgeline_server.store.builtin import hardware_entry, profile_entry
from ridgeline_server.store.engines import builtin_engines

PUBLISHED = Path(__file__).parents[1] / "data" / "measured.csv.gz"


class ShippedNames:
    """The models and devices of the shipped catalog by their ids."""

    def __init__(self) -> None:
        self._configs = {d["id"]: d["config"] for _, d in ridgeline_catalog.model_documents()}
        self._devices = {
            d["id"]: hardware_entry(d).hardware for _, d in ridgeline_catalog.hardware_documents()
        }
        self._models: dict[str, Model] = {}

    def model(self, name: str) -> Model:
        """The model with this id. Raises LookupError."""
        if name not in self._models:
            if name not in self._configs:
                raise LookupError(f"model_id: no model is named {name!r}")
            self._models[name] = read_config(self._configs[name], name)
        return self._models[name]

    def hardware(self, name: str) -> Hardware:
        """The device with this id. Raises LookupError."""
        if name not in self._devices:
            raise LookupError(f"hardware_id: no device is named {name!r}")
        return self._devices[name]


@cache
def published() -> tuple[Measurement, ...]:
    """All rows."""
    checks = Checks()
    found = tuple(read_measurement(checks, message) for message in read_measurements(PUBLISHED))
    checks.raise_if_any()
    return found


@cache
def questions() -> tuple[MeasuredQuestion, ...]:
    """The question of each row that has one."""
    names, engines = ShippedNames(), builtin_engines()
    found = []
    for row in published():
        try:
            found.append(question_of(row, names, engines))
        except UnansweredError:
            continue
    return tuple(found)


def shipped_profiles() -> tuple[EfficiencyProfile, ...]:
    """The profiles of the shipped catalog."""
    return tuple(profile_entry(d).profile for _, d in ridgeline_catalog.efficiency_documents())
