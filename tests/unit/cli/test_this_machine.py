"""`ridgeline calibrate --this-machine` on the service in this process, with a probe whose answer is known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.probe.case import Operation
from ridgeline_server.probe.report import Probe, Skipped, Timing
from tests.unit.cli.conftest import Run
from tests.unit.probe.probes import PROCESSOR

PEAK, BANDWIDTH, LAUNCH_US = 1e11, 2e10, 2.0


def product(dtype: Dtype, m: int, *, disturbed: bool = False, launch_us: float = LAUNCH_US) -> Timing:
    flops, moved = 2.0 * m * 2048**2, 2048.0**2 * 2
    time_us = launch_us + max(flops / PEAK, moved / BANDWIDTH) * 1e6
    spread = 0.3 if disturbed else 0.01
    return Timing(
        Operation.PRODUCT, "torch", dtype, m, 2048, 2048, moved, flops, time_us, time_us, spread, disturbed
    )


def fake_probe(*, disturbed: bool = False, dtypes: tuple[Dtype, ...] = (Dtype.FP32, Dtype.FP16)) -> Probe:
    timings = [product(dtype, 2**power, disturbed=disturbed) for dtype in dtypes for power in range(10)]
    launch = Timing(Operation.LAUNCH, "torch", Dtype.FP32, 1, 1, 1, 0.0, 0.0, 1.5, 1.5, 0.01, disturbed=False)
    return Probe(
        replace(PROCESSOR, memory_bytes=2**36),
        None,
        1,
        thorough=False,
        libraries=("numpy 2.4", "torch 2.13"),
        timings=(launch, *timings),
        skipped=(Skipped("int8 products by torch", "not implemented here"),),
    )


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the probe was asked, and its answer, which a test may change; an error is raised."""
    asked: dict[str, Any] = {"answer": fake_probe()}

    def probe_in_child(threads: int | None, thorough: bool, gpu: bool, told: Any) -> Probe:
        asked.update(threads=threads, thorough=thorough, gpu=gpu)
        told(0, 1, "launches by torch")
        answer = asked["answer"]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Probe)
        return answer

    monkeypatch.setattr("ridgeline_server.probe.child.probe_in_child", probe_in_child)
    return asked


def test_an_answer_about_the_measured_machine_rests_on_its_own_profiles(
    ridgeline_command: Run, probed: dict[str, Any]
) -> None:
    saved = ridgeline_command("calibrate", "--this-machine", "--threads", "1")
    assert saved.exit_code == 0, saved.output
    assert "100 GFLOP/s" in saved.output
    assert "Saved the device this-machine and 2 efficiency profiles" in saved.output
    assert (probed["threads"], probed["gpu"]) == (1, False)
    answer = ridgeline_command("analyze", "llama-2-7b", "this-machine", "--input-len", "128", "-o", "json")
    used = {u["operator_class"]: u["level"] for u in json.loads(answer.output)["profiles"]}
    assert used["GEMM"] == "HARDWARE"


def test_json_has_the_device_its_profiles_and_the_receipt(
    ridgeline_command: Run, probed: dict[str, Any]
) -> None:
    answer = ridgeline_command("calibrate", "--this-machine", "--id", "my-box", "-o", "json")
    told = json.loads(answer.output)
    assert told["hardware"]["id"] == "my-box"
    assert told["hardware"]["kind"] == "cpu"
    assert {p["id"] for p in told["efficiency_profiles"]} == {"my-box-gemm-fp32", "my-box-gemm-fp16"}
    assert {rate["dtype"] for rate in told["attained"]} == {"FP32", "FP16"}
    assert told["skipped"] == ["int8 products by torch: not implemented here"]
    assert {outcome["action"] for outcome in told["outcomes"]} == {"CREATED"}
    device = json.loads(ridgeline_command("hardware", "get", "my-box", "-o", "json").output)["hardware"]
    assert device["origin"] == "USER"


def test_a_dry_run_writes_nothing(ridgeline_command: Run, probed: dict[str, Any]) -> None:
    answer = ridgeline_command("calibrate", "--this-machine", "--dry-run")
    assert answer.exit_code == 0
    assert "nothing was written" in answer.output
    assert ridgeline_command("hardware", "get", "this-machine").exit_code == 3


def test_measuring_again_replaces_all_that_the_first_measurement_left(
    ridgeline_command: Run, probed: dict[str, Any]
) -> None:
    ridgeline_command("calibrate", "--this-machine")
    probed["answer"] = fake_probe(dtypes=(Dtype.FP32,))
    again = ridgeline_command("calibrate", "--this-machine")
    assert again.exit_code == 0
    assert "1 profile of an earlier measurement removed" in " ".join(again.output.split())
    third = ridgeline_command("calibrate", "--this-machine")
    assert "removed" not in third.output


def test_a_disturbed_measurement_is_told_with_the_way_out(
    ridgeline_command: Run, probed: dict[str, Any]
) -> None:
    quiet = ridgeline_command("calibrate", "--this-machine", "--dry-run").output
    assert "disturbed" not in quiet
    probed["answer"] = fake_probe(disturbed=True)
    told = " ".join(ridgeline_command("calibrate", "--this-machine", "--dry-run").output.split())
    assert "other work ran during 20 of 21 timings" in told
    assert "repeat it while the machine is quieter" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--this-machine", "--id", "h100-sxm"), "of the shipped catalog"),
        (("--this-machine", "--id", "My Box"), "lower-case"),
        (("--this-machine", "--hardware", "h100-sxm"), "takes no rows"),
        (("--this-machine", "-o", "csv"), "table or json"),
        (("--threads", "2", "--hardware", "h100-sxm"), "go with --this-machine"),
    ],
    ids=["shipped device", "no id", "rows", "csv", "options without the machine"],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_measured(
    ridgeline_command: Run, probed: dict[str, Any], arguments: tuple[str, ...], said: str
) -> None:
    refused = ridgeline_command("calibrate", *arguments)
    assert refused.exit_code == 2
    assert said in refused.output
    assert "threads" not in probed


@pytest.mark.parametrize(
    ("error", "code"),
    [(ValueError("threads is 9; this process may use 1 to 2 cores"), 2), (RuntimeError("it was killed"), 5)],
    ids=["what the machine has not", "a failure"],
)
def test_a_failed_measurement_ends_in_one_sentence(
    ridgeline_command: Run, probed: dict[str, Any], error: Exception, code: int
) -> None:
    probed["answer"] = error
    failed = ridgeline_command("calibrate", "--this-machine")
    assert failed.exit_code == code
    assert str(error) in failed.output


def test_without_the_service_installed_the_way_to_install_it_is_told(
    run: Run, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        from ridgeline.errors import MissingServerError

        raise MissingServerError('run `pip install "ridgeline[server]"`')

    def unknown(*_: object) -> None:
        from ridgeline.errors import NotFoundError

        raise NotFoundError("no such device", "HARDWARE_NOT_FOUND")

    monkeypatch.setattr("ridgeline.embedded.measure_this_machine", missing)
    fake.answers["get_hardware"] = unknown
    told = run("calibrate", "--this-machine", "--server", "example.org:50051")
    assert told.exit_code == 2
    assert "ridgeline[server]" in told.output


def test_a_launch_that_timings_do_not_tell_is_no_figure(
    ridgeline_command: Run, probed: dict[str, Any]
) -> None:
    bare = [product(Dtype.FP32, 2**power, launch_us=0.0) for power in range(10)]
    launched = [product(Dtype.FP16, 2**power, launch_us=500.0) for power in range(10)]
    probed["answer"] = replace(fake_probe(), timings=(*bare, *launched))
    screen = ridgeline_command("calibrate", "--this-machine", "--dry-run").output
    launches = {line.split()[1]: line.split()[2] for line in screen.splitlines() if line.startswith("gemm ")}
    assert launches["fp32"] == "-"
    assert float(launches["fp16"]) > 100
