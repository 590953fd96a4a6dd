"""`ridgeline measurements`: tables in and out, what is wrong told by line and column, exit codes."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ridgeline import errors, jsonform
from ridgeline.cli.measurements import METRICS, PHASES
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1 import measurement_pb2
from ridgeline.v1 import measurement_service_pb2 as service
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeClient

HEADER = "id,engine,model_id,hardware_id,phase,isl,osl,batch,metric,value,source_group"
MODEL, DEVICE = "meta-llama/Llama-2-7b-hf", "rtx-a6000"
ROWS = (
    f"m1,vllm,{MODEL},{DEVICE},static_batch,1024,128,8,output_tok_s_total,410.5,ours",
    f"m2,vllm,{MODEL},{DEVICE},static_batch,1024,128,16,output_tok_s_total,771,ours",
    f"m3,llama.cpp,{MODEL},{DEVICE},decode,,,1,decode_step_ms,31.25,theirs",
)


def table(folder: Path, *rows: str, header: str = HEADER, name: str = "measured.csv") -> str:
    path = folder / name
    path.write_text("\n".join([header, *rows, ""]))
    return str(path)


def squeezed(text: str) -> str:
    """A wrapped text on one line."""
    return " ".join(text.split())


@pytest.fixture
def stored(ridgeline_command: Run, tmp_path: Path) -> Run:
    """Runs a command on a database with three measurements."""
    result = ridgeline_command("measurements", "import", table(tmp_path, *ROWS))
    assert (result.exit_code, result.stdout) == (0, "3 created.\n")
    return ridgeline_command


def listed(run: Run, *options: str) -> list[str]:
    told = json.loads(run("measurements", "list", *options, "-o", "json").stdout)
    return [found["id"] for found in told["measurements"]]


def test_an_import_may_be_repeated_plain_compressed_and_through_a_pipe(stored: Run, tmp_path: Path) -> None:
    text = "\n".join([HEADER, *ROWS, ""])
    packed = tmp_path / "measured.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert stored("measurements", "import", str(packed)).stdout == "3 unchanged.\n"
    assert stored("measurements", "import", "-", stdin=text).stdout == "3 unchanged.\n"


def test_a_list_as_csv_is_a_table_that_imports_again(stored: Run, tmp_path: Path) -> None:
    written = stored("measurements", "list", "-o", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(written)))
    assert [(row["id"], row["value"], row["phase"]) for row in rows] == [
        ("m1", "410.5", "static_batch"),
        ("m2", "771", "static_batch"),
        ("m3", "31.25", "decode"),
    ]
    assert stored("measurements", "import", "-", stdin=written).stdout == "3 unchanged.\n"
    one = stored("measurements", "get", "m2", "-o", "csv").stdout
    assert list(csv.DictReader(io.StringIO(one))) == rows[1:2]


def test_lists_are_chosen_by_options(stored: Run) -> None:
    assert listed(stored) == ["m1", "m2", "m3"]
    assert listed(stored, "--limit", "2") == ["m1", "m2"]
    assert listed(stored, "--engine", "llama.cpp") == ["m3"]
    assert listed(stored, "--source-group", "ours", "--hardware", DEVICE) == ["m1", "m2"]
    assert listed(stored, "--phase", "decode", "--metric", "decode_step_ms") == ["m3"]
    assert listed(stored, "--model", "o/other") == []


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_a_list_shows_each_figure_whole(stored: Run, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    monkeypatch.setenv("COLUMNS", width)
    result = stored("measurements", "list")
    assert result.exit_code == 0
    assert all(figure in result.stdout for figure in ("410.5", "771", "31.25"))
    assert all(len(line) <= int(width) for line in result.stdout.splitlines())
    assert squeezed(result.stdout).endswith(
        "3 measurements. `ridgeline measurements get ID` tells the source."
    )
    if width == "200":
        assert "1024/128" in result.stdout
        assert "vllm" in result.stdout


def test_one_measurement_is_shown_with_all_that_is_known(stored: Run) -> None:
    shown = stored("measurements", "get", "m3").stdout
    for said in ("engine        llama.cpp", "value         31.25", "imported      by local on 20"):
        assert said in shown
    assert "isl" not in shown
    told = json.loads(stored("measurements", "get", "m3", "-o", "json").stdout)["measurement"]
    assert (told["phase"], told["batch"], told["principal"]) == ("DECODE", 1, "local")
    assert "isl" not in told


def test_an_unknown_id_is_not_found(stored: Run) -> None:
    for arguments in (("get", "m9"), ("delete", "m1", "m9")):
        result = stored("measurements", *arguments)
        assert result.exit_code == 3
        assert result.stderr == "Error: No measurement has the id 'm9'; list those that there are.\n"
    assert listed(stored) == ["m1", "m2", "m3"]


def test_all_that_is_wrong_is_told_by_line_and_column_and_the_rest_is_stored(
    ridgeline_command: Run, tmp_path: Path
) -> None:
    path = table(
        tmp_path,
        ROWS[0],
        f"m4,vLLM,{MODEL},{DEVICE},static_batch,1k,128,8,output_tok_s_total,-3,ours",
        f"m5,vllm,{MODEL},{DEVICE},static,1024,128,8,tokens,1,ours",
        "",
        "m6,vllm",
        ROWS[1],
    )
    result = ridgeline_command("measurements", "import", path)
    assert result.exit_code == 2
    told = squeezed(result.stdout)
    for said in (
        'line 3: isl: is "1k"; give a whole number up to 2,147,483,647',
        'line 3: engine: is "vLLM"; give its name in lower case without spaces',
        "line 3: value: is -3; give a number from 1e-9 to 1e15",
        'line 4: phase: is "static"; give prefill, decode, static_batch',
        'line 4: metric: is "tokens"; give output_tok_s_total',
        "line 6: has 2 cells, and the header has 11",
    ):
        assert said in told
    assert told.endswith("2 created, 3 refused.")
    assert told.count("refused ") == 6
    assert listed(ridgeline_command) == ["m1", "m2"]


def test_rows_of_which_the_same_is_said_share_a_sentence(ridgeline_command: Run, tmp_path: Path) -> None:
    header = HEADER.replace("metric,", "")
    rows = [f"r{n},vllm,{MODEL},{DEVICE},decode,,,1,{n},ours" for n in range(1, 2001)]
    rows[10] = ROWS[2]
    result = ridgeline_command("measurements", "import", table(tmp_path, *rows, header=header))
    told = squeezed(result.stdout)
    assert "lines 2-11, 13-2,001: metric: is not set; give output_tok_s_total" in told
    assert "(there is no such column)" in told
    assert told.endswith("2,000 refused.")
    assert len(result.stdout.splitlines()) < 15


def test_what_no_prediction_can_be_compared_with_is_remarked_once(
    ridgeline_command: Run, tmp_path: Path
) -> None:
    rows = [f"r{n},vllm,o/unknown,{DEVICE},decode,,,1,tpot_ms,{n},ours" for n in range(1, 4)]
    result = ridgeline_command("measurements", "import", table(tmp_path, *rows))
    assert result.exit_code == 0
    assert "lines 2-4: model_id o/unknown is not in the catalog yet" in squeezed(result.stdout)


def test_another_content_is_refused_or_replaces_what_is_stored(stored: Run, tmp_path: Path) -> None:
    path = table(tmp_path, ROWS[0].replace("410.5", "402"), ROWS[1])
    refused = stored("measurements", "import", path)
    assert refused.exit_code == 2
    told = squeezed(refused.stdout)
    assert "line 2: The id 'm1' belongs to a stored measurement that differs in value" in told
    assert told.endswith("1 refused, 1 unchanged. --replace overwrites measurements of the same id.")
    tried = stored("measurements", "import", path, "--replace", "--dry-run")
    assert "m1: value: 410.5 -> 402" in squeezed(tried.stdout)
    assert tried.stdout.endswith("Dry run, nothing was written; it would be 1 updated, 1 unchanged.\n")
    assert stored("measurements", "get", "m1", "-o", "csv").stdout.count("410.5") == 1
    assert stored("measurements", "import", path, "--replace").stdout.endswith("1 updated, 1 unchanged.\n")


def test_a_report_has_a_row_or_an_object_for_each_row(stored: Run, tmp_path: Path) -> None:
    path = table(tmp_path, ROWS[0], "x", f"{ROWS[1]}".replace("771", "a lot"))
    rows = list(csv.DictReader(io.StringIO(stored("measurements", "import", path, "-o", "csv").stdout)))
    assert [(row["name"], row["id"], row["action"], row["reason"]) for row in rows] == [
        (f"{path}:2", "m1", "UNCHANGED", ""),
        (f"{path}:3", "", "REFUSED", "INVALID_FIELD"),
        (f"{path}:4", "m2", "REFUSED", "INVALID_FIELD"),
    ]
    assert rows[2]["message"] == 'value: is "a lot"; give a number, with a point before its fraction'
    told = json.loads(stored("measurements", "import", path, "-o", "json").stdout)
    assert [outcome["action"] for outcome in told["outcomes"]] == ["UNCHANGED", "REFUSED", "REFUSED"]
    assert told["outcomes"][2]["error"]["wrong_fields"][0]["field"] == "value"


def test_what_is_no_table_is_refused_before_anything_is_written(stored: Run, tmp_path: Path) -> None:
    right = table(tmp_path, f"m4{ROWS[0][2:]}")
    wrong = table(tmp_path, "a,b", header="engine,wings", name="wrong.csv")
    result = stored("measurements", "import", right, wrong)
    assert result.exit_code == 2
    assert 'wrong.csv has columns that measurements do not have: "wings".' in result.stderr
    assert listed(stored) == ["m1", "m2", "m3"]


def test_measurements_are_removed_by_ids_or_by_what_they_share(stored: Run) -> None:
    tried = stored("measurements", "delete", "--source-group", "ours", "--dry-run")
    assert tried.stdout == "Would delete 2 measurements.\n"
    assert stored("measurements", "delete", "m3").stdout == "Deleted 1 measurement.\n"
    told = stored("measurements", "delete", "--source-group", "ours", "-o", "json").stdout
    assert json.loads(told) == {"deleted_count": 2}
    assert listed(stored) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Say which: give ids, or options that choose measurements, such as --engine."),
        (("m1", "--engine", "vllm"), "Give ids, or options that choose measurements, not both."),
    ],
)
def test_a_removal_has_to_say_what_it_means(
    run: Run, fake: FakeClient, arguments: Sequence[str], told: str
) -> None:
    result = run("measurements", "delete", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert fake.calls == []


def created(measurements: Sequence[Any], **_: Any) -> service.ImportMeasurementsResponse:
    """All of them are new."""
    outcomes = [
        service.MeasurementOutcome(name=given.name, action=catalog.IMPORT_ACTION_CREATED)
        for given in measurements
    ]
    return service.ImportMeasurementsResponse(outcomes=outcomes)


def test_what_was_stored_is_told_when_a_later_call_fails(run: Run, fake: FakeClient, tmp_path: Path) -> None:
    def once(measurements: Sequence[Any], **how: Any) -> service.ImportMeasurementsResponse:
        if len(fake.calls) > 1:
            raise errors.UnavailableError("Nothing answers.")
        return created(measurements, **how)

    fake.answers["import_measurements"] = once
    rows = [f"m{n},vllm,{MODEL},{DEVICE},decode,,,1,tpot_ms,{n},ours" for n in range(1, 1501)]
    result = run("measurements", "import", table(tmp_path, *rows))
    assert result.exit_code == 4
    assert result.stdout == "1,000 created.\n"
    assert squeezed(result.stderr) == (
        "Error: Nothing answers. 1,000 rows are as told on stdout, of 500 it is not known what became of "
        "them. Repeat the command for the rest: what is stored already is unchanged."
    )


def test_a_bar_is_for_terminals_and_for_large_files(
    run: Run, fake: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers["import_measurements"] = created
    large = table(tmp_path, *ROWS * 1000)
    assert run("measurements", "import", large).stderr == ""
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)
    assert "100%" in run("measurements", "import", large).stderr
    assert run("measurements", "import", table(tmp_path, *ROWS)).stderr == ""


def test_a_name_of_a_file_cannot_write_to_the_terminal(ridgeline_command: Run, tmp_path: Path) -> None:
    path = table(tmp_path, f"m1,vllm,\x1b[31m,{DEVICE},decode,,,1,tpot_ms,1,ours", name="a\x1b[31m.csv")
    for form in ("table", "json"):
        assert "\x1b" not in ridgeline_command("measurements", "import", path, "-o", form).stdout


def test_the_choices_are_those_of_the_contract() -> None:
    assert list(PHASES) == jsonform.enum_choices(measurement_pb2.MeasurementPhase.DESCRIPTOR)
    assert list(METRICS) == jsonform.enum_choices(measurement_pb2.MeasurementMetric.DESCRIPTOR)
