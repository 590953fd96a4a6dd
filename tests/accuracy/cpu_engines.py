"""Rows of small models on real CPU engines, by others and by this project, as the questions they answer."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ridgeline_server.calibration.questions import MeasuredQuestion, question_of
from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import EfficiencyProfile
from ridgeline_server.domain.hardware import Hardware
from ridgeline_server.domain.measurement import COLUMNS, MeasuredMetric, Measurement, Phase
from ridgeline_server.domain.model import Model
from ridgeline_server.probe.encoding import from_json
from ridgeline_server.probe.report import Probe, hardware_of, profiles_of
from ridgeline_server.store.engines import builtin_engines
from tests.unit.questions import CONFIGS

DATA = Path(__file__).parents[1] / "data"

UNTIED = ("tinyllama-1.1b",)
"""Models whose lm_head is a matrix of its own, as `linear_params` without a second embedding tells."""

FORMATS: Mapping[tuple[str, str], tuple[str, str, str]] = {
    ("f32", ""): ("fp32", "fp32", "fp32"),
    ("bf16", ""): ("bf16", "bf16", "bf16"),
    ("bf16", "torchao-int8wo"): ("int8", "bf16", "bf16"),
    ("bf16", "torchao-int8dyn"): ("int8", "int8", "bf16"),
    ("f32", "torch-dynamic-int8"): ("int8", "int8", "fp32"),
    ("float32", "float32"): ("fp32", "fp32", "fp32"),
    ("int8", "int8"): ("int8", "int8", "fp32"),
}
"""Weights, inputs of the products and KV cache by the columns `dtype` and `quant`."""
GGUF = {"F32": ("fp32", "fp32"), "F16": ("fp16", "fp16"), "BF16": ("bf16", "bf16")} | {
    "Q8_0": ("int8", "int8"),
    "Q4_0": ("int4", "int8"),
}
"""Weights and inputs by llama.cpp's format: its kernels quantise inputs for integer weights."""
KV = {"f16": "fp16", "q8_0": "int8", "q4_0": "int4"}

CORE_PEAKS = {Dtype.FP32: 118e9, Dtype.FP16: 118e9, Dtype.BF16: 237e9, Dtype.INT8: 474e9}
"""FLOP/s of a Zen 4 core at 3.7 GHz: 32 fp32, 64 bf16 and 128 int8 operations a cycle (two 256-bit units,
VNNI and BF16 instructions); fp16 is converted to fp32.
"""
CORE_BANDWIDTH_BYTES_PER_S = 28e9
"""A little over the 26.5 GB/s that the best row of one thread reads."""


class Row(NamedTuple):
    """A question, and how far apart the runs behind its value are: highest over lowest."""

    question: MeasuredQuestion
    spread: float


def _device(threads: int) -> Hardware:
    return Hardware(
        id=f"epyc-zen4-{threads}t",
        memory_bytes=8e9,
        bandwidth_bytes_per_s=threads * CORE_BANDWIDTH_BYTES_PER_S,
        peak_flops_per_s={dtype: threads * peak for dtype, peak in CORE_PEAKS.items()},
    )


def _with_head(question: MeasuredQuestion) -> MeasuredQuestion:
    """The question with lm_head in the format of the other weights, as these files and engines have it; the
    common schema has no column for it.
    """
    stored = replace(question.deployment, lm_head_dtype=question.deployment.weight_dtype)
    return replace(question, deployment=stored)


class Names:
    """Devices and models of the rows by their ids."""

    def __init__(self, hardware: Sequence[Hardware], configs: Mapping[str, Mapping[str, object]]) -> None:
        self._hardware = {device.id: device for device in hardware}
        self._configs = configs

    def hardware(self, name: str) -> Hardware:
        """The device with this id."""
        return self._hardware[name]

    def model(self, name: str) -> Model:
        """The model with this id."""
        return _model(name, json.dumps(self._configs[name]))


@cache
def _model(name: str, config: str) -> Model:
    return read_config(json.loads(config), name)


@cache
def published_rows() -> tuple[Row, ...]:
    """Runs on a 2-core EPYC by others. Of one thread CPU time counts, of two wall time."""
    with gzip.open(DATA / "cpu_engines.csv.gz", "rt", encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    names = Names([_device(1), _device(2)], {row["model"]: _config(row) for row in cells})
    engines = builtin_engines()
    return tuple(
        Row(
            _with_head(question_of(_measurement(number, row), names, engines)),
            float(row["ms_max"]) / float(row["ms_min"]),
        )
        for number, row in enumerate(cells)
    )


def _config(row: Mapping[str, str]) -> dict[str, object]:
    """The Llama-shaped config whose sizes are the row's columns."""
    return {
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": int(row["hidden"]),
        "intermediate_size": int(row["inter"]),
        "num_hidden_layers": int(row["layers"]),
        "num_attention_heads": int(row["heads"]),
        "num_key_value_heads": int(row["kv_heads"]),
        "vocab_size": int(row["vocab"]),
        "max_position_embeddings": 4096,
        "tie_word_embeddings": row["model"] not in UNTIED,
        "torch_dtype": "bfloat16",
    }


def _measurement(number: int, row: Mapping[str, str]) -> Measurement:
    """A row in the common schema. A step reads `seq` keys, its own among them."""
    name = row["engine"].partition(" ")[0]
    if name == "llama.cpp":
        weight, act = GGUF[row["dtype"]]
        kv = KV[row["quant"].partition("kv=")[2]]
        weight_format = f"gguf-{row['dtype'].lower()}"
        name += " fa" if row["note"].endswith("fa=1") else ""
    else:
        weight, act, kv = FORMATS[row["dtype"], row["quant"]]
        weight_format = row["quant"]
        # What multiplies int8 in torch are other kernels, and other libraries, than those of its own formats.
        name += f" {row['quant']}" if row["quant"].startswith("torch") else ""
    prefill = row["stage"] == "prefill"
    one_thread = row["threads"] == "1"
    return Measurement(
        id=f"cpu-{number:03}",
        engine=name,
        model_id=row["model"],
        hardware_id=f"epyc-zen4-{row['threads']}t",
        weight_dtype=weight,
        weight_format=weight_format,
        act_dtype=act,
        kv_dtype=kv,
        phase=Phase.PREFILL if prefill else Phase.DECODE,
        isl=int(row["seq"]) if prefill else None,
        past_tokens=None if prefill else int(row["seq"]) - 1,
        batch=int(row["batch"]),
        metric=MeasuredMetric.PREFILL_MS if prefill else MeasuredMetric.DECODE_STEP_MS,
        value=float(row["cpu_ms_median"] if one_thread else row["ms_median"]),
        source=row["source"],
    )


@cache
def own_rows() -> tuple[Row, ...]:
    """Runs on a 2-core Xeon by this project, on the device that its probe found."""
    with gzip.open(DATA / "cpu_engine_rows.csv.gz", "rt", encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    device = hardware_of(_probe(), cells[0]["hardware_id"])
    beside = json.loads((DATA / "cpu_engine_configs.json").read_text(encoding="utf-8"))
    names, engines = Names([device], {**CONFIGS, **beside}), builtin_engines()
    return tuple(Row(_with_head(question_of(_own(row), names, engines)), _own_spread(row)) for row in cells)


@cache
def _probe() -> Probe:
    return from_json(gzip.decompress((DATA / "cpu_probe_1t.json.gz").read_bytes()).decode())


def own_profiles() -> tuple[EfficiencyProfile, ...]:
    """The profiles of this project's device, from its probe."""
    return profiles_of(_probe(), own_rows()[0].question.hardware.id)


def _own(row: Mapping[str, str]) -> Measurement:
    """A row as it is read from files; `isl` of a step counts the keys that `past_tokens` has, too."""
    numbers = ("isl", "past_tokens", "batch", "n_devices", "tp", "pp")
    known = {name: text for name, text in row.items() if text and name in COLUMNS}
    values: dict[str, object] = {n: int(t) if n in numbers else t for n, t in known.items()}
    values |= {
        "value": float(row["value"]),
        "phase": Phase(row["phase"]),
        "metric": MeasuredMetric(row["metric"]),
    }
    values |= {"confidence": None, "tier": None, "osl": None}
    values["isl" if row["phase"] == "decode" else "past_tokens"] = None
    if "torchao" in row["weight_format"]:
        values["engine"] = f"{row['engine']} {row['weight_format']}"
    return Measurement(**values)  # type: ignore[arg-type]


def _own_spread(row: Mapping[str, str]) -> float:
    notes = dict(part.split("=", 1) for part in row["notes"].split(";"))
    return 1 + float(notes["spread"])


def by_engine_and_format(rows: Sequence[Row]) -> Iterator[tuple[tuple[str, str, str], list[Row]]]:
    """The rows of each device, engine and weight format."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        known = row.question.measurement
        stored = known.weight_format or known.weight_dtype
        groups.setdefault((known.hardware_id, known.engine, stored), []).append(row)
    yield from groups.items()
