"""The rows that real engines gave on a probed machine: in the common schema, and explained by its probes."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.deployment import DeploymentRequest
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import ProfileSet
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.resolve import resolve_deployment
from ridgeline_server.domain.workload import Workload
from ridgeline_server.probe.encoding import from_json
from ridgeline_server.probe.report import hardware_of, profiles_of
from ridgeline_server.roofline.analysis import analyze
from ridgeline_server.roofline.operators.layer import Stage
from tests.unit.questions import CONFIGS, EXPECTED, PROFILES

DATA = Path(__file__).parents[2] / "data"
Row = Mapping[str, str]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    with gzip.open(DATA / "cpu_engine_rows.csv.gz", "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def devices() -> dict[str, tuple[Hardware, ProfileSet]]:
    """The devices of the rows, with their profiles before the generic ones."""
    probe = from_json(gzip.decompress((DATA / "cpu_probe_1t.json.gz").read_bytes()).decode())
    name = "xeon-vm-2-core-1t"
    return {name: (hardware_of(probe, name), ProfileSet((*profiles_of(probe, name), *PROFILES.profiles)))}


@pytest.fixture(scope="module")
def models(rows: list[Row]) -> dict[str, Model]:
    """The rows' models by id: their configs are in the catalog, or beside the rows."""
    beside = json.loads((DATA / "cpu_engine_configs.json").read_text(encoding="utf-8"))
    configs = {**CONFIGS, **beside}
    return {
        model_id: read_config(configs[model_id], model_id) for model_id in {row["model_id"] for row in rows}
    }


def notes(row: Row) -> dict[str, str]:
    return dict(part.split("=", 1) for part in row["notes"].split(";"))


def test_rows_name_known_models_and_devices_and_have_both_times(
    rows: list[Row], devices: dict[str, tuple[Hardware, ProfileSet]], models: dict[str, Model]
) -> None:
    assert len({row["id"] for row in rows}) == len(rows) > 0
    for row in rows:
        assert row["hardware_id"] in devices
        assert row["model_id"] in models
        told = notes(row)
        assert told["threads"] == "1"
        assert float(row["value"]) > 0
        assert row["value"] == told["cpu_ms"]
        assert int(told["rounds"]) >= 3


def test_a_larger_batch_never_makes_a_step_much_shorter(rows: list[Row]) -> None:
    steps: dict[tuple[str, ...], dict[int, float]] = {}
    for row in rows:
        if row["phase"] == "decode" and row["isl"] == "128":
            key = (
                row["engine"],
                row["model_id"],
                row["weight_format"],
                row["weight_dtype"],
                row["hardware_id"],
            )
            steps.setdefault((*key, row["kv_dtype"]), {})[int(row["batch"])] = float(row["value"])
    for curve in steps.values():
        assert max(curve.values()) == curve[max(curve)]


def test_the_probe_explains_unquantised_transformers_better_than_the_rooflines_alone(
    rows: list[Row], devices: dict[str, tuple[Hardware, ProfileSet]], models: dict[str, Model]
) -> None:
    errors, ideal_errors = [], []
    for row in rows:
        if row["engine"] != "transformers" or row["weight_dtype"] not in ("fp32", "bf16"):
            continue
        device, profiles = devices[row["hardware_id"]]
        dtype = Dtype(row["weight_dtype"])
        asked = DeploymentRequest(weight_dtype=dtype, activation_dtype=dtype, kv_dtype=Dtype(row["kv_dtype"]))
        model = models[row["model_id"]]
        answer = analyze(
            model,
            device,
            Workload(int(row["batch"]), int(row["isl"]), 2),
            resolve_deployment(asked, model, device),
            profiles,
            EXPECTED,
            with_flips=False,
        )
        stage = Stage.PREFILL if row["phase"] == "prefill" else Stage.DECODE
        (step,) = [s for s in answer.stages if s.stage is stage]
        assert step.expected_time_ms is not None
        errors.append(abs(np.log(float(row["value"]) / step.expected_time_ms)))
        ideal_errors.append(abs(np.log(float(row["value"]) / step.ideal_time_ms)))
    assert np.median(errors) < 0.6 * np.median(ideal_errors)
