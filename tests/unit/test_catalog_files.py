"""The catalog's data files: form, names, sources and physical plausibility of every device and model."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import ridgeline_catalog
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import FurtherConstant, OperatorClass

REPOSITORY = Path(__file__).parents[2]
DATA_SOURCES = (REPOSITORY / "docs" / "data-sources.md").read_text(encoding="utf-8")
HARDWARE = dict(ridgeline_catalog.hardware_documents())
MODELS = dict(ridgeline_catalog.model_documents())
EFFICIENCY_FILES = sorted((REPOSITORY / "catalog" / "ridgeline_catalog" / "efficiency").glob("*.json"))
DEVICES = {document["id"]: document for document in HARDWARE.values()}
CONFIGS: dict[str, dict[str, Any]] = {document["id"]: document["config"] for document in MODELS.values()}

every_device = pytest.mark.parametrize("device", [pytest.param(d, id=d["id"]) for d in HARDWARE.values()])


def validator(kind: str) -> Draft202012Validator:
    schema = json.loads(
        (files(ridgeline_catalog) / "schemas" / f"{kind}.schema.json").read_text(encoding="utf-8")
    )
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def complaints(kind: str, document: object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator(kind).iter_errors(document)]


def figures(node: object) -> Iterator[dict[str, Any]]:
    """Every figure, at any depth, that a document states with a value and a source."""
    if isinstance(node, dict):
        if "value" in node and "source" in node:
            yield node
        for child in node.values():
            yield from figures(child)


def lookup_key(name: str) -> str:
    """The form in which two names are the same name."""
    return name.lower().replace("_", "-").replace(" ", "-")


# Form ------------------------------------------------------------------------------------------------


def test_documents_come_sorted_by_file_name() -> None:
    for documents in (HARDWARE, MODELS):
        assert list(documents) == sorted(documents)


def test_only_json_files_are_documents_and_a_kind_may_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hardware").mkdir()
    (tmp_path / "hardware" / "b.json").write_text('{"id": "b"}')
    (tmp_path / "hardware" / "a.json").write_text('{"id": "a"}')
    (tmp_path / "hardware" / "README.md").write_text("no document")
    monkeypatch.setattr(ridgeline_catalog, "files", lambda package: tmp_path)
    assert list(ridgeline_catalog.hardware_documents()) == [("a.json", {"id": "a"}), ("b.json", {"id": "b"})]
    assert list(ridgeline_catalog.evidence_documents()) == []


@every_device
def test_a_device_file_follows_the_schema(device: dict[str, Any]) -> None:
    assert complaints("hardware", device) == []


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("memory_bytes", "source"), None, "'source' is a required property"),
        (("bandwidth_bytes_per_s", "confidence"), None, "'confidence' is a required property"),
        (("bandwidth_bytes_per_s", "confidence"), "low", "'note' is a required property"),
        (("bandwidth_bytes_per_s", "value"), -1, "minimum"),
        (("bandwidth_bytes_per_s", "accumulate"), "fp32", "is not one of"),
        (("peak_flops_per_s", "fp16", "accumulate"), "bf16", "is not one of"),
        (("peak_flops_per_s", "int8", "accumulate"), "fp16", "'fp32' was expected"),
        (("peak_flops_per_s",), {}, "non-empty"),
        (("unsupported_dtypes", "value"), [], "non-empty"),
        (("unsupported_dtypes", "value"), ["fp9"], "is not one of"),
        (("unsupported_dtypes", "source"), None, "'source' is a required property"),
        (("clock_hz", "value"), 1.8, "minimum"),
        (("clock_hz", "source"), None, "'source' is a required property"),
        (("link", "domain_size", "value"), 1, "minimum"),
        (("link", "domain_size", "source"), None, "'source' is a required property"),
        (("memory_bytes", "value"), 48e9 + 0.5, "is not of type 'integer'"),
        (("memory_bytes", "read_on"), "yesterday", "does not match"),
        (("peak_flops_per_s", "fp16_fp16acc"), {}, "is not one of"),
        (("kind",), "graphics card", "is not one of"),
        (("l2_bytes",), 6, "Additional properties are not allowed"),
    ],
)
def test_the_hardware_schema_refuses(path: tuple[str, ...], value: object, complaint: str) -> None:
    document = json.loads(json.dumps(DEVICES["rtx-a6000"]))
    *parents, last = path
    node = document
    for key in parents:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    assert any(complaint in text for text in complaints("hardware", document))


KERNEL = {
    "id": "x100-gemm",
    "operator_class": "gemm",
    "hardware_id": "x100",
    "dtype": "bf16",
    "weight_dtype": None,
    "engine": "vllm",
    "launch_time_us": {"value": 3, "low": 1, "high": 9},
    "compute_efficiency": {"value": 0.6, "low": 0.5, "high": 0.7},
    "memory_efficiency": {"value": 0.8, "low": 0.7, "high": 1},
    "overlap_exponent": 2,
    "evidence_count": 12,
    "source": "a fit over kernels",
}
REQUEST = {
    **{key: KERNEL[key] for key in ("hardware_id", "dtype", "weight_dtype", "evidence_count", "source")},
    "id": "vllm-request",
    "operator_class": "request",
    "engine": "vllm",
    "since_version": "0.8.0",
    "since_date": "2025-03",
    "model_id": "o/m",
    "relatives": ["x200"],
    "further": {"lockstep_share": {"value": 0.5, "low": 0, "high": 1}},
}


@pytest.mark.parametrize("path", EFFICIENCY_FILES, ids=lambda path: str(path.name))
def test_a_profiles_file_follows_the_schema(path: Path) -> None:
    assert complaints("efficiency", json.loads(path.read_text(encoding="utf-8"))) == []


def test_a_file_holds_one_profile_or_a_list_of_them() -> None:
    for document in (KERNEL, REQUEST, {"profiles": [KERNEL, REQUEST]}):
        assert complaints("efficiency", document) == []
    wrong: list[dict[str, Any]] = [
        {"profiles": []},
        {"profiles": [KERNEL, {}]},
        {"profiles": [KERNEL], "source": "all"},
    ]
    for document in wrong:
        assert complaints("efficiency", document)


@pytest.mark.parametrize(
    ("document", "change", "complaint"),
    [
        (KERNEL, {"launch_time_us": ...}, "'launch_time_us' is a required property"),
        (KERNEL, {"overlap_exponent": ...}, "'overlap_exponent' is a required property"),
        (KERNEL, {"operator_class": "guess"}, "is not one of"),
        (KERNEL, {"compute_efficiency": {"value": 1.1, "low": 0.5, "high": 1.2}}, "maximum"),
        (KERNEL, {"memory_efficiency": {"value": 0.5}}, "'low' is a required property"),
        (KERNEL, {"dtype": "fp9"}, "is not one of"),
        (REQUEST, {"further": {"lockstep": {"value": 1, "low": 1, "high": 1}}}, "Additional properties"),
        (REQUEST, {"further": {"time_factor": {"value": 0, "low": 0, "high": 1}}}, "minimum"),
        (REQUEST, {"since_date": "2025"}, "does not match"),
        (REQUEST, {"since_version": ...}, "'since_version' is a dependency of 'since_date'"),
        (REQUEST, {"engine": ""}, "non-empty"),
        (REQUEST, {"relatives": ["x200", "x200"]}, "non-unique"),
        (REQUEST, {"further_constants": {}}, "Additional properties"),
    ],
)
def test_the_efficiency_schema_refuses(
    document: dict[str, Any], change: dict[str, Any], complaint: str
) -> None:
    wrong = {key: value for key, value in {**document, **change}.items() if value is not ...}
    for content in (wrong, {"profiles": [wrong]}):
        assert any(complaint in text for text in complaints("efficiency", content))


def test_the_efficiency_schema_has_the_words_of_the_domain() -> None:
    schema: Any = validator("efficiency").schema
    properties = schema["$defs"]["profile"]["properties"]
    assert properties["operator_class"]["enum"] == list(OperatorClass)
    assert list(properties["further"]["properties"]) == list(FurtherConstant)
    assert properties["dtype"]["enum"] == properties["weight_dtype"]["enum"] == [None, *Dtype]


def test_the_constants_of_a_profiles_file_stand_in_order() -> None:
    for name, document in ridgeline_catalog.efficiency_documents():
        for estimate in (*document.values(), *document.get("further", {}).values()):
            if isinstance(estimate, dict) and "low" in estimate:
                assert estimate["low"] <= estimate["value"] <= estimate["high"], name


# Names -----------------------------------------------------------------------------------------------


def test_a_file_is_named_by_its_id() -> None:
    for path in EFFICIENCY_FILES:
        document = json.loads(path.read_text(encoding="utf-8"))
        assert "profiles" in document or path.name == f"{document['id']}.json"
    assert {name: f"{document['id']}.json" for name, document in HARDWARE.items()} == {n: n for n in HARDWARE}
    assert {name: document["id"].replace("/", "__") + ".json" for name, document in MODELS.items()} == {
        name: name for name in MODELS
    }


@pytest.mark.parametrize("documents", [HARDWARE, MODELS], ids=["hardware", "models"])
def test_no_name_leads_to_two_entries(documents: dict[str, dict[str, Any]]) -> None:
    names = Counter(
        key
        for document in documents.values()
        for key in {lookup_key(document["id"]), *(lookup_key(alias) for alias in document["aliases"])}
    )
    assert [name for name, count in names.items() if count > 1] == []
    display_names = Counter(document["display_name"] for document in documents.values())
    assert [name for name, count in display_names.items() if count > 1] == []


@pytest.mark.parametrize("documents", [HARDWARE, MODELS], ids=["hardware", "models"])
def test_an_alias_adds_a_name(documents: dict[str, dict[str, Any]]) -> None:
    for document in documents.values():
        keys = [lookup_key(name) for name in (document["id"], *document["aliases"])]
        assert len(keys) == len(set(keys)), document["id"]


# Sources ---------------------------------------------------------------------------------------------


def origins(source: str) -> list[str]:
    """The origins that a source text cites, as docs/data-sources.md names them."""
    found = []
    for part in source.split("; "):
        if part.startswith(("own ", "general knowledge")):
            continue
        address = re.match(r"https://([^/]+)/", part)
        package = re.match(r"(?:PyPI|npm) \S+ [0-9][0-9.]*[0-9]", part)
        repository = re.match(r"github [^:\s]+", part)
        match = address or package or repository
        assert match is not None, f"not a source that can be looked up: {part}"
        found.append(match.group(1) if address else match.group(0))
    return found


@every_device
def test_every_figure_of_a_device_cites_origins_that_the_documentation_names(device: dict[str, Any]) -> None:
    cited = list(figures(device))
    assert len(cited) >= 3
    for figure in cited:
        for origin in origins(figure["source"]):
            assert origin in DATA_SOURCES, figure


def test_every_package_that_an_efficiency_profile_rests_on_is_named_in_the_documentation() -> None:
    sources = [document["source"] for _, document in ridgeline_catalog.efficiency_documents()]
    packages = {
        match for source in sources for match in re.findall(r"package (\S+ [0-9][0-9.]*[0-9])", source)
    }
    assert packages
    assert all(f"PyPI {package}" in DATA_SOURCES for package in packages)


@every_device
def test_a_figure_that_nobody_read_has_low_confidence(device: dict[str, Any]) -> None:
    for figure in figures(device):
        date.fromisoformat(figure["read_on"])
        if figure["source"].startswith(("general knowledge", "own assumption")):
            assert figure["confidence"] == "low"


@pytest.mark.parametrize("kind", ["hardware", "models", "efficiency"])
def test_the_files_name_no_path_of_a_machine_of_ours(kind: str) -> None:
    for entry in (files(ridgeline_catalog) / kind).iterdir():
        assert not re.search(r"/(work|root|home|tmp)/", entry.read_text(encoding="utf-8")), entry.name


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "tests" / "data").iterdir()), ids=lambda path: str(path.name)
)
def test_the_documentation_names_the_origin_of_each_reference_table(path: Path) -> None:
    assert path.name == "README.md" or f"`{path.name}`" in DATA_SOURCES


def test_the_reference_tables_hold_what_their_page_says() -> None:
    folder = REPOSITORY / "tests" / "data"
    with (folder / "survey_table1.csv").open(encoding="utf-8", newline="") as table:
        survey = list(csv.DictReader(table))
    with gzip.open(folder / "llm_viewer_layers.csv.gz", "rt", encoding="utf-8", newline="") as table:
        layers = list(csv.DictReader(table))
    assert (len(survey), len(layers)) == (24, 4608)
    assert {row["stage"] for row in survey} == {"prefill", "decode"}
    assert {row["model_id"] for row in layers} <= set(CONFIGS)
