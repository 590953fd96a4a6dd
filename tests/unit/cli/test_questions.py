"""What is typed is what is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ridgeline import jsonform
from ridgeline.cli import deployment_file
from ridgeline.questions import DEPLOYMENT_OPTIONS
from ridgeline.v1 import common_pb2, types_pb2
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
    assert fake.connections == [{"server": None, "timeout_s": None}]


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


EVERY_OPTION = (
    "--concurrency", "16", "--module-format", "experts=mxfp4",
    "--module-format", "shared-expert=fp8:g128:fp8",
    "--tp", "8", "--pp", "2", "--ep", "4", "--attention-dp", "3", "--dp", "5", "--chunk-tokens", "2048",
    "--prefix-hit-rate", "0.5", "--kv-keep-ratio", "0.25", "--kv-window", "700",
    "--draft", "llama-3.2-1b", "--draft-tokens", "3", "--acceptance-rate", "0.7",
    "--offload-weights", "0.1", "--offload-kv", "0.2", "--host-bandwidth", "5e10",
    "--sparse-weights", "--skip-layers", "0.3", "--expert-spread", "1.5", "--node-bandwidth", "1e11",
    "--engine", "vllm@0.19.0", "--memory-utilization", "0.85", "--eager",
)  # fmt: skip
SAID_BY_IT = {
    "module_formats": {"experts": "mxfp4", "shared_expert": "fp8:g128:fp8"},
    "tp": 8,
    "pp": 2,
    "ep": 4,
    "attention_dp": 3,
    "dp": 5,
    "chunk_tokens": 2048,
    "prefix_hit_rate": 0.5,
    "kv_keep_ratio": 0.25,
    "kv_window": 700,
    "draft": "llama-3.2-1b",
    "draft_tokens": 3,
    "acceptance_rate": 0.7,
    "offload_weights": 0.1,
    "offload_kv": 0.2,
    "host_bandwidth_bytes_per_s": 5e10,
    "sparse_weights": True,
    "skip_layers": 0.3,
    "expert_spread": 1.5,
    "node_bandwidth_bytes_per_s": 1e11,
    "engine": "vllm@0.19.0",
    "memory_utilization": 0.85,
    "eager": True,
}


def stated(question: dict[str, Any]) -> dict[str, Any]:
    """What a question says of the deployment."""
    return {key: value for key, value in question.items() if key in deployment_file.KEYS}


@pytest.mark.parametrize("command", [("analyze",), ("recommend",), ("plot", "roofline")], ids=" ".join)
def test_every_option_of_a_deployment_reaches_the_question(
    run: Run, fake: FakeClient, command: tuple[str, ...]
) -> None:
    assert run(*command, *ANALYZE[1:], *EVERY_OPTION).exit_code == 0
    assert stated(fake.questions[0]) == SAID_BY_IT
    assert fake.questions[0]["concurrency"] == 16
    assert "batch" not in fake.questions[0]


@pytest.mark.parametrize("command", [("analyze",), ("recommend",), ("plot", "roofline")], ids=" ".join)
def test_a_launch_command_reaches_the_question_as_it_is(
    run: Run, fake: FakeClient, command: tuple[str, ...]
) -> None:
    launch = "vllm serve org/model --tensor-parallel-size 2"
    assert run(*command, *ANALYZE[1:], "--from-command", launch).exit_code == 0
    assert fake.questions[0]["launch_command"] == launch
    assert stated(fake.questions[0]) == {}


def test_a_deployment_file_has_what_a_question_can_state() -> None:
    assert sorted(deployment_file.KEYS) == sorted(DEPLOYMENT_OPTIONS)


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_a_deployment_file_takes_every_option_by_its_name(
    run: Run, fake: FakeClient, tmp_path: Path, suffix: str
) -> None:
    keys: dict[str, Any] = {
        key.removesuffix("_bytes_per_s").replace("_", "-"): value
        for key, value in SAID_BY_IT.items()
        if key != "module_formats"
    }
    file = tmp_path / f"today.{suffix}"
    if suffix == "json":
        keys["module-format"] = ["experts=mxfp4", "shared-expert=fp8:g128:fp8"]
        file.write_text(json.dumps(keys))
    else:
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        table = ["[module_formats]", 'experts = "mxfp4"', 'shared_expert = "fp8:g128:fp8"']
        file.write_text("\n".join([*lines, *table]))
    assert run(*ANALYZE, "--deployment", str(file)).exit_code == 0
    assert stated(fake.questions[0]) == SAID_BY_IT


def test_an_answers_deployment_can_be_fed_back(run: Run, fake: FakeClient, tmp_path: Path) -> None:
    echoed = common_pb2.Deployment(
        module_formats=[
            common_pb2.ModuleFormat(module_class="experts", dtype=types_pb2.DTYPE_MXFP4, group_size=32),
            common_pb2.ModuleFormat(
                module_class="mlp",
                dtype=types_pb2.DTYPE_FP8,
                group_size=128,
                activation_dtype=types_pb2.DTYPE_FP8,
            ),
        ],
        parallel=common_pb2.Parallelism(tp=8, pp=2, ep=4, attention_dp=3, dp=5),
        chunk_tokens=2048,
        prefix_hit_rate=0.5,
        kv_keep_ratio=0.25,
        kv_window=700,
        speculation=common_pb2.Speculation(
            draft=common_pb2.DRAFT_MODEL,
            tokens=3,
            acceptance_rate=0.65,
            draft_model=common_pb2.ModelSelector(id="meta-llama/Llama-3.2-1B-Instruct"),
            acceptance_rate_source="arXiv:2211.17192",
        ),
        offload=common_pb2.Offload(weight_share=0.1, kv_share=0.2, host_bandwidth_bytes_per_s=5e10),
        sparse_weights=True,
        skipped_layer_share=0.3,
        expert_popularity_spread=1.5,
        node_bandwidth_bytes_per_s=1e11,
        engine="vllm",
        engine_version="0.19.0",
        memory_utilization=0.85,
        eager=True,
    )
    file = tmp_path / "answer.json"
    file.write_text(jsonform.to_json(common_pb2.Deployment()))
    assert run(*ANALYZE, "--deployment", str(file)).exit_code == 0
    file.write_text(json.dumps({"deployment": jsonform.to_dict(echoed)}))
    assert run(*ANALYZE, "--deployment", str(file)).exit_code == 0
    assert stated(fake.questions[1]) == SAID_BY_IT | {
        "module_formats": {"experts": "mxfp4:g32", "mlp": "fp8:g128:fp8"},
        "draft": "meta-llama/Llama-3.2-1B-Instruct",
        "acceptance_rate": 0.65,
    }


def test_options_add_to_the_module_formats_of_a_file(run: Run, fake: FakeClient, tmp_path: Path) -> None:
    file = tmp_path / "today.json"
    file.write_text('{"module_formats": {"experts": "mxfp4", "mlp": "fp8"}, "sparse_weights": false}')
    run(*ANALYZE, "--deployment", str(file), "--module-format", "mlp=int8")
    assert stated(fake.questions[0]) == {
        "module_formats": {"experts": "mxfp4", "mlp": "int8"},
        "sparse_weights": False,
    }


def test_recommend_asks_for_its_goal(run: Run, fake: FakeClient) -> None:
    run("recommend", *ANALYZE[1:], "--goal", "memory", "--allow-load-change")
    assert fake.questions[0]["goal"] == "memory"
    assert fake.questions[0]["allow_load_change"] is True
    assert fake.questions[0]["allow_devices_change"] is False


def test_recommend_asks_for_plans_of_more_devices_and_of_less_accuracy(run: Run, fake: FakeClient) -> None:
    run(
        "recommend",
        *ANALYZE[1:],
        "--max-devices",
        "8",
        "--max-accuracy-loss",
        "0.02",
        "--allow-unknown-accuracy",
    )
    asked = fake.questions[0]
    assert (asked["allow_devices_change"], asked["max_devices"]) == (True, 8)
    assert (asked["max_accuracy_loss"], asked["allow_unknown_accuracy"]) == (0.02, True)


def test_recommend_asks_for_other_devices_and_models(run: Run, fake: FakeClient) -> None:
    run(
        "recommend", *ANALYZE[1:],
        "--allow-hardware-change", "--other-hardware", "h100-sxm", "--other-hardware", "mi300x",
        "--allow-model-change", "--other-model", "a-small-one",
    )  # fmt: skip
    asked = fake.questions[0]
    assert asked["allow_hardware_change"] is True
    assert list(asked["other_hardware"]) == ["h100-sxm", "mi300x"]
    assert asked["allow_model_change"] is True
    assert list(asked["other_models"]) == ["a-small-one"]


def test_recommend_keeps_device_and_model_unless_told(run: Run, fake: FakeClient) -> None:
    run("recommend", *ANALYZE[1:])
    asked = fake.questions[0]
    assert (asked["allow_hardware_change"], asked["allow_model_change"]) == (False, False)
    assert not asked["other_hardware"]
    assert not asked["other_models"]


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
        ("d.json", '{"kv_keep_ratio": "half"}', "kv_keep_ratio is 'half'; give a number"),
        ("d.json", '{"tp": true}', "tp is True; give a whole number"),
        ("d.json", '{"sparse_weights": 1}', "sparse_weights is 1; give true or false"),
        ("d.json", '{"module_formats": "mxfp4"}', "module_formats has 'mxfp4'; give a table"),
        ("d.json", '{"module_formats": [{"dtype": "INT4"}]}', "give a table"),
        ("d.json", '{"parallel": 2}', "parallel is no part of a deployment"),
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
        ("--batch", "4", "--concurrency", "4"),
        ("--tp", "two"),
        ("--module-format", "experts"),
        ("--module-format", "=mxfp4"),
        ("--activations", "int4"),
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
