"""Model files: what is written is read back, and written again byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ridgeline_catalog
from ridgeline import errors
from ridgeline.files import model_document, read_model
from ridgeline.v1.model_pb2 import CheckpointTotals, Model
from ridgeline_server.rpc.convert import models
from ridgeline_server.store.builtin import read_builtin_catalog

FILES = dict(ridgeline_catalog.model_documents())
LLAMA = FILES["meta-llama__Llama-2-7b-hf.json"]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
configs = st.dictionaries(texts, json_values, max_size=6)
sources = texts | st.sampled_from(
    [
        "hub (verbatim, read 2026-11-22)",
        " (reconstructed, read 2026-01-02)",
        "a (b) (verbatim (re-serialised), read 2026-11-22)",
    ]
)
counts = st.integers(0, 2**60).map(float)
checkpoints = st.builds(
    CheckpointTotals,
    element_count=counts,
    bytes=counts,
    element_count_by_dtype=st.dictionaries(texts, counts, max_size=3),
    element_count_by_prefix=st.dictionaries(texts, counts, max_size=3),
)


def models_with(config_json: st.SearchStrategy[str]) -> st.SearchStrategy[Model]:
    return st.builds(
        Model,
        id=texts,
        display_name=texts,
        aliases=st.lists(texts, max_size=3),
        config_json=config_json,
        source=sources,
        notes=st.lists(texts, max_size=3),
        checkpoint=st.none() | checkpoints,
    )


def printed(document: dict[str, object]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def as_stored(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=2, ensure_ascii=False)


@given(models_with(configs.map(as_stored)))
def test_a_written_model_reads_as_itself(model: Model) -> None:
    assert read_model(json.loads(printed(model_document(model)))) == model


@given(models_with(configs.map(json.dumps) | texts))
def test_a_model_written_read_and_written_is_the_same_bytes(model: Model) -> None:
    """Whatever its config's text: compact, escaped, or no JSON at all."""
    first = printed(model_document(model))
    assert printed(model_document(read_model(json.loads(first)))) == first


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param(
            '{"b": 1, "a": 100000000000000000000000000000000000001}',
            '"b": 1,\n    "a": 100000000000000000000000000000000000001',
            id="the order of keys and all digits stay",
        ),
        pytest.param(
            '{"name": "\\u6a21\\u578b \\ud83e\\udd99"}', '"name": "模型 🦙"', id="text is written as text"
        ),
        pytest.param(
            '{"eps": 1e-05, "theta": 1E6}',
            '"eps": 1e-05,\n    "theta": 1000000.0',
            id="numbers keep their value",
        ),
    ],
)
def test_a_config_is_written_as_an_object(text: str, shown: str) -> None:
    document = model_document(Model(id="a/b", config_json=text))
    assert "config_json" not in document
    assert shown in printed(document)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"time_step_limit": [0.0, Infinity]}', id="infinity"),
        pytest.param('{"x": 1e999}', id="too large a number"),
        pytest.param('{"x": "\\ud800"}', id="half a surrogate pair"),
        pytest.param("[1]", id="no object"),
        pytest.param("no JSON", id="no JSON"),
        pytest.param("", id="empty"),
        pytest.param("[" * 100_000, id="too deep"),
    ],
)
def test_a_config_that_strict_json_cannot_hold_stays_text(text: str) -> None:
    model = Model(id="a/b", config_json=text, source="hub (verbatim, read 2026-11-22)")
    document = json.loads(printed(model_document(model)))
    assert document["config_json"] == text
    assert document["source"] == model.source
    assert read_model(document) == model


def test_what_was_read_and_when_stand_apart_from_the_source() -> None:
    document = model_document(
        Model(id="a/b", config_json="{}", source="github x (y) (verbatim (re-serialised), read 2026-11-22)")
    )
    assert (document["source"], document["config_kind"], document["read_on"]) == (
        "github x (y)",
        "verbatim (re-serialised)",
        "2026-11-22",
    )


def test_a_source_without_them_stays_whole() -> None:
    for source in ("", "my own", "a paper (2026)", "card (read on 2026-11-22)"):
        document = model_document(Model(id="a/b", config_json="{}", source=source))
        assert document["source"] == source
        assert "config_kind" not in document


def test_what_is_computed_or_kept_by_the_server_is_not_written() -> None:
    model = Model(id="a/b", config_json="{}", etag="e", parameter_count=7, family="llama", suspicions=["s"])
    assert model_document(model) == {"id": "a/b", "aliases": [], "config": {}, "source": "", "notes": []}


def test_a_checkpoints_totals_are_whole_numbers() -> None:
    totals = CheckpointTotals(element_count=8_030_261_248, bytes=16_060_522_496)
    totals.element_count_by_dtype["BF16"] = 8_030_261_248
    text = printed(model_document(Model(id="a/b", config_json="{}", checkpoint=totals)))
    assert '"element_count": 8030261248,' in text
    assert '"BF16": 8030261248' in text


@pytest.fixture(scope="module")
def builtin_models() -> dict[str, Model]:
    """The built-in models as messages, by id."""
    return {entry.id: models.entry_message(entry) for entry in read_builtin_catalog().models}


@pytest.mark.parametrize("name", FILES)
def test_a_built_in_model_exports_to_its_file(name: str, builtin_models: dict[str, Model]) -> None:
    """But for the published count, which the service keeps as a note."""
    file = {key: value for key, value in FILES[name].items() if key != "published_parameters"}
    document = model_document(builtin_models[file["id"]])
    if "published_parameters" in FILES[name]:
        notes = document.pop("notes")
        assert isinstance(notes, list)
        assert notes.pop().startswith(
            f"Published parameters: {FILES[name]['published_parameters']['value']:,} ("
        )
        document["notes"] = notes
    assert printed(document) == printed(file)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"colour": "green"}, ["model.colour"]),
        ({"config_kind": 1, "read_on": 2}, ["model.config_kind", "model.read_on"]),
        ({"source": ["hub"]}, ["model.source"]),
        ({"published_parameters": {"value": 7.5}}, ["model.published_parameters"]),
        ({"aliases": "llama"}, ["model.aliases"]),
        ({"notes": "none"}, ["model.notes"]),
        ({"checkpoint": {"bytes": "many"}}, ["model.checkpoint.bytes"]),
    ],
)
def test_what_is_wrong_in_a_model_file_is_named(change: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        read_model({**LLAMA, **change})
    assert [violation.field for violation in raised.value.violations] == fields
