"""Imports: each entry's outcome is told, in the order in which it was given, whatever happens."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ridgeline import errors
from ridgeline.cli.catalog import sources
from ridgeline.v1 import catalog_service_pb2 as catalog
from ridgeline.v1.errors_pb2 import ErrorReason
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import FakeClient
from tests.unit.client.safetensors_files import write

CARD: dict[str, Any] = {"kind": "gpu", "memory_bytes": 2**34, "bandwidth_bytes_per_s": 9e11}
Answer = Callable[..., catalog.ImportEntriesResponse]


def created(entries: Sequence[Any], **_: Any) -> catalog.ImportEntriesResponse:
    """All of them are new."""
    outcomes = [
        catalog.ImportOutcome(
            name=entry.name,
            id=(entry.hardware if entry.HasField("hardware") else entry.model).id,
            action=catalog.IMPORT_ACTION_CREATED,
        )
        for entry in entries
    ]
    return catalog.ImportEntriesResponse(outcomes=outcomes, catalog_revision=9)


def refused(reason: ErrorReason.ValueType, **error: Any) -> Answer:
    """All of them are refused."""

    def answer(entries: Sequence[Any], **_: Any) -> catalog.ImportEntriesResponse:
        response = created(entries)
        for outcome in response.outcomes:
            outcome.action = catalog.IMPORT_ACTION_REFUSED
            outcome.error.CopyFrom(catalog.EntryError(reason=reason, **error))
        return response

    return answer


@pytest.fixture
def importing(fake: FakeClient) -> FakeClient:
    """A catalog that takes everything."""
    fake.answers["import_entries"] = created
    return fake


def card(folder: Path, name: str, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"id": name} | CARD | changes))
    return path


def told(run: Run, *arguments: str) -> list[tuple[str, str]]:
    """Name and action of each outcome."""
    outcomes = json.loads(run(*arguments, "-o", "json").stdout)["outcomes"]
    return [(Path(outcome["name"]).name, outcome["action"]) for outcome in outcomes]


def test_a_folder_is_told_file_by_file_with_counts(run: Run, importing: FakeClient, tmp_path: Path) -> None:
    for name in ("a", "b"):
        card(tmp_path, name)
    result = run("hardware", "import", str(tmp_path))
    assert result.exit_code == 0
    assert [line.split()[:2] for line in result.stdout.splitlines()[:-1] if line[0] != " "] == [
        ["created", "a"],
        ["created", "b"],
    ]
    assert result.stdout.splitlines()[-1] == "2 created; catalog revision 9."
    assert result.stderr == ""


def test_options_reach_the_request(run: Run, importing: FakeClient, tmp_path: Path) -> None:
    file = str(card(tmp_path, "a"))
    run("hardware", "import", file)
    run("hardware", "import", file, "--replace", "--dry-run")
    run("hardware", "import", file, "--all-or-nothing")
    assert [how for _, _, how in importing.calls] == [
        {"allow_existing": False, "validate_only": False},
        {"allow_existing": True, "validate_only": True},
        {"allow_existing": False, "validate_only": False, "all_or_nothing": True},
    ]


def test_what_cannot_be_read_is_refused_in_its_place(run: Run, importing: FakeClient, tmp_path: Path) -> None:
    card(tmp_path, "a")
    card(tmp_path, "b", wings=2)
    (tmp_path / "c.json").write_text("{")
    (tmp_path / "d.json").write_bytes(b"\xff\xfe")
    (tmp_path / "e.json").write_text("[]")
    (tmp_path / "f.json").write_text('{"model_type": "llama"}')
    (tmp_path / "ff.json").write_text('{"memory_bytes": 1, "memory_bytes": 2}')
    card(tmp_path, "g")
    arguments = ("hardware", "import", str(tmp_path))
    assert told(run, *arguments) == [
        ("a.json", "CREATED"),
        *((f"{name}.json", "REFUSED") for name in ("b", "c", "d", "e", "f", "ff")),
        ("g.json", "CREATED"),
    ]
    result = run(*arguments)
    assert result.exit_code == 2
    for said in (
        "wings: is not a field of Hardware",
        "It is not JSON",
        "It is not a text in UTF-8",
        "It does not hold a JSON object",
        "It holds a model; import it with `ridgeline models import`",
        'It gives the key "memory_bytes" two values',
        "2 created, 6 refused",
    ):
        assert said in " ".join(result.stdout.split())


def test_a_path_that_does_not_exist_is_told_before_anything_is_written(
    run: Run, importing: FakeClient, tmp_path: Path
) -> None:
    result = run("hardware", "import", str(card(tmp_path, "a")), str(tmp_path / "b.json"))
    assert result.exit_code == 2
    assert "b.json does not exist" in result.stderr
    assert importing.calls == []


def test_an_export_is_told_entry_by_entry(run: Run, importing: FakeClient, tmp_path: Path) -> None:
    file = tmp_path / "all.json"
    file.write_text(json.dumps({"hardware": [{"id": "a"} | CARD, 3, {"id": "b"} | CARD]}))
    assert told(run, "hardware", "import", str(file)) == [
        ("all.json, entry 1", "CREATED"),
        ("all.json, entry 2", "REFUSED"),
        ("all.json, entry 3", "CREATED"),
    ]


def many(tmp_path: Path, count: int) -> str:
    file = tmp_path / "many.json"
    file.write_text(json.dumps({"hardware": [{"id": f"c{number}"} | CARD for number in range(count)]}))
    return str(file)


def fails_after(requests: int, error: BaseException) -> Answer:
    """Takes some requests, then fails."""
    left = iter(range(requests))

    def answer(entries: Sequence[Any], **how: Any) -> catalog.ImportEntriesResponse:
        if next(left, None) is None:
            raise error
        return created(entries, **how)

    return answer


def test_what_was_acknowledged_before_a_failure_is_told(
    run: Run, importing: FakeClient, tmp_path: Path
) -> None:
    importing.answers["import_entries"] = fails_after(2, errors.UnavailableError("The server has gone."))
    result = run("hardware", "import", many(tmp_path, 250), "-o", "json")
    assert result.exit_code == 4
    stored = [outcome["id"] for outcome in json.loads(result.stdout)["outcomes"]]
    assert stored == [f"c{number}" for number in range(200)]
    assert result.stderr == (
        "Error: The server has gone.\n"
        "200 entries are as told on stdout, of 50 it is not known what became of them. Repeat the command "
        "for the rest: what is stored already is unchanged.\n"
    )


def test_an_interrupted_import_tells_what_is_stored(run: Run, importing: FakeClient, tmp_path: Path) -> None:
    importing.answers["import_entries"] = fails_after(1, KeyboardInterrupt())
    result = run("hardware", "import", many(tmp_path, 150))
    assert result.exit_code != 0
    assert "100 created" in result.stdout
    assert "Interrupted: 100 entries are as told on stdout" in result.stderr


def test_a_failure_before_the_first_answer_prints_no_report(
    run: Run, importing: FakeClient, tmp_path: Path
) -> None:
    importing.answers["import_entries"] = fails_after(0, errors.UnavailableError("No server can be reached."))
    result = run("hardware", "import", many(tmp_path, 3))
    assert result.exit_code == 4
    assert result.stdout == ""
    assert "Error: No server can be reached.\n" in result.stderr


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (ErrorReason.ERROR_REASON_INVALID_FIELD, 2),
        (ErrorReason.ERROR_REASON_UNSUPPORTED_CONFIG, 2),
        (ErrorReason.ERROR_REASON_NAME_TAKEN, 2),
        (ErrorReason.ERROR_REASON_DATABASE_LOCKED, 4),
        (ErrorReason.ERROR_REASON_INTERNAL, 5),
    ],
)
def test_the_exit_code_is_that_of_the_first_refusal(
    run: Run, importing: FakeClient, tmp_path: Path, reason: ErrorReason.ValueType, code: int
) -> None:
    importing.answers["import_entries"] = refused(reason, message="It cannot be.")
    result = run("hardware", "import", str(card(tmp_path, "a")))
    assert result.exit_code == code
    assert "It cannot be." in result.stdout


def test_all_wrong_fields_are_told_and_the_way_to_overwrite(
    run: Run, importing: FakeClient, tmp_path: Path
) -> None:
    wrong = [catalog.WrongField(field=f, description="is wrong") for f in ("memory_bytes", "peaks[0].dtype")]
    importing.answers["import_entries"] = refused(ErrorReason.ERROR_REASON_INVALID_FIELD, wrong_fields=wrong)
    text = run("hardware", "import", str(card(tmp_path, "a"))).stdout
    assert "memory_bytes: is wrong" in text
    assert "peaks[0].dtype: is wrong" in text
    assert "--replace" not in text
    importing.answers["import_entries"] = refused(ErrorReason.ERROR_REASON_NAME_TAKEN, message="Taken.")
    assert (
        "--replace overwrites entries of the same id." in run("hardware", "import", many(tmp_path, 1)).stdout
    )


def changed(entries: Sequence[Any], **_: Any) -> catalog.ImportEntriesResponse:
    """The first is changed, the others are alike."""
    response = created(entries)
    for outcome in response.outcomes:
        outcome.action = catalog.IMPORT_ACTION_UNCHANGED
    response.outcomes[0].action = catalog.IMPORT_ACTION_UPDATED
    response.outcomes[0].changes.add(field="tdp_watts", before="300", after="350")
    response.outcomes[0].changes.add(field="release_year", before="", after="2026")
    response.outcomes[0].remarks.append("its ridge point is odd")
    return response


def test_a_dry_run_prints_the_difference_of_each_entry(
    run: Run, importing: FakeClient, tmp_path: Path
) -> None:
    importing.answers["import_entries"] = changed
    for name in "ab":
        card(tmp_path, name)
    text = run("hardware", "import", "--replace", "--dry-run", str(tmp_path)).stdout
    assert "tdp_watts: 300 -> 350" in text
    assert "release_year: nothing -> 2026" in text
    assert "its ridge point is odd" in text
    assert text.splitlines()[-1] == "Dry run, nothing was written; it would be 1 updated, 1 unchanged."


def test_a_report_as_csv_has_a_row_for_each_entry(run: Run, importing: FakeClient, tmp_path: Path) -> None:
    importing.answers["import_entries"] = changed
    card(tmp_path, "a")
    (tmp_path / "b.json").write_text("{")
    rows = list(csv.DictReader(io.StringIO(run("hardware", "import", str(tmp_path), "-o", "csv").stdout)))
    assert [row["action"] for row in rows] == ["UPDATED", "REFUSED"]
    assert rows[0]["changed"].startswith("tdp_watts: 300 -> 350")
    assert rows[0]["remarks"] == "its ridge point is odd"
    assert rows[1]["reason"] == "INVALID_FIELD"
    assert rows[1]["message"].startswith("It is not JSON")


def test_all_or_nothing_writes_nothing_when_a_file_cannot_be_read(
    run: Run, importing: FakeClient, tmp_path: Path
) -> None:
    card(tmp_path, "a")
    (tmp_path / "b.json").write_text("{")
    result = run("hardware", "import", "--all-or-nothing", str(tmp_path))
    ((_, _, how),) = importing.calls
    assert how["validate_only"]
    assert result.exit_code == 2
    assert "1 not written, 1 refused" in result.stdout


def test_too_many_for_one_request_are_told_with_the_way_out(
    run: Run, importing: FakeClient, tmp_path: Path
) -> None:
    result = run("hardware", "import", "--all-or-nothing", many(tmp_path, 1001))
    assert result.exit_code == 2
    assert importing.calls == []
    text = " ".join(result.stderr.split())
    assert (
        "takes 1,000 entries, and 1,001 were given: check all of them with --dry-run, then leave it out"
        in text
    )


def test_a_bar_is_for_terminals_and_for_many(
    run: Run, importing: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("hardware", "import", many(tmp_path, 250)).stderr == ""
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)
    assert "Importing" in run("hardware", "import", many(tmp_path, 250)).stderr
    assert run("hardware", "import", many(tmp_path, 3)).stderr == ""


def model(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"} | config))
    return folder


def sent(fake: FakeClient) -> list[Any]:
    """The models of the last request."""
    return [entry.model for entry in fake.calls[-1][1][0]]


def test_a_models_folder_is_read_whole(run: Run, importing: FakeClient, tmp_path: Path) -> None:
    folder = model(tmp_path / "my-model")
    (folder / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
    write(folder / "model.safetensors", {"lm_head.weight": ("BF16", [3, 5])})
    run("models", "import", str(folder), "--source", "by hand")
    (entry,) = sent(importing)
    assert (entry.id, entry.source, entry.checkpoint.element_count) == ("my-model", "by hand", 15)
    assert json.loads(entry.config_json)["quantization_config"] == {
        "quant_method": "modelopt",
        "quant_algo": "FP8",
    }
    assert list(entry.notes) == ["quantization_config was read from hf_quant_config.json beside config.json."]


def test_weights_that_are_not_whole_are_a_remark(run: Run, importing: FakeClient, tmp_path: Path) -> None:
    (model(tmp_path / "m") / "model.safetensors").write_bytes(b"version https://git-lfs")
    result = run("models", "import", str(tmp_path / "m"))
    assert result.exit_code == 0
    assert "totals were not read: model.safetensors is a Git LFS pointer" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("place", "config", "entry_id"),
    [
        ("my-model", {}, "my-model"),
        ("my-model", {"_name_or_path": "org/own"}, "org/own"),
        ("my-model", {"_name_or_path": "/home/me/out"}, "my-model"),
        ("my-model", {"_name_or_path": "./out"}, "my-model"),
        ("my-model", {"_name_or_path": "../out"}, "my-model"),
        ("my-model", {"_name_or_path": "out/.."}, "my-model"),
        ("hub/models--meta-llama--Llama-2-7b-hf/snapshots/8a0c", {}, "meta-llama/Llama-2-7b-hf"),
    ],
    ids=["folder", "own", "path of another machine", "here", "above", "upwards", "cache"],
)
def test_a_model_without_an_id_gets_one(
    run: Run, importing: FakeClient, tmp_path: Path, place: str, config: dict[str, Any], entry_id: str
) -> None:
    run("models", "import", str(model(tmp_path / place, **config)))
    assert [entry.id for entry in sent(importing)] == [entry_id]
    run("models", "import", str(tmp_path / place), "--id", "org/stated")
    assert [entry.id for entry in sent(importing)] == ["org/stated"]


def test_one_id_is_for_one_model(run: Run, importing: FakeClient, tmp_path: Path) -> None:
    for name in "ab":
        model(tmp_path / name)
    result = run("models", "import", str(tmp_path), "--id", "x")
    assert result.exit_code == 2
    assert "--id names one model, but 2 were given" in result.stderr
    assert importing.calls == []


def test_a_device_among_models_is_told_where_it_belongs(
    run: Run, importing: FakeClient, tmp_path: Path
) -> None:
    result = run("models", "import", str(card(tmp_path, "a")))
    assert "It holds a device; import it with `ridgeline hardware import`" in " ".join(result.stdout.split())


def test_stdin_is_read_once_and_has_no_place_to_take_an_id_from(run: Run, importing: FakeClient) -> None:
    run("models", "import", "-", stdin='{"model_type": "llama"}')
    assert [entry.id for entry in sent(importing)] == [""]
    run("models", "import", "-", "--id", "org/piped", stdin='{"model_type": "llama"}')
    assert [entry.id for entry in sent(importing)] == ["org/piped"]


def test_a_file_whose_name_is_no_text_is_imported_all_the_same(
    run: Run, importing: FakeClient, tmp_path: Path
) -> None:
    card(tmp_path, "a").rename(tmp_path / os.fsdecode(b"caf\xe9.json"))
    result = run("hardware", "import", str(tmp_path))
    assert result.exit_code == 0
    assert r"caf\udce9.json" in result.stdout


def test_keys_that_no_message_can_hold_are_named(run: Run, importing: FakeClient, tmp_path: Path) -> None:
    result = run("hardware", "import", str(card(tmp_path, "a", **{"\ud800": 1})))
    assert result.exit_code == 2
    assert r"'\ud800': is not a field of Hardware" in result.stdout


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("kind", ["models", "hardware"])
def test_only_regular_files_of_a_folder_are_read(
    run: Run, importing: FakeClient, tmp_path: Path, kind: str
) -> None:
    card(tmp_path / "other", "a")
    (tmp_path / "link.json").symlink_to(tmp_path / "other" / "a.json")
    (tmp_path / "gone.json").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "m").mkdir()
    os.mkfifo(tmp_path / "m" / "config.json")
    names = [name for name, _ in told(run, kind, "import", str(tmp_path))]
    assert sorted(names) == ["gone.json", "link.json"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_that_is_named_is_read_once(run: Run, importing: FakeClient, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text('{"model_type": "llama", "x": 1}'))
    writer.start()
    run("models", "import", str(pipe), "--id", "org/piped")
    writer.join()
    (entry,) = sent(importing)
    assert json.loads(entry.config_json)["x"] == 1


def test_a_folder_that_is_too_deep_or_too_large_is_told(
    run: Run, importing: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model(tmp_path.joinpath(*"abcd"))
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    assert run("models", "import", str(tmp_path)).exit_code == 0
    monkeypatch.setattr(sources, "MOST_LEVELS", 3)
    result = run("models", "import", str(tmp_path))
    assert result.exit_code == 2
    assert "has folders more than 3 deep; import folders within it one by one" in result.stderr
    monkeypatch.setattr(sources, "MOST_FOLDERS", 2)
    assert "holds over 2 folders" in run("models", "import", str(tmp_path)).stderr


def test_a_gguf_file_is_told_the_way_out(run: Run, importing: FakeClient, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF\x03\x00\xff")
    result = run("models", "import", str(tmp_path / "m.gguf"))
    assert "It is a GGUF file; give the config.json" in " ".join(result.stdout.split())
