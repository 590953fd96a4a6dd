"""The catalog's evidence: form, names, sources, and that its figures agree with one another."""

from __future__ import annotations

import json
import re
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import ridgeline_catalog
from tests.accuracy.published_speedups import published_speedups
from tests.unit.questions import MODEL_IDS, model
from tests.unit.technique_ids import TECHNIQUE_IDS

EVIDENCE = dict(ridgeline_catalog.evidence_documents())
DATA_SOURCES = (Path(__file__).parents[2] / "docs" / "data-sources.md").read_text(encoding="utf-8")
ACCURACY = [row for document in EVIDENCE.values() for row in document["accuracy"]]
SPEEDUPS = [row for document in EVIDENCE.values() for row in document["speedups"]]

every_file = pytest.mark.parametrize(
    ("name", "evidence"), [pytest.param(name, d, id=name) for name, d in EVIDENCE.items()]
)


def complaints(document: object) -> list[str]:
    text = (files(ridgeline_catalog) / "schemas" / "evidence.schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    Draft202012Validator.check_schema(schema)
    return [f"{e.json_path}: {e.message}" for e in Draft202012Validator(schema).iter_errors(document)]


@every_file
def test_a_file_follows_the_schema_and_is_named_after_its_technique(
    name: str, evidence: dict[str, Any]
) -> None:
    assert complaints(evidence) == []
    assert name == f"{evidence['technique']}.json"
    assert evidence["technique"] in TECHNIQUE_IDS
    assert evidence["accuracy"] or evidence["speedups"]


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("accuracy", 0, "source"), None, "'source' is a required property"),
        (("accuracy", 0, "read_on"), "yesterday", "does not match"),
        (("accuracy", 0, "after"), None, "'after' is a dependency of 'before'"),
        (("accuracy", 0, "relative_change"), -1.5, "minimum"),
        (("accuracy", 0, "less_is_better"), False, "True was expected"),
        (("accuracy", 0, "model_id"), "llama", "does not match"),
        (("accuracy", 0, "bits"), 32, "maximum"),
        (("speedups", 0, "class"), "underspecified", "is not one of"),
        (("speedups", 0, "before", "phase"), None, "'phase' is a required property"),
        (("speedups", 0, "before", "batch"), 0, "minimum"),
        (("speedups", 0, "speedup"), 0, "minimum"),
        (("speedups", 0, "notes"), "fast", "Additional properties are not allowed"),
    ],
)
def test_the_evidence_schema_refuses(path: tuple[str | int, ...], value: object, complaint: str) -> None:
    document = json.loads(json.dumps(EVIDENCE["weight-only-int8.json"]))
    *parents, last = path
    node = document
    for key in parents:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    assert any(complaint in text for text in complaints(document))


def test_a_relative_change_is_that_of_the_figures() -> None:
    for row in ACCURACY:
        if "before" in row:
            before, after = row["before"], row["after"]
            change = before / after - 1 if row.get("less_is_better") else after / before - 1
            assert row["relative_change"] == pytest.approx(change, abs=5e-5), row["finding"]


def test_a_finding_quotes_the_figures() -> None:
    for row in ACCURACY:
        for figure in ("before", "after"):
            if figure in row:
                assert f"{row[figure]:g}" in row["finding"], row["finding"]
        if "before" not in row:
            assert re.search(r"\d", row["finding"]), row["finding"]


def test_no_figure_stands_in_a_file_twice() -> None:
    for name, document in EVIDENCE.items():
        rows = [
            (r["model_id"], r["method"], r.get("setting"), r["benchmark"], r["source"])
            for r in document["accuracy"]
        ]
        assert len(set(rows)) == len(rows), name


def test_losses_are_those_of_perplexities_and_the_like() -> None:
    for row in ACCURACY:
        assert row.get("less_is_better", False) == row["benchmark"].endswith(("perplexity", "loss"))


def test_sizes_of_models_are_those_of_the_catalog() -> None:
    for row in (*ACCURACY, *SPEEDUPS):
        if row["model_id"] in MODEL_IDS:
            known = model(row["model_id"])
            assert (row["model_parameters"], row["experts"]) == (
                known.parameter_count,
                known.experts is not None,
            )


def test_sources_were_read_on_a_day_that_has_been() -> None:
    assert all(date.fromisoformat(row["read_on"]) <= date.today() for row in ACCURACY)


@pytest.mark.parametrize("source", sorted({row["source"] for row in (*ACCURACY, *SPEEDUPS)}))
def test_the_documentation_names_the_origin(source: str) -> None:
    """Of a repository its name, of an address its host."""
    address = re.match(r"https://(github\.com/[^/]+/[^/]+|[^/]+)", source)
    origin = address.group(1).removeprefix("github.com/") if address else re.split(r"[@:# ]", source)[0]
    assert origin in DATA_SOURCES


def test_speedups_are_those_of_the_published_pairs() -> None:
    shipped = {d["technique"]: d["speedups"] for d in EVIDENCE.values() if d["speedups"]}
    assert shipped == published_speedups()


@pytest.mark.parametrize(
    "technique",
    [
        "weight-only-int8",
        "weight-only-fp8",
        "weight-only-int4",
        "int8-compute",
        "fp8-compute",
        "nvfp4-compute",
        "kv-cache-fp8",
        "kv-cache-int8",
        "kv-cache-int4",
        "kv-eviction",
        "sparsity-2-4",
    ],
)
def test_every_technique_that_narrows_or_drops_values_has_published_losses(technique: str) -> None:
    assert EVIDENCE[f"{technique}.json"]["accuracy"]
