"""What is typed is what is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeClient

ANALYZE = ("analyze", "llama-2-7b", "rtx-a6000", "--input-len", "2048")


def test_only_what_is_stated_is_sent(run: Run, fake: FakeClient) -> None:
    assert run(*ANALYZE).exit_code == 0
    assert fake.questions == [
        {
            "model": "llama-2-7b",
            "hardware": "rtx-a6000",
            "batch": 1,
            "input_len": 2048,
            "output_len": 128,
            "decode_keys": None,
            "slo_ttft_ms": None,
            "slo_tpot_ms": None,
            "ideal": False,
            "overrides": {},
            "catalog_revision": 0,
        }
    ]
    assert fake.connections == [{"server": None, "timeout_s": 30.0}]


def test_every_option_reaches_the_question(run: Run, fake: FakeClient) -> None:
    result = run(
        *ANALYZE, "--batch", "4", "--output-len", "9", "--decode-keys", "77", "--weights", "INT4",
        "--weight-group-size", "64", "--lm-head", "int8", "--activations", "bf16", "--kv", "fp8",
        "--attention", "unfused", "--ideal", "--slo-ttft-ms", "500", "--slo-tpot-ms", "20.5",
        "--set", "bandwidth_bytes_per_s=1e12", "--set", "peak.int8=3e14", "--set", "peaks.bf16=1e14",
        "--server", "host:1", "--timeout", "2.5", "--catalog-revision", "7",
    )  # fmt: skip
    assert result.exit_code == 0
    assert fake.questions[0] == {
        "model": "llama-2-7b",
        "hardware": "rtx-a6000",
        "batch": 4,
        "input_len": 2048,
        "output_len": 9,
        "decode_keys": 77,
        "weights": "int4",
        "weight_group_size": 64,
        "lm_head": "int8",
        "activations": "bf16",
        "kv": "fp8",
        "attention": "unfused",
        "ideal": True,
        "slo_ttft_ms": 500.0,
        "slo_tpot_ms": 20.5,
        "overrides": {"bandwidth_bytes_per_s": "1e12", "peaks.int8": "3e14", "peaks.bf16": "1e14"},
        "catalog_revision": 7,
    }
    assert fake.connections == [{"server": "host:1", "timeout_s": 2.5}]


def test_recommend_asks_for_its_goal(run: Run, fake: FakeClient) -> None:
    run("recommend", *ANALYZE[1:], "--goal", "memory", "--allow-load-change")
    assert fake.questions[0]["goal"] == "memory"
    assert fake.questions[0]["allow_load_change"] is True


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain.json", '{"weights": "int4", "weight-group-size": 64, "kv": "int8"}'),
        ("plain.toml", 'weights = "int4"\nweight_group_size = 64\nkv = "int8"\n'),
        (
            "answer.json",
            json.dumps(
                {
                    "deployment": {
                        "weight_dtype": "INT4",
                        "weight_group_size": 64,
                        "lm_head_dtype": "UNSPECIFIED",
                        "kv_dtype": "INT8",
                    }
                }
            ),
        ),
    ],
)
def test_a_deployment_file_states_the_deployment(
    run: Run, fake: FakeClient, tmp_path: Path, name: str, text: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert run(*ANALYZE, "--deployment", str(file)).exit_code == 0
    stated = {
        key: value
        for key, value in fake.questions[0].items()
        if key in {"weights", "weight_group_size", "kv", "lm_head"}
    }
    assert {key: str(value).lower() for key, value in stated.items()} == {
        "weights": "int4",
        "weight_group_size": "64",
        "kv": "int8",
    }


def test_options_win_over_the_deployment_file(run: Run, fake: FakeClient, tmp_path: Path) -> None:
    file = tmp_path / "today.toml"
    file.write_text('weights = "int4"\nkv = "int8"\n')
    run(*ANALYZE, "--deployment", str(file), "--kv", "fp8")
    assert fake.questions[0]["weights"] == "int4"
    assert fake.questions[0]["kv"] == "fp8"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("d.json", "{", "is not JSON"),
        ("d.toml", "weights = ", "is not TOML"),
        ("d.json", "[1]", "holds no object"),
        ("d.json", '{"weight": "int4", "kv": 8}', "weight is no part of a deployment; it has weights"),
        ("d.json", '{"weight": "int4", "kv": 8}', "kv is 8; give a name"),
        ("d.json", '{"weight_group_size": "128"}', "weight_group_size is '128'; give a whole number"),
    ],
)
def test_a_wrong_deployment_file_is_refused_by_its_key(
    run: Run, fake: FakeClient, tmp_path: Path, name: str, text: str, said: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    result = run(*ANALYZE, "--deployment", str(file))
    assert result.exit_code == 2
    assert said in result.stderr
    assert fake.questions == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--weights", "int3"),
        ("--batch", "many"),
        ("--batch", "1.5"),
        ("--set", "bandwidth_bytes_per_s"),
        ("--set", "=3"),
        ("--attention", "flash"),
        ("--concurrency", "4"),
        ("-o", "yaml"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused_before_anybody_is_asked(
    run: Run, fake: FakeClient, arguments: tuple[str, ...]
) -> None:
    result = run(*ANALYZE, *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error:" in result.stderr
    assert fake.connections == []


def test_the_prompt_length_is_never_guessed(run: Run) -> None:
    result = run("analyze", "llama-2-7b", "rtx-a6000")
    assert result.exit_code == 2
    assert "--input-len" in result.stderr
