"""The gate for pipelines: what it lets pass, what it stops and with which words, and its workflow."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
GATE = REPOSITORY / "examples" / "ci_gate" / "gate.py"
WORKFLOW = GATE.with_name("github-actions.yml")
LAUNCH = GATE.with_name("launch.sh")
LIMIT_S = 60
LOAD = ("--concurrency", "16", "--input-len", "2000", "--output-len", "300")
QUESTION = ("llama-3.1-8b", "l40s", "--launch", str(LAUNCH), *LOAD)


def gate(server: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the gate against a server."""
    return subprocess.run(
        [sys.executable, str(GATE), *words],
        cwd=REPOSITORY,
        env={**os.environ, "RIDGELINE_SERVER": server},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_it_stops_what_misses_the_slo_and_says_what_to_change(server: str) -> None:
    ran = gate(server, *QUESTION, "--slo-tpot-ms", "30")
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.startswith("FAIL: TTFT ")
    assert "over the limit of 30.0 ms" in ran.stdout
    change = re.search(r"tpot_ms: ([\d.]+) -> ([\d.]+)", ran.stdout)
    assert change is not None, ran.stdout
    before, after = map(float, change.groups())
    assert after <= 30 < before
    assert "  vllm serve " in ran.stdout
    assert "llama-server" not in ran.stdout, "another engine than today's"


def test_it_lets_pass_what_meets_the_slo(server: str) -> None:
    ran = gate(server, *QUESTION, "--slo-tpot-ms", "1000")
    assert (ran.returncode, ran.stdout[:11]) == (0, "PASS: TTFT "), ran.stderr


def test_it_stops_what_does_not_fit(server: str, tmp_path: Path) -> None:
    launch = tmp_path / "launch.sh"
    launch.write_text("vllm serve meta-llama/Llama-3.1-70B-Instruct\n")
    question = ("llama-3.1-70b", "l40s", "--launch", str(launch), *LOAD)
    ran = gate(server, *question, "--slo-tpot-ms", "1000")
    assert ran.returncode == 1, ran.stderr
    assert "FAIL" in ran.stdout
    assert "GiB" in ran.stdout


def test_it_says_how_close_one_can_come_where_nothing_meets_the_slo(server: str) -> None:
    ran = gate(server, *QUESTION, "--slo-tpot-ms", "0.01")
    assert ran.returncode == 1, ran.stderr
    assert "Change: " not in ran.stdout
    assert len(ran.stdout.splitlines()) > 2


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (QUESTION, 2, "--slo-ttft-ms"),
        ((*QUESTION, "--slo-tpot-ms", "-1"), 2, "slo.tpot_ms"),
        ((*QUESTION, "--slo-tpot-ms", "30", "--launch", "no/such/file"), 2, "no/such/file"),
        (("no-such-model", *QUESTION[1:], "--slo-tpot-ms", "30"), 3, "no-such-model"),
    ],
    ids=["no SLO", "an SLO that cannot be", "no launch file", "an unknown model"],
)
def test_a_question_without_an_answer_is_no_verdict(
    server: str, words: tuple[str, ...], code: int, told: str
) -> None:
    ran = gate(server, *words)
    assert ran.returncode == code, ran.stderr
    assert told in ran.stderr
    assert ran.stdout == ""


def test_an_outage_is_no_verdict() -> None:
    ran = gate("127.0.0.1:1", *QUESTION, "--slo-tpot-ms", "30")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert "127.0.0.1:1" in ran.stderr


def test_the_workflow_runs_the_gate_with_arguments_that_it_takes(server: str) -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    (run,) = (step["run"] for step in workflow["jobs"]["gate"]["steps"] if "gate.py" in step.get("run", ""))
    python, script, *words = shlex.split(run)
    assert (python, REPOSITORY / script) == ("python", GATE)
    ran = gate(server, *words)
    assert ran.returncode in (0, 1), ran.stderr
