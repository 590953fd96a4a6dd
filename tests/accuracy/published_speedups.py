"""Published speedups of techniques, from the table of before-and-after pairs, for the catalog's evidence.

`python -m tests.accuracy.published_speedups` writes them into catalog/ridgeline_catalog/evidence.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.accuracy.published import ShippedNames

TESTS = Path(__file__).parents[1]
CASES = TESTS / "data" / "cases.csv.gz"
EVIDENCE = TESTS.parent / "catalog" / "ridgeline_catalog" / "evidence"

CLASSES = ("mechanism", "kernel_maturity", "engine_change")
"""Classes of pairs in which a technique changed between the sides; the other classes leave too much open."""

TECHNIQUES = {
    "captured graphs": "cuda-graphs",
    "chunked-prefill": "chunked-prefill",
    "flash-attention": "flash-attention",
    "kv-fp8": "kv-cache-fp8",
    "kv-int4": "kv-cache-int4",
    "kv-int8": "kv-cache-int8",
    "kv-offload": "kv-offload",
    "larger-batch": "increase-batch",
    "pipeline-parallel": "pipeline-parallel",
    "prefix-caching": "prefix-caching",
    "speculative-decoding": "speculation-draft-model",
    "speculative-decoding by heads": "speculation-heads",
    "speculative-decoding by mtp": "speculation-mtp",
    "tensor-parallel": "tensor-parallel",
    "w8a8-fp8": "fp8-compute",
    "w8a8-int8": "int8-compute",
    "weight-only-int4": "weight-only-int4",
    "weight-only-int8": "weight-only-int8",
}
"""The table's names of techniques and our ids. Combinations of two techniques and choices of a kernel are
evidence on no single one.
"""

WHOLE_NUMBERS = ("n_devices", "tp", "pp", "batch", "concurrency", "isl", "osl")
SIDE = (
    *("weight_dtype", "weight_format", "act_dtype", "kv_dtype", "n_devices", "tp", "pp"),
    *("phase", "batch", "concurrency", "request_rate", "isl", "osl", "features"),
)


def published_speedups() -> dict[str, list[dict[str, Any]]]:
    """The rows of each technique. Pairs whose model or device is not named are left out."""
    names = ShippedNames()
    found: dict[str, list[dict[str, Any]]] = {}
    with gzip.open(CASES, "rt", encoding="utf-8", newline="") as file:
        for case in csv.DictReader(file):
            technique = TECHNIQUES.get(_name(case))
            if technique and case["class"] in CLASSES and case["model_id"] and case["hardware_id"]:
                found.setdefault(technique, []).append(_row(case, names))
    return found


def _name(case: Mapping[str, str]) -> str:
    """The table's name of a technique; it tells EAGLE's heads and a module of the model's own from a draft
    model only among the features.
    """
    drafted = {"speculation=eagle": " by heads", "speculation=mtp": " by mtp"}
    return case["technique"] + "".join(by for kind, by in drafted.items() if kind in case["after_features"])


def _row(case: Mapping[str, str], names: ShippedNames) -> dict[str, Any]:
    model = names.model(case["model_id"])
    metric = {"metric": case["metric"]} if case["metric"] else {}
    return {
        "case_id": case["case_id"],
        "class": case["class"],
        "model_id": case["model_id"],
        "model_parameters": model.parameter_count,
        "experts": model.experts is not None,
        "hardware_id": case["hardware_id"],
        "hardware_bandwidth_bytes_per_s": names.hardware(case["hardware_id"]).bandwidth_bytes_per_s,
        "engine": case["engine"],
        "engine_version": case["engine_version"],
        **metric,
        "before": _side(case, "before"),
        "after": _side(case, "after"),
        "speedup": float(case["speedup"]),
        "source": case["source"],
    }


def _side(case: Mapping[str, str], side: str) -> dict[str, Any]:
    """What the table states of one side."""
    stated = {column: case[f"{side}_{column}"] for column in SIDE}
    return {column: _value(column, text) for column, text in stated.items() if text}


def _value(column: str, text: str) -> str | int | float:
    if column in WHOLE_NUMBERS:
        return int(text)
    return float(text) if column == "request_rate" else text


def main() -> None:
    """Writes the rows of each technique into its file and keeps its accuracy figures."""
    for technique, rows in published_speedups().items():
        path = EVIDENCE / f"{technique}.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"accuracy": []}
        document = {"technique": technique, "accuracy": known["accuracy"], "speedups": rows}
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
