"""Measures real engines on this machine's processor and writes rows in the schema of measured results.

    python -m benchmarks.engines.measure --python ENVIRONMENT/bin/python --out FOLDER [--minutes N]

ENVIRONMENT has torch, transformers, torchao, xllamacpp, gguf and numpy. Each setting runs in a process of its
own, in rounds with products of the probe among them. Rows, the models' config.json and two probes, with one
thread and with all, are written to FOLDER. Takes twenty minutes on two cores; not part of the tests.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engines.shapes import BY_NAME, SHAPES
from ridgeline_server.probe.child import environment

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("client", "server", "migrations", "catalog", ".")
RUNNERS = {"llama.cpp": "run_llama_cpp", "transformers": "run_transformers"}
BATCHES = (1, 2, 4, 8, 16, 32, 64)

COLUMNS = [
    *("id", "source", "source_group", "engine", "engine_version", "model_id", "model_published"),
    *("hardware_id", "hardware_published", "n_devices", "tp", "pp", "ep", "attention_dp", "moe_tp"),
    *("weight_dtype", "weight_format", "act_dtype", "kv_dtype", "phase", "isl", "osl", "past_tokens"),
    *("batch", "concurrency", "request_rate", "metric", "value", "confidence", "tier", "ambiguous", "notes"),
]

FORMATS: Mapping[str, tuple[str, str, str]] = {
    "f16": ("fp16", "gguf-f16", "fp16"),
    "q8_0": ("int8", "gguf-q8_0", "int8"),
    "q4_0": ("int4", "gguf-q4_0", "int8"),
    "fp32": ("fp32", "", "fp32"),
    "bf16": ("bf16", "", "bf16"),
    "int8": ("int8", "torchao-int8-dynamic", "int8"),
}
"""Weight dtype, weight format and the dtype of the products' inputs, by the runners' names. llama.cpp rounds
inputs to 8 bits by blocks of 32 where weights have 4 or 8.
"""
CACHES = {"f16": "fp16", "q8_0": "int8", "fp32": "fp32", "bf16": "bf16", "int8": "bf16"}


@dataclass(frozen=True)
class Setting:
    """One process: an engine with a model in a format, on a number of threads."""

    engine: str
    shape: str
    weights: str
    threads: int = 1
    cache: str = "f16"
    prompts: tuple[int, ...] = (128, 512)
    contexts: tuple[int, ...] = (128, 1024)
    batches: tuple[int, ...] = BATCHES


def settings() -> Iterator[Setting]:
    """What is measured, what tells most first. Long prompts and contexts are for models that take seconds."""
    tiny, small, medium, large = (shape.name for shape in SHAPES)

    def brief(
        engine: str, shape: str, weights: str, threads: int = 1, batches: tuple[int, ...] = BATCHES
    ) -> Setting:
        return Setting(engine, shape, weights, threads, prompts=(128,), contexts=(128,), batches=batches)

    yield Setting("llama.cpp", small, "q4_0")
    yield Setting("transformers", small, "bf16")
    yield brief("llama.cpp", small, "f16")
    yield brief("transformers", small, "fp32")
    yield brief("llama.cpp", small, "q8_0")
    yield brief("transformers", small, "int8")
    yield brief("transformers", large, "bf16", batches=(1, 4, 16))
    yield brief("llama.cpp", large, "q4_0", batches=(1, 4, 16))
    for weights in ("fp32", "bf16", "int8"):
        yield Setting("transformers", tiny, weights)
    for weights in ("f16", "q8_0", "q4_0"):
        yield Setting("llama.cpp", tiny, weights)
    yield Setting("llama.cpp", tiny, "q8_0", cache="q8_0")
    yield brief("llama.cpp", small, "q4_0", 2, batches=(1, 4, 16, 64))
    yield brief("transformers", small, "bf16", 2, batches=(1, 4, 16, 64))
    for weights in ("fp32", "bf16", "int8"):
        yield brief("transformers", medium, weights)
    for weights in ("q4_0", "q8_0", "f16"):
        yield brief("llama.cpp", medium, weights)
    yield brief("llama.cpp", small, "f16", 2)
    yield brief("transformers", small, "fp32", 2)
    for weights in ("q8_0", "f16"):
        yield brief("llama.cpp", large, weights)
    yield brief("llama.cpp", large, "q4_0", 2)
    yield brief("transformers", large, "bf16", 2)


def run(setting: Setting, python: Path) -> dict[str, Any]:
    """What a runner replies. Raises RuntimeError with its last words where it fails."""
    command = [str(python), "-m", f"benchmarks.engines.{RUNNERS[setting.engine]}"]
    command += ["--shape", setting.shape, "--weights", setting.weights, "--cache", setting.cache]
    command += ["--threads", str(setting.threads)]
    for name in ("prompts", "contexts", "batches"):
        command += [f"--{name}", *map(str, getattr(setting, name))]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_environment(setting.threads)
    )
    if done.returncode != 0:
        raise RuntimeError("\n".join(done.stderr.splitlines()[-3:]))
    reply: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return reply


def rows(
    setting: Setting, reply: Mapping[str, Any], hardware_id: str, machine: str
) -> Iterator[dict[str, Any]]:
    """The rows of a reply, without ids. Of one thread the value is the CPU time, else the wall time."""
    weight_dtype, weight_format, act_dtype = FORMATS[setting.weights]
    cache = setting.cache if setting.engine == "llama.cpp" else setting.weights
    for case in reply["cases"]:
        prefill = case["phase"] == "prefill"
        counted = "cpu" if setting.threads == 1 else "wall"
        notes = {
            "threads": setting.threads,
            "value": f"{counted} time, median",
            "wall_ms": round(case["wall_ms"], 3),
            "cpu_ms": round(case["cpu_ms"], 3),
            "spread": round(case["spread"], 3),
            "rounds": case["rounds"],
            "queued_share": round(case["queued_share"], 3),
            "probe_fp32_gflop_per_s": round(case["probe_gflop_per_s"], 1),
            "probe_fp32_gb_per_s": round(case["probe_gb_per_s"], 2),
            "embedding_and_lm_head": setting.weights
            if setting.engine == "llama.cpp"
            else _head(setting.weights),
            "config": f"{setting.shape}/config.json",
        }
        yield {
            "source": "measured by this project",
            "source_group": "own_cpu_engines",
            "engine": setting.engine,
            "engine_version": reply["version"],
            "model_id": BY_NAME[setting.shape].model_id,
            "model_published": "random weights",
            "hardware_id": f"{hardware_id}-{setting.threads}t",
            "hardware_published": machine,
            "n_devices": 1,
            "tp": 1,
            "pp": 1,
            "weight_dtype": weight_dtype,
            "weight_format": weight_format,
            "act_dtype": act_dtype,
            "kv_dtype": CACHES[cache],
            "phase": case["phase"],
            "isl": case["tokens"],
            "osl": "",
            "past_tokens": 0 if prefill else case["tokens"] - 1,
            "batch": case["batch"],
            "metric": "prefill_ms" if prefill else "decode_step_ms",
            "value": round(case[f"{counted}_ms"], 3),
            "confidence": "high" if case["spread"] <= 0.1 else "medium",
            "tier": "A",
            "ambiguous": "",
            "notes": ";".join(f"{name}={value}" for name, value in notes.items()),
        }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--hardware-id", default="this-machine")
    parser.add_argument(
        "--machine", required=True, help='what to call the machine: "2-core ... virtual machine"'
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for shape in SHAPES:
        shape.write_config(given.out)
    end = time.monotonic() + given.minutes * 60
    threads = {setting.threads for setting in settings()}
    for count in sorted(threads):
        command = [str(given.python), "-m", "ridgeline_server.probe", "--no-gpu", "--threads", str(count)]
        probed = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment(count))
        (given.out / f"probe-{count}t.json").write_text(probed.stdout, encoding="utf-8")
    path = given.out / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        number = 0
        for setting in settings():
            if time.monotonic() > end:
                print("not measured, the time is over:", setting)
                continue
            try:
                reply = run(setting, given.python)
            except RuntimeError as error:
                print("not measured:", setting, error, file=sys.stderr)
                continue
            for row in rows(setting, reply, given.hardware_id, given.machine):
                number += 1
                writer.writerow({"id": f"e{number:04}", **row})
                print(
                    f"{row['engine']:12} {setting.shape:24} {setting.weights:5} kv {row['kv_dtype']:5} "
                    f"{setting.threads} threads {row['phase']:8} {row['isl']:5} x {row['batch']:3} "
                    f"{row['value']:10.3f} ms  {row['notes'].partition('embedding')[0]}",
                    flush=True,
                )
            file.flush()


def _head(weights: str) -> str:
    return "bf16" if weights == "int8" else weights


def _environment(threads: int) -> dict[str, str]:
    path = os.pathsep.join(str(REPOSITORY / package) for package in PACKAGES)
    return environment(threads, {**os.environ, "PYTHONPATH": path})


if __name__ == "__main__":
    main()
