"""What is written as YAML is read back as it was, by a parser that knows nothing of the writer."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ridgeline_server.advisor.launching.yaml_text import yaml_text

texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufeff")
)
scalars = st.one_of(texts, st.integers(-(10**9), 10**9), st.booleans())
values = st.recursive(
    scalars,
    lambda inner: st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
documents: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    texts,
    st.one_of(values, st.lists(st.one_of(scalars, st.dictionaries(texts, values, max_size=3)), max_size=4)),
    min_size=1,
)


@given(documents)
def test_it_is_read_back_as_it_was(document: dict[str, Any]) -> None:
    assert yaml.safe_load(yaml_text(document)) == document


@pytest.mark.parametrize(
    "word", ["on", "Yes", "null", "1e3", "0.5", "-a", "a: b", "#", "", "~", "0x10", "2026-11-27"]
)
def test_a_text_that_looks_like_something_else_stays_a_text(word: str) -> None:
    assert yaml.safe_load(yaml_text({"key": word})) == {"key": word}


def test_a_text_of_several_lines_is_a_block() -> None:
    text = "a: 1\n\nb:\n  c: 2\n"
    written = yaml_text({"config.yaml": text, "next": 1})
    assert yaml.safe_load(written) == {"config.yaml": text, "next": 1}
    assert "config.yaml: |\n  a: 1\n\n  b:\n" in written
