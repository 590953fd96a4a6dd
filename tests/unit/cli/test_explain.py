"""`ridgeline explain`: both sides of a step, then the verdict."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from ridgeline import errors
from ridgeline.v1 import types_pb2
from ridgeline.v1.recommendation_service_pb2 import ExplainResponse
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeClient, recommendation

LOAD = ("--input-len", "2048")
QUESTION = ("explain", "weight-only-int4", "llama-2-7b", "rtx-a6000", *LOAD)
REFUSED = ("explain", "fp8-compute", "llama-2-7b", "a100-sxm-80gb", *LOAD)


@pytest.fixture
def answering(fake: FakeClient) -> FakeClient:
    """A client that explains: q_proj gets faster, attention is replaced by another operator."""
    advice = recommendation()
    answer = ExplainResponse(catalog_revision=7, baseline=advice.baseline)
    answer.recommendation.CopyFrom(advice.recommendations[0])
    for side in (answer.before, answer.after):
        side.CopyFrom(advice.baseline.stages[1])
        del side.operators[:]
    for side, name, time_us in (
        (answer.before, "q_proj", 30.0),
        (answer.before, "softmax", 5.0),
        (answer.after, "q_proj", 10.0),
        (answer.after, "attention", 4.0),
    ):
        side.operators.add(
            name=name, layer_kind="all", count=2, ideal_time_us=time_us, bound=types_pb2.BOUND_MEMORY
        )
    fake.answers["explain"] = lambda *_, **__: answer
    return fake


def test_the_technique_and_the_whole_question_are_asked(run: Run, answering: FakeClient) -> None:
    assert run(*QUESTION, "--kv", "int8", "--tp", "2", "--goal", "memory", "--ideal").exit_code == 0
    ((_, positional, named),) = answering.calls
    assert positional == ("weight-only-int4", "llama-2-7b", "rtx-a6000")
    stated = {"batch": 1, "input_len": 2048, "kv": "int8", "tp": 2, "goal": "memory", "ideal": True}
    assert stated.items() <= named.items()


def test_csv_pairs_operators_and_leaves_empty_what_one_side_does_not_run(
    run: Run, answering: FakeClient
) -> None:
    rows = list(csv.DictReader(io.StringIO(run(*QUESTION, "-o", "csv").stdout)))
    figures = [(row["name"], row["ideal_time_us_before"], row["ideal_time_us_after"]) for row in rows]
    assert figures == [("q_proj", "30", "10"), ("softmax", "5", ""), ("attention", "", "4")]
    assert {(row["technique"], row["verdict"], row["stage"]) for row in rows} == {
        ("weight-only-int4", "APPLY", "DECODE")
    }


def test_the_screen_tells_times_of_all_occurrences_and_the_gain(run: Run, answering: FakeClient) -> None:
    told = [" ".join(line.split()) for line in run(*QUESTION).stdout.splitlines()]
    (q_proj,) = [line for line in told if line.startswith("q_proj")]
    assert q_proj.endswith("60.0 us 20.0 us 3.00x")
    (softmax,) = [line for line in told if line.startswith("softmax")]
    assert softmax.endswith("10.0 us - -")


def test_an_unknown_technique_is_a_wrong_usage(run: Run, answering: FakeClient) -> None:
    def refuse(*_: Any, **__: Any) -> ExplainResponse:
        violation = errors.FieldViolation("technique", 'is "x"; give one of fp8-compute')
        raise errors.InvalidArgumentError("Wrong fields.", violations=(violation,))

    answering.answers["explain"] = refuse
    result = run(*QUESTION)
    assert result.exit_code == 2
    assert 'TECHNIQUE: is "x"; give one of fp8-compute' in result.stderr


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize(
    "question",
    [
        QUESTION,
        (*QUESTION, "--ideal"),
        REFUSED,
        ("explain", "kv-cache-fp8", "gemma-2-27b", "h100-sxm", "--batch", "4", "--input-len", "6000"),
        ("explain", "fp8-compute", "deepseek-v3", "h200-sxm", "--tp", "8", "--ep", "8", *LOAD),
    ],
    ids=["demo", "ideal", "not applicable", "two kinds of layers", "many devices"],
)
def test_screens_keep_to_the_width(
    ridgeline_command: Run, monkeypatch: pytest.MonkeyPatch, columns: str, question: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    result = ridgeline_command(*question)
    assert result.exit_code == 0, result.stderr
    assert max(len(line) for line in result.stdout.splitlines()) <= int(columns)
    assert "Traceback" not in result.stderr


def test_the_verdict_and_its_reason_close_the_screen(ridgeline_command: Run) -> None:
    text = " ".join(ridgeline_command(*QUESTION).stdout.split())
    places = [text.index(part) for part in ("DECODE, mean step", "today:", "after:", "q_proj", "APPLY")]
    assert places == sorted(places)
    assert "stay memory-bound up to batch 58 (today 218)" in text


def test_what_cannot_be_applied_shows_today_and_why(ridgeline_command: Run) -> None:
    text = " ".join(ridgeline_command(*REFUSED).stdout.split())
    assert "after:" not in text
    assert "NOT APPLICABLE FP8 compute (W8A8) NVIDIA A100 SXM4 80GB has no fp8 unit" in text


def test_json_is_the_message(ridgeline_command: Run) -> None:
    told = json.loads(ridgeline_command(*QUESTION, "-o", "json").stdout)
    assert told.keys() == {"catalog_revision", "baseline", "recommendation", "before", "after"}
    assert told["recommendation"]["technique"] == "weight-only-int4"
    assert told["before"]["operators"][0].keys() >= {"name", "bound", "expected_time_us"}
    refused = json.loads(ridgeline_command(*REFUSED, "-o", "json").stdout)
    assert "after" not in refused
