"""What changed in an entry, in lines for people."""

from __future__ import annotations

import json

import pytest

from ridgeline.cli.catalog import differences
from ridgeline.v1.catalog_service_pb2 import FieldChange


def lines(field: str, before: object, after: object) -> list[str]:
    """The lines of one change; None is no value."""
    told = ["" if value is None else json.dumps(value) for value in (before, after)]
    return list(differences.lines([FieldChange(field=field, before=told[0], after=told[1])]))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (768e9, 1.5e12, "f: 768,000,000,000 -> 1,500,000,000,000"),
        (0.8, None, "f: 0.8 -> nothing"),
        (None, 2026, "f: nothing -> 2026"),
        (9.89e14, 1.979e15, "f: 989,000,000,000,000 -> 1.979e+15"),
        ("a\n  b", "", "f: a b -> "),
        (True, False, "f: true -> false"),
        (["a", "b"], ["b", "c"], "f: - a; + c"),
        (["a", "b"], ["b", "a"], "f: in another order"),
        (["a", "b"], None, "f: - a; - b"),
        (None, ["a"], "f: + a"),
        ("x" * 99, "y", f"f: {'x' * 59}… -> y"),
    ],
)
def test_a_change_is_one_line(before: object, after: object, said: str) -> None:
    assert lines("f", before, after) == [said]


def test_of_a_config_only_the_keys_that_differ_are_told() -> None:
    before = {"hidden_size": 8, "rope_scaling": {"factor": 2.0, "type": "yarn"}, "old": 1}
    after = {"hidden_size": 8, "rope_scaling": {"factor": 4.0, "type": "yarn"}, "new": [1]}
    assert lines("config_json", json.dumps(before), json.dumps(after)) == [
        "config_json.rope_scaling.factor: 2 -> 4",
        "config_json.old: 1 -> nothing",
        "config_json.new: + 1",
    ]


@pytest.mark.parametrize("text", ["{", "{" * 100_000, "not json"])
def test_what_is_no_json_is_shown_as_it_is(text: str) -> None:
    (line,) = differences.lines([FieldChange(field="f", before=text, after='"x"')])
    assert line.startswith(f"f: {text[:50]}")


def test_of_a_source_the_document_is_told_and_the_rest_when_it_is_the_same() -> None:
    parts = {
        "confidence": ("high", "low"),
        "source": ("sheet", "bench"),
        "read_on": ("2026-11-01", "2026-11-02"),
    }
    changed = [
        FieldChange(field=f"sources.peaks.fp16.{part}", before=json.dumps(before), after=json.dumps(after))
        for part, (before, after) in parts.items()
    ]
    assert list(differences.lines(changed)) == ["sources.peaks.fp16.source: sheet -> bench"]
    assert list(differences.lines(changed[:1])) == ["sources.peaks.fp16.confidence: high -> low"]
    assert differences.fields([*changed, FieldChange(field="tdp_watts")]) == ["sources", "tdp_watts"]
