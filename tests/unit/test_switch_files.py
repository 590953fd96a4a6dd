"""The catalog's switches of engines: form, sources, and that nothing is in them that was not looked up."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import ridgeline_catalog
from ridgeline import jsonform
from ridgeline.v1.common_pb2 import Deployment
from ridgeline_server.advisor.launching.places import places_of
from ridgeline_server.advisor.launching.settings import CONVERT, LISTEN, LOAD
from ridgeline_server.advisor.registry import all_techniques
from ridgeline_server.domain.workload import Workload
from ridgeline_server.rpc.launch_commands import nested
from tests.engine_flags.claims import checked, claims
from tests.unit.questions import LLAMA_2_7B, ask

ENGINES = dict(ridgeline_catalog.switch_documents())
DATA_SOURCES = (Path(__file__).parents[2] / "docs" / "data-sources.md").read_text(encoding="utf-8")
TECHNIQUES = {technique.id for technique in all_techniques()} | {
    "weight-only-int8", "weight-only-fp8", "weight-only-int4", "nvfp4-compute", "int8-compute", "fp8-compute",
    "w4a8-compute", "w4a8-mxfp4-compute", "kv-cache-int2",
    "kv-cache-fp8", "kv-cache-int8", "kv-cache-int4", "kv-eviction", "kv-offload", "weight-offload",
    "increase-batch", "chunked-prefill", "prefix-caching", "speculation-draft-model", "speculation-heads",
    "speculation-ngram", "flash-attention", "tensor-parallel", "pipeline-parallel", "fewer-devices",
    "sparsity-2-4",
}  # fmt: skip
STATED = {
    "compute-dtype", "attention-data-parallel", "expert-parallel", "partial-expert-parallel",
    "memory-utilization", "unfused-attention", "eager-execution", LOAD, LISTEN,
}  # fmt: skip

every_engine = pytest.mark.parametrize("engine", [pytest.param(d, id=d["id"]) for d in ENGINES.values()])


def complaints(document: object) -> list[str]:
    text = (files(ridgeline_catalog) / "schemas" / "switches.schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    Draft202012Validator.check_schema(schema)
    found: list[str] = []
    for error in Draft202012Validator(schema).iter_errors(document):
        found += (e.message for e in (error, *(error.context or ())))
    return found


def sentences(setting: dict[str, Any]) -> Iterator[str]:
    yield from setting.get("notes", ())
    yield from (step["text"] for step in setting.get("steps", ()))
    if "none" in setting:
        yield setting["none"]


def values(engine: dict[str, Any]) -> Iterator[str]:
    for setting in engine["settings"].values():
        for entry in (*setting.get("flags", ()), *setting.get("config", ())):
            yield entry.get("value", "")


def test_the_four_engines_are_there_each_in_a_file_of_its_name() -> None:
    assert {f"{document['id']}.json" for document in ENGINES.values()} == set(ENGINES)
    assert [document["id"] for document in ENGINES.values()] == [
        "llama.cpp",
        "sglang",
        "tensorrt-llm",
        "vllm",
    ]


@every_engine
def test_a_file_of_switches_follows_the_schema(engine: dict[str, Any]) -> None:
    assert complaints(engine) == []


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("release",), None, "'release' is a required property"),
        (("checked_on",), "today", "does not match"),
        (("checked_by",), "guess", "is not one of"),
        (("sources", "arguments", "release"), None, "'release' is a required property"),
        (("sources", "arguments", "form"), "prose", "is not one of"),
        (("settings", "tensor-parallel"), {}, "non-empty"),
        (("settings", "tensor-parallel"), {"none": "Unknown"}, "does not match"),
        (("settings", "tensor-parallel"), {"none": "No.", "flags": []}, "Additional properties"),
        (("settings", "tensor-parallel", "flags"), [{"flag": "--tp"}], "'read_in' is a required property"),
        (
            ("settings", "tensor-parallel", "flags"),
            [{"flag": "tp", "read_in": "arguments"}],
            "does not match",
        ),
        (("settings", "Tensor parallel"), {"none": "No."}, "does not match"),
    ],
)
def test_the_schema_refuses(path: tuple[str, ...], value: object, complaint: str) -> None:
    document = json.loads(json.dumps(ENGINES["vllm.json"]))
    *parents, last = path
    node = document
    for key in parents:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    assert any(complaint in text for text in complaints(document))


@every_engine
def test_every_technique_has_a_switch_or_a_reason_why_there_is_none(engine: dict[str, Any]) -> None:
    settings = set(engine["settings"])
    assert TECHNIQUES - settings == set()
    assert settings - TECHNIQUES == STATED - TECHNIQUES | ({CONVERT} if engine.get("reads") else set())


@every_engine
def test_every_flag_was_looked_up_in_the_release_that_it_is_given_for(engine: dict[str, Any]) -> None:
    stated = {claim for _, claim in claims(engine)}
    assert stated
    assert stated - checked() == set()


@every_engine
def test_every_flag_that_is_told_is_one_that_is_read(engine: dict[str, Any]) -> None:
    told = {flag["flag"] for setting in engine["settings"].values() for flag in setting.get("flags", ())}
    assert told
    assert told - set(engine["command_flags"]) == set()


def test_the_list_of_what_was_looked_up_has_nothing_else() -> None:
    stated = {claim for document in ENGINES.values() for _, claim in claims(document)}
    assert checked() - stated == set()


@every_engine
def test_every_source_is_cited_and_used(engine: dict[str, Any]) -> None:
    date.fromisoformat(engine["checked_on"])
    used = {name for name, _ in claims(engine)}
    assert used == set(engine["sources"])
    for source in engine["sources"].values():
        package = source["package"]
        origin = package if package.startswith("github ") else f"PyPI {package} {source['release']}"
        assert origin in DATA_SOURCES, source


@every_engine
def test_a_sentence_names_no_flag(engine: dict[str, Any]) -> None:
    """A flag in a sentence would escape the look-up."""
    for name, setting in engine["settings"].items():
        for sentence in sentences(setting):
            assert not re.search(r"(^|\s)-", sentence), (name, sentence)


@every_engine
def test_a_flag_that_is_read_fills_a_field_of_the_contract(engine: dict[str, Any]) -> None:
    for name, entry in engine["command_flags"].items():
        paths = [path for path in (entry.get("field"), *entry.get("beside", {}).values()) if path]
        text = "org/model" if paths and paths[0].endswith(".id") else 1
        for stated in (dict.fromkeys(paths, text), *entry.get("values", {}).values()):
            jsonform.from_dict(Deployment, nested(stated))
        others = {entry.get("over"), entry.get("unless"), entry.get("needs"), *entry.get("product", ())}
        others |= {beside.partition(" ")[0] for beside in entry.get("beside", ())}
        others |= set(entry.get("json", {}).values())
        assert others - {None} <= set(engine["command_flags"]), name


@every_engine
def test_no_name_of_a_flag_that_is_read_is_taken_twice(engine: dict[str, Any]) -> None:
    flags = engine["command_flags"]
    names = [alias for name, entry in flags.items() for alias in (name, *entry.get("also", ()))]
    assert len(names) == len(set(names))


@every_engine
def test_every_place_is_one_that_a_deployment_fills(engine: dict[str, Any]) -> None:
    question = ask(LLAMA_2_7B, "h100-sxm", Workload(1, 100, 10))
    known = places_of(question.model, question.workload, question.deployment)
    for value in values(engine):
        places = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
        assert places <= set(known)
