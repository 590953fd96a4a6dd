"""The best plan as a command to copy and as a manifest file."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from ridgeline.cli.launching import command_lines
from ridgeline.v1.recommendation_service_pb2 import VERDICT_APPLY
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeClient, recommendation

QUESTION = ("llama-2-7b", "rtx-a6000", "--input-len", "2048")
CACHE = 1
"""Place of a recommendation that is to be considered, and told in full once it is to be applied."""
COMMAND = "vllm serve org/model --kv-cache-dtype fp8 --max-num-seqs 16"


def test_the_best_plan_is_told_as_a_command_of_vllm(run: Run, fake: FakeClient) -> None:
    text = run("recommend", *QUESTION).stdout
    assert "How to start the best plan (vllm 0.33.0)\n  vllm serve CHECKPOINT " in text
    assert "First, weight-only-int4: Quantise the checkpoint with a tool." in text


def test_the_engine_of_the_deployment_is_the_one_that_is_told(run: Run, fake: FakeClient) -> None:
    fake.advice.baseline.deployment.engine = "SGLang"
    fake.advice.recommendations[CACHE].verdict = VERDICT_APPLY
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert "How to start the best plan (sglang 0.5.23)" in text
    assert "Not in it, kv-cache-int4: SGLang has no such format." in text
    assert "SGLang has no such format." in text[text.index("What to change") :]
    assert "vllm serve" not in text


def test_an_engine_whose_flags_are_not_known_is_told_those_of_vllm(run: Run, fake: FakeClient) -> None:
    fake.advice.baseline.deployment.engine = "lmdeploy"
    assert "How to start the best plan (vllm 0.33.0)" in run("recommend", *QUESTION).stdout


def test_a_recommendation_says_how_it_is_switched_on(run: Run, fake: FakeClient) -> None:
    considered = " ".join(run("recommend", *QUESTION).stdout.split())
    assert "With vllm 0.33.0: Quantise the checkpoint with a tool." in considered
    assert "With vllm 0.33.0: --kv-cache-dtype" not in considered
    fake.advice.recommendations[CACHE].verdict = VERDICT_APPLY
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert "With vllm 0.33.0: --kv-cache-dtype int4_per_token_head." in text


def test_a_setting_of_an_engines_file_is_told_by_its_whole_name(run: Run, fake: FakeClient) -> None:
    fake.advice.baseline.deployment.engine = "TensorRT-LLM"
    fake.advice.recommendations[CACHE].verdict = VERDICT_APPLY
    fake.advice.recommendations[CACHE].switches.add(
        engine="tensorrt-llm",
        release="1.2",
        config_file="enable_attention_dp: true\nkv_cache_config:\n  dtype: fp8\n  enable_block_reuse: true\n",
    )
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert (
        "With tensorrt-llm 1.2: config.yaml with enable_attention_dp: true, kv_cache_config.dtype: fp8, "
        "kv_cache_config.enable_block_reuse: true." in text
    )


def test_what_qualifies_a_flag_is_told_behind_it(run: Run, fake: FakeClient) -> None:
    fake.advice.recommendations[CACHE].verdict = VERDICT_APPLY
    fake.advice.recommendations[CACHE].switches[0].notes.append("One scale for each token and head.")
    text = " ".join(run("recommend", *QUESTION).stdout.split())
    assert "--kv-cache-dtype int4_per_token_head. One scale for each token and head." in text


def test_a_switch_of_notes_alone_is_told(run: Run, fake: FakeClient) -> None:
    fake.advice.recommendations[CACHE].verdict = VERDICT_APPLY
    switch = fake.advice.recommendations[CACHE].switches[0]
    del switch.flags[:]
    switch.notes.append("On by default.")
    assert "With vllm 0.33.0: On by default." in " ".join(run("recommend", *QUESTION).stdout.split())


def test_json_has_all_engines(run: Run, fake: FakeClient) -> None:
    plan = json.loads(run("recommend", *QUESTION, "-o", "json").stdout)["plans"][0]
    assert [launch["engine"] for launch in plan["launches"]] == ["sglang", "vllm"]


@pytest.mark.parametrize("columns", [20, 50, 120])
def test_a_long_command_is_still_the_same_command(columns: int) -> None:
    lines = list(command_lines(COMMAND, columns))
    script = "set -- " + "\n".join(lines) + "\nprintf '%s\\n' \"$@\"\n"
    read = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert read.splitlines() == shlex.split(COMMAND)
    assert (len(lines) > 1) == (len(COMMAND) > columns)


class TestManifest:
    def test_it_is_that_of_the_engine_that_is_told(self, run: Run, fake: FakeClient, tmp_path: Path) -> None:
        file = tmp_path / "plan.yaml"
        result = run("recommend", *QUESTION, "--manifest", str(file))
        assert result.exit_code == 0
        assert file.read_text() == "kind: Deployment\nname: vllm\n"
        assert f"Wrote {file} for vllm 0.33.0." in result.stderr
        assert [entry.name for entry in tmp_path.iterdir()] == ["plan.yaml"]

    def test_it_leaves_stdout_to_the_answer(self, run: Run, fake: FakeClient, tmp_path: Path) -> None:
        result = run("recommend", *QUESTION, "--manifest", str(tmp_path / "plan.yml"), "-o", "json")
        assert json.loads(result.stdout)["goal"] == "LATENCY"

    def test_without_a_plan_nothing_is_written_and_the_answer_is_a_no(
        self, run: Run, fake: FakeClient, tmp_path: Path
    ) -> None:
        fake.advice = recommendation(plans=False)
        file = tmp_path / "plan.yaml"
        result = run("recommend", *QUESTION, "--manifest", str(file))
        assert result.exit_code == 1
        assert "was not written: there is no plan." in result.stderr
        assert not file.exists()

    def test_a_plan_that_the_engine_cannot_be_told_is_not_written(
        self, run: Run, fake: FakeClient, tmp_path: Path
    ) -> None:
        fake.advice.baseline.deployment.engine = "sglang"
        file = tmp_path / "plan.yaml"
        result = run("recommend", *QUESTION, "--manifest", str(file))
        assert result.exit_code == 1
        assert (
            "sglang 0.5.23 has no switch for kv-cache-int4 of the best plan. Give --engine vllm."
            in result.stderr
        )
        assert not file.exists()

    def test_where_no_engine_can_be_told_the_plan_other_ways_are_told(
        self, run: Run, fake: FakeClient, tmp_path: Path
    ) -> None:
        for launch in fake.advice.plans[0].launches:
            launch.not_expressed[:] = ["kv-cache-int4: No such format."]
        result = run("recommend", *QUESTION, "--manifest", str(tmp_path / "plan.yaml"))
        assert result.exit_code == 1
        assert "Nor has any other engine that was looked up all of its switches" in result.stderr

    def test_what_is_no_technique_of_the_plan_is_told_as_not_in_it(
        self, run: Run, fake: FakeClient, tmp_path: Path
    ) -> None:
        file = tmp_path / "plan.yaml"
        fake.advice.plans[0].launches[1].not_expressed.append("memory-utilization: It has no such share.")
        result = run("recommend", *QUESTION, "--manifest", str(file))
        assert result.exit_code == 0
        assert file.exists()
        assert "Not in it: memory-utilization: It has no such share." in result.stderr

    def test_a_real_plan_that_no_engine_has_switches_for_is_not_written(
        self, ridgeline_command: Run, tmp_path: Path
    ) -> None:
        file = tmp_path / "plan.yaml"
        question = ("qwen3-32b", "h100-sxm", "--input-len", "1000", "--batch", "1000", "--goal", "throughput")
        result = ridgeline_command("recommend", *question, "--manifest", str(file))
        assert "kv-offload" in result.stderr
        assert result.exit_code == 1
        assert not file.exists()

    @pytest.mark.parametrize(
        ("name", "complaint"),
        [("plan.json", "ends in .yaml or .yml"), ("missing/plan.yaml", "there is no folder")],
    )
    def test_a_file_that_cannot_be_written_is_refused_before_anything_is_asked(
        self, run: Run, fake: FakeClient, tmp_path: Path, name: str, complaint: str
    ) -> None:
        result = run("recommend", *QUESTION, "--manifest", str(tmp_path / name))
        assert result.exit_code == 2
        assert complaint in result.stderr
        assert fake.questions == []

    def test_a_real_plan_is_a_manifest_that_a_cluster_reads(
        self, ridgeline_command: Run, tmp_path: Path
    ) -> None:
        file = tmp_path / "plan.yaml"
        file.write_text("an older one")
        result = ridgeline_command("recommend", *QUESTION, "--manifest", str(file), "-o", "json")
        (launch,) = [
            one for one in json.loads(result.stdout)["plans"][0]["launches"] if one["engine"] == "vllm"
        ]
        assert file.read_text() == launch["manifest"]
        (document,) = yaml.safe_load_all(launch["manifest"])
        (container,) = document["spec"]["template"]["spec"]["containers"]
        words = shlex.split(launch["command"])
        assert container["command"][: len(words)] == words
