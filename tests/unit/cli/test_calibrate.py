"""`ridgeline calibrate`: one figure, a table, stored rows; what is shown, what is refused in which words."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from ridgeline.cli.calibrate import cells
from ridgeline.cli.calibrate_screen import show
from ridgeline.v1.measurement_service_pb2 import CalibratedRow, CalibrateResponse, MeasurementPrediction
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_validate import HEADER
from tests.unit.client.test_vllm_log import CONFIG, GRAPHS, PARTS, POOL, REQUESTS, TOKENS, WEIGHTS

SETTING = (
    "--hardware", "h100-sxm", "--engine", "vllm@0.19.0", "--concurrency", "64",
    "--input-len", "1024", "--output-len", "1024", "--weights", "fp8", "--kv", "fp8", "--tp", "2",
)  # fmt: skip
MODEL = "meta-llama/Llama-3.1-8B"


def tpot_ms(run: Run) -> float:
    told = json.loads(run("analyze", MODEL, SETTING[1], *SETTING[2:], "-o", "json").stdout)
    expected: float = told["metrics"]["tpot_ms"]["expected"]
    return expected


def figure(value: float, *more: str) -> tuple[str, ...]:
    return ("calibrate", "--model", MODEL, *SETTING, "--metric", "tpot_ms", "--measured", str(value), *more)


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_one_figure_moves_the_analysis_of_its_setting(ridgeline_command: Run) -> None:
    before = tpot_ms(ridgeline_command)
    result = ridgeline_command(*figure(before * 1.4))
    assert result.exit_code == 0
    screen = squeezed(result.stdout)
    assert f"{MODEL} on h100-sxm, vllm 0.19.0: tpot_ms" in screen
    assert "29% under what was measured" in screen
    for neighbour in ("other models on h100-sxm, vllm", "other engines on h100-sxm"):
        assert neighbour in screen
    assert "Stored 1 new measurement; 3 efficiency profiles in catalog revision 2." in screen
    after = tpot_ms(ridgeline_command)
    assert before * 1.15 < after < before * 1.4
    listed = json.loads(ridgeline_command("measurements", "list", "-o", "json").stdout)["measurements"]
    assert [(row["source"], row["engine_version"], row["concurrency"]) for row in listed] == [
        ("ridgeline calibrate", "0.19.0", 64)
    ]


def test_a_dry_run_tells_and_writes_nothing(ridgeline_command: Run) -> None:
    screen = ridgeline_command(*figure(9.0, "--dry-run")).stdout
    assert "Dry run, nothing was written; it would be 1 new measurement and 3 efficiency" in squeezed(screen)
    assert json.loads(ridgeline_command("measurements", "list", "-o", "json").stdout)["measurements"] == []


def table(folder: Path, *rows: str) -> str:
    path = folder / "measured.csv"
    path.write_text("\n".join([HEADER, *rows, ""]))
    return str(path)


def rows(count: int) -> list[str]:
    """Closed loops on an H100, then one on an A100."""
    made = [
        f"r{n},vllm,0.19.0,{MODEL},h100-sxm,1,bf16,closed_loop,1024,128,{n},tpot_ms,{8 + n / 50}"
        for n in range(1, count + 1)
    ]
    return [*made, f"last,sglang,,{MODEL},a100-sxm-80gb,1,bf16,closed_loop,1024,128,8,tpot_ms,15"]


def test_a_table_is_calibrated_by_in_all_or_in_part(ridgeline_command: Run, tmp_path: Path) -> None:
    path = table(tmp_path, *rows(3))
    told = json.loads(ridgeline_command("calibrate", path, "--dry-run", "-o", "json").stdout)
    assert [row["before"]["id"] for row in told["rows"]] == ["r1", "r2", "r3", "last"]
    assert (told["before"]["rows"], told["after"]["rows"], told["after"]["answered"]) == (4, 4, 3)
    part = json.loads(ridgeline_command("calibrate", path, "--hardware", "h100-sxm", "-o", "json").stdout)
    assert [row["before"]["id"] for row in part["rows"]] == ["r1", "r2", "r3"]
    assert (part["stored_count"], part["catalog_revision"]) == (3, 2)
    screen = squeezed(ridgeline_command("calibrate", path).stdout)
    assert "Error of the 4 rows of 2 devices:" in screen
    assert "in the median before any calibration," in screen
    assert "Stored 1 new measurement" in screen


def test_csv_has_a_line_for_each_given_row(ridgeline_command: Run, tmp_path: Path) -> None:
    written = ridgeline_command("calibrate", table(tmp_path, *rows(1)), "--dry-run", "-o", "csv").stdout
    lines = written.splitlines()
    assert lines[0] == "id,metric,measured,before,now,low,high,unanswered_reason"
    assert [line.split(",")[0] for line in lines[1:]] == ["r1", "last"]


def test_stored_rows_are_calibrated_by_without_a_table(ridgeline_command: Run, tmp_path: Path) -> None:
    ridgeline_command("measurements", "import", table(tmp_path, *rows(2)))
    told = json.loads(ridgeline_command("calibrate", "--engine", "vllm", "-o", "json").stdout)
    assert (told["rows"], told["before"]["rows"], told["stored_count"]) == ([], 2, 0)


REFUSED = [
    (("calibrate",), "Give a table, one figure (--model, --metric, --measured and its load), or --hardware"),
    (
        ("calibrate", "--model", MODEL),
        "needs --hardware, --engine, --metric, --measured, a load (--concurrency",
    ),
    (figure(9.0, "--batch", "4"), "Give --batch or --concurrency: a load is one of them."),
    (("calibrate", "x.csv", "--tp", "2"), "Give a table or one figure, not both: --tp is of one figure."),
    (("calibrate", "none.csv"), "none.csv cannot be read"),
    (
        ("calibrate", "--hardware", "h100-sxm", "--engine", "vllm"),
        "--hardware h100-sxm --engine vllm: matches no stored measurement",
    ),
    (figure(9.0, "--weights", "q7!"), '--weights: is "q7!"; give its name in lower case'),
    (figure(9.0, "--tp", "99999999999"), "--tp: is 99999999999; give a whole number"),
    (figure(-9.0), "--measured: is -9"),
    (figure(9e6), "over 30 times off is of another unit or load"),
    (figure(9.0, "--model", "no-such-model"), "model_id: no model is named 'no-such-model'"),
]


@pytest.mark.parametrize(("arguments", "told"), REFUSED)
def test_what_is_wrong_is_told_as_it_was_typed(
    ridgeline_command: Run, arguments: tuple[str, ...], told: str
) -> None:
    result = ridgeline_command(*arguments)
    assert result.exit_code == 2
    assert told in squeezed(result.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ("calibrate", "--hardware", "nodev"),
        ("calibrate", "{table}", "--hardware", "nodev", "--dry-run"),
        figure(9.0, "--hardware", "nodev"),
        ("calibrate", "--vllm-log", "{log}", "--model", "qwen3-14b", "--hardware", "nodev"),
    ],
    ids=["stored rows", "a table", "one figure", "a log"],
)
def test_a_device_that_there_is_not_is_told_by_its_option(
    ridgeline_command: Run, tmp_path: Path, log: str, arguments: tuple[str, ...]
) -> None:
    names = {"{table}": table(tmp_path, *rows(1)), "{log}": log}
    result = ridgeline_command(*(names.get(argument, argument) for argument in arguments))
    assert result.exit_code == 3
    assert "--hardware nodev: No hardware is named 'nodev'" in squeezed(result.stderr)


def test_a_table_is_chosen_from_by_any_name_of_a_device(ridgeline_command: Run, tmp_path: Path) -> None:
    told = ridgeline_command(
        "calibrate", table(tmp_path, *rows(2)), "--hardware", "h100", "--dry-run", "-o", "json"
    )
    assert [row["before"]["id"] for row in json.loads(told.stdout)["rows"]] == ["r1", "r2"]


def test_a_table_of_a_header_alone_has_no_rows(ridgeline_command: Run, tmp_path: Path) -> None:
    result = ridgeline_command("calibrate", table(tmp_path), "--hardware", "h100-sxm")
    assert result.exit_code == 2
    assert "measured.csv has no rows below its header." in squeezed(result.stderr)


def test_all_that_is_wrong_with_a_table_is_told_at_once(ridgeline_command: Run, tmp_path: Path) -> None:
    good, last = rows(1)
    unread = last.replace(",1024,", ",many,").replace("sglang", "SGLang")
    path = table(tmp_path, good, unread, "cut", last.replace(",15", ",-1"), last.replace("tpot", "warm"))
    result = ridgeline_command("calibrate", path, "--dry-run")
    assert result.exit_code == 2
    told = squeezed(result.stderr)
    assert "5 things are wrong" in told
    for said in (
        'line 3, isl: is "many"',
        'line 3, engine: is "SGLang"',
        "line 4: has 1 cells, and the header has 13",
        "line 5, value: is -1",
        'line 6, metric: is "warm_ms"',
    ):
        assert said in told


def test_a_figure_that_is_far_off_is_doubted_and_used(ridgeline_command: Run) -> None:
    before = tpot_ms(ridgeline_command)
    assert "times off" not in ridgeline_command(*figure(before * 2, "--dry-run")).stdout
    screen = squeezed(ridgeline_command(*figure(before * 10)).stdout)
    assert "Over 3 times off: row row-" in screen
    assert "may be in another unit, or of another load" in screen
    assert tpot_ms(ridgeline_command) > before * 2


def test_a_figure_that_is_not_used_is_told_once(ridgeline_command: Run, tmp_path: Path) -> None:
    good, absurd = rows(1)
    path = table(tmp_path, good, absurd.replace(",15", ",15000"))
    screen = squeezed(ridgeline_command("calibrate", path, "--dry-run").stdout)
    assert "Not used: 1 row, such as last: value: is 1.5e+04" in screen
    assert "Over 3 times off" not in screen


def test_one_time_to_the_first_token_has_an_answer_afterwards(ridgeline_command: Run) -> None:
    ttft = ("calibrate", "--model", MODEL, *SETTING, "--metric", "ttft_ms", "--measured", "400", "--dry-run")
    screen = ridgeline_command(*ttft).stdout
    assert "no answer" not in screen
    assert "what was measured" in screen


def test_memory_as_a_whole_moves_nothing_and_its_parts_are_named(ridgeline_command: Run) -> None:
    memory = ("calibrate", *QWEN, *VLLM, "--metric", "memory_gib", "--measured", "70", "--phase", "memory")
    screen = squeezed(ridgeline_command(*memory, "--input-len", "1024", "--dry-run").stdout)
    assert "Moves nothing: row row-" in screen
    assert "of memory_gib. An engine's memory is corrected by its parts: activations_gib" in screen
    parts = ridgeline_command("calibrate", *QWEN, *VLLM, "--metric", "non_torch_gib", "--measured", "1.25")
    assert "Moves nothing" not in parts.stdout


def test_rows_without_an_answer_keep_their_reason() -> None:
    narrow = MeasurementPrediction(id="a", measured=2.0, predicted=1.0, low=0.9, high=1.2)
    wide = MeasurementPrediction(id="b", measured=2.0, low=1, high=4, unanswered_reason="{too} wide")
    response = CalibrateResponse(
        rows=[
            CalibratedRow(before=narrow, now=narrow),
            CalibratedRow(before=wide, now=wide),
            CalibratedRow(before=wide, now=narrow),
        ],
    )
    console = Console(file=io.StringIO(), width=100)
    show(response, console, dry_run=True)
    assert isinstance(console.file, io.StringIO)
    told = squeezed(console.file.getvalue())
    assert "No answer: row b: {too} wide" in told
    assert "No answer before: row b: {too} wide" in told
    assert [cells(row)["unanswered_reason"] for row in response.rows] == ["", "{too} wide", "{too} wide"]
    single = CalibrateResponse(rows=response.rows[1:2])
    show(single, console, dry_run=True)
    assert squeezed(console.file.getvalue()).count("no answer: {too} wide") == 2


def test_wrong_rows_of_a_table_are_told_by_line(ridgeline_command: Run, tmp_path: Path) -> None:
    good, last = rows(1)
    path = table(tmp_path, good, last.replace(",1024,", ",many,"), last.replace(",15", ",-1"))
    unread = ridgeline_command("calibrate", path)
    assert unread.exit_code == 2
    assert 'line 3, isl: is "many"' in squeezed(unread.stderr)
    path = table(tmp_path, good, last.replace(",15", ",-1"))
    assert "line 3, value: is -1" in squeezed(ridgeline_command("calibrate", path).stderr)
    none = ridgeline_command("calibrate", path, "--hardware", "l40s")
    assert "has no row that the options choose" in squeezed(none.stderr)


def test_a_table_that_is_too_long_is_told_the_way(ridgeline_command: Run, tmp_path: Path) -> None:
    result = ridgeline_command("calibrate", table(tmp_path, *rows(1000)))
    assert result.exit_code == 2
    assert "import it with `ridgeline measurements import`" in squeezed(result.stderr)


@pytest.fixture
def log(tmp_path: Path) -> str:
    """A start of Qwen3-14B on one H100 as it was published (docs/engine-memory.md), but for 0.7 GiB more at
    the activation peak, 0.5 outside of torch, and a pool that is left so much less.
    """
    path = tmp_path / "vllm.log"
    config = CONFIG.replace("tensor_parallel_size=2", "tensor_parallel_size=1").replace("fp8_e4m3", "auto")
    parts = PARTS.replace("2.23 GiB for peak", "2.93 GiB for peak").replace(
        "0.25 GiB for non", "0.75 GiB for non"
    )
    pool, tokens = POOL.replace("45.23", "44.03"), TOKENS.replace("296,400", "288,500")
    requests = REQUESTS.replace("36.18x", "35.22x")
    path.write_text("\n".join([config, WEIGHTS, pool, tokens, requests, GRAPHS, parts, ""]))
    return str(path)


QWEN = ("--model", "qwen3-14b", "--hardware", "h100-sxm")


def pool_gib(run: Run, *options: str, model: str = "qwen3-14b", hardware: str = "h100-sxm") -> float:
    """The KV pool that an analysis tells, at the log's share of the device."""
    load = ("--input-len", "8191", "--output-len", "1", "--memory-utilization", "0.95", "-o", "json")
    told = json.loads(run("analyze", model, hardware, *load, *options).stdout)
    return float(told["memory"]["kv_pool_bytes"]["value"]) / 2**30


VLLM = ("--engine", "vllm@0.18.0")


def test_a_start_up_log_fills_the_memory_of_its_engine_on_its_device(
    ridgeline_command: Run, log: str
) -> None:
    before = pool_gib(ridgeline_command, *VLLM)
    others = {"model": "llama-3.1-8b"}, {"hardware": "h200-sxm"}
    was = [pool_gib(ridgeline_command, *VLLM, **other) for other in others]
    unstated, sglang = pool_gib(ridgeline_command), pool_gib(ridgeline_command, "--engine", "sglang")
    ridgeline_command("calibrate", "--vllm-log", log, *QWEN)
    now = pool_gib(ridgeline_command, *VLLM)
    assert before == pytest.approx(45.23, rel=0.01)
    assert now == pytest.approx(44.03, rel=0.005)
    is_now = [pool_gib(ridgeline_command, *VLLM, **other) for other in others]
    assert is_now[0] == pytest.approx(was[0] - 1.2, abs=0.2)
    assert is_now[1] == was[1]
    assert (pool_gib(ridgeline_command), pool_gib(ridgeline_command, "--engine", "sglang")) == (
        unstated,
        sglang,
    )


def test_a_start_up_log_is_told_before_and_now_and_stored(ridgeline_command: Run, log: str) -> None:
    arguments = ("calibrate", "--vllm-log", log, *QWEN)
    dry = json.loads(ridgeline_command(*arguments, "--dry-run", "-o", "json").stdout)
    told = json.loads(ridgeline_command(*arguments, "-o", "json").stdout)
    assert told["parts"] == dry["parts"]
    assert told["deployment"] == {
        "engine": "vllm@0.18.0", "weights": "bf16", "tp": 1, "pp": 1, "memory_utilization": 0.95
    }  # fmt: skip
    parts = {f"{part['part']}, {part['unit']}": part for part in told["parts"]}
    assert list(parts) == [
        "weights, GiB", "activation peak, GiB", "outside of torch, GiB", "CUDA graphs, GiB", "KV pool, GiB",
        "KV pool, tokens", "requests of 8,192 tokens, requests",
    ]  # fmt: skip
    assert parts["activation peak, GiB"]["error"] < -0.2
    assert abs(parts["KV pool, GiB"]["error"]) > 0.02
    assert "now" not in parts.pop("weights, GiB")
    assert max(abs(part["now_error"]) for part in parts.values()) < 0.002
    assert told["profile_ids"] == ["calibrated-engine-memory-h100-sxm-vllm-0.18.0"]
    assert (told["stored_count"], dry["stored_count"]) == (5, 5)
    memory = json.loads(
        ridgeline_command(
            "analyze", "qwen3-14b", "h100-sxm", *VLLM, "--memory-utilization", "0.95", "--input-len", "8191",
            "--output-len", "1", "-o", "json",
        ).stdout
    )["memory"]  # fmt: skip
    for name, figure in (
        ("KV pool, GiB", "kv_pool_bytes"),
        ("requests of 8,192 tokens, requests", "max_concurrency"),
    ):
        unit = 2**30 if figure == "kv_pool_bytes" else 1
        for field, end in (("now", "value"), ("now_low", "low"), ("now_high", "high")):
            assert parts[name][field] * unit == pytest.approx(memory[figure][end])
    rows = json.loads(ridgeline_command("measurements", "list", "-o", "json").stdout)["measurements"]
    assert {row["metric"] for row in rows} == {
        "WEIGHTS_GIB", "ACTIVATIONS_GIB", "NON_TORCH_GIB", "CUDA_GRAPH_GIB", "KV_POOL_GIB"
    }  # fmt: skip
    assert {(row["phase"], row["hardware_id"]) for row in rows} == {("MEMORY", "h100-sxm")}
    assert {row.get("notes", "") for row in rows} == {"", "at a memory utilization of 0.95"}
    screen = squeezed(ridgeline_command(*arguments).stdout)
    assert "activation peak, memory outside of torch and CUDA graphs as 3 measured rows" in screen
    assert "Stored 0 new measurements; catalog revision 2." in screen
    assert "of any model, rest on `now` from this release on" in screen


def test_rows_of_parts_in_a_table_say_the_same_as_the_log(ridgeline_command: Run, log: str) -> None:
    ridgeline_command("calibrate", "--vllm-log", log, *QWEN)
    listed = ridgeline_command("measurements", "list", "-o", "csv").stdout
    filled = pool_gib(ridgeline_command, *VLLM)
    ridgeline_command("measurements", "delete", "--hardware", "h100-sxm")
    screen = squeezed(ridgeline_command("calibrate", "-", stdin=listed).stdout)
    assert "vllm 0.18.0 on h100-sxm" in screen
    for part in ("activation peak", "outside of torch", "CUDA graphs"):
        assert part in screen
    assert "Stored 5 new measurements; 1 efficiency profile" in screen
    assert pool_gib(ridgeline_command, *VLLM) == filled


def test_one_part_needs_neither_load_nor_phase(ridgeline_command: Run) -> None:
    before = pool_gib(ridgeline_command, *VLLM)
    result = ridgeline_command("calibrate", *QWEN, *VLLM, "--metric", "non_torch_gib", "--measured", "1.25")
    assert "as measured" in result.stdout
    assert "outside of torch" in result.stdout
    assert pool_gib(ridgeline_command, *VLLM) == pytest.approx(before - 1.0, abs=0.01)


def test_stored_parts_are_validated_as_parts(ridgeline_command: Run, log: str) -> None:
    ridgeline_command("calibrate", "--vllm-log", log, *QWEN)
    listed = ridgeline_command("measurements", "list", "-o", "csv").stdout
    told = json.loads(ridgeline_command("validate", "-", "-o", "json", stdin=listed).stdout)["predictions"]
    assert not any(row.get("unanswered_reason") for row in told)
    errors = {row["metric"]: abs(row["predicted"] / row["measured"] - 1) for row in told}
    # The log was of 95% of the device, and a row cannot say so.
    assert errors.pop("KV_POOL_GIB") > 0.05
    assert max(errors.values()) < 0.01


def test_what_of_a_log_cannot_be_used_is_told(ridgeline_command: Run, tmp_path: Path) -> None:
    path = tmp_path / "some.log"
    path.write_text("\n".join([CONFIG, WEIGHTS, PARTS.replace("2.23 GiB for peak", "500 GiB for peak"), ""]))
    arguments = ("calibrate", "--vllm-log", str(path), *QWEN, "--dry-run")
    screen = squeezed(ridgeline_command(*arguments).stdout)
    assert "value: is 500" in screen
    assert "any activations_gib over 30 times off is of another unit or load" in screen
    path.write_text("\n".join([CONFIG, WEIGHTS, ""]))
    screen = squeezed(ridgeline_command(*arguments).stdout)
    assert "The log tells no part that predictions could be corrected by." in screen
    path.write_text("\n".join([CONFIG, POOL.replace("45.23", "-1.5"), ""]))
    screen = squeezed(ridgeline_command(*arguments).stdout)
    assert "Nothing is stored: the log tells no part that takes memory." in screen


def test_a_log_that_is_no_question_is_told(ridgeline_command: Run, log: str, tmp_path: Path) -> None:
    missing = ridgeline_command("calibrate", "--vllm-log", log)
    assert "--vllm-log needs --model and --hardware too" in missing.stderr
    foreign = ridgeline_command("calibrate", "--vllm-log", log, "--metric", "tpot_ms")
    assert "--vllm-log does not go with --metric." in foreign.stderr
    dry = ridgeline_command(
        "calibrate", "--vllm-log", "-", "--model", "qwen3-14b", "--hardware", "h100-sxm", "--dry-run",
        stdin=Path(log).read_text(),
    )  # fmt: skip
    assert "Dry run, nothing was written; it would be 5 new measurements." in squeezed(dry.stdout)
    empty = tmp_path / "empty.log"
    empty.write_text("")
    wrong = ridgeline_command(
        "calibrate", "--vllm-log", str(empty), "--model", "qwen3-14b", "--hardware", "x"
    )
    assert (missing.exit_code, foreign.exit_code, dry.exit_code, wrong.exit_code) == (2, 2, 0, 2)
