"""`ridgeline validate`: what is written to stdout, which rows are told as not answered, exit codes."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

HEADER = (
    "id,engine,engine_version,model_id,hardware_id,tp,weight_dtype,phase,isl,osl,concurrency,metric,value"
)
ROWS = (
    "a,vllm,0.19.0,meta-llama/Llama-3.1-8B,h100-sxm,1,bf16,closed_loop,1024,128,8,tpot_ms,8.5",
    "b,vllm,0.19.0,meta-llama/Llama-3.1-8B,h100-sxm,1,bf16,closed_loop,1024,128,8,ttft_ms,60",
    "c,vllm,0.19.0,org/none,h100-sxm,1,bf16,closed_loop,1024,128,8,tpot_ms,8.5",
    "d,sglang,,meta-llama/Llama-3.1-8B,a100-sxm-80gb,1,bf16,closed_loop,many,128,8,tpot_ms,14",
    ",sglang,,meta-llama/Llama-3.1-8B,a100-sxm-80gb,1",
)
COLUMNS = ["id", "metric", "measured", "predicted", "low", "high", "profile_level", "unanswered_reason"]


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "measured.csv.gz"
    path.write_bytes(gzip.compress("\n".join([HEADER, *ROWS, ""]).encode()))
    return str(path)


def test_csv_has_a_line_for_each_row_and_nothing_else(ridgeline_command: Run, table: str) -> None:
    result = ridgeline_command("validate", table, "-o", "csv")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert result.stdout.splitlines()[0] == ",".join(COLUMNS)
    assert [row["id"] for row in rows] == ["a", "b", "c", "d", "line-6"]
    first, _, unknown, unread, cut = rows
    assert (first["metric"], first["measured"], first["unanswered_reason"]) == ("tpot_ms", "8.5", "")
    assert float(first["low"]) <= float(first["predicted"]) <= float(first["high"])
    assert first["profile_level"] in ("engine", "hardware", "relative", "generic")
    for row in (unknown, unread, cut):
        assert [row[name] for name in ("predicted", "low", "high", "profile_level")] == [""] * 4
    assert unknown["unanswered_reason"].startswith("model_id: no model is named 'org/none'")
    assert unread["unanswered_reason"].startswith('isl: is "many"; give a whole number')
    assert cut["unanswered_reason"].startswith("the row has 6 cells, and the header has 13")


def test_json_has_predictions_and_summaries(ridgeline_command: Run, table: str) -> None:
    told = json.loads(ridgeline_command("validate", table, "--by", "engine,model-class", "-o", "json").stdout)
    assert [row["id"] for row in told["predictions"]] == ["a", "b", "c", "d", "line-6"]
    assert (told["predictions"][0]["metric"], told["catalog_revision"]) == ("TPOT_MS", 1)
    assert (told["overall"]["rows"], told["overall"]["answered"]) == (5, 2)
    assert [grouping["name"] for grouping in told["groupings"]] == ["engine", "model_class"]
    engines = {summary["group"]: summary["rows"] for summary in told["groupings"][0]["summaries"]}
    assert engines == {"vllm 0.19.0": 3, "sglang": 1, "not stated": 1}


def test_the_screen_has_errors_by_group_and_what_was_not_answered(
    ridgeline_command: Run, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    screen = ridgeline_command("validate", table).stdout
    assert screen.startswith("2 of 5 rows answered; error ")
    for heading in ("\nmetric ", "\nhardware ", "\nengine ", "\nNot answered\n"):
        assert heading in screen
    assert "1 row, such as c: model_id: no model is named" in screen


def test_rows_come_through_a_pipe_and_by_a_server_option_of_their_own(ridgeline_command: Run) -> None:
    result = ridgeline_command("validate", "-", "-o", "csv", stdin="\n".join([HEADER, ROWS[0], ""]))
    assert len(result.stdout.splitlines()) == 2
    unreachable = ridgeline_command(
        "validate", "-", "--server", "127.0.0.1:1", stdin=f"{HEADER}\n{ROWS[0]}\n"
    )
    assert unreachable.exit_code == 4


def test_a_table_without_rows_is_told(ridgeline_command: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text(f"{HEADER}\n")
    assert ridgeline_command("validate", str(empty)).stdout == "The table has no rows.\n"
    assert json.loads(ridgeline_command("validate", str(empty), "-o", "json").stdout)["predictions"] == []
    assert ridgeline_command("validate", str(empty), "-o", "csv").stdout == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("colour;size\nred;3\n", "is no table of measurements"),
        (f"{HEADER},colour\n", 'measurements do not have: "colour"'),
        ("", "has no header"),
        (f'{HEADER}\n"a', "is no CSV after line 1"),
    ],
)
def test_what_is_no_table_is_wrong_usage(
    ridgeline_command: Run, tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "other.csv"
    path.write_text(text)
    result = ridgeline_command("validate", str(path))
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())


def test_a_grouping_that_there_is_not_and_a_revision_to_come_are_wrong_usage(
    ridgeline_command: Run, table: str
) -> None:
    result = ridgeline_command("validate", table, "--by", "colour")
    assert result.exit_code == 2
    assert "'colour' is none of metric, phase, hardware" in " ".join(result.stderr.split())
    assert ridgeline_command("validate", table, "--catalog-revision", "99").exit_code == 2
