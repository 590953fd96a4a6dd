"""Catalog entries: what a model entry makes of its config."""

from __future__ import annotations

import json

import pytest

from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.store.entries import ModelEntry, parse_config
from tests.store.samples import LLAMA_CONFIG


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("", "is not JSON", id="empty"),
        pytest.param('{"a": 1,\n "b" 2}', r"is not JSON \(line 2, column 6", id="a missing colon"),
        pytest.param("[1, 2]", "is JSON, but not an object", id="a list"),
        pytest.param("[" * 100_000, "is nested too deeply", id="a hundred thousand brackets"),
        pytest.param(f'{{"hidden_size": {"9" * 5000}}}', "number of thousands of digits", id="a huge number"),
        pytest.param('{"a": 1, "a": 2}', 'gives the key "a" two values', id="a key with two values"),
        pytest.param('{"b": {"a": 1, "a": 2}}', 'gives the key "a" two values', id="the same further in"),
        pytest.param('{"a":' * 100_000, "is nested too deeply", id="a hundred thousand braces"),
    ],
)
def test_a_text_that_is_no_config_is_told_as_the_field_that_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(InvalidFieldsError, match=complaint) as caught:
        parse_config(text)
    assert [violation.field for violation in caught.value.violations] == ["config_json"]


def test_a_key_that_says_the_same_twice_says_it() -> None:
    assert parse_config('{"a": [1], "a": [1]}') == {"a": [1]}


def test_the_architecture_comes_from_the_config_and_the_names_from_the_entry() -> None:
    entry = ModelEntry(id="me/mine", config_json=json.dumps(LLAMA_CONFIG), display_name="Mine")
    assert (entry.model.id, entry.model.display_name) == ("me/mine", "Mine")
    # Embedding and lm_head: 2 x 1000 x 64. A layer: q and o 2 x 64 x 64, k and v 2 x 32 x 64, MLP 3 x 128 x
    # 64, two norms of 64. Two layers, and the last norm.
    assert entry.model.parameter_count == 128_000 + 2 * (8_192 + 4_096 + 24_576 + 128) + 64
