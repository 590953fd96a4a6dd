"""The catalog's past and its files on the service itself: exported, imported, told, read and brought back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ridgeline
from ridgeline import errors
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_catalog_commands import CARD, entry, write_config

FOLDERS = {"hardware": "hardware", "models": "models"}


def revision(run: Run) -> int:
    return int(json.loads(run("hardware", "list", "--limit", "1", "-o", "json").stdout)["catalog_revision"])


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """A RIDGELINE_HOME whose catalog has lost every entry."""
    with ridgeline.connect() as client:
        for device in client.iter_hardware():
            client.delete_hardware(device.id)
        for model in client.iter_models():
            client.delete_model(model.id)
    return home


@pytest.mark.parametrize("kind", ["hardware", "models"])
def test_all_built_ins_come_back_from_their_files_byte_for_byte(
    ridgeline_command: Run, empty_home: Path, tmp_path: Path, kind: str
) -> None:
    """Exported from the past, since the catalog is empty now; imported; exported again."""
    before, after = tmp_path / "before", tmp_path / "after"
    exported = ridgeline_command(kind, "export", "--to", str(before), "--revision", "1")
    assert exported.exit_code == 0, exported.stderr
    assert json.loads(ridgeline_command(kind, "list", "-o", "json").stdout)[kind] == []
    imported = ridgeline_command(kind, "import", "--all-or-nothing", str(before), "-o", "json")
    assert imported.exit_code == 0, imported.stdout
    actions = {outcome["action"] for outcome in json.loads(imported.stdout)["outcomes"]}
    assert actions == {"CREATED"}
    assert ridgeline_command(kind, "export", "--to", str(after)).exit_code == 0
    assert files(after) == files(before)
    assert len(files(before)) > 50


def test_an_import_may_be_repeated(ridgeline_command: Run, tmp_path: Path) -> None:
    ridgeline_command("hardware", "export", "--to", str(tmp_path), "a100-sxm-80gb", "h100-sxm")
    before = revision(ridgeline_command)
    result = ridgeline_command("hardware", "import", str(tmp_path))
    assert [line.split()[0] for line in result.stdout.splitlines()[:-1]] == ["unchanged", "unchanged"]
    assert revision(ridgeline_command) == before


def test_history_tells_who_and_what_and_the_past_can_be_read_and_brought_back(ridgeline_command: Run) -> None:
    ridgeline_command("hardware", "create", "my-card", *CARD)
    first = revision(ridgeline_command)
    ridgeline_command("hardware", "update", "my-card", "--set", "tdp_watts=300")
    ridgeline_command("hardware", "delete", "my-card")
    told = json.loads(ridgeline_command("hardware", "history", "my-card", "-o", "json").stdout)["changes"]
    assert [(change["action"], change["principal"]) for change in told] == [
        ("DELETED", "local"),
        ("UPDATED", "local"),
        ("CREATED", "local"),
    ]
    assert told[1]["changes"] == [{"field": "tdp_watts", "before": "", "after": "300"}]
    assert ridgeline_command("hardware", "get", "my-card").exit_code == 3
    past = ridgeline_command("hardware", "get", "my-card", "--revision", str(first))
    assert past.exit_code == 0
    assert "900 GB/s" in past.stdout
    assert ridgeline_command("hardware", "restore", "my-card", "--revision", str(first)).exit_code == 0
    assert "tdp_watts" not in entry(ridgeline_command, "hardware", "my-card")


def test_the_history_of_what_was_shipped_names_the_release(ridgeline_command: Run) -> None:
    text = ridgeline_command("models", "history", "llama-2-7b").stdout
    assert "created   meta-llama/Llama-2-7b-hf  release " in text


def test_a_revision_of_the_future_is_told_with_those_that_there_are(ridgeline_command: Run) -> None:
    result = ridgeline_command("hardware", "list", "--revision", "9999")
    assert result.exit_code == 2
    assert "9999" in result.stderr
    assert result.stdout == ""


def test_an_answer_can_be_repeated_on_the_revision_that_it_named(ridgeline_command: Run) -> None:
    question = ("analyze", "llama-2-7b", "rtx-a6000", "--input-len", "100", "-o", "json")
    before = json.loads(ridgeline_command(*question).stdout)
    ridgeline_command("hardware", "update", "rtx-a6000", "--set", "bandwidth_bytes_per_s=1e12")
    assert json.loads(ridgeline_command(*question).stdout)["metrics"] != before["metrics"]
    again = ridgeline_command(*question, "--catalog-revision", str(before["catalog_revision"]))
    assert json.loads(again.stdout) == before


def test_a_stale_etag_is_told_with_what_changed(ridgeline_command: Run) -> None:
    ridgeline_command("hardware", "create", "my-card", *CARD)
    etag = entry(ridgeline_command, "hardware", "my-card")["etag"]
    ridgeline_command("hardware", "update", "my-card", "--set", "tdp_watts=275")
    for command in (("update", "my-card", "--set", "tdp_watts=250"), ("delete", "my-card")):
        result = ridgeline_command("hardware", *command, "--etag", etag)
        assert result.exit_code == 2
        assert "tdp_watts" in result.stderr
        assert "275" in result.stderr
    assert entry(ridgeline_command, "hardware", "my-card")["tdp_watts"] == 275


def test_filters_and_order_do_what_they_say(ridgeline_command: Run) -> None:
    def listed(*arguments: str) -> list[Any]:
        kind = arguments[0]
        result = ridgeline_command(kind, "list", *arguments[1:], "-o", "json")
        assert result.exit_code == 0, result.stderr
        return list(json.loads(result.stdout)[kind])

    large = listed("hardware", "--vendor", "nvidia", "--dtype", "fp8", "--min-memory-gib", "80")
    assert "h100-sxm" in {device["id"] for device in large}
    assert {device["vendor"] for device in large} == {"NVIDIA"}
    assert all(device["memory_bytes"] >= 80 * 2**30 for device in large)
    fastest = listed("hardware", "--order-by", "bandwidth_bytes_per_s desc", "--limit", "5")
    speeds = [device["bandwidth_bytes_per_s"] for device in fastest]
    assert len(speeds) == 5
    assert speeds == sorted(speeds, reverse=True)
    middle = listed("models", "--min-params", "7b", "--max-params", "14b", "--dense")
    assert "meta-llama/Llama-2-13b-hf" in {model["id"] for model in middle}
    assert all(7e9 <= model["parameter_count"] <= 14e9 for model in middle)
    assert listed("models", "--origin", "user") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--order-by", "wings"), '--order-by: is "wings"; give one of id, memory_bytes'),
        (("--order-by", "id down"), "--order-by: "),
        (("--min-memory-gib", "-1"), "'--min-memory-gib': -1.0 is not in the range x>=0"),
        (("--min-memory-gib", "nan"), "--min-memory-gib: "),
    ],
)
def test_a_query_that_cannot_be_meant_is_told(
    ridgeline_command: Run, arguments: tuple[str, str], said: str
) -> None:
    result = ridgeline_command("hardware", "list", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_dry_run_tells_the_difference_and_leaves_the_revision(
    ridgeline_command: Run, tmp_path: Path
) -> None:
    ridgeline_command("hardware", "export", "--to", str(tmp_path), "rtx-a6000")
    file = tmp_path / "rtx-a6000.json"
    document = json.loads(file.read_text())
    document["bandwidth_bytes_per_s"]["value"] = 9e11
    file.write_text(json.dumps(document))
    before = revision(ridgeline_command)
    result = ridgeline_command("hardware", "import", "--replace", "--dry-run", str(tmp_path))
    assert result.stdout.startswith("updated      rtx-a6000  ")
    assert "bandwidth_bytes_per_s: 768,000,000,000 -> 900,000,000,000" in result.stdout
    assert revision(ridgeline_command) == before


def test_all_or_nothing_leaves_nothing(ridgeline_command: Run, tmp_path: Path) -> None:
    write_config(tmp_path / "right")
    write_config(tmp_path / "wrong", num_attention_heads=None)
    before = revision(ridgeline_command)
    result = ridgeline_command("models", "import", "--all-or-nothing", str(tmp_path))
    assert result.exit_code == 2
    assert "1 not written, 1 refused" in result.stdout
    assert revision(ridgeline_command) == before


def test_many_entries_are_imported_in_chunks_and_listed_in_pages(home: Path) -> None:
    from ridgeline.v1 import types_pb2
    from ridgeline.v1.hardware_pb2 import Hardware, PeakRate

    cards = [
        Hardware(
            id=f"card-{number:04}",
            kind="gpu",
            memory_bytes=2**34,
            bandwidth_bytes_per_s=9e11,
            peaks=[PeakRate(dtype=types_pb2.DTYPE_FP16, flops_per_s=1e14)],
        )
        for number in range(1250)
    ]
    with ridgeline.connect() as client:
        answers = list(client.import_many(cards))
        assert sum(len(answer.outcomes) for answer in answers) == 1250
        mine = client.list_hardware(origin="user")
        assert [device.id for device in mine.hardware] == [card.id for card in cards]
        assert next(client.iter_hardware(origin="user", order_by="id desc")).id == "card-1249"
        assert client.list_changes(kind="hardware", limit=3).changes[0].principal == "local"
        with pytest.raises(errors.OutOfRangeError) as raised:
            client.list_hardware(catalog_revision=99_999)
        assert raised.value.revisions is not None
        assert raised.value.revisions[1] == answers[-1].catalog_revision
