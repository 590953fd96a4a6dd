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

REPOSITORY = Path(__file__).parents[2]
DATA_SOURCES = (REPOSITORY / "docs" / "data-sources.md").read_text(encoding="utf-8")
HARDWARE = dict(ridgeline_catalog.hardware_documents())
MODELS = dict(ridgeline_catalog.model_documents())
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


def sixteen_bit_peak(device: dict[str, Any]) -> float:
    peaks = device["peak_flops_per_s"]
    return float(peaks["bf16" if "bf16" in peaks else "fp16"]["value"])


# Form ------------------------------------------------------------------------------------------------


def test_the_catalog_holds_at_least_forty_devices() -> None:
    assert len(HARDWARE) >= 40


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


# Names -----------------------------------------------------------------------------------------------


def test_a_file_is_named_by_its_id() -> None:
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


@pytest.mark.parametrize(
    ("name", "device_id"),
    [
        ("a6000", "rtx-a6000"),
        ("NVIDIA RTX A6000", "rtx-a6000"),
        ("a100", "a100-sxm-80gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-sxm-40gb"),
        ("h100", "h100-sxm"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("h200", "h200-sxm"),
        ("b200", "b200-sxm"),
        ("Tesla T4", "t4"),
        ("4090", "rtx-4090"),
        ("m1-max", "apple-m1-max"),
    ],
)
def test_a_usual_name_of_a_device_is_an_alias(name: str, device_id: str) -> None:
    assert lookup_key(name) in {lookup_key(alias) for alias in DEVICES[device_id]["aliases"]}


@every_device
def test_a_display_name_starts_with_the_vendor_once(device: dict[str, Any]) -> None:
    words = device["display_name"].split()
    assert words[0] == device["vendor"]
    assert words[1] != device["vendor"]


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


@pytest.mark.parametrize("kind", ["hardware", "models"])
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


# Devices ---------------------------------------------------------------------------------------------


@every_device
def test_the_ridge_point_at_sixteen_bits_is_plausible(device: dict[str, Any]) -> None:
    ridge = sixteen_bit_peak(device) / device["bandwidth_bytes_per_s"]["value"]
    explained = any("ridge point" in note for note in device["notes"])
    assert 5 <= ridge <= 2000 or explained, f"{ridge:.1f} FLOP/byte"


@every_device
def test_a_narrower_dtype_doubles_the_rate_or_says_why_not(device: dict[str, Any]) -> None:
    peaks = device["peak_flops_per_s"]
    wider = {
        "fp8": sixteen_bit_peak(device),
        "int8": sixteen_bit_peak(device),
        "fp4": peaks.get("fp8", {}).get("value"),
        "int4": peaks.get("int8", {}).get("value"),
    }
    for dtype in wider.keys() & peaks.keys():
        ratio = peaks[dtype]["value"] / wider[dtype]
        usual = min(abs(ratio - 1), abs(ratio - 2) / 2) < 0.03
        assert usual or "note" in peaks[dtype], f"{dtype}: {ratio:.2f}"


@every_device
def test_wider_dtypes_are_not_faster(device: dict[str, Any]) -> None:
    peaks = {dtype: figure["value"] for dtype, figure in device["peak_flops_per_s"].items()}
    order = [peaks[dtype] for dtype in ("fp32", "tf32", "bf16", "fp8", "fp6", "fp4") if dtype in peaks]
    assert order == sorted(order)


@every_device
def test_memory_link_and_power_are_plausible(device: dict[str, Any]) -> None:
    memory = device["memory_bytes"]["value"]
    assert 128 * 2**20 <= memory <= 2 * 2**40
    assert 0.7 * memory <= device.get("usable_memory_bytes", {"value": memory})["value"] <= memory
    bandwidth = device["bandwidth_bytes_per_s"]["value"]
    assert 50e9 <= bandwidth <= 100e12
    if "link" in device:
        assert device["link"]["bandwidth_bytes_per_s"]["value"] <= bandwidth / 2
    if "tdp_watts" in device:
        assert 10 <= device["tdp_watts"]["value"] <= 2000


def test_the_rtx_a6000_is_the_card_of_the_surveys_table() -> None:
    """arXiv:2402.16363: 768 GB/s and 155 TFLOP/s at fp16 in Table 1, 310 TOP/s at int8 in the text."""
    device = DEVICES["rtx-a6000"]
    assert device["bandwidth_bytes_per_s"]["value"] == 768e9
    assert round(device["peak_flops_per_s"]["fp16"]["value"] / 1e12) == 155
    assert round(device["peak_flops_per_s"]["int8"]["value"] / 1e12) == 310
    assert device["memory_bytes"]["value"] == 48 * 2**30


def test_an_eighty_gigabyte_h100_shows_less_than_eighty_gibibytes() -> None:
    assert round(DEVICES["h100-sxm"]["usable_memory_bytes"]["value"] / 2**30, 2) == 79.19


@pytest.mark.parametrize(
    ("prefixes", "missing"),
    [
        (("v100",), ("bf16", "tf32", "int8", "fp8")),
        (("t4",), ("bf16", "tf32", "fp8")),
        (("a10", "a30", "a40", "rtx-30", "rtx-a6000"), ("fp8", "fp6", "fp4")),
        (("h100", "h200", "h20", "h800", "gh200"), ("int4", "fp6", "fp4")),
        (("l4", "rtx-40", "rtx-6000-ada"), ("fp6", "fp4")),
        (("mi2",), ("fp8", "int4", "fp4")),
        (("apple",), ("bf16", "int8", "fp8")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_dtype_without_a_unit_has_no_peak(prefixes: tuple[str, ...], missing: tuple[str, ...]) -> None:
    family = [device for device_id, device in DEVICES.items() if device_id.startswith(prefixes)]
    assert family
    for device in family:
        assert not set(missing) & set(device["peak_flops_per_s"]), device["id"]


def test_blackwell_ultra_has_next_to_no_int8() -> None:
    for device_id in ("b300-sxm", "gb300"):
        peaks = DEVICES[device_id]["peak_flops_per_s"]
        assert peaks["int8"]["value"] < 0.1 * peaks["bf16"]["value"]


def test_geforce_halves_sixteen_bit_rates_that_accumulate_in_fp32() -> None:
    """On one chip, int8 runs at twice bf16 on the professional card and at four times on the GeForce."""
    for device_id, ratio in (("rtx-3090", 4), ("rtx-4090", 4), ("rtx-a6000", 2), ("rtx-6000-ada", 2)):
        peaks = DEVICES[device_id]["peak_flops_per_s"]
        assert peaks["bf16"]["accumulate"] == "fp32"
        assert peaks["int8"]["value"] / peaks["bf16"]["value"] == pytest.approx(ratio, rel=0.01)
