"""The catalog's engines: form, names, sources, and what their figures say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import ridgeline_catalog
from ridgeline_server.domain.efficiency import version_key
from ridgeline_server.domain.engine import EngineLevel
from ridgeline_server.store.engines import builtin_engines, engine_profile

ENGINES = dict(ridgeline_catalog.engine_documents())
DATA_SOURCES = (Path(__file__).parents[2] / "docs" / "data-sources.md").read_text(encoding="utf-8")

every_engine = pytest.mark.parametrize("engine", [pytest.param(d, id=d["id"]) for d in ENGINES.values()])


def complaints(document: object) -> list[str]:
    text = (files(ridgeline_catalog) / "schemas" / "engine.schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    Draft202012Validator.check_schema(schema)
    return [f"{e.json_path}: {e.message}" for e in Draft202012Validator(schema).iter_errors(document)]


def figures(node: object) -> Iterator[dict[str, Any]]:
    """Every figure, at any depth."""
    if isinstance(node, dict):
        if "source" in node:
            yield node
        for child in node.values():
            yield from figures(child)
    elif isinstance(node, list):
        for child in node:
            yield from figures(child)


@every_engine
def test_an_engine_file_follows_the_schema(engine: dict[str, Any]) -> None:
    assert complaints(engine) == []


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("version",), "nightly", "does not match"),
        (("released",), "in May", "does not match"),
        (("memory_utilization", "value"), 1.1, "maximum"),
        (("memory_utilization", "source"), None, "'source' is a required property"),
        (("counts_cuda_graphs", "value"), 1, "is not of type 'boolean'"),
        (("batch_limits", "value"), [], "non-empty"),
        (("sampler_bytes_per_logit", "low"), None, "'low' is a required property"),
        (("sampler_bytes_per_logit", "evidence_count"), None, "'evidence_count' is a required property"),
        (("cuda_graph_bytes", "low"), -1, "minimum"),
        (("cuda_graph_bytes", "note"), None, "'note' is a required property"),
        (("non_torch_bytes",), [], "non-empty"),
        (("activation_bytes",), {}, "Additional properties are not allowed"),
    ],
)
def test_the_engine_schema_refuses(path: tuple[str, ...], value: object, complaint: str) -> None:
    document = json.loads(json.dumps(ENGINES["vllm.json"]))
    *parents, last = path
    node = document["releases"][0]
    for key in parents:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    assert any(complaint in text for text in complaints(document))


def test_a_file_is_named_by_its_id() -> None:
    assert {f"{document['id']}.json" for document in ENGINES.values()} == ENGINES.keys()


@every_engine
def test_releases_come_once_and_oldest_first(engine: dict[str, Any]) -> None:
    keys = [version_key(release["version"]) for release in engine["releases"]]
    assert len(set(keys)) == len(keys)
    assert [release.version for release in engine_profile(engine).releases] == [
        release["version"] for release in engine["releases"]
    ]
    days = [
        date.fromisoformat(release["released"]) for release in engine["releases"] if "released" in release
    ]
    assert days == sorted(days)


@every_engine
def test_every_figure_cites_an_origin_that_the_documentation_names(engine: dict[str, Any]) -> None:
    for figure in figures(engine):
        date.fromisoformat(figure["read_on"])
        for source in figure["source"].split("; "):
            origin = re.match(r"github [^:\s]+", source)
            assert source == "own assumption" or (origin is not None and origin.group(0) in DATA_SOURCES), (
                source
            )


@every_engine
def test_every_interval_holds_its_value(engine: dict[str, Any]) -> None:
    for figure in figures(engine):
        if "low" in figure:
            assert figure["low"] <= figure["value"] <= figure["high"]


@every_engine
def test_a_pair_of_parallel_sizes_has_one_figure(engine: dict[str, Any]) -> None:
    for release in engine["releases"]:
        pairs = [(figure["tp"], figure["pp"]) for figure in release["non_torch_bytes"]]
        assert len(set(pairs)) == len(pairs)


def test_the_profile_runs_peak_fell_by_60_percent_between_0_16_and_0_17() -> None:
    """Qwen3-14B: 5.64 to 2.23 GiB, most of it the sampler's."""
    before, after = (
        builtin_engines().find("vllm", version).release.sampler_bytes_per_logit
        for version in ("0.16.0", "0.17.0")
    )
    assert after.value / before.value == pytest.approx(1 - 0.6, abs=0.05)
    assert after.high < before.low


def test_only_releases_since_0_21_count_cuda_graphs() -> None:
    for version, counts, utilization in (
        ("0.19.0", False, 0.9),
        ("0.21.0", True, 0.92),
        ("0.33.0", True, 0.92),
    ):
        release = builtin_engines().find("vllm", version).release
        assert (release.counts_cuda_graphs, release.memory_utilization) == (counts, utilization)


def test_what_is_carried_comes_from_a_release_of_the_file_and_says_so() -> None:
    releases = {release["version"]: release for release in ENGINES["vllm.json"]["releases"]}
    carried = [release for release in releases.values() if "carried_from" in release]
    assert [release["version"] for release in carried] == ["0.21.0"]
    for release in carried:
        measured = releases[release["carried_from"]]
        for name in ("sampler_bytes_per_logit", "cuda_graph_bytes"):
            assert release[name]["value"] == measured[name]["value"]
            assert "nobody measured" in release[name]["note"]
    assert builtin_engines().find("vllm", "0.21.0").level is EngineLevel.EARLIER_RELEASE


def test_the_generic_engine_is_wider_than_any_release_of_vllm() -> None:
    generic = builtin_engines().find("llama.cpp", "b4000")
    assert generic.level is EngineLevel.GENERIC
    for document in ENGINES["vllm.json"]["releases"]:
        known = builtin_engines().find("vllm", document["version"]).release
        for wide, narrow in (
            (generic.release.sampler_bytes_per_logit, known.sampler_bytes_per_logit),
            (generic.release.cuda_graph_bytes, known.cuda_graph_bytes),
            *((generic.release.non_torch_bytes(tp, 1), known.non_torch_bytes(tp, 1)) for tp in (1, 2, 4)),
        ):
            assert wide.low <= narrow.low
            assert wide.high >= narrow.high


def test_a_release_tells_its_sources() -> None:
    sources = builtin_engines().find("vllm", "0.16.0").release.sources
    assert "github llm-d-incubation/llm-d-planner@e50305a:docs/empirical-vllm-memory-results.md" in sources
    assert len(set(sources)) == len(sources)


def test_the_files_name_no_path_of_a_machine_of_ours() -> None:
    for entry in (files(ridgeline_catalog) / "engines").iterdir():
        assert not re.search(r"/(work|root|home|tmp)/", entry.read_text(encoding="utf-8")), entry.name
