"""`ridgeline calibrate --reset`: what it removes of what calibrating wrote, and what it leaves."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from ridgeline import errors
from ridgeline.v1.catalog_service_pb2 import DeleteEfficiencyProfileResponse, ListEfficiencyProfilesResponse
from ridgeline.v1.efficiency_profile_pb2 import EfficiencyProfile
from ridgeline_server.store.database import sqlite_url
from tests.rpc.test_commands import serving
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeClient
from tests.unit.cli.test_calibrate import MODEL, figure, rows, squeezed, table, tpot_ms


@pytest.fixture
def calibrated(ridgeline_command: Run, tmp_path: Path) -> Run:
    """Runs commands after rows of vLLM and SGLang on an H100 and of SGLang on an A100 were calibrated by."""
    first, on_a100 = rows(1)
    sglang = first.replace("r1,vllm,0.19.0", "s,sglang,")
    assert ridgeline_command("calibrate", table(tmp_path, first, sglang, on_a100)).exit_code == 0
    return ridgeline_command


def removed(run: Run, *options: str) -> set[tuple[str, str, bool]]:
    """Device, engine and whether of one model, of the profiles that a reset removes or would."""
    result = run("calibrate", "--reset", *options, "-o", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)["removed"]
    assert {profile["operator_class"] for profile in told} <= {"decode_time"}
    return {(profile["hardware_id"], profile["engine"], bool(profile["model_id"])) for profile in told}


H100, A100 = "h100-sxm", "a100-sxm-80gb"
OF_A100 = {(A100, "", False), (A100, "sglang", False), (A100, "sglang", True)}
OF_H100 = {
    (H100, "", False),
    *((H100, engine, of_model) for engine in ("vllm", "sglang") for of_model in (False, True)),
}


def test_a_wrong_row_is_taken_back_in_two_commands(ridgeline_command: Run) -> None:
    before = tpot_ms(ridgeline_command)
    ridgeline_command(*figure(before * 4))
    assert tpot_ms(ridgeline_command) > before * 1.5
    screen = squeezed(ridgeline_command("calibrate", "--reset").stdout)
    assert "calibrated-decode-time-h100-sxm-vllm: 1 row" in screen
    assert "Removed 3 calibrated profiles (catalog revision 5)." in screen
    assert "the next calibration counts them again" in screen
    assert tpot_ms(ridgeline_command) == before
    again = ridgeline_command("calibrate", "--reset")
    assert (again.exit_code, again.stdout) == (0, "There is no calibrated profile.\n")


def test_a_reset_is_of_a_device_an_engine_or_all(calibrated: Run) -> None:
    dry = ("--dry-run",)
    assert removed(calibrated, *dry) == OF_A100 | OF_H100
    assert removed(calibrated, "--hardware", H100, *dry) == OF_H100
    assert removed(calibrated, "--hardware", "h100", *dry) == OF_H100
    of_vllm = {(H100, "vllm", False), (H100, "vllm", True)}
    assert removed(calibrated, "--engine", "vLLM", *dry) == of_vllm
    assert removed(calibrated, "--hardware", A100, "--engine", "vllm", *dry) == set()
    assert removed(calibrated, "--hardware", H100, "--engine", "vllm") == of_vllm
    assert removed(calibrated, "--hardware", H100, *dry) == OF_H100 - of_vllm


def test_what_a_device_has_of_all_engines_goes_with_the_last_of_them(calibrated: Run) -> None:
    of_sglang = {entry for entry in OF_H100 if entry[1] == "sglang"}
    assert removed(calibrated, "--engine", "sglang") == OF_A100 | of_sglang
    assert removed(calibrated, "--engine", "vllm") == OF_H100 - of_sglang


def test_a_dry_run_removes_nothing_and_csv_has_a_line_for_each(calibrated: Run) -> None:
    screen = calibrated("calibrate", "--reset", "--hardware", A100, "--dry-run").stdout
    assert "Dry run, nothing was removed; it would be 3 calibrated profiles." in squeezed(screen)
    told = calibrated("calibrate", "--reset", "--hardware", A100, "-o", "csv").stdout
    lines = list(csv.DictReader(io.StringIO(told)))
    assert {(line["hardware_id"], line["evidence_count"]) for line in lines} == {(A100, "1")}
    none = calibrated("calibrate", "--reset", "--hardware", A100).stdout
    assert squeezed(none) == f"There is no calibrated profile of --hardware {A100}; the catalog has 5 others."


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--hardware", "nodev"), 3, "--hardware nodev: No hardware is named 'nodev'"),
        (("--engine", "vllm@0.19.0"), 2, "--reset is of all releases of an engine: give --engine vllm."),
        (("some.csv",), 2, "--reset goes with --hardware and --engine, and not with a table."),
        (("--model", MODEL), 2, "and not with --model."),
        (("--this-machine",), 2, "and not with --this-machine."),
        (("--id", "mine"), 2, "and not with --id."),
        (("--vllm-log", "x"), 2, "and not with --vllm-log."),
    ],
)
def test_what_is_wrong_is_told(
    ridgeline_command: Run, options: tuple[str, ...], code: int, told: str
) -> None:
    result = ridgeline_command("calibrate", "--reset", *options)
    assert result.exit_code == code
    assert told in squeezed(result.stderr)


def test_a_server_is_reset_as_the_database_here(calibrated: Run, home: Path) -> None:
    (database,) = home.glob("*.sqlite3")
    with serving(RIDGELINE_DATABASE_URL=sqlite_url(database)) as (_, address):
        there = ("--server", address)
        assert removed(calibrated, "--engine", "vllm", *there) < OF_H100
        unknown = calibrated("calibrate", "--reset", "--hardware", "nodev", *there)
        assert unknown.exit_code == 3
    assert removed(calibrated, "--engine", "vllm") == set()


def test_what_was_removed_before_a_failure_is_told(run: Run, fake: FakeClient) -> None:
    profiles = [EfficiencyProfile(id=f"calibrated-{n}", etag=str(n)) for n in range(3)]
    profiles.append(EfficiencyProfile(id="generic-gemm"))
    fake.answers["list_efficiency_profiles"] = lambda: ListEfficiencyProfilesResponse(
        efficiency_profiles=profiles
    )

    def delete(name: str, *, etag: str) -> DeleteEfficiencyProfileResponse:
        if name == "calibrated-0":
            raise errors.NotFoundError("It is gone.")
        if name == "calibrated-2":
            raise errors.UnavailableError("Nothing answers.")
        assert etag == "1"
        return DeleteEfficiencyProfileResponse(catalog_revision=7)

    fake.answers["delete_efficiency_profile"] = delete
    result = run("calibrate", "--reset")
    assert result.exit_code == 4
    assert "Nothing answers. 2 of 3 profiles were removed before; repeat the command." in result.stderr


def test_deleting_measurements_tells_of_what_was_calibrated_by_them(calibrated: Run) -> None:
    dry = calibrated("measurements", "delete", "--engine", "vllm", "--dry-run")
    assert dry.stdout == "Would delete 1 measurement.\n"
    by_id = squeezed(calibrated("measurements", "delete", "last").stdout)
    assert f"Deleted 1 measurement. What was calibrated of {A100} stays" in by_id
    assert f"`ridgeline calibrate --reset --hardware {A100}` removes it" in by_id
    by_engine = calibrated("measurements", "delete", "--engine", "sglang").stdout
    assert f"What was calibrated of {H100} stays" in squeezed(by_engine)
    removed(calibrated)
    assert calibrated("measurements", "delete", "--hardware", H100).stdout == "Deleted 1 measurement.\n"
