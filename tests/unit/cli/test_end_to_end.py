"""Commands as a user runs them: the service in this process, real answers, real pipes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run

DEMO = ("llama-2-7b", "rtx-a6000", "--batch", "1", "--input-len", "2048", "--output-len", "128")
ANY_ACCURACY = ("--max-accuracy-loss", "1", "--allow-unknown-accuracy")
OPERATOR_KEYS = {
    "name", "count", "flops", "bytes", "arithmetic_intensity", "bound", "ideal_time_us", "expected_time_us",
}  # fmt: skip
ENTRY = "from ridgeline.cli import main; main()"


def answer(run: Run, *arguments: str) -> Any:
    result = run(*arguments, "-o", "json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def effect(recommendation: Any, metric: str) -> Any:
    return next(effect for effect in recommendation["effects"] if effect["metric"] == metric)


def test_analyze_gives_the_documented_json(ridgeline_command: Run) -> None:
    told = answer(ridgeline_command, "analyze", *DEMO)
    assert [stage["stage"] for stage in told["stages"]] == ["PREFILL", "DECODE"]
    for stage in told["stages"]:
        assert {"bound", "ideal_time_ms", "expected_time_ms", "operators"} <= stage.keys()
        for operator in stage["operators"]:
            assert operator.keys() >= OPERATOR_KEYS
    for metric in ("ttft_ms", "tpot_ms", "output_tokens_per_s"):
        assert told["metrics"][metric].keys() == {"ideal", "expected", "low", "high"}
    assert told["memory"]["fits"] is True
    assert told["catalog_revision"] >= 1


def test_requests_that_wait_for_memory_are_told_where_some_do(ridgeline_command: Run) -> None:
    asked = ("analyze", "llama-2-7b", "rtx-a6000", "--input-len", "2048", "--request-rate")
    told = ridgeline_command(*asked, "1.7").stdout
    assert "Requests in flight" in told
    assert "that wait for memory" in told
    told = ridgeline_command(*asked, "0.5").stdout
    assert "Requests in flight" in told
    assert "that wait for memory" not in told


def test_recommend_gives_the_documented_json(ridgeline_command: Run) -> None:
    told = answer(ridgeline_command, "recommend", *DEMO, *ANY_ACCURACY, "--ideal", "--decode-keys", "2048")
    judged = {item["technique"]: item for item in told["recommendations"]}
    four_bit = judged["weight-only-int4"]
    assert four_bit["verdict"] == "APPLY"
    assert {"stage", "reason_code", "reason"} <= four_bit.keys()
    assert 0.66 <= 1 - 1 / effect(four_bit, "tpot_ms")["speedup"] <= 0.67
    assert told["plans"][0]["memory"]["fits"] is True


def test_a_plan_can_be_fed_back_as_the_deployment(ridgeline_command: Run, tmp_path: Path) -> None:
    plan = answer(ridgeline_command, "recommend", *DEMO, *ANY_ACCURACY)["plans"][0]
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan))
    told = answer(ridgeline_command, "analyze", *DEMO, "--deployment", str(file))
    assert told["deployment"] == plan["deployment"]
    tpot = next(effect for effect in plan["effects"] if effect["metric"] == "tpot_ms")
    assert told["metrics"]["tpot_ms"]["expected"] == pytest.approx(tpot["after"])


def test_model_and_hardware_may_be_files(ridgeline_command: Run, tmp_path: Path) -> None:
    model, device = tmp_path / "config.json", tmp_path / "device.json"
    entry = json.loads(ridgeline_command("models", "get", "llama-2-7b", "-o", "json").stdout)
    model.write_text(entry["model"]["config_json"])
    device.write_text(ridgeline_command("hardware", "get", "rtx-a6000", "-o", "json").stdout)
    from_files = answer(ridgeline_command, "analyze", str(model), str(device), *DEMO[2:])
    from_names = answer(ridgeline_command, "analyze", *DEMO)
    assert from_files["metrics"] == from_names["metrics"]
    from_folder = answer(ridgeline_command, "analyze", str(tmp_path), "rtx-a6000", *DEMO[2:])
    assert from_folder["metrics"] == from_names["metrics"]


def test_overrides_change_the_device_for_one_question(ridgeline_command: Run) -> None:
    usual = answer(ridgeline_command, "analyze", *DEMO, "--ideal")
    faster = answer(ridgeline_command, "analyze", *DEMO, "--ideal", "--set", "bandwidth_bytes_per_s=1.536e12")
    assert faster["metrics"]["tpot_ms"]["ideal"] == pytest.approx(
        usual["metrics"]["tpot_ms"]["ideal"] / 2, rel=1e-3
    )
    assert answer(ridgeline_command, "analyze", *DEMO, "--ideal")["metrics"] == usual["metrics"]


MANY_DEVICES = (
    "deepseek-v3", "h200-sxm", "--attention-dp", "8", "--ep", "8", "--concurrency", "64",
    "--input-len", "4000", "--output-len", "500", "--engine", "vllm@0.19.0",
    "--chunk-tokens", "4096", "--draft", "heads",
    "--draft-tokens", "1", "--module-format", "shared-expert=int4:g64", "--expert-spread", "0.5",
)  # fmt: skip


def test_the_deployment_of_an_answer_about_many_devices_can_be_fed_back(
    ridgeline_command: Run, tmp_path: Path
) -> None:
    told = answer(ridgeline_command, "analyze", *MANY_DEVICES)
    file = tmp_path / "answer.json"
    file.write_text(json.dumps(told))
    load = ("--concurrency", "64", "--input-len", "4000", "--output-len", "500")
    again = answer(ridgeline_command, "analyze", *MANY_DEVICES[:2], *load, "--deployment", str(file))
    assert again == told
    assert told["deployment"]["parallel"] == {"tp": 1, "pp": 1, "ep": 8, "attention_dp": 8, "dp": 1}


def test_whole_numbers_have_no_fraction(ridgeline_command: Run) -> None:
    text = ridgeline_command("analyze", *DEMO, "-o", "json").stdout
    assert '"count": 32,' in text
    assert '"batch": 1,' in text
    assert ".0," not in text.replace("0.0.0", "")


def test_many_devices_that_do_not_fit_are_a_no(ridgeline_command: Run) -> None:
    result = ridgeline_command("analyze", "deepseek-v3", "h100-sxm", "--tp", "4", "--input-len", "100")
    assert result.exit_code == 1
    assert "does not fit" in result.stdout
    assert "KV pool: none" in result.stdout


def test_a_no_is_an_answer_on_stdout(ridgeline_command: Run) -> None:
    result = ridgeline_command(
        "analyze", "llama-2-7b", "t4", "--batch", "64", "--input-len", "4000", "-o", "json"
    )
    assert result.exit_code == 1
    assert json.loads(result.stdout)["memory"]["fits"] is False
    assert result.stderr == ""


@pytest.mark.parametrize("command", ["analyze", "recommend"])
@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize(
    "question",
    [
        DEMO,
        ("gemma-2-27b", "t4", "--batch", "4", "--input-len", "6000", "--slo-tpot-ms", "20"),
        MANY_DEVICES,
        ("jamba-1.5-mini", "h100-sxm", "--tp", "2", "--batch", "300", "--input-len", "20000"),
    ],
    ids=["demo", "gemma", "many devices", "hybrid"],
)
def test_screens_keep_to_the_width(
    ridgeline_command: Run,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    columns: str,
    question: tuple[str, ...],
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = ridgeline_command(command, *question).stdout
    assert max(len(line) for line in text.splitlines()) <= int(columns)
    assert "…" not in text


BAD_QUESTIONS: list[tuple[tuple[str, ...], int, list[str]]] = [
    (("llama-2-7", "rtx-a6000", "--input-len", "9"), 3, ["No model is named 'llama-2-7'", "llama-2-7b"]),
    (("llama-2-7b", "rtx-a600", "--input-len", "9"), 3, ["No hardware is named 'rtx-a600'", "rtx-a6000"]),
    (("llama-2-7b", "rtx-a6000", "--input-len", "0"), 2, ["--input-len: is 0; give 1 to"]),
    (("llama-2-7b", "rtx-a6000", "--input-len", "-5"), 2, ["--input-len: is -5; give 1 to"]),
    (("llama-2-7b", "rtx-a6000", "--input-len", "9", "--batch", "2000000"), 2, ["--batch: is 2000000"]),
    (
        ("llama-2-7b", "rtx-a6000", "--input-len", "9", "--batch", "99999999999"),
        2,
        ["--batch: is 99999999999"],
    ),
    (("llama-2-7b", "rtx-a6000", "--input-len", "9", "--slo-tpot-ms", "nan"), 2, ["--slo-tpot-ms: is nan"]),
    (("llama-2-7b", "rtx-a6000", "--input-len", "9", "--slo-tpot-ms", "-1"), 2, ["--slo-tpot-ms: is -1"]),
    (
        (
            "llama-2-7b",
            "rtx-a6000",
            "--input-len",
            "0",
            "--batch",
            "0",
            "--output-len",
            "0",
            "--slo-ttft-ms",
            "inf",
        ),
        2,
        [
            "4 things are wrong",
            "--input-len: is 0",
            "--batch: is 0",
            "--output-len: is 0",
            "--slo-ttft-ms: is inf",
        ],
    ),
    (
        ("llama-2-7b", "a100-sxm-80gb", "--input-len", "9", "--weights", "fp8", "--activations", "fp8"),
        2,
        ["has no fp8 unit", "bf16"],
    ),
    (
        ("llama-2-7b", "rtx-a6000", "--input-len", "9", "--weights", "fp8", "--activations", "int8"),
        2,
        ["--activations: is int8 with fp8 weights"],
    ),
    (
        (
            "llama-2-7b",
            "rtx-a6000",
            "--input-len",
            "9",
            "--tp",
            "3",
            "--ep",
            "2",
            "--kv-keep-ratio",
            "2",
            "--draft",
            "ngram",
        ),
        2,
        [
            "5 things are wrong",
            "--tp: is 3, which does not divide the 32 query heads; give 2 or 4",
            "--ep: is 2; Llama 2 7B has no experts: give 1",
            "--kv-keep-ratio: is 2",
            "--draft-tokens: is 0",
            "--acceptance-rate: is not set",
        ],
    ),
    (
        ("llama-2-7b", "rtx-a6000", "--input-len", "9", "--module-format", "experts=mxfp4"),
        2,
        ["--module-format: is experts; Llama 2 7B has attention, mlp"],
    ),
    (
        ("llama-2-7b", "rtx-a6000", "--input-len", "9", "--module-format", "mlp=int5"),
        2,
        ["--module-format mlp: is 'int5'"],
    ),
    (
        ("llama-2-7b", "rtx-a6000", "--input-len", "9", "--draft", "nobody", "--draft-tokens", "1"),
        3,
        ["No model is named 'nobody'"],
    ),
    (
        ("llama-2-7b", "rtx-a6000", "--input-len", "9", "--set", "speed=1"),
        2,
        ["--set speed: is not a figure"],
    ),
    (
        ("llama-2-7b", "rtx-a6000", "--input-len", "9", "--set", "memory_bytes=x"),
        2,
        ["--set memory_bytes: is 'x'"],
    ),
    (
        ("llama-2-7b", "rtx-a6000", "--input-len", "9", "--set", "memory_bytes=-1"),
        2,
        ["--set memory_bytes: is -1"],
    ),
    (
        ("no/such/config.json", "rtx-a6000", "--input-len", "9"),
        2,
        ["MODEL: no/such/config.json does not exist"],
    ),
    (("llama-2-7b", "no/such/card.json", "--input-len", "9"), 2, ["no/such/card.json does not exist"]),
    (("llama-2-7b", "rtx-a6000", "--input-len", "9", "--timeout", "0"), 2, ["--timeout: is 0"]),
    (("llama-2-7b", "rtx-a6000", "--input-len", "9", "--server", "http://x"), 2, ["--server: is 'http://x'"]),
]


@pytest.mark.parametrize("command", ["analyze", "recommend"])
@pytest.mark.parametrize(
    ("question", "code", "said"),
    BAD_QUESTIONS,
    ids=lambda value: " ".join(value[2:]) if isinstance(value, tuple) else "",
)
def test_a_bad_question_has_one_clear_refusal(
    ridgeline_command: Run, command: str, question: tuple[str, ...], code: int, said: list[str]
) -> None:
    result = ridgeline_command(command, *question, "-o", "json")
    assert result.exit_code == code
    assert result.stdout == ""
    assert all(part in result.stderr for part in said), result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "MODEL: the config lacks model_type"),
        ("{", "MODEL: is not JSON"),
        ('{"model_type": "mixtral", "num_local_experts": 8}', "lacks hidden_size"),
    ],
)
def test_a_config_that_cannot_be_used_is_told_by_what_it_lacks(
    ridgeline_command: Run, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    result = ridgeline_command("analyze", str(tmp_path), "rtx-a6000", "--input-len", "9")
    assert result.exit_code == 2
    assert said in result.stderr


def test_cost_needs_a_price_and_takes_one(ridgeline_command: Run) -> None:
    refused = ridgeline_command("recommend", *DEMO, "--goal", "cost")
    assert refused.exit_code == 2
    assert "price" in refused.stderr
    told = ridgeline_command(
        "recommend", *DEMO, *ANY_ACCURACY, "--goal", "cost", "--set", "price_usd_per_hour=0.8"
    )
    assert told.exit_code == 0
    assert "USD per million tokens" in told.stdout


def test_an_unreachable_server_is_one_sentence(ridgeline_command: Run) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    result = ridgeline_command("analyze", *DEMO, "--server", address, "--timeout", "5")
    assert result.exit_code == 4
    assert result.stdout == ""
    assert address in result.stderr
    assert "Traceback" not in result.stderr


def test_a_home_that_cannot_be_made_is_one_sentence(
    ridgeline_command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RIDGELINE_HOME", str(tmp_path / "file" / "home"))
    result = ridgeline_command("models", "list")
    assert result.exit_code == 4
    assert "RIDGELINE_HOME" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def command_line(*arguments: str, home: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RIDGELINE_HOME": str(home), "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [sys.executable, "-c", ENTRY, *arguments], env=environment, capture_output=True, text=True, **options
    )


def test_the_program_exits_with_the_code_of_its_answer(home: Path) -> None:
    assert command_line("analyze", *DEMO, home=home).returncode == 0
    assert (
        command_line(
            "analyze", "llama-2-7b", "t4", "--batch", "64", "--input-len", "4000", home=home
        ).returncode
        == 1
    )
    assert command_line("analyze", home=home).returncode == 2
    assert command_line("models", "get", "nobody", home=home).returncode == 3


def test_a_terminal_that_knows_few_characters_still_gets_the_answer(home: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", ENTRY, "recommend", *DEMO, *ANY_ACCURACY],
        env={**os.environ, "RIDGELINE_HOME": str(home), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert b"Best plan for latency" in result.stdout
    assert result.stdout.isascii()
    assert result.stderr == b""


@pytest.mark.parametrize(
    "arguments", [("hardware", "list"), ("hardware", "list", "-o", "json")], ids=" ".join
)
def test_a_reader_that_leaves_is_no_fault(home: Path, arguments: tuple[str, ...]) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", ENTRY, *arguments],
        env={**os.environ, "RIDGELINE_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    complaint = program.stderr.read()
    program.stderr.close()
    assert program.wait(30) == 141
    assert complaint == b""


def test_colours_are_for_terminals(home: Path) -> None:
    plain = command_line("recommend", *DEMO, *ANY_ACCURACY, home=home).stdout
    forced = subprocess.run(
        [sys.executable, "-c", ENTRY, "recommend", *DEMO, *ANY_ACCURACY],
        env={**os.environ, "RIDGELINE_HOME": str(home), "FORCE_COLOR": "1", "TERM": "xterm-256color"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "\x1b" not in plain
    assert "\x1b[" in forced


def test_a_curve_of_real_answers_is_saved(ridgeline_command: Run, tmp_path: Path) -> None:
    path = tmp_path / "curve.svg"
    result = ridgeline_command(
        "plot",
        "curve",
        "llama-3.1-8b",
        "h100-sxm",
        "--over",
        "context",
        "--compare",
        "weights=int4,kv=int8",
        "--save",
        str(path),
    )
    assert result.exit_code == 0
    assert path.read_text().startswith("<?xml")


def test_a_curve_over_context_ends_with_the_models_context(ridgeline_command: Run) -> None:
    inside = ridgeline_command("plot", "curve", "llama-2-7b", "rtx-a6000", "--over", "context").stdout
    assert "2,048" in inside
    assert "longer than the model's context" not in inside
    asked = ridgeline_command(
        "plot", "curve", "llama-2-7b", "rtx-a6000", "--over", "context", "--points", "2048,8192"
    )
    assert "From 8,192 on, requests are longer than the model's context" in asked.stdout
