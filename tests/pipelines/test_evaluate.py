"""The pure function: the same rows as the service's, for whoever maps it."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import ridgeline
from ridgeline_server.domain.errors import InvalidFieldsError
from ridgeline_server.pipelines import evaluate

ROWS: list[dict[str, Any]] = [
    {"model": "llama-2-7b", "hardware": "rtx-a6000", "input_len": 2048, "batch": 4},
    {
        "model": "llama-2-7b",
        "hardware": "h100-sxm",
        "input_len": 100,
        "concurrency": 8,
        "weight_dtype": "fp8",
    },
    {"model": "llama-2-7b", "hardware": "h100-sxm", "input_len": 100, "request_rate": 1.5, "output_len": 64},
    {"model": "llama-2-7b", "hardware": "h100-sxm", "input_len": 100, "tp": 2, "engine": "vllm@0.19.0"},
    {"model": "no-such-model", "hardware": "h100-sxm", "input_len": 100},
]
NAMES = {"weight_dtype": "weights", "activation_dtype": "activations", "kv_dtype": "kv"}
"""What the client calls some columns."""


def batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=pa.Table.from_pylist(whole(rows)).schema)


def whole(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the columns of all of them."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def in_another_process(payload: bytes) -> bytes:
    return pickle.dumps(evaluate(pickle.loads(payload)))


def test_the_rows_are_those_of_the_service(shipped_sqlite_file: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{shutil.copy(shipped_sqlite_file, tmp_path)}"
    with ridgeline.connect(database_url=url) as client:
        points = [{NAMES.get(name, name): value for name, value in row.items()} for row in ROWS]
        served = client.sweep_points(points).to_arrow()
    assert pa.Table.from_batches([evaluate(batch(ROWS))]) == served
    assert pa.Table.from_batches([evaluate(batch(ROWS), database_url=url)]) == served


def test_order_and_number_of_rows_do_not_matter() -> None:
    together = evaluate(batch(ROWS), columns=["model_id", "ttft_ms", "error_reason"]).to_pylist()
    alone = [
        evaluate(batch([row]), columns=["model_id", "ttft_ms", "error_reason"]).to_pylist()[0] for row in ROWS
    ]
    assert together == alone
    many = evaluate(batch(ROWS[:2] * 600), columns=["point", "ttft_ms"])
    assert many["point"].to_pylist() == list(range(1200))
    assert many["ttft_ms"].to_pylist() == [together[0]["ttft_ms"], together[1]["ttft_ms"]] * 600


def test_no_rows_are_no_rows() -> None:
    empty = batch(ROWS).slice(0, 0)
    answers = evaluate(empty)
    assert answers.num_rows == 0
    assert answers.schema == evaluate(batch(ROWS)).schema


def test_it_works_in_processes_that_share_nothing() -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        there = pickle.loads(pool.apply(in_another_process, (pickle.dumps(batch(ROWS)),)))
    assert there == evaluate(batch(ROWS))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight_dtype": "int3"}, "give one of"),
        ({"tp": 2**40}, "tp is 1099511627776"),
        ({"batch": 4.5}, "batch is 4.5"),
        ({"batch": True}, "batch is True"),
        ({"input_len": None}, "input_len is 0"),
        ({"model": None}, "model"),
        ({"concurrency": 3}, "batch and concurrency"),
        ({"output_len": "many"}, "output_len is 'many'"),
    ],
)
def test_what_is_wrong_with_a_row_is_in_the_row(change: dict[str, Any], words: str) -> None:
    (row,) = evaluate(batch([ROWS[0] | change])).to_pylist()
    assert row["error_reason"] == "INVALID_FIELD"
    assert words in row["error_message"]


def test_columns_that_there_are_not_are_all_told() -> None:
    table = batch([{"model": "llama-2-7b", "gpu": "h100-sxm", "input_len": 1}])
    with pytest.raises(InvalidFieldsError) as caught:
        evaluate(table, columns=["nothing"])
    assert {violation.field for violation in caught.value.violations} == {"gpu", "hardware", "columns[0]"}


def test_what_pandas_makes_of_a_table_is_taken() -> None:
    """Whole numbers beside nulls become floating-point ones, and an index a column."""
    frame = pd.DataFrame(
        [
            {"model": "llama-2-7b", "hardware": "l40s", "input_len": 100, "batch": 4},
            {"model": "llama-2-7b", "hardware": "l40s", "input_len": 100, "batch": None},
        ],
        index=["a", "b"],
    )
    answers = evaluate(pa.RecordBatch.from_pandas(frame)).to_pylist()
    assert [row["requests"] for row in answers] == [4, 1]
    assert [row["error_reason"] for row in answers] == [None, None]


def test_entries_of_other_kinds_are_refused_by_row() -> None:
    """Lists, structs, and numbers where names should be: the rows beside them are answered."""
    questions = pa.table(
        {
            "model": pa.array([["llama-2-7b"], ["llama-2-7b"]]),
            "hardware": ["rtx-a6000", "rtx-a6000"],
            "input_len": [100, 100],
        }
    )
    answers = evaluate(questions).to_pylist()
    assert [row["error_reason"] for row in answers] == ["INVALID_FIELD"] * 2
    assert "model is ['llama-2-7b']; give a text" in answers[0]["error_message"]


def test_nan_is_null() -> None:
    """As where Polars or NumPy mark what a row does not state."""
    questions = pa.table(
        {
            "model": ["llama-2-7b"] * 2,
            "hardware": ["rtx-a6000"] * 2,
            "input_len": [100.0, 100.0],
            "batch": [4.0, float("nan")],
            "concurrency": [float("nan"), 8.0],
        }
    )
    answers = evaluate(questions).to_pylist()
    assert [row["error_message"] for row in answers] == [None, None]
    assert [(row["load"], row["requests"]) for row in answers] == [("STATIC_BATCH", 4), ("CLOSED_LOOP", 8)]


def test_what_cannot_be_read_is_null() -> None:
    questions = pa.table({"model": ["llama-2-7b"], "hardware": ["rtx-a6000"], "input_len": [100.5]})
    (row,) = evaluate(questions).to_pylist()
    assert row["input_len"] is None
    assert "input_len is 100.5" in row["error_message"]


def test_one_column_may_be_named_alone_and_long_entries_are_cut() -> None:
    questions = pa.table({"model": ["x" * 10_000], "hardware": ["rtx-a6000"], "input_len": ["y" * 10_000]})
    answers = evaluate(questions, columns="error_message")
    assert answers.schema.names == ["error_message"]
    assert len(answers.to_pylist()[0]["error_message"]) < 500
