"""`ridgeline validate`: what is written to stdout, which rows are told as not answered, exit codes."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ridgeline.cli.validate_screen import show
from ridgeline.v1.measurement_service_pb2 import (
    ErrorSummary,
    MeasurementPrediction,
    SummarizeErrorsResponse,
    ValidateMeasurementsResponse,
)
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
        ("", ", weight_dtype, "),
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


def validated(run: Run, folder: Path, *rows: str) -> list[dict[str, Any]]:
    """The predictions of rows, as JSON tells them."""
    path = folder / "some.csv"
    path.write_text("\n".join([HEADER, *rows, ""]))
    result = run("validate", str(path), "-o", "json")
    assert result.exit_code == 0
    told: list[dict[str, Any]] = json.loads(result.stdout)["predictions"]
    return told


def test_an_absurd_figure_is_a_row_without_an_answer(ridgeline_command: Run, tmp_path: Path) -> None:
    absurd = ROWS[0].replace(",8.5", ",1e300").replace("a,", "z,", 1)
    wrong, right = validated(ridgeline_command, tmp_path, absurd, ROWS[0])
    assert wrong["unanswered_reason"] == "value: is 1e+300; give a number from 1e-9 to 1e15"
    assert right["predicted"] > 0
    screen = ridgeline_command("validate", str(tmp_path / "some.csv")).stdout
    assert screen.startswith("1 of 2 rows answered; error ")


def test_rows_without_an_id_are_called_by_their_lines(ridgeline_command: Run, tmp_path: Path) -> None:
    good, unknown = (row[1:] for row in (ROWS[0], ROWS[2]))
    wrong = good.replace(",8.5", ",-1")
    told = validated(ridgeline_command, tmp_path, good, unknown, "", wrong)
    assert [row["id"] for row in told] == ["line-2", "line-3", "line-5"]
    path = str(tmp_path / "some.csv")
    cells = ridgeline_command("validate", path, "-o", "csv").stdout.splitlines()[1:]
    assert [cell.split(",")[0] for cell in cells] == ["line-2", "line-3", "line-5"]
    screen = ridgeline_command("validate", path).stdout
    assert "such as line-3: model_id" in screen
    assert "such as line-5: value: is -1" in screen


def test_an_id_that_comes_twice_is_told_and_counted_once(ridgeline_command: Run, tmp_path: Path) -> None:
    other = ROWS[1].replace("b,", "a,", 1)
    first, *again = validated(ridgeline_command, tmp_path, ROWS[0], other, ROWS[0], ROWS[1])
    assert first["predicted"] > 0
    assert again.pop()["predicted"] > 0
    assert {row["unanswered_reason"] for row in again} == {
        "id: is that of an earlier row of the file; give each row its own, or none"
    }


def test_nothing_answered_is_an_answer(ridgeline_command: Run, tmp_path: Path) -> None:
    (told,) = validated(ridgeline_command, tmp_path, ROWS[2])
    assert "predicted" not in told


def test_intervals_that_are_too_wide_share_a_sentence_and_keep_their_figures() -> None:
    def wide(name: str, high: float) -> MeasurementPrediction:
        return MeasurementPrediction(id=name, low=1.0, high=high, unanswered_reason="the interval is wide")

    answer = ValidateMeasurementsResponse(predictions=[wide("a", 4.5), wide("b", 5.5)])
    console = Console(file=io.StringIO(), width=100)
    show(answer, SummarizeErrorsResponse(overall=ErrorSummary(group="all", rows=2)), console)
    assert isinstance(console.file, io.StringIO)
    assert "2 rows, such as a (1.00 - 4.50): the interval is wide" in console.file.getvalue()
